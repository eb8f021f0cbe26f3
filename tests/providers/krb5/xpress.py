"""A compressor for XPRESS Huffman that gives every symbol nine bits, so that tests have streams to decompress."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from securestream.wire import ndr
from securestream_providers.krb5.pac_claims import Claims, Compression

_BITS = 9


class _Stream:
    """Words that a reader takes early, and octets that it takes between them."""

    def __init__(self) -> None:
        self.octets = bytearray(b"\x99" * 256)
        self._slots: list[int] = []
        self._bits = ""
        self._ready = 0
        self._slot()
        self._slot()

    def _slot(self) -> None:
        self._slots.append(len(self.octets))
        self.octets += bytes(2)
        self._ready += 16

    def put(self, value: int, count: int) -> None:
        if count:
            self._bits += f"{value:0{count}b}"
        self._ready -= count
        if self._ready < 16:
            self._slot()

    def whole(self, value: int, size: int) -> None:
        self.octets += value.to_bytes(size, "little")

    def getvalue(self) -> bytes:
        bits = self._bits.ljust(16 * len(self._slots), "0")
        for number, at in enumerate(self._slots):
            self.octets[at : at + 2] = int(bits[16 * number : 16 * number + 16], 2).to_bytes(2, "little")
        return bytes(self.octets)


def literals(parts: Iterable[int | tuple[int, int]]) -> bytes:
    """One block of literal octets and of matches (distance, length)."""
    stream = _Stream()
    for part in parts:
        if isinstance(part, int):
            stream.put(part, _BITS)
            continue
        distance, length = part[0], part[1] - 3
        exponent = distance.bit_length() - 1
        stream.put(256 + (exponent << 4) + min(length, 15), _BITS)
        if length >= 15 + 255:
            stream.whole(255, 1)
            stream.whole(length, 2)
        elif length >= 15:
            stream.whole(length - 15, 1)
        stream.put(distance - (1 << exponent), exponent)
    return stream.getvalue()


@dataclass(frozen=True, repr=False)
class _Outer(ndr.Structure):
    claims_set: Annotated[bytes, ndr.Counted(ndr.OCTET)]
    rest: Annotated[bytes, ndr.Octets(20)]


def compressed_claims(claims: Claims) -> bytes:
    """Claims as a KDC compresses them."""
    held = _Outer.unpack(claims.pack()).claims_set
    return Claims((), literals(held), Compression.XPRESS_HUFFMAN, len(held)).pack()
