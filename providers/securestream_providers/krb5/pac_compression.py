"""XPRESS Huffman, by which Windows compresses long sets of claims ([MS-XCA] 2.2): decompression only, bounded."""

from __future__ import annotations

from typing import Final

from securestream.errors import MalformedMessage

_SYMBOLS: Final = 512
_TABLE: Final = _SYMBOLS // 2
_LONGEST_CODE: Final = 15
_BLOCK: Final = 1 << 16
_LITERALS: Final = 256
_SHORTEST_MATCH: Final = 3


def decompress_xpress_huffman(octets: bytes, size: int) -> bytes:
    """The `size` octets that were compressed.

    Args:
        octets: compressed.
        size: as the message says it; the caller has bounded it.

    Raises:
        MalformedMessage: `octets` are no such stream, or another number of octets comes out.
    """
    found = bytearray()
    at = 0
    while len(found) < size:
        at = _block(octets, at, found, min(size, len(found) + _BLOCK), size)
    return bytes(found)


def _malformed(why: str) -> MalformedMessage:
    return MalformedMessage(f"compressed claims: {why}")


def _codes(octets: bytes, at: int) -> tuple[list[int], list[int]]:
    """For each possible 15 bits the symbol that they begin with; for each symbol the length of its code."""
    table = octets[at : at + _TABLE]
    if len(table) < _TABLE:
        raise _malformed("they end inside a table of codes")
    lengths = [nibble for pair in table for nibble in (pair & 15, pair >> 4)]
    if sum(1 << (_LONGEST_CODE - length) for length in lengths if length) != 1 << _LONGEST_CODE:
        raise _malformed("their codes overlap or are incomplete")
    symbols: list[int] = []
    for length in range(1, _LONGEST_CODE + 1):
        for symbol in range(_SYMBOLS):
            if lengths[symbol] == length:
                symbols += [symbol] * (1 << (_LONGEST_CODE - length))
    return symbols, lengths


class _Bits:
    """16-bit little-endian words, read from the highest bit, with whole octets read between them."""

    __slots__ = ("absent", "at", "bits", "count", "octets")

    def __init__(self, octets: bytes, at: int) -> None:
        self.octets = octets
        self.at = at
        self.bits = 0
        self.count = 0
        self.absent = 0
        self._word()
        self._word()

    def _word(self) -> None:
        """Two further octets; the stream may end in what is read ahead and never used."""
        word = self.octets[self.at : self.at + 2]
        self.absent += 16 - 8 * len(word)
        self.bits = self.bits << 16 | int.from_bytes(word, "little")
        self.at += 2
        self.count += 16

    def peek(self) -> int:
        """The next 15 bits."""
        return self.bits >> (self.count - _LONGEST_CODE) & ((1 << _LONGEST_CODE) - 1)

    def take(self, count: int) -> int:
        """The next bits; at least 16 are kept ready, since the place of whole octets depends on it."""
        self.count -= count
        if self.count < self.absent:
            raise _malformed("they end too early")
        value = self.bits >> self.count
        self.bits &= (1 << self.count) - 1
        if self.count < 16:
            self._word()
        return value

    def octet_count(self, size: int) -> int:
        """A number in whole octets."""
        piece = self.octets[self.at : self.at + size]
        if len(piece) < size:
            raise _malformed("they end inside a length")
        self.at += size
        return int.from_bytes(piece, "little")


def _block(octets: bytes, at: int, found: bytearray, end: int, size: int) -> int:
    """Decompress one block into `found`; where the next one begins."""
    symbols, lengths = _codes(octets, at)
    bits = _Bits(octets, at + _TABLE)
    while len(found) < end:
        symbol = symbols[bits.peek()]
        bits.take(lengths[symbol])
        if symbol < _LITERALS:
            found.append(symbol)
            continue
        length, exponent = (symbol - _LITERALS) & 15, (symbol - _LITERALS) >> 4
        if length == 15:
            length = _long_length(bits)
        distance = (1 << exponent) + bits.take(exponent)
        _copy(found, distance, length + _SHORTEST_MATCH, size)
    return bits.at


def _long_length(bits: _Bits) -> int:
    length = bits.octet_count(1)
    if length < 255:
        return length + 15
    length = bits.octet_count(2) or bits.octet_count(4)
    if length < 15:
        raise _malformed("a match is too short for the way it is written")
    return length


def _copy(found: bytearray, distance: int, length: int, size: int) -> None:
    start = len(found) - distance
    if start < 0:
        raise _malformed("a match begins before the first octet")
    if length > size - len(found):
        raise _malformed("more octets come out than they say")
    while length > 0:  # a match may overlap what it makes
        piece = found[start : start + length]
        found += piece
        length -= len(piece)
