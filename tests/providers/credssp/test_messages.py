"""CredSSP messages: octets of the specification's structures, and credentials in both directions ([MS-CSSP] 2.2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securestream.credentials import Anonymous, Credential, Credentials, NtHash, Password
from securestream.errors import MalformedMessage, Unsupported
from securestream.options import Role
from securestream.redaction import Secret
from securestream_providers.credssp import PackageCredential, RemoteGuard, SmartCard, credentials
from securestream_providers.credssp.messages import (
    NegoToken,
    TSCredentials,
    TSPasswordCreds,
    TSRequest,
    signed_ntstatus,
)
from securestream_providers.ntlm import NtlmContext
from tests.listing import VECTORS

CARD = SmartCard(Secret("1234"), 2, "card", "reader", "container", "provider", "alice", "CORP")
GUARD = RemoteGuard(
    PackageCredential("Kerberos", Secret(b"key of a ticket")), (PackageCredential("NTLM", Secret(b"key of NTLM")),)
)
CREDENTIALS: dict[str, Credential] = {
    "password": Password(r"CORP\alice", "pässword €"),
    "password of a local user": Password("alice", "pässword €"),
    "password of a UPN": Password("alice@corp.example", "pässword"),
    "empty password": Password("alice", ""),
    "smart card": CARD,
    "bare smart card": SmartCard(Secret("0")),
    "remote guard": GUARD,
    "remote guard of one package": RemoteGuard(GUARD.logon),
}


def test_a_request_is_what_the_specification_draws() -> None:
    request = TSRequest(6, (NegoToken(b"NTLMSSP"),), client_nonce=b"\x22" * 32)
    token = "04074e544c4d535350"
    assert request.encode().hex() == "303aa003020106a10f300d300ba009" + token + "a5220420" + "22" * 32
    assert TSRequest.decode(request.encode()) == request


def test_an_error_is_a_negative_integer_of_four_octets() -> None:
    request = TSRequest(6, error_code=signed_ntstatus(0xC000006D))
    assert request.encode().hex() == "300da003020106a4060204c000006d"
    assert TSRequest.decode(request.encode()).ntstatus == 0xC000006D


def test_an_error_written_as_a_positive_integer_is_the_same() -> None:
    assert TSRequest.decode(bytes.fromhex("300ea003020106a407020500c000006d")).ntstatus == 0xC000006D


def test_no_error_and_success_are_none() -> None:
    assert TSRequest(6).ntstatus == TSRequest(6, error_code=0).ntstatus == 0
    assert signed_ntstatus(0x103) == 0x103


def test_several_tokens_are_refused() -> None:
    with pytest.raises(MalformedMessage, match="one token"):
        _ = TSRequest(6, (NegoToken(b"a"), NegoToken(b"b"))).token


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert TSRequest.decode(bytes.fromhex("300aa003020107a603040161")).version == 7


def test_password_credentials_are_utf_16_without_terminators() -> None:
    octets = credentials.encode(Password(r"D\u", "p"))
    assert octets.hex() == "301da003020101a11604143012a00404024400a10404027500a20404027000"


@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)
def test_a_credential_arrives_as_it_was_sent(credential: Credential) -> None:
    assert credentials.decode(credentials.encode(credential)) == credential


def test_secrets_given_as_they_are_hide_themselves_too() -> None:
    card, guard = SmartCard("314159"), PackageCredential("Kerberos", b"314159")
    assert card == SmartCard(Secret("314159"))
    assert guard == PackageCredential("Kerberos", Secret(b"314159"))
    assert "314159" not in f"{card!r} {guard!r}"
    assert credentials.decode(credentials.encode(SmartCard("314159", container_name="c"))) == SmartCard(
        Secret("314159"), container_name="c"
    )


def test_restricted_admin_is_a_password_of_nobody() -> None:
    outer = TSCredentials.decode(credentials.encode(None))
    assert TSPasswordCreds.decode(outer.credentials) == TSPasswordCreds(b"", b"", b"")
    assert credentials.decode(outer.encode()) is None


@pytest.mark.parametrize("credential", [Anonymous(), NtHash("alice", bytes(16))])
def test_other_credentials_cannot_be_delegated(credential: Credential) -> None:
    assert credentials.to_delegate(credential) is None
    with pytest.raises(Unsupported):
        credentials.encode(credential)


def test_what_is_named_to_be_delegated_goes_before_the_password() -> None:
    password = Password("alice", "p")
    assert credentials.to_delegate(Credentials(password, GUARD)) is GUARD
    assert credentials.to_delegate(Credentials(password, CARD)) is CARD
    assert credentials.to_delegate(Credentials(password)) is password


def _password(domain: bytes, user: bytes, password: bytes) -> bytes:
    return TSCredentials(1, TSPasswordCreds(domain, user, password).encode()).encode()


@pytest.mark.parametrize(
    "octets",
    [
        _password(b"", b"", b"p\0"),
        _password(b"D\0", b"", b"p\0"),
        _password(b"A\0\\\0B\0", b"u\0", b"p\0"),
        _password(b"", b"u\0\\\0", b"p\0"),
        _password(b"", b"u\0", b"p"),
        _password(b"", b"\x00\xd8", b"p\0"),
    ],
    ids=["no name", "domain alone", "two domains", "domain for a user", "odd octets", "half a surrogate"],
)
def test_a_password_without_a_proper_name_is_malformed(octets: bytes) -> None:
    with pytest.raises(MalformedMessage) as refused:
        credentials.decode(octets)
    assert refused.value.__context__ is None or not hasattr(refused.value.__context__, "object")


def test_an_unknown_type_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="type 7"):
        credentials.decode(TSCredentials(7, b"").encode())


@pytest.mark.parametrize("credential", [*CREDENTIALS.values()], ids=CREDENTIALS)
def test_nothing_secret_is_shown(credential: Credential) -> None:
    octets = credentials.encode(credential)
    shown = repr(credential) + repr(TSCredentials.decode(octets))
    for secret in ("pässword", "1234", "key of a ticket", "key of NTLM"):
        assert secret not in shown
        assert repr(secret.encode("utf-16-le"))[2:-1] not in shown


def test_vectors(shared: Path, record_property: Callable[[str, object], None]) -> None:
    """Messages of other projects' tests: read, compared member by member, written again."""
    vectors: list[dict[str, Any]] = json.loads((shared / "vectors/credssp.json").read_text())["vectors"]
    run = 0
    for vector in vectors:
        if "decoded" in vector and "der" in vector:
            _check_request(bytes.fromhex(vector["der"]), vector["decoded"])
        elif vector["id"].startswith("pyspnego-credssp_ts_credential"):
            octets = bytes.fromhex(vector["der"])
            credential = credentials.decode(octets)
            if "empty_supplemental" not in vector["id"]:  # we leave an empty list out
                assert credentials.encode(credential) == octets, vector["id"]
        elif vector["id"] == "credssp-v6-full-capture":
            _check_capture(vector)
        else:
            continue
        run += 1
        record_property(VECTORS, "credssp.json")
    assert run >= 13


