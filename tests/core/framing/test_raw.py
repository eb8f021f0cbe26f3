"""The framing that is none."""

from __future__ import annotations

from securestream.errors import ErrorKind
from securestream.framing.base import EndOfInput, Mode, RawData, TokenFrame, TokenKind
from securestream.framing.raw import RawFraming
from securestream.options import Limits


def test_each_read_is_a_token_and_nothing_is_added() -> None:
    framing = RawFraming()
    assert framing.token(TokenKind.DONE, b"token") == b"token"
    assert framing.token(TokenKind.DONE, None) == b""
    assert framing.error(ErrorKind.LOGON_DENIED) == b""
    assert framing.sealed_header(9) == b""
    framing.receive_data(b"one")
    assert framing.next_event() == TokenFrame(TokenKind.IN_PROGRESS, b"one")
    assert framing.next_event() is None


def test_a_token_is_no_longer_than_the_limit() -> None:
    framing = RawFraming(Limits(token_size=4))
    framing.receive_data(b"sixsix")
    assert framing.next_event() == TokenFrame(TokenKind.IN_PROGRESS, b"sixs")
    assert framing.next_event() == TokenFrame(TokenKind.IN_PROGRESS, b"ix")


def test_octets_after_the_handshake_are_data_up_to_the_end() -> None:
    framing = RawFraming()
    framing.enter(Mode.RAW)
    framing.receive_data(b"data")
    framing.receive_eof()
    event = framing.next_event()
    assert isinstance(event, RawData)
    assert bytes(event.data) == b"data"
    assert framing.next_event() == EndOfInput()


def test_what_was_read_too_far_is_given_up() -> None:
    framing = RawFraming()
    framing.receive_data(b"beyond")
    assert framing.trailing_data() == b"beyond"
    assert framing.next_event() is None
