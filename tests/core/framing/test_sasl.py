"""The framing of SASL's security layers: lengths in front, both limits, and what follows on the wire."""

from __future__ import annotations

import pytest

from securestream.errors import ErrorKind, FramingError, Truncated, UsageError
from securestream.framing.base import EndOfInput, Mode, RawData, SealedFrame, TokenKind
from securestream.framing.sasl import MAX_SEALED, SaslFraming


def fed(octets: bytes, *, max_sealed: int = 1000) -> SaslFraming:
    framing = SaslFraming(500, max_sealed)
    framing.receive_data(octets)
    return framing


def test_a_buffer_stands_behind_its_length_in_big_endian() -> None:
    framing = fed(b"\0\0\0\3abc\0\0\0\1d")
    events = [framing.next_event(), framing.next_event(), framing.next_event()]
    assert events == [SealedFrame(memoryview(b"abc")), SealedFrame(memoryview(b"d")), None]
    assert SaslFraming(500, 1000).sealed_header(0x010203) == b"\0\1\2\3"
    assert framing.max_plaintext == 500


@pytest.mark.parametrize("size", [0, 1001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_that_was_not_agreed_is_refused_before_the_buffer_is_there(size: int) -> None:
    with pytest.raises(FramingError, match="1 to 1000"):
        fed(size.to_bytes(4, "big")).next_event()


def test_the_longest_buffer_is_taken() -> None:
    assert fed(b"\0\0\x03\xe8").next_event() is None
    assert fed(b"\0\0\x03\xe8" + bytes(1000)).next_event() == SealedFrame(memoryview(bytes(1000)))


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_an_end_inside_a_buffer_is_no_end(cut: int) -> None:
    framing = fed(b"\0\0\0\3abc"[:cut])
    assert framing.next_event() is None
    framing.receive_eof()
    with pytest.raises(Truncated):
        framing.next_event()


def test_an_end_between_buffers_is_one() -> None:
    framing = fed(b"\0\0\0\1a")
    framing.receive_eof()
    assert isinstance(framing.next_event(), SealedFrame)
    assert framing.next_event() == EndOfInput()


def test_without_a_layer_octets_come_as_they_are() -> None:
    framing = fed(b"\xff\xff\xff\xff and more")
    framing.enter(Mode.RAW)
    assert framing.next_event() == RawData(memoryview(b"\xff\xff\xff\xff and more"))


def test_it_carries_no_tokens() -> None:
    framing = fed(b"abc")
    with pytest.raises(UsageError, match="no tokens"):
        framing.token(TokenKind.IN_PROGRESS, b"token")
    framing.enter(Mode.HANDSHAKE)
    with pytest.raises(UsageError, match="no tokens"):
        framing.next_event()
    assert framing.error(ErrorKind.LOGON_DENIED) == b""
    assert framing.trailing_data() == b"abc"


@pytest.mark.parametrize("length", [0, MAX_SEALED + 1])
def test_a_buffer_that_nobody_can_take_is_not_sent(length: int) -> None:
    with pytest.raises(UsageError):
        SaslFraming(500, 1000).sealed_header(length)
