"""NEGOEX messages: what a Windows client sent, every layout, and what is refused."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securestream.errors import MalformedMessage
from securestream_providers.negotiate.messages import NEGOEX, NTLM, NegTokenInit, unframe
from securestream_providers.negotiate.negoex.describe import describe
from securestream_providers.negotiate.negoex.messages import (
    ALERT_PULSE,
    MAXIMUM_MESSAGES,
    MAXIMUM_SCHEMES,
    NO_KEY,
    AlertMessage,
    Body,
    Element,
    ExchangeMessage,
    Message,
    MessageType,
    NegoMessage,
    VerifyMessage,
    messages_of,
)
from tests.listing import VECTORS
from tests.providers.negotiate.negoex.meeting import ONE, TWO, meet

SCHEME = uuid.UUID(int=0x0102030405060708090A0B0C0D0E0F10)
OTHER = uuid.UUID(int=7)
CONVERSATION = bytes(range(16))
NEGO = NegoMessage(bytes(range(32)), (SCHEME, OTHER))
BODIES: dict[MessageType, Body] = {
    MessageType.INITIATOR_NEGO: NEGO,
    MessageType.ACCEPTOR_NEGO: NegoMessage(bytes(32), (), (Element(1, b"one"), Element(2, b""))),
    MessageType.INITIATOR_META_DATA: ExchangeMessage(SCHEME, b"metadata"),
    MessageType.ACCEPTOR_META_DATA: ExchangeMessage(SCHEME, b""),
    MessageType.CHALLENGE: ExchangeMessage(OTHER, b"c" * 300),
    MessageType.AP_REQUEST: ExchangeMessage(SCHEME, b"a"),
    MessageType.VERIFY: VerifyMessage(SCHEME, 16, bytes(12)),
    MessageType.ALERT: AlertMessage(SCHEME, (*NO_KEY, Element(77, b"unknown")), 0xC0000001),
}


def message(kind: MessageType, body: Body | None = None, sequence: int = 3) -> Message:
    return Message(kind, sequence, CONVERSATION, BODIES[kind] if body is None else body)


def recompute(vector: dict[str, Any]) -> None:
    """A Windows client's first token, message by message, and written again octet for octet."""
    outer = unframe(bytes.fromhex(vector["spnego_token"]))
    assert isinstance(outer, NegTokenInit)
    assert outer.mech_types.mech_types == (NEGOEX, NTLM)
    token = bytes.fromhex(vector["negoex_token"])
    assert outer.mech_token == token
    read = list(messages_of(token))
    for one, known in zip(read, vector["messages"], strict=True):
        assert (one.kind, one.sequence, one.conversation.hex()) == (
            known["type"],
            known["seq"],
            known["conversation_id"],
        )
        if isinstance(one.body, NegoMessage):
            assert one.body.random.hex() == known["random"]
            assert [scheme.bytes_le.hex() for scheme in one.body.schemes] == known["schemes"]
            assert (one.body.version, one.body.extensions) == (known["protocol_version"], ())
        else:
            assert isinstance(one.body, ExchangeMessage)
            assert (one.body.scheme.bytes_le.hex(), one.body.payload.hex()) == (known["scheme"], known["exchange"])
    assert b"".join(one.encode() for one in read) == token


def test_vectors(shared: Path, record_property: Callable[[str, object], None]) -> None:
    record_property(VECTORS, "negoex_tokens.json")
    for vector in json.loads((shared / "vectors/negoex_tokens.json").read_text(encoding="utf-8"))["vectors"]:
        recompute(vector)


@pytest.mark.parametrize("kind", MessageType)
def test_what_is_written_is_read(kind: MessageType) -> None:
    written = message(kind)
    (read,) = messages_of(written.encode())
    assert read == written


def test_messages_follow_one_another() -> None:
    token = b"".join(message(kind, sequence=number).encode() for number, kind in enumerate(MessageType))
    read = list(messages_of(token))
    assert [one.sequence for one in read] == list(range(8))
    assert [one.start for one in read] == [sum(len(before.encode()) for before in read[:number]) for number in range(8)]


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        (MessageType.INITIATOR_NEGO, 96),
        (MessageType.AP_REQUEST, 64),
        (MessageType.VERIFY, 80),
        (MessageType.ALERT, 72),
    ],
)
def test_headers_have_the_sizes_of_the_specification(kind: MessageType, header: int) -> None:
    octets = message(kind).encode()
    assert struct.unpack_from("<II", octets, 16) == (header, len(octets))
    cut = octets[:16] + struct.pack("<I", header - 1) + octets[20:]
    with pytest.raises(MalformedMessage, match=f"{header} are due"):
        list(messages_of(cut))


