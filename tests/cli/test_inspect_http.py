"""`inspect` of HTTP's authentication fields and of CredSSP's messages: what stands in them, never what proves."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest

from securestream.ambient import system_options
from securestream.cli.arguments import parser
from securestream.cli.inspect import inspect, lines
from securestream.cli.inspect_frames import inspect_stream
from securestream.credentials import Password
from securestream.drive import respond_blocking
from securestream.extensions import TokenInspector
from securestream.inspection import Inspection, Node
from securestream.machine import HandshakeMachine
from securestream.provider import TargetName
from securestream.registry import Registry
from securestream_providers.credssp import CredSsp
from securestream_providers.credssp.messages import NegoToken, TSRequest, signed_ntstatus
from securestream_providers.digest import Digest
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

PACKAGES = (CredSsp(), Digest(), Negotiate(), Ntlm())
INSPECTORS: list[TokenInspector] = [*PACKAGES]
DIGEST = 'Digest realm="a, b", nonce="n", qop="auth", algorithm=SHA-256'
ANSWER = (
    'Digest username="alice", realm="r", nonce="n", uri="/", response="0123456789abcdef0123456789abcdef", nc=00000001'
)


@pytest.fixture(scope="module")
def negotiate() -> bytes:
    """The first token of NTLM in SPNEGO."""
    machine = HandshakeMachine(
        Negotiate(Ntlm()).initiate(Password("alice", "x"), TargetName("HTTP/a.example"), system_options())
    )
    token = respond_blocking(machine).token
    assert token is not None
    return token


def seen(octets: bytes | str) -> list[Node]:
    return inspect_stream(octets.encode() if isinstance(octets, str) else octets, Inspection(INSPECTORS))


def text_of(nodes: list[Node]) -> str:
    return "\n".join(line for node in nodes for line in lines(node))


# --- HTTP


def test_every_scheme_of_every_field_is_shown(negotiate: bytes) -> None:
    token = base64.b64encode(negotiate).decode()
    block = f"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate {token}, NTLM,\r\n  {DIGEST}\r\nServer: s\r\n"
    block += f"Proxy-Authenticate: {DIGEST}\r\n"
    first, second = seen("Date: now\r\n" + block)
    assert (first.name, second.name) == ("WWW-Authenticate", "Proxy-Authenticate")
    assert [child.name for child in first.children] == ["Negotiate", "NTLM", "Digest challenge"]
    assert first.find("NTLM NEGOTIATE") is not None
    realm = second.find("realm")
    assert realm is not None
    assert realm.value == "a, b"


def test_a_value_without_its_field_is_read_too() -> None:
    (node,) = seen(f"Negotiate, {DIGEST}")
    assert [child.name for child in node.children] == ["Negotiate", "Digest challenge"]


def test_what_proves_is_hidden() -> None:
    for line in (f"Authorization: {ANSWER}", "Authorization: Basic YWxpY2U6cGFzc3dvcmQ=", "Authorization: X a=secret1"):
        shown = text_of(seen(line))
        assert "hidden" in shown
        for secret in ("0123456789abcdef", "YWxpY2U6", "secret1"):
            assert secret not in shown


@pytest.mark.parametrize("value", ['Digest realm="open', "Negotiate !!!", "Negotiate YWJ", "=", ""])
def test_a_field_that_is_none_is_a_problem_or_empty(value: str) -> None:
    (node,) = seen(f"WWW-Authenticate: {value}")
    assert any(inner.problem for inner in node.walk()) is bool(value)


@pytest.mark.parametrize("octets", [b"negotiable", b"Basics, of it", b"\x30\x03abc", b"Host: a\r\nAccept: b"])
def test_what_is_no_field_is_left_to_others(octets: bytes) -> None:
    assert "HTTP" not in text_of(seen(octets))


def test_the_command_reads_a_block_of_fields(tmp_path: Path, negotiate: bytes) -> None:
    file = tmp_path / "block"
    file.write_text(f"WWW-Authenticate: Negotiate {base64.b64encode(negotiate).decode()}\nWWW-Authenticate: {DIGEST}\n")
    out = io.StringIO()
    assert inspect(parser().parse_args(["inspect", "--file", str(file)]), Registry.of(*PACKAGES), out) == 0
    for part in ("SPNEGO NegTokenInit", "NTLM NEGOTIATE", "Digest challenge"):
        assert part in out.getvalue()


# --- CredSSP


def ts_request(version: int = 6, **fields: Any) -> bytes:
    return TSRequest(version, **fields).encode()


def test_a_message_is_shown_with_the_token_inside(negotiate: bytes) -> None:
    (node,) = seen(ts_request(nego_tokens=(NegoToken(negotiate),), client_nonce=bytes(32)))
    assert [child.name for child in node.children] == ["version", "negoToken", "clientNonce"]
    assert node.find("NTLM NEGOTIATE") is not None
    assert not any(inner.problem for inner in node.walk())


def test_what_is_sealed_is_told_and_stays_sealed() -> None:
    (node,) = seen(ts_request(version=4, auth_info=b"sealed", pub_key_auth=b"sealed, too"))
    text = text_of([node])
    assert "version: 4  (open to CVE-2018-0886)" in text
    assert "delegated credentials, sealed, 6 octets" in text
    assert "the proof of the TLS key, sealed" in text


def test_an_error_has_its_name() -> None:
    (node,) = seen(ts_request(error_code=signed_ntstatus(0xC000006D)))
    assert "errorCode: 0xc000006d  (LOGON_DENIED)" in text_of([node])


def test_a_nonce_of_another_size_is_a_problem() -> None:
    (node,) = seen(ts_request(client_nonce=bytes(31)))
    assert any(inner.problem for inner in node.walk())


def test_a_cut_message_is_malformed_and_another_sequence_is_nobodys(negotiate: bytes) -> None:
    whole = ts_request(nego_tokens=(NegoToken(negotiate),))
    (node,) = seen(whole[:-1])
    assert (node.name, node.problem) == ("CredSSP TSRequest", True)
    principal = bytes.fromhex("300da003020101a10630041b026162")  # a PrincipalName
    assert CredSsp().inspect_token(principal, Inspection()) is None
    for size in range(16):
        CredSsp().inspect_token(whole[:size], Inspection())
