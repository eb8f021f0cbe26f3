"""What an inspection shows of SASL's own tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.inspection import Inspection, Node
from securestream.sasl import Gs2Krb5, ScramSha256
from securestream.sasl.inspect import SaslInspector
from tests.core.sasl.ends import ALICE, BINDINGS, Realm, accounts, kerberos, meet, options
from tests.core.sasl.test_scram import CLIENT_FINAL, CLIENT_FIRST, SALT, SERVER_FINAL, SERVER_FIRST

INSPECTOR = SaslInspector()


def look(token: bytes) -> Node:
    """The tree of a token, to its end."""
    found = Inspection([INSPECTOR, kerberos()]).token(token)
    assert list(found.walk())
    return found


def value(token: bytes, name: str) -> object:
    node = look(token).find(name)
    assert node is not None
    return node.value


def test_the_messages_of_scram() -> None:
    assert [look(token).name for token in (CLIENT_FIRST, SERVER_FIRST, CLIENT_FINAL, SERVER_FINAL)] == [
        "SCRAM client-first-message",
        "SCRAM server-first-message",
        "SCRAM client-final-message",
        "SCRAM server-final-message",
    ]
    assert value(CLIENT_FIRST, "username") == "user"
    assert value(CLIENT_FIRST, "gs2-cb-flag") == "n"
    assert (value(SERVER_FIRST, "salt"), value(SERVER_FIRST, "iterations")) == (SALT, 4096)
    assert len(str(value(CLIENT_FINAL, "nonce"))) > len(str(value(CLIENT_FIRST, "nonce")))
    assert look(b"e=invalid-proof").find("error") == Node("error", "invalid-proof", "the server refused")
    assert not any(node.problem for token in (CLIENT_FIRST, CLIENT_FINAL) for node in look(token).walk())


def test_what_binds_to_the_channel() -> None:
    plus, bound = ScramSha256(plus=True, authzid="alice"), options(channel_bindings=BINDINGS)
    first, _, final, _ = meet(plus, plus, ALICE, accounts(), mine=bound, theirs=bound).tokens
    for token in (first, final):
        assert (value(token, "cb-name"), value(token, "authzid")) == ("tls-exporter", "alice")
    assert value(final, "cbind-data") == bytes(range(32))


def test_the_kerberos_token_inside_gs2() -> None:
    realm = Realm()
    tokens = meet(Gs2Krb5(kerberos()), Gs2Krb5(kerberos()), realm.tickets(), realm.keytab).tokens
    tree = look(tokens[0])
    assert tree.name == "GS2-KRB5 token"
    assert tree.find("AP-REQ") is not None
    assert not any(node.problem for node in tree.walk())


MALFORMED = [
    b"r=abc,s=AA==,i=zero",
    b"n,,n=al=ice,r=abc",
    b"c=AAAA,r=abc,p=AA==",
    b"n,,n=alice",
]


@pytest.mark.parametrize("token", MALFORMED)
def test_malformed_messages_say_why(token: bytes) -> None:
    tree = look(token)
    assert tree.name.startswith("SCRAM")
    assert tree.problem
    assert tree.note.startswith("malformed: ")


def test_a_binding_that_is_none_is_shown_all_the_same() -> None:
    node = look(CLIENT_FINAL.replace(b"c=biws", b"c=AAAA")).find("channel-binding")
    assert node is not None
    assert node.problem
    assert node.value == bytes(3)


@pytest.mark.parametrize(
    "token", [b"no token", b"c=\xff", b"e=mc\xb2", b"v=none", b"n,,what else", b"NTLMSSP\0", b"p=1,2,3"]
)
def test_what_is_not_sasls_is_left_to_others(token: bytes) -> None:
    assert INSPECTOR.inspect_token(token, Inspection()) is None


@given(st.binary(max_size=40) | st.sampled_from([CLIENT_FIRST, SERVER_FIRST, CLIENT_FINAL]), st.integers(0, 80))
def test_nothing_makes_it_fail(token: bytes, cut: int) -> None:
    for begins in (b"", b"r=", b"c=", b"v=", b"e=", b"n,,n=", b"n,,\x01\x00\x6e", b"F,p=x,a=b,"):
        found = INSPECTOR.inspect_token(begins + token[:cut], Inspection([INSPECTOR]))
        assert found is None or list(found.walk())
