"""What ``inspect`` shows of Digest's fields and messages."""

from __future__ import annotations

import pytest

from securestream.extensions import TokenInspector
from securestream.inspection import Inspection, Node
from securestream_providers.digest import Digest
from securestream_providers.digest.bindings import DigestBinding
from tests.providers.digest.test_messages import RFC_CHALLENGE, RFC_RESPONSE

SASL_CHALLENGE = 'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8'
SASL_RESPONSE = (
    'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,'
    'cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth'
)


def tree(text: str) -> Node | None:
    package: TokenInspector = Digest()
    return package.inspect_token(text.encode("latin-1"), Inspection([package]))


@pytest.mark.parametrize(
    ("text", "name", "note"),
    [
        (RFC_CHALLENGE, "Digest challenge", ""),
        (f"WWW-Authenticate: {RFC_CHALLENGE}\r\n", "Digest challenge", ""),
        (f"Proxy-Authenticate: {RFC_CHALLENGE}, stale=true", "Digest challenge", "the nonce before it had expired"),
        (RFC_RESPONSE, "Digest response", "MD5, which is broken"),
        (f"authorization:{RFC_RESPONSE}", "Digest response", "MD5, which is broken"),
        ('Digest realm="r", nonce="n", algorithm=SHA3', "Digest challenge", "without qop: RFC 2069"),
        ('Authentication-Info: rspauth="ab", qop=auth', "Authentication-Info", "proves the server"),
        (SASL_CHALLENGE, "DIGEST-MD5 challenge", "weak and historic"),
        (SASL_RESPONSE, "DIGEST-MD5 response", "weak and historic"),
        ("rspauth=ea40f60335c427b5527b84dbabcdfffd", "DIGEST-MD5 proof of the server", "weak and historic"),
    ],
)
def test_fields_and_messages_are_told_apart(text: str, name: str, note: str) -> None:
    node = tree(text)
    assert node is not None
    assert node.name == name
    assert note in node.note
    assert not node.problem


def test_every_parameter_is_shown_and_what_proves_is_a_secret() -> None:
    node = tree(RFC_RESPONSE)
    assert node is not None
    values = {child.name: child.value for child in node.children}
    assert values["username"] == "Mufasa"
    assert values["response"] == "8ca523f5e9506fed4657c9700eebdbec"
    assert {child.name for child in node.children if child.secret} == {"response"}
    count = node.find("nc")
    assert count is not None
    assert count.note == "the first request with this nonce"
    for text in (SASL_RESPONSE, "rspauth=ea40f60335c427b5527b84dbabcdfffd"):
        found = tree(text)
        assert found is not None
        assert sum(child.secret for child in found.children) == 1


def test_challenges_of_several_schemes_stand_beside_each_other() -> None:
    node = tree(f'{RFC_CHALLENGE}, Basic realm="x", Negotiate')
    assert node is not None
    assert [child.name for child in node.children] == ["Digest challenge", "Basic challenge", "Negotiate challenge"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "Negotiate YII=",
        "realm=x",
        "nonce=y",
        "a=b,c=d",
        "Digested a=b",
        "\x00\x01",
        "Authorization: x",
        "Digest realm",
    ],
)
def test_what_is_none_is_left_to_others(text: str) -> None:
    assert tree(text) is None


@pytest.mark.parametrize("text", ['Digest realm="open', "Digest a=b c=d", "Authentication-Info: rspauth"])
def test_what_is_damaged_is_told(text: str) -> None:
    node = tree(text)
    assert node is not None
    assert node.problem
    assert "malformed" in node.note


BINDING = DigestBinding("HTTP/files.example.org", "8f1214c9c9cab8dc3bf866da9aba57a7")


def bound(binding: DigestBinding, cnonce: str) -> str:
    directives = ", ".join(parameter.encode() for parameter in binding.parameters)
    return f'Digest username="a", nonce="+Upgraded+v1x", qop=auth, response="ab", cnonce="{cnonce}", {directives}'


@pytest.mark.parametrize(
    ("text", "name", "note", "problem"),
    [
        ('Digest realm="r", qop="auth", nonce="+Upgraded+v1x"', "nonce", "marked: asks for channel and service", False),
        ('Digest realm="r", qop="auth", nonce="x+Upgraded+v1"', "nonce", "", False),
        (f'nonce="+Upgraded+v1x",{SASL_CHALLENGE[29:]}', "nonce", "marked: asks", False),
        (bound(BINDING, BINDING.cnonce(bytes(16))), "cnonce", "marked: covers service-name and channel-bind", False),
        (bound(BINDING, "+Upgraded+v1" + "0" * 64), "cnonce", "covers another service-name", True),
        (bound(BINDING, "+Upgraded+v1"), "cnonce", "covers another service-name", True),
        (bound(BINDING, "x").replace(BINDING.channel_binding, "0" * 32), "cnonce", "", False),
        ('Digest nonce="x", response="ab", qop=auth, cnonce="+Upgraded+v1"', "cnonce", "one is missing", True),
        (bound(BINDING, "x"), "service-name", "", False),
        (bound(BINDING, "x"), "channel-binding", "MD5 of the channel", False),
        (bound(BINDING, "x").replace(BINDING.channel_binding, "0" * 32), "channel-binding", "no channel", False),
    ],
)
def test_bindings_are_shown_and_whether_the_cnonce_covers_them(text: str, name: str, note: str, problem: bool) -> None:
    root = tree(text)
    assert root is not None
    node = root.find(name)
    assert node is not None
    assert note in node.note
    assert bool(node.note) is bool(note)
    assert (node.problem, node.secret) == (problem, False)


def test_bindings_are_part_of_the_line_that_describes() -> None:
    challenge = Digest().describe_token(b'Digest realm="r", nonce="+Upgraded+v1x"')
    assert challenge == "Digest challenge: realm r, asks for bindings"
    response = Digest().describe_token(bound(BINDING, BINDING.cnonce(bytes(16))).encode())
    assert response == (
        "Digest response: user a, qop auth, service-name HTTP/files.example.org, "
        "channel-binding 8f1214c9c9cab8dc3bf866da9aba57a7"
    )
