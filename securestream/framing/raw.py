"""The framing that is none: octets stand on the wire as they come, for packages whose tokens delimit themselves."""

from __future__ import annotations

from securestream.errors import ErrorKind
from securestream.framing._buffer import BufferedFraming
from securestream.framing.base import EndOfInput, FrameEvent, Mode, RawData, TokenFrame, TokenKind


class RawFraming(BufferedFraming):
    """No frames: during the handshake each read is a token, afterwards octets are data.

    Fit for packages that are a protocol of their own (TLS); a package of bare tokens would not know where one ends.

    Args:
        limits: a token is `Limits.token_size` octets at most; what came with it is the next one.
    """

    max_plaintext = 1 << 30

    __slots__ = ()

    def token(self, kind: TokenKind, token: bytes | None) -> bytes:
        """The token itself."""
        return b"" if token is None else token

    def error(self, kind: ErrorKind) -> bytes:
        """Nothing: this wire has no error frame; what the mechanism owes is its own token (a TLS alert)."""
        return b""

    def sealed_header(self, length: int) -> bytes:
        """Nothing."""
        return b""

    def next_event(self) -> FrameEvent | None:
        """What is at hand, or `None` when nothing is."""
        size = len(self._buffer)
        if not size:
            return EndOfInput() if self._ended else None
        if self._mode is Mode.HANDSHAKE:
            return TokenFrame(TokenKind.IN_PROGRESS, bytes(self._buffer.take(min(size, self._token_size))))
        return RawData(self._buffer.take(size))