def _check_capture(vector: dict[str, Any]) -> None:
    """A whole handshake of version 6: what its ends had wrapped, opened with the key of the NTLM session."""
    requests = [TSRequest.decode(bytes.fromhex(one)) for one in vector["ts_requests"]]
    assert {one.client_nonce.hex() for one in requests if one.client_nonce} == {vector["client_nonce"]}
    key, flags = bytes.fromhex(vector["exported_session_key"]), int(vector["ntlm_flags"], 16)
    acceptor, initiator = (NtlmContext(role, flags, key) for role in (Role.ACCEPTOR, Role.INITIATOR))
    opened = [acceptor.unwrap(requests[2].pub_key_auth or b""), initiator.unwrap(requests[3].pub_key_auth or b"")]
    assert [one.data.hex() for one in opened] == [
        vector["client_pubkeyauth_plaintext"],
        vector["server_pubkeyauth_plaintext"],
    ]
    sent = acceptor.unwrap(requests[4].auth_info or b"").data
    assert sent.hex() == vector["authinfo_plaintext_TSCredentials"]
    assert credentials.decode(sent) == Password(vector["user"], vector["password"])


def _check_request(octets: bytes, expected: dict[str, Any]) -> None:
    request = TSRequest.decode(octets)
    assert request.version == expected["version"]
    tokens = None if request.nego_tokens is None else [token.nego_token.hex() for token in request.nego_tokens]
    assert tokens == expected.get("negoTokens")
    for name, value in (
        ("pubKeyAuth", request.pub_key_auth),
        ("authInfo", request.auth_info),
        ("clientNonce", request.client_nonce),
    ):
        assert (None if value is None else value.hex()) == expected.get(name)
    assert request.encode() == octets
