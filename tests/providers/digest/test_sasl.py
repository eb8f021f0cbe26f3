"""DIGEST-MD5: RFC 2831's example, what each end chooses and refuses, charsets, realms, subsequent authentication."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import entry_points

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Anonymous, Password
from securestream.errors import LogonDenied, NoCommonMechanism, SecureStreamError, TargetUnknown, UsageError
from securestream.options import BindingPolicy, ContextFlags, Protection, Role
from securestream.principal import Principal
from securestream.sasl import choose, find_mechanism, mechanisms
from securestream.services.verifiers import SASL_DIGEST_MD5, digest_verifier
from securestream_providers.digest import Digest
from securestream_providers.digest.sasl import DigestMd5
from securestream_providers.digest.sasl_crypto import Covered, hash_a1
from securestream_providers.digest.sasl_messages import SaslChallenge, SaslResponse, pack_proof
from tests.core.sasl.ends import NONE, SEAL, SIGN, acceptor, stepped
from tests.providers.digest.sasl_ends import (
    ALICE,
    ALL,
    PASSWORD,
    REALM,
    TARGET,
    Cipher,
    accounts,
    authenticate,
    client,
    named_accounts,
    options,
    server,
)

# RFC 2831 4
IMAP = ("OA6MG9tEQGm2hh", "OA6MHXh6VqTrRk", "imap/elwood.innosoft.com")
ACAP = ("OA9BSXrbuRhWay", "OA9BSuZWMSpW8m", "acap/elwood.innosoft.com")
CHALLENGE = b'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8'
RESPONSE = (
    b'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,'
    b'cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth'
)


@pytest.mark.parametrize(
    ("example", "response", "proof"),
    [
        (IMAP, "d388dad90d4bbd760a152321f2143af7", "ea40f60335c427b5527b84dbabcdfffd"),
        (ACAP, "6084c6db3fede7352c551284490fd0fc", "2f0b3d7c3c2e486600ef710726aa2eae"),
    ],
)
def test_examples_of_the_rfc(example: tuple[str, str, str], response: str, proof: str) -> None:
    nonce, cnonce, uri = example
    verifier = digest_verifier(SASL_DIGEST_MD5, "chris", "elwood.innosoft.com", "secret")
    key = hash_a1(verifier, nonce, cnonce, None)
    covered = Covered(nonce, cnonce, 1, "auth", uri)
    assert (covered.response(key), covered.proof(key)) == (response, proof)


def test_messages_of_the_rfc() -> None:
    challenge, response = SaslChallenge.unpack(CHALLENGE), SaslResponse.unpack(RESPONSE)
    assert challenge == SaslChallenge("OA6MG9tEQGm2hh", ("elwood.innosoft.com",))
    assert response.pack() == RESPONSE
    assert (response.user, response.count, response.uri) == ("chris", 1, "imap/elwood.innosoft.com")
    assert pack_proof("ea40f60335c427b5527b84dbabcdfffd") == b"rspauth=ea40f60335c427b5527b84dbabcdfffd"


# --- off unless named


def test_off_unless_asked_for_by_name() -> None:
    assert "DIGEST-MD5" not in mechanisms()
    with pytest.raises(NoCommonMechanism):
        choose(["DIGEST-MD5"], ALICE, options(NONE))
    assert choose(["digest-md5"], ALICE, options(NONE), [client()]).info.name == "DIGEST-MD5"
    assert Digest().usable(ALICE, Role.INITIATOR)
    assert "SCRAM" in str(Digest().usable(ALICE, Role.INITIATOR))


def test_as_the_package_digest_where_it_is_named() -> None:
    met = authenticate()
    mine = Digest(sasl=client())
    assert mine.usable(ALICE, Role.INITIATOR) is None
    machine = acceptor(server(), accounts(), options(NONE, 7))
    challenge = stepped(machine, b"")
    assert challenge is not None
    assert SaslChallenge.unpack(challenge).realms == (REALM,)
    assert met.outcomes[1].peer.package == "DIGEST-MD5"


# --- what is chosen


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [(NONE, NONE, NONE), (NONE, SIGN, SIGN), (SIGN, NONE, SIGN), (SIGN, SEAL, SEAL), (SEAL, NONE, SEAL)],
)
def test_the_least_that_both_ends_allow(mine: Protection, theirs: Protection, expected: Protection) -> None:
    met = authenticate(mine=options(mine, 1), theirs=options(theirs, 2))
    assert [layer.protection for layer in met.layers] == [expected] * 2
    assert all(ContextFlags.MUTUAL in layer.flags for layer in met.layers)


def test_weak_ciphers_are_for_those_who_name_them() -> None:
    weak = server(ciphers=[Cipher.DES, Cipher.RC4_56, Cipher.RC4_40])
    met = authenticate(None, weak, mine=options(SEAL, 1))
    assert met.kinds == {Role.INITIATOR: "QUALITY_NOT_MET"}
    assert "des, rc4-56, rc4-40" in str(met.error)
    named = authenticate(client(ciphers=[Cipher.RC4_56]), weak, mine=options(SEAL, 1))
    assert b"cipher=rc4-56" in named.tokens[1]


@pytest.mark.parametrize("cipher", Cipher)
def test_the_first_of_the_clients_ciphers_is_taken(cipher: Cipher) -> None:
    met = authenticate(client(ciphers=[cipher, *ALL]), mine=options(SEAL, 1))
    assert f"cipher={cipher.token}".encode() in met.tokens[1]


def test_no_layer_of_the_offer_is_enough() -> None:
    met = authenticate(mine=options(SIGN, 1), alter=_rewritten(0, rb'qop="[^"]*"', b'qop="auth,token"'))
    assert met.kinds == {Role.INITIATOR: "QUALITY_NOT_MET"}
    assert len(met.tokens) == 1


def test_maxbuf_bounds_what_is_sent() -> None:
    blocks = client(max_buffer=300, ciphers=[Cipher.TRIPLE_DES])
    met = authenticate(blocks, server(max_buffer=1000), mine=options(SEAL, 1))
    mine, theirs = met.layers
    assert (mine.max_plaintext, theirs.max_plaintext) == (1000 - 24, 300 - 24)
    assert (mine.max_sealed, theirs.max_sealed) == (300, 1000)
    for size in range(theirs.max_plaintext - 8, theirs.max_plaintext + 1):
        assert len(theirs.wrap(bytes(size))) <= 300
    with pytest.raises(UsageError, match="at most 276"):
        theirs.wrap(bytes(277))


def test_a_buffer_too_small_for_anything_is_refused() -> None:
    met = authenticate(mine=options(SEAL, 1), alter=_rewritten(0, rb"maxbuf=\d+", b"maxbuf=16"))
    assert met.kinds == {Role.INITIATOR: "QUALITY_NOT_MET"}


# --- realms and names


def _chosen(who: Password, *realms: str, **arguments: object) -> tuple[str, str | None]:
    """Name and realm in what a client answers to a server of these realms."""
    met = authenticate(client(**arguments), server(realms=realms), who)
    if len(met.tokens) < 2:
        raise met.error
    response = SaslResponse.unpack(met.tokens[1])
    return response.user, response.realm


def test_realms() -> None:
    assert _chosen(ALICE) == ("alice", None)
    assert _chosen(ALICE, "one.example") == ("alice", "one.example")
    assert _chosen(ALICE, "one.example", "dc1.corp.example") == ("alice", "dc1.corp.example")
    assert _chosen(ALICE, "one.example", "two.example", realms=["TWO.example"]) == ("alice", "two.example")
    assert _chosen(Password("two.EXAMPLE\\alice", "x"), "one.example", "two.example") == (
        "two.EXAMPLE\\alice",
        "two.example",
    )
    assert _chosen(Password("CORP\\alice", "x"), "one.example") == ("CORP\\alice", "one.example")


@pytest.mark.parametrize("named", [(), ("three.example",)])
def test_a_realm_that_nobody_can_choose_asks_for_its_name(named: tuple[str, ...]) -> None:
    with pytest.raises(SecureStreamError, match="name one"):
        _chosen(ALICE, "one.example", "two.example", realms=named)


@pytest.mark.parametrize("name", ["alice", "Jäsøn", "\N{HEBREW LETTER ALEF}lef", 'a"quoted\\one', "DOMAIN\\bob"])
@pytest.mark.parametrize("realm", ["plain", "Bücher", "книги", ""])
def test_names_of_any_letters(name: str, realm: str) -> None:
    """ISO 8859-1 is hashed where user, realm or password fit it, and UTF-8 where they do not (2.1.2.1)."""
    realms = (realm,) if realm else ()
    who = Password(name, PASSWORD)
    met = authenticate(None, server(realms=realms), who, accepting=named_accounts(name), mine=options(SEAL, 1))
    assert str(met.outcomes[1].peer).endswith(name.rpartition("\\")[2])
    assert b"charset=utf-8" in met.tokens[1]


def test_a_server_without_utf_8() -> None:
    without = _rewritten(0, b"charset=utf-8,", b"")
    met = authenticate(who=Password("Jäsøn", PASSWORD), accepting=named_accounts("Jäsøn"), alter=without)
    assert met.outcomes[1].peer.name == "Jäsøn"
    assert 'username="Jäsøn"'.encode("latin-1") in met.tokens[1]
    for who in (Password("\N{HEBREW LETTER ALEF}", "x"), Password("alice", "\N{HEBREW LETTER ALEF}")):
        assert "8859-1" in str(authenticate(who=who, alter=without).error)


def test_a_client_that_does_not_say_that_it_sends_utf_8() -> None:
    """Cyrus SASL's never do."""
    for name in ("Jäsøn", "\N{HEBREW LETTER ALEF}lef"):
        silent = _rewritten(1, b"charset=utf-8,", b"")
        met = authenticate(who=Password(name, PASSWORD), accepting=named_accounts(name), alter=silent)
        assert met.outcomes[1].peer.name == name


