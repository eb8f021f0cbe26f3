"""Stores of principals: in memory and in SQLite alike, sealed and atomic there."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from securestream.errors import UsageError
from securestream.services.accounts import CorruptStore
from securestream_providers.kerberos.kdc.database_memory import MemoryPrincipals
from securestream_providers.kerberos.kdc.database_sqlite import SqlitePrincipals
from securestream_providers.kerberos.kdc.embedded import EmbeddedKdc
from securestream_providers.kerberos.kdc.policy import Lockout
from securestream_providers.kerberos.kdc.principals import KdcPrincipal, StoredKey, own_principals, random_keys
from securestream_providers.krb5.keys import make_key
from securestream_providers.krb5.names import KerberosName
from tests.providers.kerberos.forged import REALM, Bench

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LOCKOUT = Lockout(5, timedelta(minutes=15), timedelta(minutes=15))
ALICE = KerberosName(REALM, ("alice",))
CANARY = bytes(range(0x40, 0x60))

Database = MemoryPrincipals | SqlitePrincipals


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A private folder."""
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture(params=["memory", "sqlite"])
def database(request: pytest.FixtureRequest, folder: Path) -> Database:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryPrincipals(os.urandom)
    return SqlitePrincipals(folder / "kdc.db", realm=REALM)


def _alice(**fields: object) -> KdcPrincipal:
    return replace(KdcPrincipal(ALICE, (StoredKey(1, make_key(18, CANARY), "salt"),)), **fields)  # type: ignore[arg-type]  # by name


def test_a_principal_comes_back_as_it_was_put(database: Database) -> None:
    put = _alice(
        service=True,
        delegate_to=("cifs/a", "cifs/b"),
        max_life=timedelta(hours=3),
        expires=NOW,
        aliases=("al", "alice@corp.example"),
        not_delegated=True,
        groups=(513, 1234),
        rid=4000,
    )
    database.put(put)
    assert database.find(ALICE) == put
    assert database.find_alias("al") == put == database.find_alias("alice@corp.example")
    assert database.find(KerberosName(REALM, ("al",))) is None
    assert [one.name for one in database.listing()] == [ALICE]
    database.put(replace(put, aliases=()))
    assert database.find_alias("al") is None
    database.remove(ALICE)
    assert database.find(ALICE) is None
    with pytest.raises(UsageError, match="no principal"):
        database.remove(ALICE)


def test_identifiers_are_given_once_and_kept(database: Database) -> None:
    names = [KerberosName(REALM, (f"user{number}",)) for number in range(3)]
    for name in names:
        database.put(KdcPrincipal(name))
    rids = [one.rid for one in database.listing()]
    assert len(set(rids)) == 3
    assert min(rids) >= 1000
    database.put(KdcPrincipal(names[1], random_keys(os.urandom)))
    assert [one.rid for one in database.listing()] == rids
    database.remove(names[2])
    database.put(KdcPrincipal(names[2]))
    again = database.find(names[2])
    assert again is not None
    assert again.rid not in rids


def test_an_alias_has_one_owner(database: Database) -> None:
    database.put(_alice(aliases=("al",)))
    with pytest.raises(UsageError, match="alias"):
        database.put(KdcPrincipal(KerberosName(REALM, ("albert",)), aliases=("al",)))


def test_attempts_at_the_same_time_are_all_counted(database: Database) -> None:
    """Counting before judging: no number of parallel guesses gets more tries than the lock-out allows."""
    database.put(_alice())
    admitted: list[bool] = []
    ready = threading.Barrier(8)

    def guess() -> None:
        ready.wait()
        admitted.extend(database.begin_attempt(ALICE, NOW, LOCKOUT) for _ in range(5))

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 5
    assert len(admitted) == 40
    assert database.activity(ALICE, NOW).locked_until == NOW + timedelta(minutes=15)
    assert database.begin_attempt(ALICE, NOW + timedelta(minutes=16), LOCKOUT)
    database.attempt_succeeded(ALICE, NOW + timedelta(minutes=16))
    later = database.activity(ALICE, NOW + timedelta(minutes=17))
    assert later.locked_until is None
    assert later.last_success == NOW + timedelta(minutes=16)


