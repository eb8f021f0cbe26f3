"""The embedded account store: one SQLite file, whose hashes only the holder of its master key can read."""

from __future__ import annotations

import hmac
import os
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securestream.credentials import join_name
from securestream.errors import UsageError
from securestream.redaction import Secret
from securestream.services._master_key import MasterKey
from securestream.services._sqlite import Database
from securestream.services.accounts import Account, CorruptStore, Listing, checked_name, name_key
from securestream.services.failures import Lockout, Throttle, source_key
from securestream.services.nt_hash import nt_hash as hash_of
from securestream.services.verifiers import DIGESTS, VerifierKey, checked_realm, salt_of, user_hash, verifiers_of

NOBODY = 0
"""The row that stands for unknown names, so that a logon under one writes as much as any other."""

_VERSION = 2
_FORMAT = b"\x01"  # of a sealed hash: this octet, 12 of nonce, AES-256-GCM's ciphertext and tag
_SCHEMA = """
CREATE TABLE store (identity BLOB NOT NULL, proof BLOB NOT NULL);
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    domain TEXT NOT NULL,
    name_key TEXT NOT NULL,
    domain_key TEXT NOT NULL,
    sid TEXT,
    disabled INTEGER NOT NULL DEFAULT 0,
    sealed BLOB NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    failed_at REAL NOT NULL DEFAULT 0,
    locked_until REAL NOT NULL DEFAULT 0,
    UNIQUE (name_key, domain_key)
);
CREATE TABLE sources (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    failures INTEGER NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (account, source)
) WITHOUT ROWID;
CREATE TABLE verifiers (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    realm TEXT NOT NULL,
    user_hash BLOB,
    sealed BLOB NOT NULL,
    PRIMARY KEY (account, kind, realm)
) WITHOUT ROWID;
CREATE INDEX verifiers_by_user ON verifiers (user_hash, kind, realm);
CREATE INDEX sources_by_age ON sources (since);
"""
_COLUMNS = "id, name, domain, sid, disabled, accounts.sealed, locked_until"