# --- refusals


def _rewritten(leg: int, pattern: bytes, replacement: bytes) -> Callable[[int, bytes], bytes]:
    """Somebody in between who rewrites the token of that number."""

    def alter(number: int, token: bytes) -> bytes:
        if number != leg:
            return token
        changed, times = re.subn(pattern, replacement, token)
        assert times == 1, token
        return changed

    return alter


@pytest.mark.parametrize(
    ("pattern", "replacement", "says"),
    [
        (rb',nonce="', b',nonce="x', "another challenge"),
        (rb"nc=00000001", b"nc=00000002", "nonce count"),
        (rb"qop=auth", b"qop=auth-everything", "qop"),
        (rb'realm="[^"]*"', b'realm="other"', "realm"),
        (rb'realm="[^"]*",', b"", "realm"),
        (rb'username="[^"]*",', b"", "username is missing"),
        (rb"(response=\w+)", rb"\1,\1", "more than once"),
        (rb"response=\w+", b"response=0", "thirty-two"),
        (rb"charset=utf-8", b"charset=koi8-r", "charset"),
        (rb'username="[^"]*"', b'username="\xff"', "UTF-8"),
        (rb"qop=auth", b"qop=auth,broken", "commas"),
        (rb"qop=auth", b"qop=auth,more=" + bytes(4000).replace(b"\0", b"x"), "4095 are the most"),
    ],
)
def test_a_response_that_is_none(pattern: bytes, replacement: bytes, says: str) -> None:
    met = authenticate(alter=_rewritten(1, pattern, replacement))
    assert met.kinds == {Role.ACCEPTOR: "INVALID_TOKEN"}
    assert says in str(met.error)


