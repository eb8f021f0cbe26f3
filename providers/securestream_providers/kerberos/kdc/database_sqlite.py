"""Principals in one SQLite file, whose keys only the holder of its master key can read."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securestream.ambient import system_random
from securestream.errors import UsageError
from securestream.redaction import Secret
from securestream.services._master_key import MasterKey
from securestream.services._sqlite import Database
from securestream.services.accounts import CorruptStore
from securestream_providers.kerberos.kdc.database_memory import new_domain_sid
from securestream_providers.kerberos.kdc.policy import Lockout
from securestream_providers.kerberos.kdc.principals import FIRST_RID, Activity, KdcPrincipal
from securestream_providers.kerberos.kdc.records import principal_of, record_of
from securestream_providers.krb5.names import KerberosName

_VERSION = 1
_FORMAT = b"\x01"  # of a sealed principal: this octet, 12 of nonce, AES-256-GCM's ciphertext and tag
_KEPT = 4096
_SCHEMA = """
CREATE TABLE store (identity BLOB NOT NULL, proof BLOB NOT NULL, domain_sid TEXT NOT NULL, realm TEXT NOT NULL);
CREATE TABLE principals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    sealed BLOB NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    failed_at REAL NOT NULL DEFAULT 0,
    locked_until REAL NOT NULL DEFAULT 0,
    last_success REAL NOT NULL DEFAULT 0
);
CREATE TABLE aliases (
    alias TEXT PRIMARY KEY,
    principal INTEGER NOT NULL REFERENCES principals (id) ON DELETE CASCADE
) WITHOUT ROWID
"""


class SqlitePrincipals:
    """A store of principals in a SQLite file, for threads and processes at once.

    Keys are what tickets are made of: each principal lies whole under AES-256-GCM, with its row and name as associated
    data, so that neither reading the file nor exchanging or editing rows gives a ticket or a right.

    Args:
        path: the database; made if absent, mode 0600.
        master_key: 32 octets. `None` keeps it in ``<path>.key``, mode 0600, made with the database.
        realm: the realm of a new database; of an existing one it must be the same, unless it is empty.

    Raises:
        UnsafeFile: the database, its key or their folder could be read or exchanged by others.
        CorruptStore: the file is not such a database, or the key is another one's.
        ServiceFailed: the file cannot be read or written.
        UsageError: it is another realm's.
    """

    blocking = True

    def __init__(self, path: str | Path, master_key: bytes | Secret[bytes] | None = None, *, realm: str = "") -> None:
        self._master_key = MasterKey(path, master_key)
        self._new_realm = realm
        self._known: OrderedDict[bytes, KdcPrincipal] = OrderedDict()
        self._database = Database(path, b"SSkd", _VERSION, self._create)
        self._cipher = AESGCM(self._master_key.read())
        with self._database.reading() as connection:
            row = connection.execute("SELECT identity, proof, domain_sid, realm FROM store").fetchone()
        self._identity: bytes = row[0]
        self.domain_sid: str = row[2]
        self.realm: str = row[3]
        try:
            self._cipher.decrypt(row[1][:12], row[1][12:], self._bound_store(self.domain_sid, self.realm))
        except InvalidTag:
            raise self._master_key.is_of_another(path) from None
        if realm and realm != self.realm:
            raise UsageError(f"{path} holds the realm {self.realm}, not {realm}: name another file")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._database.path}>"

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    # --- keys

    def _create(self, connection: sqlite3.Connection) -> None:
        """Fill an empty database; runs within a transaction, so one process alone makes the key."""
        if not self._new_realm:
            raise UsageError("a new database of principals needs a realm")
        self._master_key.make()
        self._identity, nonce, sid = os.urandom(16), os.urandom(12), new_domain_sid(system_random)
        bound = self._bound_store(sid, self._new_realm)
        proof = nonce + AESGCM(self._master_key.read()).encrypt(nonce, b"master key", bound)
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute("INSERT INTO store VALUES (?, ?, ?, ?)", (self._identity, proof, sid, self._new_realm))

    def _bound_store(self, sid: str, realm: str) -> bytes:
        return b"".join((self._identity, sid.encode(), b"\0", realm.encode("utf-8", "surrogatepass")))

    def _bound(self, row: int, name: str) -> bytes:
        return _FORMAT + self._identity + row.to_bytes(8, "big") + name.encode("utf-8", "surrogatepass")

    def _seal(self, row: int, name: str, principal: KdcPrincipal) -> bytes:
        nonce = os.urandom(12)
        plain = json.dumps(record_of(principal)).encode()
        return _FORMAT + nonce + self._cipher.encrypt(nonce, plain, self._bound(row, name))

    def _unseal(self, row: int, name: str, sealed: object) -> KdcPrincipal:
        try:
            if not isinstance(sealed, bytes) or sealed[:1] != _FORMAT:
                raise InvalidTag
            known = self._known.get(sealed)
            if known is not None and str(known.name) == name:
                return known
            plain = self._cipher.decrypt(sealed[1:13], sealed[13:], self._bound(row, name))
        except InvalidTag:
            raise CorruptStore(
                f"the principal {name} of {self._database.path} was altered outside this program: "
                f"remove it and add it again"
            ) from None
        principal = principal_of(json.loads(plain))
        self._known[sealed] = principal
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return principal

    # --- administration

    def put(self, principal: KdcPrincipal) -> None:
        """Store a new principal, or exchange the one of its name; its failures and its lock end.

        Raises:
            UsageError: one of its aliases belongs to another principal, or its realm is another.
        """
        if principal.name.realm != self.realm and not principal.name.is_tgs:
            raise UsageError(f"{principal.name} is not of the realm {self.realm}")
        name = _storable(str(principal.name))
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO principals (name, sealed) VALUES (?, x'')", (name,))
            row, sealed = connection.execute("SELECT id, sealed FROM principals WHERE name = ?", (name,)).fetchone()
            if not principal.rid:
                rid = self._unseal(row, name, sealed).rid if sealed else FIRST_RID - 1 + row
                principal = replace(principal, rid=rid)
            connection.execute(
                "UPDATE principals SET sealed = ?, failures = 0, locked_until = 0 WHERE id = ?",
                (self._seal(row, name, principal), row),
            )
            connection.execute("DELETE FROM aliases WHERE principal = ?", (row,))
            for alias in principal.aliases:
                try:
                    connection.execute("INSERT INTO aliases VALUES (?, ?)", (_storable(alias), row))
                except sqlite3.IntegrityError:
                    raise UsageError(f"the alias {alias} belongs to another principal") from None
        self._database.settle()

    def remove(self, name: KerberosName) -> None:
        """Remove a principal, and what lies of it in the file.

        Raises:
            UsageError: there is none of that name.
        """
        with self._database.transaction() as connection:
            done = connection.execute("DELETE FROM principals WHERE name = ?", (_storable(str(name)),))
            if not done.rowcount:
                raise UsageError(f"there is no principal {name}")
        self._database.settle()

    def listing(self) -> tuple[KdcPrincipal, ...]:
        """All principals, by name."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT id, name, sealed FROM principals ORDER BY name").fetchall()
        return tuple(self._unseal(*row) for row in rows)

    # --- PrincipalDatabase

    def find(self, name: KerberosName) -> KdcPrincipal | None:
        """The principal of exactly this name, or `None`."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT id, name, sealed FROM principals WHERE name = ?", (_storable(str(name)),)
            ).fetchone()
        found = None if row is None else self._unseal(*row)
        return found if found is not None and found.name == name else None

    def find_alias(self, alias: str) -> KdcPrincipal | None:
        """The principal with this alias, or `None`."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT id, name, sealed FROM principals WHERE id = (SELECT principal FROM aliases WHERE alias = ?)",
                (_storable(alias),),
            ).fetchone()
        found = None if row is None else self._unseal(*row)
        return found if found is not None and alias in found.aliases else None  # the sealed names count

    def begin_attempt(self, name: KerberosName, now: datetime, lockout: Lockout | None) -> bool:
        """Count an attempt as failed before it is judged; False while the principal is locked."""
        if lockout is None:
            return True
        moment = now.timestamp()
        values = {
            "name": _storable(str(name)),
            "now": moment,
            "begun": moment - lockout.window.total_seconds(),
            "most": lockout.failures,
            "until": moment + lockout.duration.total_seconds(),
        }
        with self._database.transaction() as connection:
            row = connection.execute("SELECT locked_until FROM principals WHERE name = :name", values).fetchone()
            if row is None:
                return True
            if moment < row[0]:
                return False
            connection.execute(
                "UPDATE principals SET failed_at = :now, "
                "failures = CASE WHEN failed_at > :begun THEN failures + 1 ELSE 1 END WHERE name = :name",
                values,
            )
            connection.execute(
                "UPDATE principals SET failures = 0, locked_until = :until WHERE name = :name AND failures >= :most",
                values,
            )
        return True

    def attempt_succeeded(self, name: KerberosName, now: datetime) -> None:
        """Forget the failures of a principal who proved its key."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE principals SET failures = 0, locked_until = 0, last_success = ? WHERE name = ?",
                (now.timestamp(), _storable(str(name))),
            )

    def activity(self, name: KerberosName, now: datetime) -> Activity:
        """What is known of its logons."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT locked_until, last_success FROM principals WHERE name = ?", (_storable(str(name)),)
            ).fetchone()
        if row is None:
            return Activity()
        locked = datetime.fromtimestamp(row[0], UTC) if now.timestamp() < row[0] else None
        return Activity(locked, datetime.fromtimestamp(row[1], UTC) if row[1] else None)


def _storable(name: str) -> str:
    """A peer's name without what SQLite cannot take as text: lone surrogates, which no principal's name has."""
    return name.encode("utf-8", "replace").decode("utf-8")
