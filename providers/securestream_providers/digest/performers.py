"""Who performs `NonceCount`: counts in memory, in SQLite across processes, and in shared stores.

Like replay caches, they refuse while they are full and never push a live nonce out.
"""

from __future__ import annotations

import heapq
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from securestream.ambient import system_clock
from securestream.drive import Performer
from securestream.errors import LimitExceeded, MissingService, UsageError
from securestream.options import Clock
from securestream.services.replay import GRACE, SharedStore
from securestream_providers.digest.counts import WINDOW, NonceCount, Window

if TYPE_CHECKING:
    from securestream.services._sqlite import Database

MEMORY_NONCES: Final = 200_000
"""Live nonces whose counts are remembered in memory: about 60 MB."""

SQLITE_NONCES: Final = 2_000_000
"""Live nonces whose counts are remembered in SQLite: about 200 MB of disk."""

_PURGED_AT_ONCE: Final = 16
_OCTETS: Final = WINDOW // 8


class MemoryCounts(Performer):
    """Counts within one process. Safe for threads and event loops at once; asks no thread.

    Args:
        nonces: live nonces at most.
        clock: the present moment.
    """

    def __init__(self, nonces: int = MEMORY_NONCES, clock: Clock = system_clock) -> None:
        if nonces < 1:
            raise UsageError("nonce counts need room for at least one nonce")
        self._nonces = nonces
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[bytes, Window] = {}
        self._ends: list[tuple[float, bytes]] = []  # a heap of expiry and nonce

    async def perform(self, effect: NonceCount) -> bool:
        """Whether the count was unused; never waits."""
        return self.perform_blocking(effect)

    def perform_blocking(self, effect: NonceCount) -> bool:
        """Whether the count was unused; records it.

        Raises:
            LimitExceeded: there is no room; nothing was recorded.
        """
        now = self._clock()
        with self._lock:
            forgotten = (now - GRACE).timestamp()
            while self._ends and self._ends[0][0] <= forgotten:
                self._windows.pop(heapq.heappop(self._ends)[1], None)
            if effect.expires <= now:
                return False
            window = self._windows.get(effect.nonce)
            used = (window or Window()).use(effect.count)
            if used is None:
                return False
            if window is None:
                if len(self._windows) >= self._nonces:
                    raise _full()
                heapq.heappush(self._ends, (effect.expires.timestamp(), effect.nonce))
            self._windows[effect.nonce] = used
            return True


class SqliteCounts(Performer):
    """Counts in a SQLite file, for all the processes of a machine that share the nonces' key.

    The file is made if absent, mode 0600. It is not forced to the disk at each use.

    Args:
        path: the file.
        nonces: live nonces at most.
        clock: the present moment.

    Raises:
        UnsafeFile: the file or its folder could be read or exchanged by others.
        CorruptStore: the file is something else.
    """

    def __init__(self, path: str | Path, nonces: int = SQLITE_NONCES, clock: Clock = system_clock) -> None:
        from securestream.services._sqlite import Database

        if nonces < 1:
            raise UsageError("nonce counts need room for at least one nonce")
        self._nonces = nonces
        self._clock = clock
        self._database: Database = Database(path, b"SSnc", 1, _create)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    def perform_blocking(self, effect: NonceCount) -> bool:
        """Whether the count was unused, in any process; records it.

        Raises:
            LimitExceeded: there is no room; nothing was recorded.
            ServiceFailed: the file cannot be used.
        """
        now = self._clock()
        if effect.expires <= now:
            return False
        with self._database.transaction() as connection:
            purged = connection.execute(
                "DELETE FROM counts WHERE nonce IN (SELECT nonce FROM counts WHERE expires <= ? ORDER BY expires "
                "LIMIT ?)",
                ((now - GRACE).timestamp(), _PURGED_AT_ONCE),
            ).rowcount
            row = connection.execute("SELECT highest, used FROM counts WHERE nonce = ?", (effect.nonce,)).fetchone()
            window = Window() if row is None else Window(row[0], int.from_bytes(row[1], "big"))
            used = window.use(effect.count)
            if used is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?)",
                    (effect.nonce, used.highest, used.used.to_bytes(_OCTETS, "big"), effect.expires.timestamp()),
                )
            added = int(row is None and used is not None)
            connection.execute("UPDATE size SET entries = entries + ?", (added - purged,))
            (entries,) = connection.execute("SELECT entries FROM size").fetchone()
            if added and entries > self._nonces:
                raise _full()  # rolls back
        return used is not None


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE counts (nonce BLOB PRIMARY KEY, highest INTEGER NOT NULL, used BLOB NOT NULL, "
        "expires REAL NOT NULL) WITHOUT ROWID"
    )
    connection.execute("CREATE INDEX counts_by_expiry ON counts (expires)")
    connection.execute("CREATE TABLE size (entries INTEGER NOT NULL)")
    connection.execute("INSERT INTO size VALUES (0)")


class SharedCounts(Performer):
    """Counts in a store of the network: one key for each count, so that any that is unused counts.

    Args:
        store: the store; see `securestream.services.replay.SharedStore`.
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
        self._store = store
        self._prefix = prefix
        self._clock = clock
        self._timeout = timeout

    async def perform(self, effect: NonceCount) -> bool:
        """Whether the count was unused, on any machine; records it.

        Raises:
            TimeoutError: no answer; the driver makes a `ServiceFailed` of it.
        """
        now = self._clock()
        if effect.expires <= now or Window().use(effect.count) is None:
            return False
        key = self._prefix + effect.count.to_bytes(4, "big") + effect.nonce
        kept = effect.expires - now + GRACE
        with anyio.fail_after(self._timeout):
            answer = await self._store.set(key, b"1", nx=True, px=-(-kept // timedelta(milliseconds=1)))
        return bool(answer)

    def perform_blocking(self, effect: NonceCount) -> bool:
        """The store is asynchronous: blocking callers need another.

        Raises:
            MissingService: always.
        """
        raise MissingService(type(effect))


def _full() -> LimitExceeded:
    return LimitExceeded("the memory of nonce counts is full of live nonces: give it more room, or shorten `lifetime`")


def memory_performer() -> Performer:
    """The default performer of `NonceCount`: counts in this process's memory."""
    return MemoryCounts()


def sqlite_performer(path: str | Path) -> Performer:
    """A performer of `NonceCount` for all processes of this machine that name the same file."""
    return SqliteCounts(path)


def shared_performer(store: SharedStore) -> Performer:
    """A performer of `NonceCount` over a store that several machines share."""
    return SharedCounts(store)