@pytest.mark.parametrize("kind", MessageType)
def test_whatever_is_cut_off_is_refused(kind: MessageType) -> None:
    octets = message(kind).encode()
    for size in range(len(octets)):
        with pytest.raises(MalformedMessage):
            list(messages_of(octets[:size]))


def altered(octets: bytes, at: int, layout: str, value: int) -> bytes:
    size = struct.calcsize(layout)
    return octets[:at] + struct.pack(layout, value) + octets[at + size :]


@pytest.mark.parametrize(
    ("kind", "at", "layout", "value"),
    [
        (MessageType.INITIATOR_NEGO, 80, "<I", 97),
        (MessageType.INITIATOR_NEGO, 80, "<I", 95),
        (MessageType.INITIATOR_NEGO, 80, "<I", 0xFFFFFFF0),
        (MessageType.INITIATOR_NEGO, 84, "<H", 3),
        (MessageType.INITIATOR_NEGO, 84, "<H", MAXIMUM_SCHEMES + 1),
        (MessageType.INITIATOR_NEGO, 92, "<H", 1),
        (MessageType.INITIATOR_NEGO, 92, "<H", 0xFFFF),
        (MessageType.AP_REQUEST, 56, "<I", 63),
        (MessageType.AP_REQUEST, 60, "<I", 2),
        (MessageType.AP_REQUEST, 60, "<I", 0xFFFFFFFF),
        (MessageType.VERIFY, 56, "<I", 19),
        (MessageType.VERIFY, 68, "<I", 79),
        (MessageType.VERIFY, 72, "<I", 13),
        (MessageType.ALERT, 64, "<H", 9),
        (MessageType.ALERT, 76, "<I", 0xFFFF),
        (MessageType.CHALLENGE, 8, "<I", 8),
        (MessageType.CHALLENGE, 20, "<I", 0),
        (MessageType.CHALLENGE, 20, "<I", 39),
        (MessageType.CHALLENGE, 20, "<I", 0x7FFFFFFF),
        (MessageType.CHALLENGE, 0, "<I", 0),
    ],
)
def test_what_points_outside_or_claims_too_much_is_refused(kind: MessageType, at: int, layout: str, value: int) -> None:
    with pytest.raises(MalformedMessage):
        list(messages_of(altered(message(kind).encode(), at, layout, value)))


@pytest.mark.parametrize("token", [b"", message(MessageType.AP_REQUEST).encode() * (MAXIMUM_MESSAGES + 1)])
def test_no_messages_and_too_many_are_refused(token: bytes) -> None:
    with pytest.raises(MalformedMessage, match="1 to 64"):
        list(messages_of(token))


def test_as_many_as_are_allowed_are_read() -> None:
    assert len(list(messages_of(message(MessageType.AP_REQUEST).encode() * MAXIMUM_MESSAGES))) == MAXIMUM_MESSAGES


@pytest.mark.parametrize(
    ("alerts", "no_key"),
    [
        (NO_KEY, True),
        ((Element(9, b""), *NO_KEY), True),
        ((), False),
        ((Element(ALERT_PULSE, b""),), False),
        ((Element(ALERT_PULSE, struct.pack("<II", 8, 2)),), False),
        ((Element(2, NO_KEY[0].value),), False),
    ],
)
def test_only_the_pulse_of_that_reason_says_no_key(alerts: tuple[Element, ...], no_key: bool) -> None:
    (read,) = messages_of(message(MessageType.ALERT, AlertMessage(SCHEME, alerts)).encode())
    assert isinstance(read.body, AlertMessage)
    assert read.body.no_key is no_key


def test_a_token_is_described_with_the_names_of_packages() -> None:
    token = meet((ONE, TWO), (ONE, TWO)).tokens[0]
    assert describe((ONE,), token) == (
        f"NEGOEX ({len(token)} octets): 0 INITIATOR_NEGO First {TWO.info.negoex_scheme}, 1 INITIATOR_META_DATA First, "
        f"2 INITIATOR_META_DATA {TWO.info.negoex_scheme}, 3 AP_REQUEST [First (11 octets)], 4 VERIFY First"
    )


@pytest.mark.parametrize(("size", "said"), [(0, "NEGOEX (0 octets): malformed"), (8, "malformed"), (-1, "malformed")])
def test_malformed_octets_are_said_to_be_so(size: int, said: str) -> None:
    token = message(MessageType.INITIATOR_NEGO, sequence=0).encode() + message(MessageType.VERIFY).encode()
    assert describe((), token[:size]).endswith(said)