def test_unknown_names_leave_nothing_behind(database: Database) -> None:
    for number in range(20):
        name = KerberosName(REALM, (f"nobody{number}\ud800",))
        assert database.find(name) is None
        assert database.find_alias("\ud800\0") is None
        assert database.begin_attempt(name, NOW, LOCKOUT)
        database.attempt_succeeded(name, NOW)
        assert database.activity(name, NOW).last_success is None
    assert database.listing() == ()


def _guess(path: Path, found: Callable[[int], None]) -> None:
    store = SqlitePrincipals(path)
    found(sum(store.begin_attempt(ALICE, NOW, LOCKOUT) for _ in range(10)))


def _guesses(path: Path, results: multiprocessing.SimpleQueue[int]) -> None:
    _guess(path, results.put)


def test_processes_share_the_count(folder: Path) -> None:
    path = folder / "kdc.db"
    SqlitePrincipals(path, realm=REALM).put(_alice())
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.SimpleQueue[int] = spawn.SimpleQueue()
    workers = [spawn.Process(target=_guesses, args=(path, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    admitted = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join(30)
    assert admitted == 5


def test_no_key_lies_open_in_the_files_and_all_of_them_are_private(folder: Path) -> None:
    store = SqlitePrincipals(folder / "kdc.db", realm=REALM)
    store.put(_alice(aliases=("al",)))
    store.put(_alice())
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        octets = file.read_bytes()
        assert CANARY not in octets
        assert CANARY.hex().encode() not in octets
    assert CANARY.hex() not in repr(store) + repr(store.listing())


def test_rows_that_are_exchanged_or_edited_are_refused(folder: Path) -> None:
    """The associated data: whoever writes the file, without the key, makes no account of another."""
    path = folder / "kdc.db"
    store = SqlitePrincipals(path, realm=REALM)
    store.put(_alice(aliases=("al",)))
    mallory = KerberosName(REALM, ("mallory",))
    store.put(KdcPrincipal(mallory, random_keys(os.urandom)))
    store.close()
    with sqlite3.connect(path) as raw:
        sealed = raw.execute("SELECT sealed FROM principals WHERE name = ?", (str(mallory),)).fetchone()[0]
        raw.execute("UPDATE principals SET sealed = ? WHERE name = ?", (sealed, str(ALICE)))
        raw.execute("INSERT INTO aliases SELECT 'boss', id FROM principals WHERE name = ?", (str(mallory),))
    raw.close()
    fresh = SqlitePrincipals(path)
    with pytest.raises(CorruptStore, match="altered outside"):
        fresh.find(ALICE)
    assert fresh.find_alias("boss") is None
    assert fresh.find(mallory) is not None


def test_another_master_key_and_another_realm_are_told(folder: Path) -> None:
    path = folder / "kdc.db"
    SqlitePrincipals(path, realm=REALM).close()
    with pytest.raises(UsageError, match="another file"):
        SqlitePrincipals(path, realm="OTHER.EXAMPLE")
    with pytest.raises(CorruptStore, match="master key"):
        SqlitePrincipals(path, os.urandom(32))
    with pytest.raises(UsageError, match="32 octets"):
        SqlitePrincipals(path, b"short")
    (folder / "kdc.db.key").unlink()
    with pytest.raises(CorruptStore, match="missing"):
        SqlitePrincipals(path)
    with pytest.raises(UsageError, match="needs a realm"):
        SqlitePrincipals(folder / "new.db")


def test_a_kdc_serves_from_a_file_as_from_memory(folder: Path) -> None:
    store = SqlitePrincipals(folder / "kdc.db", os.urandom(32), realm=REALM)
    bench = Bench(database=store)
    bench.kdc.add_principal("alice", "correct horse")
    bench.kdc.add_service("host/a")
    bench.ticket(bench.tgt("alice"), "host/a")
    assert {one.name for one in own_principals(REALM, os.urandom)} < {one.name for one in store.listing()}
    again = EmbeddedKdc(REALM, database=store)
    assert again.entries("host/a")[0].key == bench.kdc.entries("host/a")[0].key
