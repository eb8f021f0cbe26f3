"""A Kerberos message or token as a tree, opened by the keys that are given, and by those that are found in it."""

from __future__ import annotations

from typing import Final

from securestream.errors import MalformedMessage
from securestream.inspection import Inspection, Node, malformed, octets_text, unknown
from securestream.oids import OID_NAMES
from securestream.wire import der
from securestream_providers.kerberos.inspection.messages import Reader
from securestream_providers.kerberos.inspection.protected import CFX, cfx_tree, old_tree
from securestream_providers.kerberos.user_to_user import TgtReply, TgtRequest
from securestream_providers.krb5 import gss_token
from securestream_providers.krb5.kkdcp import KdcProxyMessage
from securestream_providers.krb5.kpasswd import CHANGE, SET
from securestream_providers.krb5.messages import (
    ApRep,
    ApReq,
    AsRep,
    AsReq,
    Authenticator,
    EncApRepPart,
    EncAsRepPart,
    EncKrbCredPart,
    EncKrbPrivPart,
    EncTgsRepPart,
    EncTicketPart,
    KrbCred,
    KrbError,
    KrbPriv,
    TgsRep,
    TgsReq,
    Ticket,
)

_MESSAGES: Final[dict[int, tuple[str, type[der.Message]]]] = {
    0x61: ("Ticket", Ticket),
    0x62: ("Authenticator", Authenticator),
    0x63: ("EncTicketPart", EncTicketPart),
    0x6A: ("AS-REQ", AsReq),
    0x6B: ("AS-REP", AsRep),
    0x6C: ("TGS-REQ", TgsReq),
    0x6D: ("TGS-REP", TgsRep),
    0x6E: ("AP-REQ", ApReq),
    0x6F: ("AP-REP", ApRep),
    0x75: ("KRB-PRIV", KrbPriv),
    0x76: ("KRB-CRED", KrbCred),
    0x79: ("EncASRepPart", EncAsRepPart),
    0x7A: ("EncTGSRepPart", EncTgsRepPart),
    0x7B: ("EncAPRepPart", EncApRepPart),
    0x7C: ("EncKrbPrivPart", EncKrbPrivPart),
    0x7D: ("EncKrbCredPart", EncKrbCredPart),
    0x7E: ("KRB-ERROR", KrbError),
}
"""By the identifier octet (RFC 4120 5.10)."""

_SAFE: Final = 0x74
_FRAMED: Final[dict[bytes, tuple[str, type[der.Message]]]] = {
    gss_token.AP_REQ: ("AP-REQ", ApReq),
    gss_token.AP_REP: ("AP-REP", ApRep),
    gss_token.ERROR: ("KRB-ERROR", KrbError),
    gss_token.TGT_REQ: ("TGT-REQ", TgtRequest),
    gss_token.TGT_REP: ("TGT-REP", TgtReply),
}
_MECHANISMS: Final = {der.oid_octets(oid): oid for oid in (gss_token.KERBEROS, gss_token.USER_TO_USER)}
_SEQUENCE: Final = b"\x30"


def inspect(token: bytes, inspection: Inspection) -> Node | None:
    """The tree of a Kerberos token: with the frame of GSS-API or without, a KDC's or a password server's message, one
    through a proxy, one that protects a message; `None` where it is none.
    """
    if not token:
        return None
    if gss_token.is_framed(token):
        return _framed(token, inspection)
    if token[0] in _MESSAGES and _is_sequence_inside(token):
        name, kind = _MESSAGES[token[0]]
        return Reader(inspection).message(f"Kerberos {name}", kind, token)
    if token[0] == _SAFE and _is_sequence_inside(token):
        return Node("Kerberos KRB-SAFE", None, octets_text(len(token)), unknown(token).children)
    if token[:2] in CFX and _is_cfx(token):
        return cfx_tree(token, Reader(inspection).ring)
    return _carried(token, inspection)


def _is_sequence_inside(token: bytes) -> bool:
    return token[der.content_at(token) :][:1] == _SEQUENCE


def _is_cfx(token: bytes) -> bool:
    """Filler, and no flag that is not defined: a credential cache begins with the same two octets."""
    filler = token[3:8] if token[0] == 4 else token[3:4]
    return len(token) < 4 or (token[2] < 8 and filler == b"\xff" * len(filler))


def _framed(token: bytes, inspection: Inspection) -> Node | None:
    content = token[der.content_at(token) :]
    mechanism = next((octets for octets in _MECHANISMS if content.startswith(octets)), None)
    if mechanism is None:
        return None
    inner = content[len(mechanism) :]
    reader = Reader(inspection)
    old = old_tree(inner, token, reader.ring)
    if old is not None:
        return old
    oid = _MECHANISMS[mechanism]
    known = _FRAMED.get(inner[:2])
    if known is None:
        return malformed("Kerberos token", token, f"its TOK_ID {inner[:2].hex() or 'is missing'} is unknown")
    name, kind = known
    header = (Node("mechanism", oid, OID_NAMES.get(oid, "")), Node("TOK_ID", inner[:2], name))
    try:
        gss_token.unframe(token)
        why = ""
    except MalformedMessage as error:
        why = f"malformed: {error}"
    body = reader.message(name, kind, inner[2:])
    note = f"{octets_text(len(token))}; {why}" if why else octets_text(len(token))
    return Node(f"Kerberos token with {name}", None, note, (*header, body), problem=bool(why))


def _carried(token: bytes, inspection: Inspection) -> Node | None:
    """A message in what TCP, a proxy, or the password service put around it."""
    if len(token) > 5 and int.from_bytes(token[:4], "big") == len(token) - 4 and token[4] in _MESSAGES:
        inner = inspect(token[4:], inspection)
        return None if inner is None else inner.annotated("behind its length, as over TCP")
    version = int.from_bytes(token[2:4], "big")
    if len(token) > 8 and int.from_bytes(token[:2], "big") == len(token) and version in (CHANGE, SET):
        return _password(token, version, inspection)
    if token[:1] == _SEQUENCE and b"\xa0" in token[2:7]:
        return _proxied(token, inspection)
    return None


def _password(token: bytes, version: int, inspection: Inspection) -> Node | None:
    size = int.from_bytes(token[4:6], "big")
    first, rest = token[6 : 6 + size], token[6 + size :]
    if not all(not part or part[0] in _MESSAGES for part in (first, rest)):
        return None
    children = [Node("version", f"{version:#06x}", "RFC 3244" if version == SET else "1")]
    for part in (first, rest):
        node = inspect(part, inspection) if part else None
        if node is not None:
            children.append(node)
    return Node("Kerberos password message", None, octets_text(len(token)), tuple(children))


def _proxied(token: bytes, inspection: Inspection) -> Node | None:
    try:
        found = KdcProxyMessage.decode(token)
    except MalformedMessage:
        return None
    children = [inspection.token(found.kerb_message, "kerb-message")]
    if found.target_domain is not None:
        children.append(Node("target-domain", found.target_domain))
    if found.dclocator_hint is not None:
        children.append(Node("dclocator-hint", f"{found.dclocator_hint:#x}"))
    return Node("KDC-PROXY-MESSAGE", None, octets_text(len(token)), tuple(children))
