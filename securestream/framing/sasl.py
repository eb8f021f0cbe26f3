"""The framing of SASL's security layers: each protected buffer with its length in front (RFC 4422 3.7)."""

from __future__ import annotations

from typing import Final

from securestream.errors import ErrorKind, FramingError, Truncated, UsageError
from securestream.framing._buffer import BufferedFraming
from securestream.framing.base import EndOfInput, FrameEvent, Mode, RawData, SealedFrame, TokenKind

MAX_SEALED: Final = 0xFFFFFF
"""The longest buffer that an end can say it takes (RFC 4752 3.1, RFC 2831 2.1.1)."""
_SIZE: Final = 4
_DATA: Final = Mode.DATA  # asked for each message, and members of an Enum are found slowly


class SaslFraming(BufferedFraming):
    """Buffers behind their length, 32 bits big-endian. The exchange before them belongs to the application's protocol,
    so there are no frames for tokens, and it begins with data.

    Args:
        max_plaintext: octets of plaintext that the peer's buffer has room for.
        max_sealed: octets of the longest buffer that this end takes.
    """

    __slots__ = ("_max_sealed", "max_plaintext")

    def __init__(self, max_plaintext: int, max_sealed: int) -> None:
        super().__init__()
        self.max_plaintext = max_plaintext
        self._max_sealed = max_sealed
        self._mode = Mode.DATA

    def token(self, kind: TokenKind, token: bytes | None) -> bytes:
        """Nothing can carry it.

        Raises:
            UsageError: always.
        """
        raise UsageError("SASL's framing carries no tokens: the application's protocol does")

    def error(self, kind: ErrorKind) -> bytes:
        """Nothing: there is no error frame."""
        return b""

    def sealed_header(self, length: int) -> bytes:
        """The length before a buffer.

        Raises:
            UsageError: `length` is none that a buffer may have.
        """
        if not 1 <= length <= MAX_SEALED:
            raise UsageError(f"a SASL buffer has 1 to {MAX_SEALED} octets, not {length}")
        return length.to_bytes(_SIZE, "big")

    def next_event(self) -> FrameEvent | None:
        """The next buffer, or `None` when more octets are needed.

        Raises:
            FramingError: a length of zero or over the limit, an end inside a buffer.
        """
        there = len(self._buffer)
        if not there:
            return EndOfInput() if self._ended else None
        event: FrameEvent | None
        if self._mode is _DATA:
            event = self._data(there)
        elif self._mode is Mode.RAW:
            event = RawData(self._buffer.take(there))
        else:
            raise UsageError("SASL's framing carries no tokens: enter Mode.DATA or Mode.RAW")
        if event is None and self._ended:
            raise Truncated("the peer's stream ended inside a buffer: data was cut off")
        return event

    def _data(self, there: int) -> SealedFrame | None:
        buffer = self._buffer
        if there < _SIZE:
            return None
        size = int.from_bytes(buffer.peek(_SIZE), "big")
        if not 1 <= size <= self._max_sealed:
            raise FramingError(f"a SASL buffer of {size} octets: 1 to {self._max_sealed} were agreed")
        if there < _SIZE + size:
            return None
        return SealedFrame(buffer.take(size, _SIZE))