class SqliteAccounts:
    r"""An account store in a SQLite file, for threads and processes at once. Names are ``DOMAIN\user`` or ``user``.

    NT hashes are password equivalents: each lies under AES-256-GCM with its row's identity, name, SID and disabled flag
    as associated data, so that neither reading the file nor exchanging or editing rows gives a logon. Verifiers for
    Digest and SCRAM lie likewise, each with its account, kind and realm.

    Args:
        path: the database; made if absent, mode 0600.
        master_key: 32 octets. `None` keeps it in ``<path>.key``, mode 0600, made with the database.
        throttle: when a source address is refused for an account; `None` for never.
        lockout: when an account is refused for everybody; `None`, the default, for never.

    Raises:
        UnsafeFile: the database, its key or their folder could be read or exchanged by others.
        CorruptStore: the file is not such a database, or the key is another one's.
        ServiceFailed: the file cannot be read or written.
    """

    blocking = True

    def __init__(
        self,
        path: str | Path,
        master_key: bytes | Secret[bytes] | None = None,
        *,
        throttle: Throttle | None = Throttle(),  # noqa: B008  an immutable value
        lockout: Lockout | None = None,
    ) -> None:
        self._master_key = MasterKey(path, master_key)
        self._throttle = throttle
        self._lockout = lockout
        self._database = Database(path, b"SSac", _VERSION, self._create)
        self._cipher = AESGCM(self._master_key.read())
        self._identity: bytes
        with self._database.reading() as connection:
            self._identity, proof = connection.execute("SELECT identity, proof FROM store").fetchone()
        try:
            self._cipher.decrypt(proof[:12], proof[12:], self._identity)
        except InvalidTag:
            raise self._master_key.is_of_another(path) from None
        # the same in every process and after every start, since the salts of unknown names are derived from it
        self._decoy = Secret(hmac.digest(self._master_key.read(), b"decoy" + self._identity, "sha256")[:16])
        self._nobody = self._seal(NOBODY, "", "", None, disabled=True, nt_hash=self._decoy.reveal())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._database.path}>"

    @property
    def decoy(self) -> Secret[bytes]:
        """A key of this store, derived from its master key, that stands for the hash of an unknown user."""
        return self._decoy

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    # --- keys

    def _create(self, connection: sqlite3.Connection) -> None:
        """Fill an empty database; runs within a transaction, so one process alone makes the key."""
        self._master_key.make()
        identity, nonce = os.urandom(16), os.urandom(12)
        proof = nonce + AESGCM(self._master_key.read()).encrypt(nonce, b"master key", identity)
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute("INSERT INTO store VALUES (?, ?)", (identity, proof))
        connection.execute(
            "INSERT INTO accounts (id, name, domain, name_key, domain_key, disabled, sealed) "
            "VALUES (?, '', '', '', '', 1, x'')",
            (NOBODY,),
        )

    def _bound(self, row: int, *parts: str) -> bytes:
        """Associated data: the store, the row and what it says, each part with its length."""
        encoded = (part.encode("utf-8", "surrogatepass") for part in parts)
        prefix = _FORMAT + self._identity + row.to_bytes(8, "big")
        return prefix + b"".join(len(part).to_bytes(4, "big") + part for part in encoded)

    def _bound_to(self, row: int, name: str, domain: str, sid: str | None, *, disabled: bool) -> bytes:
        """The associated data of an NT hash: everything of a row that a logon relies on."""
        state = "disabled" if disabled else "enabled"
        return self._bound(row, name, domain, "-" if sid is None else "+" + sid, state)

    def _bound_verifier(self, row: int, name: str, domain: str, key: VerifierKey) -> bytes:
        return self._bound(row, name, domain, "verifier", *key)

    def _encrypt(self, octets: bytes, bound: bytes) -> bytes:
        nonce = os.urandom(12)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, octets, bound)

    def _decrypt(self, row: int, sealed: object, bound: bytes) -> bytes:
        try:
            if not isinstance(sealed, bytes) or sealed[:1] != _FORMAT:
                raise InvalidTag
            octets: bytes = self._cipher.decrypt(sealed[1:13], sealed[13:], bound)
        except InvalidTag:
            raise CorruptStore(
                f"account {row} of {self._database.path} was altered outside this program: set its password anew"
            ) from None
        return octets

    def _seal(self, row: int, name: str, domain: str, sid: str | None, *, disabled: bool, nt_hash: bytes) -> bytes:
        return self._encrypt(nt_hash, self._bound_to(row, name, domain, sid, disabled=disabled))

    def _unseal(self, row: int, name: str, domain: str, sid: str | None, *, disabled: bool, sealed: object) -> bytes:
        return self._decrypt(row, sealed, self._bound_to(row, name, domain, sid, disabled=disabled))

    # --- administration

    def add(self, name: str, password: str, *, sid: str | None = None, realms: Iterable[str] = ()) -> None:
        """Add an account, or give an existing one a new password; whether it is disabled stays as it is.

        Args:
            name: the account's.
            password: its password.
            sid: its security identifier; `None` leaves an existing one.
            realms: for which realms verifiers of Digest are kept, besides those for which the account has some.

        Raises:
            UsageError: the name or a realm cannot be one.
        """
        secret = Secret(password)
        del password  # as for a credential
        self._write(name, hash_of(secret.reveal()), sid, secret, tuple(map(checked_realm, realms)))

    def add_hash(self, name: str, nt_hash: bytes, *, sid: str | None = None) -> None:
        """`add` for a caller who has the NT hash (16 octets) and not the password; such an account has no verifiers.

        Raises:
            UsageError: the name cannot be one, or `nt_hash` is no such hash.
        """
        if len(nt_hash) != 16:
            raise UsageError(f"an NT hash is 16 octets, not {len(nt_hash)}")
        self._write(name, nt_hash, sid, None, ())

    def _write(
        self, name: str, nt_hash: bytes, sid: str | None, password: Secret[str] | None, realms: tuple[str, ...]
    ) -> None:
        user, domain = checked_name(name)
        keys = name_key(user), name_key(domain)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO accounts (name, domain, name_key, domain_key, sealed) VALUES (?, ?, ?, ?, x'')",
                (user, domain, *keys),
            )
            row, disabled, old_sid = connection.execute(
                "SELECT id, disabled, sid FROM accounts WHERE name_key = ? AND domain_key = ?", keys
            ).fetchone()
            sid = old_sid if sid is None else sid
            sealed = self._seal(row, user, domain, sid, disabled=bool(disabled), nt_hash=nt_hash)
            connection.execute(
                "UPDATE accounts SET name = ?, domain = ?, sid = ?, sealed = ? WHERE id = ?",
                (user, domain, sid, sealed, row),
            )
            self._write_verifiers(connection, row, user, domain, password, realms)
            _forget(connection, row)
        self._database.settle()

    def _write_verifiers(
        self,
        connection: sqlite3.Connection,
        row: int,
        user: str,
        domain: str,
        password: Secret[str] | None,
        realms: tuple[str, ...],
    ) -> None:
        """Verifiers of the new password for all realms of the account; none of the old password stays."""
        kept = connection.execute("SELECT DISTINCT realm, kind FROM verifiers WHERE account = ?", (row,)).fetchall()
        connection.execute("DELETE FROM verifiers WHERE account = ?", (row,))
        if password is None:
            return
        realms = tuple(dict.fromkeys((*realms, *(realm for realm, kind in kept if kind in DIGESTS))))
        full_name = join_name(user, domain)
        salt = salt_of(self._decoy.reveal(), name_key(user))
        for key, verifier in verifiers_of(full_name, password.reveal(), realms, salt):
            hashed = user_hash(key.kind, full_name, key.realm) if key.kind in DIGESTS else None
            sealed = self._encrypt(verifier, self._bound_verifier(row, user, domain, key))
            connection.execute("INSERT INTO verifiers VALUES (?, ?, ?, ?, ?)", (row, *key, hashed, sealed))

    def remove(self, name: str) -> None:
        """Remove an account, and what lies of it in the file.

        Raises:
            UsageError: there is none of that name.
        """
        with self._database.transaction() as connection:
            row = self._existing(connection, name)[0]
            connection.execute("DELETE FROM accounts WHERE id = ?", (row,))
        self._database.settle()

    def disable(self, name: str) -> None:
        """Refuse logons of this account until `enable`."""
        self._set_disabled(name, disabled=True)

    def enable(self, name: str) -> None:
        """Admit logons of this account again."""
        self._set_disabled(name, disabled=False)

    def unlock(self, name: str) -> None:
        """End a lock-out, and forget the account's failures."""
        with self._database.transaction() as connection:
            _forget(connection, self._existing(connection, name)[0])

    def listing(self) -> tuple[Listing, ...]:
        """All accounts by name, without secrets."""
        now = datetime.now(UTC)
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM accounts WHERE id <> ? ORDER BY name_key, domain_key",  # noqa: S608  constants
                (NOBODY,),
            ).fetchall()
        return tuple(
            Listing(name, domain, bool(disabled), _locked(until, now), sid)
            for _, name, domain, sid, disabled, _, until in rows
        )

    def __iter__(self) -> Iterator[Listing]:
        return iter(self.listing())

    def _existing(self, connection: sqlite3.Connection, name: str) -> tuple[Any, ...]:
        user, domain = checked_name(name)
        row: tuple[Any, ...] | None = connection.execute(
            f"SELECT {_COLUMNS} FROM accounts WHERE name_key = ? AND domain_key = ?",  # noqa: S608  constants
            (name_key(user), name_key(domain)),
        ).fetchone()
        if row is None:
            raise UsageError(f"there is no account {name}")
        return row

    def _set_disabled(self, name: str, *, disabled: bool) -> None:
        with self._database.transaction() as connection:
            row, user, domain, sid, was, sealed, _ = self._existing(connection, name)
            nt_hash = self._unseal(row, user, domain, sid, disabled=bool(was), sealed=sealed)
            sealed = self._seal(row, user, domain, sid, disabled=disabled, nt_hash=nt_hash)
            connection.execute("UPDATE accounts SET disabled = ?, sealed = ? WHERE id = ?", (disabled, sealed, row))

    # --- logons: AccountStore

    def find(self, user: str, domain: str, source: str, now: datetime) -> Account | None:
        """The account, or `None`; an unknown name costs one query and one decryption, too."""
        with self._database.reading() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM accounts WHERE name_key = ? AND domain_key IN (?, '') AND id <> ? "  # noqa: S608  constants
                "ORDER BY domain_key = '' LIMIT 1",
                (name_key(_storable(user)), name_key(_storable(domain)), NOBODY),
            ).fetchone()
        return self._account(found, now)

    def _account(self, found: tuple[Any, ...] | None, now: datetime) -> Account | None:
        nobody = (NOBODY, "", "", None, 1, self._nobody, 0.0)
        row, name, belongs, sid, disabled, sealed, until = nobody if found is None else found
        nt_hash = Secret(self._unseal(row, name, belongs, sid, disabled=bool(disabled), sealed=sealed))
        account = Account(name, nt_hash, belongs, bool(disabled), _locked(until, now), sid=sid)
        return None if found is None else account  # made for nobody, too: that takes a while

    def throttled(self, user: str, account: Account | None, source: str, now: datetime) -> bool:
        """Whether this source is refused for this account at present."""
        with self._database.reading() as connection:
            row = _row_of(connection, account)
            return self._refused(connection, row, source_key(source), now.timestamp(), locks=False)

    def failed(self, user: str, account: Account | None, source: str, now: datetime, *, wrong: bool = True) -> None:
        """Count a wrong response; what is not counted is written to the rows of nobody, at the same cost."""
        moment, source = now.timestamp(), source_key(source)
        with self._database.transaction() as connection:
            row = _row_of(connection, account)
            refused = self._refused(connection, row, source, moment, locks=True)
            if not wrong or refused:
                row = NOBODY
            self._count_source(connection, row, "" if row == NOBODY else source, moment)
            self._count_account(connection, row, moment)

    def succeeded(self, user: str, account: Account, source: str, now: datetime) -> bool:
        """Forget the failures of this account and source; False where they stand at their limit meanwhile."""
        source = source_key(source)
        with self._database.transaction() as connection:
            row = _row_of(connection, account)
            if row == NOBODY or self._refused(connection, row, source, now.timestamp(), locks=True):
                return False
            connection.execute("DELETE FROM sources WHERE account = ? AND source = ?", (row, source))
            connection.execute("UPDATE accounts SET failures = 0 WHERE id = ?", (row,))
            return True

    # --- verifiers: VerifierStore

    def verifier(self, account: Account | None, key: VerifierKey) -> Secret[bytes] | None:
        """The verifier of an account; an account without one, and nobody, cost one query and one decryption, too."""
        with self._database.reading() as connection:
            row = _row_of(connection, account)
            kept = connection.execute(
                "SELECT sealed FROM verifiers WHERE account = ? AND kind = ? AND realm = ?",
                (row, key.kind, _storable(key.realm)),
            ).fetchone()
        name, domain = ("", "") if account is None else (account.name, account.domain)
        bound = self._bound_verifier(row, name, domain, key)
        if account is None or kept is None:
            self._unseal(NOBODY, "", "", None, disabled=True, sealed=self._nobody)
            return None
        return Secret(self._decrypt(row, kept[0], bound))

    def find_hashed(self, user_hash: bytes, key: VerifierKey, source: str, now: datetime) -> Account | None:
        """The account whose name and realm have this hash, or `None`, at the same cost."""
        with self._database.reading() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM accounts JOIN verifiers ON account = id "  # noqa: S608  constants
                "WHERE user_hash = ? AND kind = ? AND realm = ?",
                (user_hash, key.kind, _storable(key.realm)),
            ).fetchone()
        return self._account(found, now)

    def _refused(self, connection: sqlite3.Connection, row: int, source: str, now: float, *, locks: bool) -> bool:
        (until,) = connection.execute("SELECT locked_until FROM accounts WHERE id = ?", (row,)).fetchone()
        counted = connection.execute(
            "SELECT failures, since FROM sources WHERE account = ? AND source = ?", (row, source)
        ).fetchone()
        throttle = self._throttle
        failures, since = (0, 0.0) if counted is None else counted
        throttled = (
            throttle is not None and failures >= throttle.failures and now < since + throttle.window.total_seconds()
        )
        return throttled or (locks and now < until)

    def _count_source(self, connection: sqlite3.Connection, row: int, source: str, now: float) -> None:
        throttle = self._throttle
        if throttle is None:
            return
        begun = now - throttle.window.total_seconds()
        connection.execute(
            "INSERT INTO sources VALUES (:row, :source, 1, :now) ON CONFLICT (account, source) DO UPDATE SET "
            "failures = CASE WHEN since > :begun THEN failures + 1 ELSE 1 END, "
            "since = CASE WHEN since > :begun THEN since ELSE :now END",
            {"row": row, "source": source, "now": now, "begun": begun},
        )
        connection.execute("DELETE FROM sources WHERE since <= ?", (begun,))
        (entries,) = connection.execute("SELECT count(*) FROM sources").fetchone()
        if entries > throttle.entries:
            connection.execute(
                "DELETE FROM sources WHERE (account, source) IN "
                "(SELECT account, source FROM sources ORDER BY since LIMIT ?)",
                (entries - throttle.entries,),
            )

    def _count_account(self, connection: sqlite3.Connection, row: int, now: float) -> None:
        lockout = self._lockout
        if lockout is None:
            return
        connection.execute(
            "UPDATE accounts SET failures = CASE WHEN failed_at > ? THEN failures + 1 ELSE 1 END, failed_at = ? "
            "WHERE id = ?",
            (now - lockout.window.total_seconds(), now, row),
        )
        connection.execute(
            "UPDATE accounts SET failures = 0, locked_until = ? WHERE id = ? AND failures >= ?",
            (now + lockout.duration.total_seconds(), row, lockout.failures),
        )


def _row_of(connection: sqlite3.Connection, account: Account | None) -> int:
    """The row of an account that `find` gave, or of nobody where it is unknown or was removed meanwhile."""
    keys = ("\0", "\0") if account is None else (name_key(account.name), name_key(account.domain))
    row = connection.execute("SELECT id FROM accounts WHERE name_key = ? AND domain_key = ?", keys).fetchone()
    return NOBODY if row is None else int(row[0])


def _forget(connection: sqlite3.Connection, row: int) -> None:
    connection.execute("UPDATE accounts SET failures = 0, locked_until = 0 WHERE id = ?", (row,))
    connection.execute("DELETE FROM sources WHERE account = ?", (row,))


def _locked(until: float, now: datetime) -> datetime | None:
    return datetime.fromtimestamp(until, UTC) if now.timestamp() < until else None


def _storable(name: str) -> str:
    """A peer's name without what SQLite cannot take as text: lone surrogates, which no account's name has."""
    return name.encode("utf-8", "replace").decode("utf-8")
