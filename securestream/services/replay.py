"""Who performs `FirstUse`: caches of what was used once, in memory, in SQLite across processes, and in shared stores.

All of them answer one atomic question, refuse what has expired, and refuse everything new while they are full: a live
entry is never pushed out, since an attacker could then push out the one that he wants to use again.
"""

from __future__ import annotations

import heapq
import sqlite3
import threading
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from securestream.ambient import system_clock
from securestream.drive import Performer
from securestream.errors import LimitExceeded, MissingService, UsageError
from securestream.options import Clock
from securestream.provider import FirstUse

if TYPE_CHECKING:
    from securestream.services._sqlite import Database

MEMORY_ENTRIES: Final = 200_000
"""Live entries of a cache in memory: about 40 MB, and 650 logons a second with the 5 minutes of Kerberos."""

SQLITE_ENTRIES: Final = 2_000_000
"""Live entries of a cache in SQLite: about 200 MB of disk."""

GRACE: Final = timedelta(minutes=5)
"""How long an entry is kept beyond its expiry, against a clock that is set back."""

_PURGED_AT_ONCE: Final = 16
"""Expired entries that one question removes; more than it adds, so that none piles up."""


class MemoryReplay(Performer):
    """A cache within one process. Safe for threads and event loops at once; asks no thread.

    Args:
        entries: live entries at most.
        clock: the present moment.
    """

    def __init__(self, entries: int = MEMORY_ENTRIES, clock: Clock = system_clock) -> None:
        if entries < 1:
            raise UsageError("a replay cache needs room for at least one entry")
        self._entries = entries
        self._clock = clock
        self._lock = threading.Lock()
        self._used: set[bytes] = set()
        self._ends: list[tuple[float, bytes]] = []  # a heap of expiry and key

    async def perform(self, effect: FirstUse) -> bool:
        """Whether this is the first use; never waits."""
        return self.perform_blocking(effect)

    def perform_blocking(self, effect: FirstUse) -> bool:
        """Whether this is the first use of the key; records it.

        Raises:
            LimitExceeded: there is no room; nothing was recorded.
        """
        now, ends = self._clock(), effect.expires.timestamp()
        with self._lock:
            forgotten = (now - GRACE).timestamp()
            while self._ends and self._ends[0][0] <= forgotten:
                self._used.discard(heapq.heappop(self._ends)[1])
            if effect.key in self._used or effect.expires <= now:
                return False
            if len(self._used) >= self._entries:
                raise _full()
            self._used.add(effect.key)
            heapq.heappush(self._ends, (ends, effect.key))
            return True


class SqliteReplay(Performer):
    """A cache in a SQLite file, for all the processes of a machine that serve one name.

    The file is made if absent, mode 0600. It is not forced to the disk at each use: after a failure of power, what was
    used in its last moments may be missing.

    Args:
        path: the file.
        entries: live entries at most.
        clock: the present moment.

    Raises:
        UnsafeFile: the file or its folder could be read or exchanged by others.
        CorruptStore: the file is something else.
    """

    def __init__(self, path: str | Path, entries: int = SQLITE_ENTRIES, clock: Clock = system_clock) -> None:
        from securestream.services._sqlite import Database

        if entries < 1:
            raise UsageError("a replay cache needs room for at least one entry")
        self._entries = entries
        self._clock = clock
        self._database: Database = Database(path, b"SSrp", 1, _create)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    def perform_blocking(self, effect: FirstUse) -> bool:
        """Whether this is the first use of the key, in any process; records it.

        Raises:
            LimitExceeded: there is no room; nothing was recorded.
            ServiceFailed: the file cannot be used.
        """
        now, ends = self._clock(), effect.expires.timestamp()
        if effect.expires <= now:
            return False
        with self._database.transaction() as connection:
            purged = connection.execute(
                "DELETE FROM used WHERE key IN (SELECT key FROM used WHERE expires <= ? ORDER BY expires LIMIT ?)",
                ((now - GRACE).timestamp(), _PURGED_AT_ONCE),
            ).rowcount
            added = connection.execute("INSERT OR IGNORE INTO used VALUES (?, ?)", (effect.key, ends)).rowcount
            connection.execute("UPDATE size SET entries = entries + ?", (added - purged,))
            (count,) = connection.execute("SELECT entries FROM size").fetchone()
            if added and count > self._entries:
                raise _full()  # rolls back
        return bool(added)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE used (key BLOB PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID")
    connection.execute("CREATE INDEX used_by_expiry ON used (expires)")
    connection.execute("CREATE TABLE size (entries INTEGER NOT NULL)")
    connection.execute("INSERT INTO size VALUES (0)")


class SharedStore(Protocol):
    """What a store that several machines share must do; ``redis.asyncio.Redis`` does it as it is.

    It must be set to refuse rather than to evict (Redis: ``maxmemory-policy noeviction``), and be one node, or one
    that forgets no acknowledged write.
    """

    def set(self, name: bytes, value: bytes, *, nx: bool, px: int) -> Awaitable[object]:
        """Set `name` for `px` milliseconds if it is not set (`nx`): true, or a false value if it was set."""
        ...


class SharedReplay(Performer):
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
        self._store = store
        self._prefix = prefix
        self._clock = clock
        self._timeout = timeout

    async def perform(self, effect: FirstUse) -> bool:
        """Whether this is the first use of the key, on any machine; records it.

        Raises:
            TimeoutError: no answer; the driver makes a `ServiceFailed` of it.
        """
        now = self._clock()
        if effect.expires <= now:
            return False
        kept = effect.expires - now + GRACE
        with anyio.fail_after(self._timeout):
            answer = await self._store.set(
                self._prefix + effect.key, b"1", nx=True, px=-(-kept // timedelta(milliseconds=1))
            )
        return bool(answer)

    def perform_blocking(self, effect: FirstUse) -> bool:
        """The store is asynchronous: blocking callers need another.

        Raises:
            MissingService: always.
        """
        raise MissingService(type(effect))


def _full() -> LimitExceeded:
    return LimitExceeded(
        "the replay cache is full of live entries: give it more room, or see who is flooding this server"
    )


def memory_performer() -> Performer:
    """The default performer of `FirstUse`: a cache in this process's memory."""
    return MemoryReplay()


def sqlite_performer(path: str | Path) -> Performer:
    """A performer of `FirstUse` for all processes of this machine that name the same file."""
    return SqliteReplay(path)


def shared_performer(store: SharedStore) -> Performer:
    """A performer of `FirstUse` over a store that several machines share."""
    return SharedReplay(store)
