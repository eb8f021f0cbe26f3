"""What callers give in place of what is wanted is refused where it is given, with what to give instead."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest

import securestream
from securestream.arguments import check_choice, check_sequence, hidden, members
from securestream.credentials import Accounts, Credentials, Keytab, NtHash, Password
from securestream.errors import UsageError
from securestream.http import TokenScheme
from securestream.http.schemes import HttpRequest, Origin
from securestream.options import Options
from securestream.redaction import Secret
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.digest import Algorithm, Cipher, Digest, DigestClient, DigestMd5, DigestServer
from securestream_providers.kerberos import Kerberos
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel

KEY = b"thirty-two octets, of which none"
ALICE = Password("alice", "correct horse")
ACCOUNTS = Accounts.memory(alice="correct horse")

# what is wrong here is what checkers would find: they are told that anything goes
accounts: Any = Accounts
credentials: Any = Credentials
credssp: Any = CredSsp
delegation: Any = Delegation
digest: Any = Digest
digest_client: Any = DigestClient
digest_md5: Any = DigestMd5
digest_server: Any = DigestServer
kerberos: Any = Kerberos
nt_hash: Any = NtHash
no_socket: Any = None
ntlm: Any = Ntlm
password: Any = Password
schannel: Any = Schannel
token_scheme: Any = TokenScheme

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: digest_client(ALICE, algorithms=["MD5"]), r"not 'MD5': write Algorithm\.MD5$"),
    (lambda: digest_client(ALICE, algorithms=["sha-512-256-sess"]), r"write Algorithm\.SHA_512_256_SESS$"),
    (lambda: digest_client(ALICE, algorithms=["SHA1"]), r"not 'SHA1': there are Algorithm\.MD5, Algorithm\.MD5_SESS"),
    (lambda: digest_client(ALICE, algorithms=Algorithm.MD5), r"write algorithms=\[Algorithm\.MD5\]"),
    (lambda: digest_client(ALICE, qops=["auth"]), r"not 'auth': write Qop\.AUTH$"),
    (lambda: digest_client(ALICE, qops="auth-int"), r"qops takes a sequence, not a value of type str"),
    (lambda: digest_client(ALICE, server_proof="sent"), r'server_proof is "required" or "when sent", not \'sent\''),
    (lambda: digest_server(ACCOUNTS, "r", algorithms=["MD5"]), r"write Algorithm\.MD5$"),
    (lambda: digest_server(ACCOUNTS, "r", algorithms=None), r"algorithms takes a sequence, not None"),
    (lambda: digest_server(ACCOUNTS, "r", qops=[Algorithm.MD5]), r"members of Qop, not a value of type Algorithm"),
    (lambda: digest_server(ACCOUNTS, "r", key="x" * 32), r"key is octets: give bytes, or Secret\(\.\.\.\)"),
    (lambda: digest_server(ACCOUNTS, "r", key=b"short"), r"32 octets, not 5"),
    (lambda: digest_server(ACCOUNTS, "r", lifetime=300), r"write lifetime=timedelta\(minutes=5\)"),
    (lambda: digest_server(ACCOUNTS, "r", domain="/private/"), r"domain takes a sequence"),
    (lambda: digest_server(ACCOUNTS, "r", served="HTTP/www"), r"served takes a sequence"),
    (lambda: digest_server(ACCOUNTS, None), r"a realm cannot be None"),
    (lambda: digest(algorithms=["MD5"]), r"write Algorithm\.MD5$"),
    (lambda: digest(qops="auth"), r"qops takes a sequence"),
    (lambda: digest(key="x" * 32), r"key is octets"),
    (lambda: digest(lifetime=300), r"timedelta"),
    (lambda: digest(served="HTTP/www"), r"served takes a sequence"),
    (lambda: digest(server_proof=True), r"server_proof is"),
    (lambda: digest_md5(ciphers=["rc4"]), r"not 'rc4': write Cipher\.RC4$"),
    (lambda: digest_md5(ciphers=Cipher.RC4), r"write ciphers=\[Cipher\.RC4\]"),
    (lambda: digest_md5(realms="EXAMPLE.COM"), r"realms takes a sequence"),
    (lambda: digest_md5(services="ldap/dc1"), r"services takes a sequence"),
    (lambda: credssp(delegation="TERMSRV/files"), r'write delegation=Delegation\("TERMSRV'),
    (lambda: credssp(delegate_to="TERMSRV/files"), r"delegate_to takes a sequence"),
    (lambda: credssp(version="6"), r"versions 2 to 6, not '6'"),
    (lambda: delegation(["TERMSRV/files"]), r"a target of Delegation cannot be a value of type list"),
    (lambda: ntlm(key_bits=128), r"write key_bits=\[128\]"),
    (lambda: ntlm(served="HTTP/www"), r"served takes a sequence"),
    (lambda: ntlm(mic="off"), r'mic is "required" or "optional", not \'off\''),
    (lambda: ntlm(spn=True), r'spn is "off", "checked" or "required", not True'),
    (lambda: ntlm(key_exchange=False), r"key_exchange is"),
    (lambda: ntlm(extended_security="no"), r"extended_security is"),
    (lambda: kerberos(served="HTTP/www"), r"served takes a sequence"),
    (lambda: kerberos(config="/etc/krb5.conf"), r"KRB5_CONFIG"),
    (lambda: kerberos(pac=True), r'pac is "checked" or "required", not True'),
    (lambda: kerberos(checksum="off"), r"checksum is"),
    (lambda: kerberos(delegation=True), r"delegation is"),
    (lambda: kerberos(armor_policy="always"), r"armor_policy is"),
    (lambda: schannel(verify=False), r'verify is "full" or "none", not False'),
    (lambda: schannel(client_certificates=True), r'client_certificates is "none", "optional" or "required"'),
    (lambda: schannel(minimum_version="1.2"), r'minimum_version is "TLSv1", .*, not \'1\.2\''),
    (lambda: schannel(alpn="h2"), r'write alpn=\["h2"\]'),
    (lambda: schannel(crls="revoked.pem"), r"crls takes a sequence"),
    (lambda: schannel(identities=["name"]), r'"upn", "dns", "email" or "subject", not \'name\''),
    (lambda: token_scheme("Negotiate", Ntlm(), server_proof="sent"), r"server_proof is"),
    (lambda: accounts("accounts.db"), r"write Accounts\.sqlite\(path\)"),
    (lambda: credentials([ALICE]), r"a form of Credentials cannot be a value of type list"),
    (lambda: password("alice", b"correct horse"), r"a password is text: give str"),
    (lambda: password(None, "correct horse"), r"a name cannot be None"),
    (lambda: nt_hash("alice", "00" * 16), r"an NT hash is octets"),
]


@pytest.mark.parametrize(("make", "sentence"), WRONG)
def test_a_wrong_argument_is_refused_where_it_is_given(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_a_key_is_taken_as_octets_or_hidden() -> None:
    """Two servers of one key know each other's nonces, however it was given."""
    options = Options(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC), random=bytes)
    servers = (
        DigestServer(ACCOUNTS, "r", key=KEY),
        DigestServer(ACCOUNTS, "r", key=securestream.Secret(KEY)),
        Digest(key=KEY).http_server(ACCOUNTS, "r"),
        Digest(key=Secret(KEY)).http_server(ACCOUNTS, "r"),
    )
    request = HttpRequest("GET", "/", Origin("https", "files.example.com", 443))
    assert len({tuple(server.challenges(request, options)) for server in servers}) == 1
    assert Digest(key=KEY) == Digest(key=Secret(KEY))
    assert "thirty" not in repr(Digest(key=KEY))


