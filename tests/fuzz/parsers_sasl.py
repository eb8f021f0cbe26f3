"""SASL: the GS2 header, the messages of SCRAM, and the frames of security layers."""

from __future__ import annotations

from securestream.errors import FramingError, InvalidToken, MalformedMessage, Unsupported
from securestream.framing.base import SealedFrame
from securestream.framing.sasl import SaslFraming
from securestream.sasl.gs2 import Gs2Header
from securestream.sasl.scram_messages import ClientFinal, ClientFirst, ServerFirst, read_server_final
from tests.fuzz.harness import Parser

_REFUSALS = (MalformedMessage, InvalidToken, Unsupported)
_HEADER = (b"n,,", b"y,a=alice,", b"p=tls-exporter,a=b=2Cc=3D,\x01\x00rest", b"F,n,,", b"p=tls-unique,,n=x,r=y")
_FIRST = (
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    b"p=tls-server-end-point,a=root,n=a=2Cb=3D,r=abc,x=extension,y=another",
)
_ANSWER = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"r=abcdef,s=AA==,i=1,x=extension",
)
_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"c=biws,r=abc,x=extension,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
)
_SIGNATURE = (
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x=extension",
)
_BUFFERS = (
    b"\0\0\0\x10" + bytes(16),
    b"".join(size.to_bytes(4, "big") + bytes(size) for size in (1, 17, 4000, 1)),
)


def _header(octets: bytes) -> None:
    header, rest = Gs2Header.unpack(octets)
    again, left = Gs2Header.unpack((b"F," if header.nonstandard else b"") + header.pack() + rest)
    assert (again, left) == (header, rest)


def _first(octets: bytes) -> None:
    message = ClientFirst.unpack(octets)
    assert message.pack() == octets  # what is signed is what came


def _answer(octets: bytes) -> None:
    assert ServerFirst.unpack(octets).pack() == octets


def _final(octets: bytes) -> None:
    assert len(ClientFinal.unpack(octets, 32).proof) == 32


def _signature(octets: bytes) -> None:
    read_server_final(octets, 32)


def _buffers(octets: bytes) -> None:
    framing = SaslFraming(4096, 65536)
    middle = len(octets) // 2
    for part in (octets[:middle], octets[middle:]):
        framing.receive_data(part)
        while (event := framing.next_event()) is not None:
            assert isinstance(event, SealedFrame)
            assert 1 <= len(event.data) <= 65536


PARSERS = [
    Parser("sasl.gs2", _header, _HEADER, allowed=(MalformedMessage, InvalidToken)),
    Parser("sasl.scram.client_first", _first, _FIRST, allowed=_REFUSALS),
    Parser("sasl.scram.server_first", _answer, _ANSWER, allowed=_REFUSALS),
    Parser("sasl.scram.client_final", _final, _FINAL, allowed=_REFUSALS),
    Parser("sasl.scram.server_final", _signature, _SIGNATURE, allowed=_REFUSALS),
    Parser("framing.sasl", _buffers, _BUFFERS, allowed=(FramingError,)),
]
