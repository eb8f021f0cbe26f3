"""Who performs `NonceCount`: counts in memory, in SQLite across processes, and in shared stores.

Like replay caches, they refuse while they are full and never push a live nonce out. One user cannot fill them: he gets
at most as much room as he leaves (`securestream.services.expiring.Kind`), but for a shared store, which counts nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from securestream.ambient import system_clock
from securestream.drive import Performer
from securestream.options import Clock
from securestream.services.expiring import ExpiringFile, ExpiringMemory, ExpiringShared, Kind, SharedStore, Use
from securestream_providers.digest.counts import OWNER_SIZE, NonceCount, Window

MEMORY_NONCES: Final = 200_000
"""Live nonces whose counts are remembered in memory: about 60 MB."""

SQLITE_NONCES: Final = 2_000_000
"""Live nonces whose counts are remembered in SQLite: about 200 MB of disk."""


def _use(effect: NonceCount) -> Use:
    def change(kept: bytes | None) -> bytes | None:
        used = (Window() if kept is None else Window.unpack(kept)).use(effect.count)
        return None if used is None else used.pack()

    return Use(effect.owner + effect.nonce, effect.expires, change, b"%08x:%b" % (effect.count, effect.nonce))


_COUNTS: Final = Kind(
    _use,
    "the memory of nonce counts is full of live nonces: give it more room, or shorten `lifetime`",
    b"SSnc",
    OWNER_SIZE,
    "this user holds so many live nonces that the rest is kept for others: let the client use a nonce for several "
    "requests",
)


class MemoryCounts(ExpiringMemory[NonceCount]):
    """Counts within one process; see `ExpiringMemory`.

    Args:
        nonces: live nonces at most, and of one user at most half as many.
        clock: the present moment.
    """

    def __init__(self, nonces: int = MEMORY_NONCES, clock: Clock = system_clock) -> None:
        super().__init__(_COUNTS, nonces, clock)


class SqliteCounts(ExpiringFile[NonceCount]):
    """Counts in a SQLite file, for all the processes of a machine that share the nonces' key; see `ExpiringFile`.

    Args:
        path: the file.
        nonces: live nonces at most, and of one user at most half as many.
        clock: the present moment.

    Raises:
        UnsafeFile: the file or its folder could be read or exchanged by others.
        CorruptStore: the file is something else.
    """

    def __init__(self, path: str | Path, nonces: int = SQLITE_NONCES, clock: Clock = system_clock) -> None:
        super().__init__(_COUNTS, path, nonces, clock)


class SharedCounts(ExpiringShared[NonceCount]):
    """Counts in a store of the network: one key for each count, so that any that is unused counts.

    Args:
        store: the store; see `securestream.services.expiring.SharedStore`.
        prefix: of every key in it.
        clock: the present moment.
        timeout: seconds to wait for an answer; without one the request is refused.
    """

    def __init__(
        self,
        store: SharedStore,
        prefix: bytes = b"securestream:nonce-count:",
        clock: Clock = system_clock,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(_COUNTS, store, prefix, clock, timeout)


def memory_performer() -> Performer:
    """The default performer of `NonceCount`: counts in this process's memory."""
    return MemoryCounts()


def sqlite_performer(path: str | Path) -> Performer:
    """A performer of `NonceCount` for all processes of this machine that name the same file."""
    return SqliteCounts(path)


def shared_performer(store: SharedStore) -> Performer:
    """A performer of `NonceCount` over a store that several machines share."""
    return SharedCounts(store)