KEYED: list[Callable[[Any], object]] = [
    lambda key: digest_server(ACCOUNTS, "r", key=key),
    lambda key: digest(key=key),
    lambda key: nt_hash("alice", key),
    lambda key: Keytab(octets=key),
    lambda key: password("alice", [key]),
    lambda key: password(None, key),
]


@pytest.mark.parametrize("make", KEYED)
def test_a_secret_of_the_wrong_type_stands_in_no_traceback(make: Callable[[Any], object]) -> None:
    with pytest.raises(UsageError) as caught:
        make("hunter2")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if frame.f_code.co_filename != __file__]
    assert ours
    assert not [frame for frame in ours if any("hunter2" in _shown(value) for value in frame.f_locals.values())]


def _shown(value: object) -> str:
    """As crash reporters show it; what is only half made they cannot show, nor can `traceback` of Python 3.11."""
    try:
        return repr(value)
    except AttributeError:
        return object.__repr__(value)


# --- the checks themselves


class Colour(Enum):
    RED = ("rot", 1)
    BLUE = "blau"


def test_the_member_that_was_meant_is_named() -> None:
    assert members("colours", (one for one in Colour), Colour) == (Colour.RED, Colour.BLUE)
    assert members("colours", [], Colour) == ()
    for given, meant in (("ROT", "RED"), ("red", "RED"), ("Blau", "BLUE")):
        with pytest.raises(UsageError, match=rf"write Colour\.{meant}$"):
            members("colours", [given], Colour)


def test_choices_are_compared_with_their_types() -> None:
    check_choice("size", 1, (1, 2))
    with pytest.raises(UsageError, match="size is 1 or 2, not True"):
        check_choice("size", True, (1, 2))


def test_texts_and_octets_are_no_sequences_of_names() -> None:
    check_sequence("names", (), "[]")
    for given in ("name", b"name", 5, None):
        with pytest.raises(UsageError, match="names takes a sequence"):
            check_sequence("names", given, "[]")


def test_what_is_hidden_already_is_hidden_once() -> None:
    assert hidden(bytearray(KEY)) == hidden(KEY) == hidden(Secret(KEY)) == Secret(KEY)
    assert Password("alice", Secret("correct horse")) == ALICE
    assert NtHash("alice", Secret(KEY[:16])) == NtHash("alice", KEY[:16])
    assert Keytab(octets=Secret(KEY)) == Keytab(octets=KEY)
