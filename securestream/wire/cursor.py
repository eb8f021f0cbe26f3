"""A bounds-checked reader over received octets, and its writing counterpart.

Every read past the end raises `MalformedMessage`, so a layout read with a cursor cannot run over its message.
"""

from __future__ import annotations

from typing import TypeAlias

from securestream.errors import MalformedMessage, UsageError

Buffer: TypeAlias = bytes | bytearray | memoryview


class Cursor:
    """Reads integers and octets one after another.

    Args:
        octets: what was received; it is not copied, and must not change while the cursor is in use.
        what: the name of the message or structure, for the error text.
    """

    __slots__ = ("_at", "_end", "_view", "what")

    def __init__(self, octets: Buffer, what: str = "message") -> None:
        view = memoryview(octets)
        self._view = view if view.format == "B" and view.ndim == 1 else view.cast("B")
        self._at = 0
        self._end = len(self._view)
        self.what = what

    def __repr__(self) -> str:
        return f"<Cursor {self.what} at {self._at} of {self._end}>"

    @property
    def at(self) -> int:
        """The offset of the next octet, from the start of what was given."""
        return self._at

    @property
    def remaining(self) -> int:
        """How many octets are left."""
        return self._end - self._at

    def _advance(self, count: int) -> int:
        start = self._at
        if count < 0 or count > self._end - start:
            raise MalformedMessage(
                f"{self.what}: {count} octets are due at offset {start}, {self._end - start} are left"
            )
        self._at = start + count
        return start

    def _unsigned(self, size: int, order: str) -> int:
        start = self._advance(size)
        return int.from_bytes(self._view[start : start + size], "little" if order == "little" else "big")

    def u8(self) -> int:
        """The next octet."""
        return self._view[self._advance(1)]

    def u16_le(self) -> int:
        """An unsigned 16-bit integer, little-endian."""
        return self._unsigned(2, "little")

    def u16_be(self) -> int:
        """An unsigned 16-bit integer, big-endian."""
        return self._unsigned(2, "big")

    def u32_le(self) -> int:
        """An unsigned 32-bit integer, little-endian."""
        return self._unsigned(4, "little")

    def u32_be(self) -> int:
        """An unsigned 32-bit integer, big-endian."""
        return self._unsigned(4, "big")

    def u64_le(self) -> int:
        """An unsigned 64-bit integer, little-endian."""
        return self._unsigned(8, "little")

    def u64_be(self) -> int:
        """An unsigned 64-bit integer, big-endian."""
        return self._unsigned(8, "big")

    def i32_le(self) -> int:
        """A signed 32-bit integer, little-endian."""
        start = self._advance(4)
        return int.from_bytes(self._view[start : start + 4], "little", signed=True)

    def i32_be(self) -> int:
        """A signed 32-bit integer, big-endian."""
        start = self._advance(4)
        return int.from_bytes(self._view[start : start + 4], "big", signed=True)

    def take(self, count: int) -> bytes:
        """The next `count` octets, copied."""
        start = self._advance(count)
        return bytes(self._view[start : start + count])

    def view(self, count: int) -> memoryview:
        """The next `count` octets as a view: valid only as long as the buffer is."""
        start = self._advance(count)
        return self._view[start : start + count]

    def skip(self, count: int) -> None:
        """Pass over `count` octets."""
        self._advance(count)

    def expect(self, octets: bytes) -> None:
        """Pass over exactly these octets; anything else is malformed."""
        at = self._at
        if self.take(len(octets)) != octets:
            raise MalformedMessage(f"{self.what}: other octets than due at offset {at}")

    def seek(self, offset: int) -> None:
        """Continue at `offset` from the start; the end itself is allowed.

        Raises:
            MalformedMessage: `offset` lies outside of what was given.
        """
        if not 0 <= offset <= self._end:
            raise MalformedMessage(f"{self.what}: offset {offset} lies outside of {self._end} octets")
        self._at = offset

    def rest(self) -> bytes:
        """All octets that are left, copied; the cursor is then at its end."""
        return self.take(self._end - self._at)

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at == self._end

    def finish(self) -> None:
        """Insist that nothing is left: trailing octets are malformed."""
        if self._at != self._end:
            raise MalformedMessage(f"{self.what}: {self._end - self._at} octets too many")


class Writer:
    """Collects integers and octets one after another; what a `Cursor` reads back.

    A value that does not fit its width is the caller's mistake: `UsageError`.
    """

    __slots__ = ("_octets",)

    def __init__(self) -> None:
        self._octets = bytearray()

    def __len__(self) -> int:
        return len(self._octets)

    def __repr__(self) -> str:
        return f"<Writer of {len(self._octets)} octets>"

    def _unsigned(self, value: int, size: int, order: str) -> None:
        try:
            self._octets += value.to_bytes(size, "little" if order == "little" else "big")
        except OverflowError:
            raise UsageError(f"{value} does not fit into {8 * size} unsigned bits") from None

    def u8(self, value: int) -> None:
        """One octet."""
        self._unsigned(value, 1, "big")

    def u16_le(self, value: int) -> None:
        """An unsigned 16-bit integer, little-endian."""
        self._unsigned(value, 2, "little")

    def u16_be(self, value: int) -> None:
        """An unsigned 16-bit integer, big-endian."""
        self._unsigned(value, 2, "big")

    def u32_le(self, value: int) -> None:
        """An unsigned 32-bit integer, little-endian."""
        self._unsigned(value, 4, "little")

    def u32_be(self, value: int) -> None:
        """An unsigned 32-bit integer, big-endian."""
        self._unsigned(value, 4, "big")

    def u64_le(self, value: int) -> None:
        """An unsigned 64-bit integer, little-endian."""
        self._unsigned(value, 8, "little")

    def u64_be(self, value: int) -> None:
        """An unsigned 64-bit integer, big-endian."""
        self._unsigned(value, 8, "big")

    def put(self, octets: Buffer) -> None:
        """These octets as they are."""
        self._octets += octets

    def getvalue(self) -> bytes:
        """All that was written."""
        return bytes(self._octets)
