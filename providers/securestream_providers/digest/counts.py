"""Nonce counts (RFC 7616 3.3 nc, RFC 2831 2.1.2): the question whether a request was seen before, and its window."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final, NamedTuple

from securestream.provider import Effect

WINDOW: Final = 128
"""How far behind the highest count of a nonce an unused one still counts: requests of several connections overtake each
other."""

LARGEST: Final = 0xFFFFFFFF
"""The largest count that eight hexadecimal digits hold."""

OWNER_SIZE: Final = 16
"""Octets that tell users apart in memories of counts."""

_HIGHEST: Final = 4


@dataclass(frozen=True, repr=False)
class NonceCount(Effect[bool]):
    """ONE atomic question: was this count of this nonce never used? It is remembered as used until `expires`.

    Asked only once the digest was verified, so that nobody without the password uses counts up or fills the memory.

    Args:
        nonce: the server's nonce, or a hash of it with what it belongs to; at most 64 octets.
        count: from 1.
        expires: from when on the server refuses the nonce anyway, aware UTC.
        owner: whose use it is, `OWNER_SIZE` octets, so that nobody takes all the room; empty where that is not known.
    """

    performer: ClassVar[str | None] = "securestream_providers.digest.performers:memory_performer"

    nonce: bytes = field(repr=False)
    count: int
    expires: datetime
    owner: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, user: str, nonce: str, count: int, expires: datetime) -> NonceCount:
        """The question on a user's request: another user of the same nonce has counts of his own.

        Args:
            user: who proved himself.
            nonce: the server's, as its field carries it.
            count: as above.
            expires: as above.
        """
        name, octets = user.encode("utf-8", "surrogatepass"), nonce.encode("utf-8", "surrogatepass")
        used_as = hashlib.sha256(name + b"\0" + octets).digest()
        return cls(used_as, count, expires, hashlib.sha256(name).digest()[:OWNER_SIZE])


class Window(NamedTuple):
    """The used counts of one nonce.

    Args:
        highest: the highest count that was used.
        used: bit n tells that ``highest - n`` was used.
    """

    highest: int = 0
    used: int = 0

    def pack(self) -> bytes:
        """As octets."""
        return self.highest.to_bytes(_HIGHEST, "big") + self.used.to_bytes(WINDOW // 8, "big")

    @classmethod
    def unpack(cls, octets: bytes) -> Window:
        """From `pack`."""
        return cls(int.from_bytes(octets[:_HIGHEST], "big"), int.from_bytes(octets[_HIGHEST:], "big"))

    def use(self, count: int) -> Window | None:
        """The window with `count` used, or `None` when it was used before, or is too old to know."""
        if not 0 < count <= LARGEST:
            return None
        if count > self.highest:
            shift = count - self.highest
            used = self.used << shift if shift < WINDOW else 0
            return Window(count, (used | 1) & ((1 << WINDOW) - 1))
        behind = self.highest - count
        if behind >= WINDOW or self.used >> behind & 1:
            return None
        return Window(self.highest, self.used | 1 << behind)
