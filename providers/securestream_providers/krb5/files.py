"""What the formats of keytabs and credential caches share: byte orders, texts, times of 32 bits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from securestream.errors import MalformedMessage, UsageError
from securestream.wire.cursor import Buffer, Cursor

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The time that zero stands for."""

_LATEST: Final = 0xFFFFFFFF


def moment(seconds: int) -> datetime:
    """The time of an unsigned number of seconds, as MIT reads it since its release 1.16 (until the year 2106)."""
    return EPOCH + timedelta(seconds=seconds)


def seconds_of(time: datetime) -> int:
    """The number of a time; what lies before 1970 or after 2106 becomes the nearest that there is."""
    return min(max(int((time - EPOCH) // timedelta(seconds=1)), 0), _LATEST)


def native_order(first: bytes) -> str:
    """The byte order of a file that does not say it: that in which its first number is the nearer to zero."""
    little, big = (abs(int.from_bytes(first, order, signed=True)) for order in ("little", "big"))
    return "little" if little <= big else "big"


class FileReader(Cursor):
    """Reads integers in the byte order of the file, and texts.

    Args:
        octets: the file.
        what: its kind, for the error text.
        order: ``"big"`` or ``"little"``.
    """

    __slots__ = ("_order",)

    def __init__(self, octets: Buffer, what: str, order: str) -> None:
        super().__init__(octets, what)
        self._order = order

    def u16(self) -> int:
        """An unsigned 16-bit integer."""
        return self._unsigned(2, self._order)

    def u32(self) -> int:
        """An unsigned 32-bit integer."""
        return self._unsigned(4, self._order)

    def i32(self) -> int:
        """A signed 32-bit integer."""
        value = self._unsigned(4, self._order)
        return value - (1 << 32) if value >> 31 else value

    def text(self, size: int) -> str:
        """`size` octets of text."""
        at = self.at
        octets = self.take(size)
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedMessage(f"{self.what}: the text at offset {at} is not UTF-8") from None


class FileWriter:
    """Writes integers in network byte order; what does not fit is the caller's mistake."""

    __slots__ = ("_octets",)

    def __init__(self) -> None:
        self._octets = bytearray()

    def _unsigned(self, value: int, size: int) -> None:
        try:
            self._octets += value.to_bytes(size, "big")
        except OverflowError:
            raise UsageError(f"{value} does not fit into the {8 * size} bits that the file format has") from None

    def u8(self, value: int) -> None:
        """One octet."""
        self._unsigned(value, 1)

    def u16(self, value: int) -> None:
        """An unsigned 16-bit integer."""
        self._unsigned(value, 2)

    def u32(self, value: int) -> None:
        """An unsigned 32-bit integer."""
        self._unsigned(value, 4)

    def put(self, octets: Buffer) -> None:
        """These octets as they are."""
        self._octets += octets

    def sized(self, octets: Buffer) -> None:
        """Their number in 32 bits, and these octets."""
        self.u32(len(octets))
        self.put(octets)

    def getvalue(self) -> bytes:
        """All that was written."""
        return bytes(self._octets)
