"""What shows tokens to people: it takes any octets, raises nothing, and no package fails inside of it."""

from __future__ import annotations

from base64 import b64encode

from securestream.cli.inspect import lines
from securestream.cli.inspect_frames import inspect_stream
from securestream.errors import MalformedMessage
from securestream.inspection import InspectionKey
from securestream.redaction import Secret
from securestream.services.nt_hash import nt_hash
from securestream_providers.credssp.messages import NegoToken, TSRequest
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.cli.looking import inspection
from tests.fuzz.harness import Parser
from tests.providers.kerberos.ends import Realm, new_services
from tests.providers.kerberos.ends import package as kerberos
from tests.providers.krb5.pacs import BUFFERS
from tests.providers.negotiate.ends import meet, options
from tests.providers.ntlm.ends import PASSWORD, handshake

_REALM = Realm()
_PART = _REALM.with_pac(BUFFERS)
_KEYS = (
    InspectionKey("18", _REALM.key.contents),
    InspectionKey("nt", Secret(nt_hash(PASSWORD))),
)
_NTLM = handshake(Ntlm(), Ntlm()).tokens
_NEGOTIATE = meet(
    Negotiate(kerberos(), ntlm="never"),
    Negotiate(kerberos(), ntlm="never"),
    initiating=_REALM.tickets(_PART),
    accepting=_REALM.keytab,
    mine=options(1),
    theirs=options(2),
    services=new_services(),
).tokens
_ASN1 = bytes.fromhex("301e06062b0601050502a003020105180f32303236303330313132303030305a")


def _show(octets: bytes) -> object:
    """The whole way of the command."""
    nodes = inspect_stream(octets, inspection(_KEYS))
    for node in nodes:
        for inner in node.walk():
            if "failed on it" in inner.note:
                raise AssertionError(inner.note)
        list(lines(node, secrets=True))
    if any(inner.problem for node in nodes for inner in node.walk()):
        raise MalformedMessage("something in it is")
    return nodes


_FIELDS = (
    b"WWW-Authenticate: Negotiate %s, NTLM,\r\n " % b64encode(_NTLM[0]) + b'Digest realm="a, b", nonce="n"\r\n',
    b'Authorization: Digest username="alice", realm="r", nonce="n", uri="/", response="00", nc=00000001, qop=auth',
)
_TS_REQUESTS = (
    TSRequest(6, nego_tokens=(NegoToken(_NTLM[0]),), client_nonce=bytes(32)).encode(),
    TSRequest(3, auth_info=b"sealed", pub_key_auth=b"sealed", error_code=-1).encode(),
)
_SEEDS = (*_NTLM, *_NEGOTIATE, _REALM.seal(_PART), _PART.encode(), _ASN1, *_FIELDS, *_TS_REQUESTS)

PARSERS = [Parser("inspect", _show, _SEEDS, seconds=0.5)]
