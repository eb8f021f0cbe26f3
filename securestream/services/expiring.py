"""Memories of what was used, each entry until it expires: in this process, in SQLite, and in shared stores.

All of them answer one atomic question, refuse what has expired, and refuse everything new while they are full: a live
entry is never pushed out, since an attacker could then push out the one that he wants to use again.
"""

from __future__ import annotations

import heapq
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import anyio

from securestream.drive import Performer
from securestream.errors import LimitExceeded, UsageError
from securestream.options import Clock
from securestream.provider import Effect
from securestream.services._sqlite import Database

E = TypeVar("E", bound=Effect[bool])

GRACE: Final = timedelta(minutes=5)
"""How long an entry is kept beyond its expiry, against a clock that is set back."""

_PURGED_AT_ONCE: Final = 16
"""Expired entries that one question removes; more than it adds, so that none piles up."""


class Use(NamedTuple):
    """One use, as a question asks for it.

    Args:
        key: of the entry.
        expires: from when on the asker refuses it anyway, aware UTC; that of an entry's first use holds.
        change: from what is kept of the entry, `None` for nothing, to what is kept from now on; `None` if it was used.
        once: stands for this use alone where nothing can be kept but keys.
    """

    key: bytes
    expires: datetime
    change: Callable[[bytes | None], bytes | None]
    once: bytes


@dataclass(frozen=True)
class Kind(Generic[E]):
    """What a memory is of.

    Args:
        use: reads the effect that asks.
        full: what whoever asks is told when there is no room.
        application: of a SQLite file, four octets; see `Database`.
        owner: how many octets at the beginning of each key say whose the entry is; none where it is nobody's. An owner
            gets no further entry when those that he has are as many as there is room left: one alone leaves half of
            it, two together a third, and so for all others there is always some.
        share: what whoever asks is told then.
    """

    use: Callable[[E], Use]
    full: str
    application: bytes
    owner: int = 0
    share: str = ""

    def check(self, owned: int, kept: int, entries: int) -> None:
        """Refuse one entry more.

        Args:
            owned: live entries of its owner.
            kept: live entries of all.
            entries: how many there may be.

        Raises:
            LimitExceeded: there is no room, or none for this owner.
        """
        if kept >= entries:
            raise LimitExceeded(self.full)
        if owned >= entries - kept:
            raise LimitExceeded(self.share)


class ExpiringMemory(Performer, Generic[E]):
    """A memory within one process. Safe for threads and event loops at once; asks no thread.

    Args:
        kind: what of.
        entries: live entries at most.
        clock: the present moment.

    Raises:
        UsageError: there is no room for an entry.
    """

    def __init__(self, kind: Kind[E], entries: int, clock: Clock) -> None:
        self._kind = kind
        self._entries = _checked(entries)
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[bytes, bytes] = {}
        self._owned: dict[bytes, int] = {}
        self._ends: list[tuple[float, bytes]] = []  # a heap of expiry and key

    async def perform(self, effect: E) -> bool:
        """Whether it was unused; never waits."""
        return self.perform_blocking(effect)

    def perform_blocking(self, effect: E) -> bool:
        """Whether it was unused; records it.

        Raises:
            LimitExceeded: there is no room; nothing was recorded.
        """
        use, now = self._kind.use(effect), self._clock()
        with self._lock:
            forgotten = (now - GRACE).timestamp()
            while self._ends and self._ends[0][0] <= forgotten:
                self._forget(heapq.heappop(self._ends)[1])
            if use.expires <= now:
                return False
            before = self._kept.get(use.key)
            after = use.change(before)
            if after is None:
                return False
            if before is None:
                self._admit(use.key)
                heapq.heappush(self._ends, (use.expires.timestamp(), use.key))
            self._kept[use.key] = after
            return True

    def _admit(self, key: bytes) -> None:
        owner = key[: self._kind.owner]
        owned = self._owned.get(owner, 0)
        self._kind.check(owned, len(self._kept), self._entries)
        if owner:
            self._owned[owner] = owned + 1

    def _forget(self, key: bytes) -> None:
        del self._kept[key]
        if owner := key[: self._kind.owner]:
            owned = self._owned.pop(owner) - 1
            if owned:
                self._owned[owner] = owned


