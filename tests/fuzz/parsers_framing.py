"""The frames of .NET's NegotiateStream."""

from __future__ import annotations

from securestream.errors import ErrorKind, FramingError
from securestream.framing.base import Mode, TokenFrame, TokenKind
from securestream.framing.nns import NnsFraming
from tests.fuzz.harness import Parser

_NNS = NnsFraming()
_HANDSHAKE = (
    _NNS.token(TokenKind.IN_PROGRESS, b"NTLMSSP\0\1\0\0\0" + bytes(20)) + _NNS.token(TokenKind.DONE, None),
    _NNS.token(TokenKind.DONE, bytes(300)),
    _NNS.error(ErrorKind.LOGON_DENIED),
    _NNS.error(ErrorKind.QUALITY_NOT_MET) + _NNS.token(TokenKind.IN_PROGRESS, b"again"),
)
_DATA = (
    _NNS.sealed_header(16) + bytes(16),
    b"".join(_NNS.sealed_header(size) + bytes(size) for size in (1, 17, 4000, 1)),
)


def _read(octets: bytes, mode: Mode) -> None:
    framing = NnsFraming()
    framing.enter(mode)
    middle = len(octets) // 2
    for part in (octets[:middle], octets[middle:]):
        framing.receive_data(part)
        while (event := framing.next_event()) is not None:
            if isinstance(event, TokenFrame) and event.token is not None:
                assert len(event.token) <= 65535


def _handshake(octets: bytes) -> None:
    _read(octets, Mode.HANDSHAKE)


def _data(octets: bytes) -> None:
    _read(octets, Mode.DATA)


PARSERS = [
    Parser("framing.nns.handshake", _handshake, _HANDSHAKE, allowed=(FramingError,)),
    Parser("framing.nns.data", _data, _DATA, allowed=(FramingError,)),
]
