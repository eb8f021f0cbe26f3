"""SQLite files that several threads and processes share, opened so that nobody else can read or exchange them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator
from pathlib import Path

from securestream.errors import ServiceFailed
from securestream.files import check_folder, create_private
from securestream.fork import discard_in_child
from securestream.services.accounts import CorruptStore

WAIT = 10.0
"""Seconds that a writer waits for another process's transaction."""


class Database:
    """One SQLite database: one connection, one lock.

    The database and its -wal and -shm files are there with mode 0600 before SQLite opens them (SECURITY: stores). A
    forked child opens a connection of its own: SQLite forbids the use of an inherited one.

    Args:
        path: the file; made if absent.
        application: what the file is, four octets kept in its header (``PRAGMA application_id``).
        version: of the schema (``PRAGMA user_version``).
        create: fills an empty database, within a transaction.

    Raises:
        UnsafeFile: the file or its folder could be read or exchanged by others.
        CorruptStore: the file is no database of this kind and version.
    """

    def __init__(
        self, path: str | Path, application: bytes, version: int, create: Callable[[sqlite3.Connection], None]
    ) -> None:
        self.path = Path(path).absolute()
        self._application = int.from_bytes(application, "big")
        self._version = version
        self._create = create
        self._connection: sqlite3.Connection | None = None
        self._closing: weakref.finalize[[], Database] | None = None
        self._inherited: list[sqlite3.Connection | None] = []
        self._lock = threading.Lock()
        with self.transaction():
            pass
        discard_in_child(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def discard(self) -> None:
        """In a forked child: forget the parent's connection, without closing it, and whoever held the lock."""
        if self._closing is not None:
            self._closing.detach()
            self._closing = None
        self._inherited.append(self._connection)
        self._connection = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            if self._closing is not None:
                self._closing()
            self._closing = self._connection = None

    @contextlib.contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """The connection, for one query."""
        with self._lock, self._translated():
            yield self._open()

    @contextlib.contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """The connection within a transaction that no other process's write interleaves."""
        with self._lock, self._translated():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:  # whatever it was, half a change must not stay
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def settle(self) -> None:
        """Bring what was written into the database file and onto the disk, so that -wal keeps nothing deleted."""
        with self._lock, self._translated():
            self._open().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            check_folder(self.path.parent)
            for suffix in ("", "-wal", "-shm"):
                create_private(f"{self.path}{suffix}")
            connection = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
            except BaseException:  # an unusable connection is nobody's
                connection.close()
                raise
            self._connection = connection
            # A store lives as long as its program mostly, and nobody need close it; Python 3.13 warns of connections
            # that are collected open. A `__del__` would come too late where both are collected as parts of a cycle.
            self._closing = weakref.finalize(self, connection.close)
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._check(connection)
        except BaseException:  # as in transaction
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        _use_wal(connection)

    def _check(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not application and not tables:
            self._create(connection)
            connection.execute(f"PRAGMA application_id = {self._application}")
            connection.execute(f"PRAGMA user_version = {self._version}")
        elif application != self._application:
            raise CorruptStore(f"{self.path} is a database of something else: name another file")
        elif version != self._version:
            raise CorruptStore(
                f"{self.path} has schema version {version}, this program knows {self._version}: "
                f"use the release that wrote it"
            )

    @contextlib.contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ServiceFailed(f"{self.path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise CorruptStore(f"{self.path} is no sound database: {error}; restore it from a copy") from error
        except OSError as error:
            name = os.strerror(error.errno) if error.errno else str(error)
            raise ServiceFailed(f"{self.path} cannot be opened: {name}") from error


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, which SQLite refuses at once, without its waiting, while others write."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return
