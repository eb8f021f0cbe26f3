"""What NDR is read from and written to: a position with alignment, fresh referents, strings of 16-bit units."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

from securestream.errors import MalformedMessage, UsageError

HEADER_SIZE: Final = 16
"""Octets of the common and the private header of type serialization ([MS-RPCE] 2.2.6.1, 2.2.6.2)."""

_FIRST_REFERENT: Final = 0x00020000  # Windows' numbers; any that is not zero means the same
U32_STRUCT: Final = struct.Struct("<I")
_ARRAY = struct.Struct("<III")


class Reader:
    """Where reading stands. Alignment counts from the end of the headers, which are 16 octets."""

    __slots__ = ("at", "depth", "end", "octets", "what")

    def __init__(self, octets: bytes, end: int, what: str) -> None:
        self.octets = octets
        self.at = HEADER_SIZE
        self.end = end
        self.depth = 0
        self.what = what

    def due(self, size: int, alignment: int) -> int:
        """The offset of the next `size` octets, which are then passed over.

        Raises:
            MalformedMessage: fewer are left.
        """
        start = -(-self.at // alignment) * alignment
        if size > self.end - start:
            raise MalformedMessage(f"{self.what}: {size} octets are due at offset {start}, {self.end} are there")
        self.at = start + size
        return start

    def count(self) -> int:
        """A 32-bit number."""
        number: int = U32_STRUCT.unpack_from(self.octets, self.due(4, 4))[0]
        return number

    def malformed(self, why: str) -> MalformedMessage:
        """The error to raise."""
        return MalformedMessage(f"{self.what}: {why}")


class Writer:
    """What was written so far."""

    __slots__ = ("_referent", "octets")

    def __init__(self) -> None:
        self.octets = bytearray()
        self._referent = _FIRST_REFERENT - 4

    def align(self, alignment: int) -> None:
        """Fill up to a boundary."""
        self.octets += bytes(-len(self.octets) % alignment)

    def referent(self) -> int:
        """A fresh pointer."""
        self._referent += 4
        return self._referent

    def put(self, code: struct.Struct, values: Sequence[Any], alignment: int) -> None:
        """Values at a boundary.

        Raises:
            UsageError: one does not fit.
        """
        self.align(alignment)
        try:
            self.octets += code.pack(*values)
        except struct.error:
            raise UsageError(f"a value does not fit its NDR field: {code.format}") from None


def read_units(reader: Reader) -> bytes:
    """The octets of a conformant and varying array of 16-bit units."""
    most, offset, count = _ARRAY.unpack_from(reader.octets, reader.due(_ARRAY.size, 4))
    if offset or count > most:
        raise reader.malformed("the counts of a string are inconsistent")
    start = reader.due(2 * count, 2)
    return reader.octets[start : start + 2 * count]


def write_units(octets: bytes, writer: Writer, spare: int) -> None:
    """Such an array; its capacity exceeds its length by `spare` units."""
    count = len(octets) // 2
    writer.put(_ARRAY, (count + spare, 0, count), 4)
    writer.octets += octets


def text_of(octets: bytes, reader: Reader) -> str:
    """The text of UTF-16 octets."""
    try:
        return octets.decode("utf-16-le")
    except UnicodeDecodeError:
        raise reader.malformed("a string is no UTF-16") from None


def units_of(text: str) -> bytes:
    """UTF-16 octets of a text."""
    try:
        return text.encode("utf-16-le")
    except UnicodeEncodeError:
        raise UsageError("a string for an NDR field holds half of a surrogate pair") from None
