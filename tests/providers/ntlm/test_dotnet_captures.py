"""NTLM as .NET 8 spoke it on the wire: responses, MICs, mechListMICs and data frames, the passwords being known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from securestream.options import Role
from securestream_providers.ntlm import crypto
from securestream_providers.ntlm.context import NtlmContext
from securestream_providers.ntlm.messages import (
    MIC_END,
    MIC_OFFSET,
    SIGNATURE,
    Authenticate,
    AvFlag,
    Challenge,
    ClientChallenge,
    Flag,
    av_flags,
    unpack_pairs,
)

USER, DOMAIN = "bob", "LAB"
DATA_FRAME = 16
"""Octets of the signature with which each captured data frame begins."""


def _tokens(capture: dict[str, Any]) -> list[bytes]:
    """The NTLM messages of the handshake, out of their SPNEGO envelopes, by the DER length before them."""
    found: list[bytes] = []
    for frame in capture["frames"]:
        payload = bytes.fromhex(frame.get("payload") or "")
        at = payload.find(SIGNATURE)
        if at < 0:
            continue
        size = len(payload) - at
        if payload[at - 4 : at - 2] == b"\x04\x82":
            size = int.from_bytes(payload[at - 2 : at], "big")
        elif payload[at - 3 : at - 1] == b"\x04\x81" or (at and payload[at - 2] == 4):
            size = payload[at - 1]
        found.append(payload[at : at + size])
    return found


def _proved(tokens: list[bytes], password: str) -> bytes | None:
    """The exported session key, or `None` where the response is not that of this password."""
    challenge, answer = Challenge.unpack(tokens[1]), Authenticate.unpack(tokens[2])
    assert (answer.user.decode("utf-16-le"), answer.domain.decode("utf-16-le")) == (USER, DOMAIN)
    key = crypto.keyed_md5(crypto.ntowf_v2(crypto.nt_hash(password), USER, DOMAIN))
    proof, session = crypto.proof_v2(key, challenge.server_challenge, answer.nt_response[16:])
    if proof != answer.nt_response[:16]:
        return None
    return crypto.rc4(session).update(answer.encrypted_session_key) if answer.flags & Flag.KEY_EXCH else session


def _capture(shared: Path, name: str) -> dict[str, Any]:
    capture: dict[str, Any] = json.loads((shared / "vectors" / "nns_captures" / f"{name}.json").read_text())
    return capture


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ntlm-EncryptAndSign", "Secret123"),
        ("ntlm-Sign", "Secret123"),
        ("ntlm-None", "Secret123"),
        ("ntlm-zero-write", "Secret123"),
        ("ntlm-cliSign-srvEncryptAndSign", "Secret123"),
        ("ntlm-bad-password", "wrong"),
    ],
)
def test_response_and_mic_of_dotnet(shared: Path, name: str, password: str) -> None:
    tokens = _tokens(_capture(shared, name))
    assert len(tokens) == 3
    key = _proved(tokens, password)
    assert key is not None
    assert _proved(tokens, "another") is None
    answer = Authenticate.unpack(tokens[2])
    pairs = unpack_pairs(ClientChallenge.unpack(answer.nt_response[16:]).pairs, 64)
    if av_flags(pairs) & AvFlag.MIC:
        zeroed = tokens[2][:MIC_OFFSET] + bytes(16) + tokens[2][MIC_END:]
        assert answer.mic == crypto.hmac_md5(key, tokens[0] + tokens[1] + zeroed)
    else:
        assert answer.mic is None


@pytest.mark.parametrize("name", ["ntlm-EncryptAndSign", "ntlm-Sign", "ntlm-zero-write"])
def test_mechlistmics_and_data_frames_of_dotnet(shared: Path, name: str) -> None:
    """Sequence 0 signs the list of mechanisms, the RC4 streams begin anew, and data follows with sequence 1."""
    capture = _capture(shared, name)
    tokens = _tokens(capture)
    key = _proved(tokens, "Secret123")
    assert key is not None
    flags = Authenticate.unpack(tokens[2]).flags
    opening = bytes.fromhex(capture["frames"][0]["payload"])
    at = opening.index(b"\xa0", opening.index(b"\x30")) + 2  # [0] mechTypes of the NegTokenInit
    mechanisms = opening[at : at + 2 + opening[at + 1]]
    assert mechanisms[0] == 0x30
    ends = {"s2c": NtlmContext(Role.INITIATOR, flags, key), "c2s": NtlmContext(Role.ACCEPTOR, flags, key)}
    opened = 0
    for frame in capture["frames"]:
        payload = bytes.fromhex(frame.get("payload") or "")
        receiver = ends[frame["dir"]]
        if frame["kind"] == "Data":
            data, encrypted = receiver.unwrap(payload)
            assert encrypted is bool(flags & Flag.SEAL)
            assert len(data) == len(payload) - DATA_FRAME
            opened += 1
        elif payload[-18:-12] == b"\x04\x10\x01\0\0\0":
            receiver.check_negotiation_mic(mechanisms, payload[-16:])
    assert opened
