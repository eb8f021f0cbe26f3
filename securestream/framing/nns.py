"""The framing of .NET's NegotiateStream ([MS-NNS]), as .NET 8 puts it on the wire."""

from __future__ import annotations

from typing import Final

from securestream.errors import ErrorKind, FramingError, Truncated, UsageError, kind_from_hresult
from securestream.framing._buffer import BufferedFraming
from securestream.framing.base import (
    EndOfInput,
    ErrorFrame,
    FrameEvent,
    Mode,
    RawData,
    SealedFrame,
    TokenFrame,
    TokenKind,
)

# [MS-NNS] 2.2.1: MessageId, MajorVersion, MinorVersion, then the payload's size, 16 bits big-endian
_DONE, _ERROR, _IN_PROGRESS = 0x14, 0x15, 0x16
_VERSION = b"\x01\x00"
_HEADER = 5
_ERROR_SIZE = 8

# [MS-NNS] 2.2.2: the payload's size, 32 bits little-endian. .NET 8 writes at most 64512 octets of plaintext in a frame
# and reads sizes from 1 to 65536, which is more than the 0xFC30 of the specification's text.
MAX_PLAINTEXT = 64512
MAX_SEALED = 65536
_SIZE = 4

# [MS-ERREF] 2.2: Win32 codes that stand in an error frame without the form of an HRESULT
_BAD_IMPERSONATION_LEVEL = 1790  # ERROR_TRUSTED_RELATIONSHIP_FAILURE: .NET for "required protection not met"
_WIN32 = {
    5: ErrorKind.NOT_AUTHORIZED,
    1326: ErrorKind.LOGON_DENIED,
    1331: ErrorKind.LOGON_DENIED,
    1398: ErrorKind.TIME_SKEW,
    _BAD_IMPERSONATION_LEVEL: ErrorKind.QUALITY_NOT_MET,
}


_DATA: Final = Mode.DATA  # asked for each message, and members of an Enum are found slowly


class NnsFraming(BufferedFraming):
    """Frames of [MS-NNS] 2.2: handshake frames, error frames, data frames.

    An error frame is written as .NET 8, 9 and 10 write it (sign-extended HRESULT, 64 bits little-endian) and read in
    that form and in the big-endian one of .NET Core 3.1 and of the specification.

    Args:
        limits: `Limits.token_size` bounds a handshake token; the frame itself carries 65535 octets at most.
    """

    max_plaintext = MAX_PLAINTEXT

    __slots__ = ()

    def token(self, kind: TokenKind, token: bytes | None) -> bytes:
        """A handshake frame; `None` is carried as an empty payload.

        Raises:
            FramingError: the token is longer than a frame's 65535 octets.
        """
        payload = b"" if token is None else token
        if len(payload) > 0xFFFF:
            raise FramingError(f"a token of {len(payload)} octets does not fit a NegotiateStream frame (65535)")
        identifier = _DONE if kind is TokenKind.DONE else _IN_PROGRESS
        return bytes((identifier,)) + _VERSION + len(payload).to_bytes(2, "big") + payload

    def error(self, kind: ErrorKind) -> bytes:
        """An error frame; a required protection that is not met is told by 1790, as .NET does."""
        code = _BAD_IMPERSONATION_LEVEL if kind is ErrorKind.QUALITY_NOT_MET else kind.hresult
        signed = code - (1 << 32) if code & 0x80000000 else code
        header = bytes((_ERROR,)) + _VERSION + _ERROR_SIZE.to_bytes(2, "big")
        return header + signed.to_bytes(_ERROR_SIZE, "little", signed=True)

    def sealed_header(self, length: int) -> bytes:
        """The size before a sealed message.

        Raises:
            UsageError: `length` is none that a frame may have.
        """
        if not 1 <= length <= MAX_SEALED:
            raise UsageError(f"a NegotiateStream frame carries 1 to {MAX_SEALED} octets, not {length}")
        return length.to_bytes(_SIZE, "little")

    def next_event(self) -> FrameEvent | None:
        """The next frame, or `None` when more octets are needed.

        Raises:
            FramingError: an unknown id, a size over the limit or of zero, an end inside a frame.
        """
        there = len(self._buffer)
        if not there:
            return EndOfInput() if self._ended else None
        if self._mode is _DATA:
            event: FrameEvent | None = self._data(there)
        elif self._mode is Mode.HANDSHAKE:
            event = self._handshake()
        else:
            event = RawData(self._buffer.take(there))
        if event is None and self._ended:
            raise Truncated("the peer's stream ended inside a frame: data was cut off")
        return event

    def _data(self, there: int) -> SealedFrame | None:
        buffer = self._buffer
        if there < _SIZE:
            return None
        size = int.from_bytes(buffer.peek(_SIZE), "little")
        if not 1 <= size <= MAX_SEALED:
            raise FramingError(f"a data frame of {size} octets: 1 to {MAX_SEALED} are allowed")
        if there < _SIZE + size:
            return None
        return SealedFrame(buffer.take(size, _SIZE))

    def _handshake(self) -> TokenFrame | ErrorFrame | None:
        buffer = self._buffer
        header = buffer.peek(_HEADER)
        identifier = header[0]
        if identifier not in (_DONE, _ERROR, _IN_PROGRESS):
            raise FramingError(f"0x{identifier:02x} begins no NegotiateStream handshake frame: not such a peer")
        if len(header) < _HEADER:
            return None
        size = int.from_bytes(header[3:], "big")  # the version octets may be any ([MS-NNS] 2.2.1; .NET 8 reads all)
        if size > self._token_size:
            raise FramingError(f"a token of {size} octets: the limit is {self._token_size} (Limits.token_size)")
        if identifier == _ERROR and size != _ERROR_SIZE:
            raise FramingError(f"an error frame of {size} octets instead of {_ERROR_SIZE}")
        if len(buffer) < _HEADER + size:
            return None
        payload = bytes(buffer.take(size, _HEADER))
        if identifier == _ERROR:
            return _read_error(payload)
        if identifier == _DONE:
            return TokenFrame(TokenKind.DONE, payload or None)
        return TokenFrame(TokenKind.IN_PROGRESS, payload)


def _read_error(payload: bytes) -> ErrorFrame:
    """The code of an error frame, in whichever byte order its sign extension shows."""
    if payload[4:] in (b"\xff\xff\xff\xff", b"\0\0\0\0"):
        code = int.from_bytes(payload[:4], "little")
    else:
        code = int.from_bytes(payload[4:], "big")
    kind = kind_from_hresult(code)
    if kind is None:
        # HRESULT_FROM_WIN32 ([MS-ERREF] 2.1.2) wraps a Win32 code
        kind = _WIN32.get(code & 0xFFFF if code >> 16 == 0x8007 else code, ErrorKind.LOGON_DENIED)
    return ErrorFrame(code, kind)