@pytest.mark.parametrize(
    ("pattern", "replacement", "says"),
    [
        (rb',nonce="[^"]*"', b"", "nonce is missing"),
        (rb'(nonce="[^"]*")', rb"\1,\1", "more than once"),
        (rb",algorithm=md5-sess", b"", "algorithm is missing"),
        (rb"md5-sess", b"md5", "md5-sess"),
        (rb"maxbuf=\d+", b"maxbuf=many", "maxbuf"),
        (rb"charset=utf-8", b"charset=utf-8,charset=utf-8", "more than once"),
        (rb"charset=utf-8", b"x=" + b"y" * 2048, "2047 are the most"),
    ],
)
def test_a_challenge_that_is_none(pattern: bytes, replacement: bytes, says: str) -> None:
    met = authenticate(alter=_rewritten(0, pattern, replacement))
    assert met.kinds == {Role.INITIATOR: "INVALID_TOKEN"}
    assert says in str(met.error)


def test_directives_that_are_not_known_are_ignored() -> None:
    more = b'opaque="x",domain="/",foo = bar , ,\tqop="auth,auth-int,auth-conf,auth-more"'
    met = authenticate(alter=_rewritten(0, rb'qop="[^"]*"', more))
    assert met.outcomes[1].peer.name == "alice"


@pytest.mark.parametrize("protection", [SIGN, SEAL])
def test_quality_and_cipher_must_have_been_offered(protection: Protection) -> None:
    met = authenticate(theirs=options(protection, 2), alter=_rewritten(1, rb"qop=[a-z-]*", b"qop=auth"))
    assert "which was not offered" in str(met.error)
    other = authenticate(
        None, server(ciphers=[Cipher.RC4]), mine=options(SEAL, 1), alter=_rewritten(1, b"cipher=rc4", b"cipher=rc4-40")
    )
    assert "cipher that was not offered" in str(other.error)


@pytest.mark.parametrize(
    ("services_", "served"),
    [
        (["ldap"], True),
        (["LDAP/DC1.corp.example"], True),
        (["imap", TARGET], True),
        (["imap"], False),
        (["ldap/dc2.corp.example"], False),
        (["ldap/dc1.corp.example/corp.example"], False),
    ],
)
def test_a_server_answers_to_its_own_names(services_: list[str], served: bool) -> None:
    met = authenticate(None, server(services=services_))
    assert (not met.errors) is served
    if not served:
        assert isinstance(met.error, TargetUnknown)