class ExpiringFile(Performer, Generic[E]):
    """A memory in a SQLite file, for all the processes of a machine that name it.

    The file is made if absent, mode 0600. It is not forced to the disk at each use: after a failure of power, what was
    used in its last moments may be missing.

    Args:
        kind: what of.
        path: the file.
        entries: live entries at most.
        clock: the present moment.

    Raises:
        UsageError: there is no room for an entry.
        UnsafeFile: the file or its folder could be read or exchanged by others.
        CorruptStore: the file is something else.
    """

    def __init__(self, kind: Kind[E], path: str | Path, entries: int, clock: Clock) -> None:
        self._kind = kind
        self._entries = _checked(entries)
        self._clock = clock
        self._database = Database(path, kind.application, 2, _create)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    def perform_blocking(self, effect: E) -> bool:
        """Whether it was unused, in any process; records it.

        Raises:
            LimitExceeded: there is no room; nothing was recorded.
            ServiceFailed: the file cannot be used.
        """
        use, now = self._kind.use(effect), self._clock()
        if use.expires <= now:
            return False
        with self._database.transaction() as connection:
            self._purge(connection, (now - GRACE).timestamp())
            row = connection.execute("SELECT value FROM kept WHERE key = ?", (use.key,)).fetchone()
            after = use.change(None if row is None else row[0])
            if after is None:
                return False
            if row is None:
                self._admit(connection, use.key)
            connection.execute(
                "INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (use.key, after, use.expires.timestamp()),
            )
        return True

    def _admit(self, connection: sqlite3.Connection, key: bytes) -> None:
        owner = key[: self._kind.owner]
        owned: list[tuple[int]] = []
        if owner:
            owned = connection.execute("SELECT entries FROM owned WHERE owner = ?", (owner,)).fetchall()
        (kept,) = connection.execute("SELECT entries FROM size").fetchone()
        self._kind.check(owned[0][0] if owned else 0, kept, self._entries)
        connection.execute("UPDATE size SET entries = entries + 1")
        if owner:
            connection.execute(
                "INSERT INTO owned VALUES (?, 1) ON CONFLICT (owner) DO UPDATE SET entries = entries + 1", (owner,)
            )

    def _purge(self, connection: sqlite3.Connection, forgotten: float) -> None:
        found: list[tuple[bytes]] = connection.execute(
            "SELECT key FROM kept WHERE expires <= ? ORDER BY expires LIMIT ?", (forgotten, _PURGED_AT_ONCE)
        ).fetchall()
        if not found:
            return
        connection.executemany("DELETE FROM kept WHERE key = ?", found)
        connection.execute("UPDATE size SET entries = entries - ?", (len(found),))
        if self._kind.owner:
            owners = [(key[: self._kind.owner],) for (key,) in found]
            connection.executemany("UPDATE owned SET entries = entries - 1 WHERE owner = ?", owners)
            connection.executemany("DELETE FROM owned WHERE owner = ? AND entries < 1", owners)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE kept (key BLOB PRIMARY KEY, value BLOB NOT NULL, expires REAL NOT NULL) WITHOUT ROWID"
    )
    connection.execute("CREATE INDEX kept_by_expiry ON kept (expires)")
    connection.execute("CREATE TABLE size (entries INTEGER NOT NULL)")
    connection.execute("INSERT INTO size VALUES (0)")
    connection.execute("CREATE TABLE owned (owner BLOB PRIMARY KEY, entries INTEGER NOT NULL) WITHOUT ROWID")


class SharedStore(Protocol):
    """What a store that several machines share must do; ``redis.asyncio.Redis`` does it as it is.

    It must be set to refuse rather than to evict (Redis: ``maxmemory-policy noeviction``), and be one node, or one
    that forgets no acknowledged write.
    """

    def set(self, name: bytes, value: bytes, *, nx: bool, px: int) -> Awaitable[object]:
        """Set `name` for `px` milliseconds if it is not set (`nx`): true, or a false value if it was set."""
        ...


class ExpiringShared(Performer, Generic[E]):
    """A memory in a store of the network, with a key for each use; for asynchronous callers alone.

    Args:
        kind: what of.
        store: the store.
        prefix: of every key in it.
        clock: the present moment.
        timeout: seconds to wait for an answer; without one whoever asks is refused.
    """

    def __init__(self, kind: Kind[E], store: SharedStore, prefix: bytes, clock: Clock, timeout: float) -> None:
        self._kind = kind
        self._store = store
        self._prefix = prefix
        self._clock = clock
        self._timeout = timeout

    async def perform(self, effect: E) -> bool:
        """Whether it was unused, on any machine; records it.

        Raises:
            TimeoutError: no answer; the driver makes a `ServiceFailed` of it.
        """
        use, now = self._kind.use(effect), self._clock()
        if use.expires <= now or use.change(None) is None:
            return False
        kept = use.expires - now + GRACE
        with anyio.fail_after(self._timeout):
            answer = await self._store.set(
                self._prefix + use.once, b"1", nx=True, px=-(-kept // timedelta(milliseconds=1))
            )
        return bool(answer)


def _checked(entries: int) -> int:
    if entries < 1:
        raise UsageError("a memory of what was used needs room for at least one entry")
    return entries
