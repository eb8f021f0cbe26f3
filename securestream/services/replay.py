"""Who performs `FirstUse`: caches of what was used once, in memory, in SQLite, and in stores that machines share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from securestream.ambient import system_clock
from securestream.drive import Performer
from securestream.options import Clock
from securestream.provider import FirstUse
from securestream.services.expiring import ExpiringFile, ExpiringMemory, ExpiringShared, Kind, SharedStore, Use

MEMORY_ENTRIES: Final = 200_000
"""Live entries of a cache in memory: about 40 MB, and 650 logons a second with the 5 minutes of Kerberos."""

SQLITE_ENTRIES: Final = 2_000_000
"""Live entries of a cache in SQLite: about 200 MB of disk."""


def _first(kept: bytes | None) -> bytes | None:
    return b"" if kept is None else None


def _use(effect: FirstUse) -> Use:
    return Use(effect.key, effect.expires, _first, effect.key)


_REPLAY: Final = Kind(
    _use,
    "the replay cache is full of live entries: give it more room, or see who is flooding this server",
    b"SSrp",
)


class MemoryReplay(ExpiringMemory[FirstUse]):
    """A cache within one process; see `ExpiringMemory`.

    Args:
        entries: live entries at most.
        clock: the present moment.
    """

    def __init__(self, entries: int = MEMORY_ENTRIES, clock: Clock = system_clock) -> None:
        super().__init__(_REPLAY, entries, clock)


class SqliteReplay(ExpiringFile[FirstUse]):
    """A cache in a SQLite file, for all the processes of a machine that serve one name; see `ExpiringFile`.

    Args:
        path: the file.
        entries: live entries at most.
        clock: the present moment.

    Raises:
        UnsafeFile: the file or its folder could be read or exchanged by others.
        CorruptStore: the file is something else.
    """

    def __init__(self, path: str | Path, entries: int = SQLITE_ENTRIES, clock: Clock = system_clock) -> None:
        super().__init__(_REPLAY, path, entries, clock)


class SharedReplay(ExpiringShared[FirstUse]):
    """A cache in a store of the network.

    Args:
        store: the store.
        prefix: of every key in it.
        clock: the present moment.
        timeout: seconds to wait for an answer; without one the logon is refused.
    """

    def __init__(
        self,
        store: SharedStore,
        prefix: bytes = b"securestream:first-use:",
        clock: Clock = system_clock,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(_REPLAY, store, prefix, clock, timeout)


def memory_performer() -> Performer:
    """The default performer of `FirstUse`: a cache in this process's memory."""
    return MemoryReplay()


def sqlite_performer(path: str | Path) -> Performer:
    """A performer of `FirstUse` for all processes of this machine that name the same file."""
    return SqliteReplay(path)


def shared_performer(store: SharedStore) -> Performer:
    """A performer of `FirstUse` over a store that several machines share."""
    return SharedReplay(store)