def test_what_cannot_work_says_what_to_give() -> None:
    assert "Password" in str(client().usable(Anonymous(), Role.INITIATOR))
    assert "Accounts" in str(server().usable(ALICE, Role.ACCEPTOR))
    assert "services=" in str(client().usable(accounts(), Role.ACCEPTOR))
    with pytest.raises(SecureStreamError, match="name of the service"):
        list(client().initiate(ALICE, None, options(NONE)))
    for wrong in (
        {"ciphers": ()},
        {"realms": "corp"},
        {"realms": ['"']},
        {"max_buffer": 10},
        {"authzid": "\0"},
        {"authzid": "\udc80"},
    ):
        with pytest.raises(UsageError):
            client(**wrong)


def test_wrong_passwords_and_unknown_users_are_refused_alike() -> None:
    wrong = authenticate(who=Password("alice", "wrong"))
    unknown = authenticate(who=Password("nobody", "wrong"))
    assert wrong.kinds == unknown.kinds == {Role.ACCEPTOR: "LOGON_DENIED"}
    assert str(wrong.error) == str(unknown.error)


def test_bindings_that_are_demanded_cannot_be_given() -> None:
    bindings = ChannelBindings(b"tls-exporter:" + bytes(32))
    asked = options(NONE, 2, channel_bindings=bindings, binding_policy=BindingPolicy.ALWAYS)
    assert authenticate(theirs=asked).kinds == {Role.ACCEPTOR: "BAD_BINDINGS"}


def test_authorisation_identities() -> None:
    assert authenticate(client(authzid="alice")).layers[1].authzid == "alice"
    assert authenticate(client(authzid="bób")).kinds == {Role.ACCEPTOR: "NOT_AUTHORIZED"}

    def authorize(principal: Principal, authzid: str) -> bool:
        return (principal.name, authzid) == ("alice", "bób")

    allowed = server(authorize=authorize)
    assert authenticate(client(authzid="bób"), allowed).layers[1].authzid == "bób"
    damaged = authenticate(client(authzid="alice"), alter=_rewritten(1, b',authzid="alice"', b""))
    assert damaged.kinds == {Role.ACCEPTOR: "LOGON_DENIED"}


# --- the server's proof


def _instead(message: bytes) -> Callable[[int, bytes], bytes]:
    """Somebody in between who sends this instead of the proof."""

    def alter(number: int, token: bytes) -> bytes:
        return message if number == 2 else token

    return alter


@pytest.mark.parametrize("protection", [NONE, SIGN, SEAL])
def test_the_client_is_not_complete_without_the_servers_proof(protection: Protection) -> None:
    met = authenticate(mine=options(protection, 1), alter=_rewritten(2, rb"=.", b"=z"))
    assert met.kinds == {Role.INITIATOR: "INVALID_TOKEN"}
    met = authenticate(mine=options(protection, 1), alter=_instead(b"rspauth=" + b"0" * 32))
    assert isinstance(met.errors[Role.INITIATOR], LogonDenied)
    assert met.client is None


def test_the_clients_own_response_is_not_the_servers_proof() -> None:
    sent: list[bytes] = []

    def reflected(leg: int, token: bytes) -> bytes:
        sent.append(token)
        return b"rspauth=" + re.findall(rb"response=(\w+)", sent[1])[0] if leg == 2 else token

    assert isinstance(authenticate(alter=reflected).errors[Role.INITIATOR], LogonDenied)


def test_a_second_challenge_is_none() -> None:
    met = authenticate(alter=_instead(CHALLENGE))
    assert met.kinds == {Role.INITIATOR: "INVALID_TOKEN"}
    assert "another challenge" in str(met.error)


@pytest.mark.parametrize("additional", [True, False])
def test_profiles_with_and_without_data_of_success(additional: bool) -> None:
    met = authenticate(additional_data=additional, mine=options(SIGN, 1))
    assert met.outcomes[1].peer.name == "alice"


def test_nothing_secret_is_shown() -> None:
    met = authenticate(mine=options(SEAL, 1))
    shown = repr(met.layers) + repr(SaslResponse.unpack(met.tokens[1])) + repr(SaslChallenge.unpack(met.tokens[0]))
    response = SaslResponse.unpack(met.tokens[1])
    assert not any(one in shown for one in (PASSWORD, response.response, response.nonce, response.cnonce))


def test_found_by_its_name_where_it_is_announced() -> None:
    if "DIGEST-MD5" in {point.name for point in entry_points(group="securestream.sasl")}:
        assert isinstance(find_mechanism("digest-md5"), DigestMd5)
