"""The SQLite account store: what lies in its files, and several processes at once (SECURITY: stores)."""

from __future__ import annotations

import multiprocessing
import os
import re
import sqlite3
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from securestream.errors import ServiceFailed, UsageError
from securestream.files import UnsafeFile
from securestream.redaction import Secret
from securestream.services import accounts_sqlite
from securestream.services.accounts import CorruptStore
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream.services.failures import Lockout, Throttle
from securestream.services.nt_hash import nt_hash
from tests.core.services.contract import HERE, NOW

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no modes and no fork")
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.db"


@pytest.fixture
def store(path: Path) -> SqliteAccounts:
    store = SqliteAccounts(path)
    store.add("alice", "a password")
    return store


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def hash_in(store: SqliteAccounts, name: str) -> bytes | None:
    account = store.find(name, "", HERE, NOW)
    return None if account is None else account.nt_hash.reveal()


# --- files


@posix
def test_every_file_of_the_store_is_its_owners_alone_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        store = SqliteAccounts(path)
        store.add("alice", "pw")
        private = dict.fromkeys(["accounts.db", "accounts.db-wal", "accounts.db-shm", "accounts.db.key"], 0o600)
        assert modes(path.parent) == private
        store.close()
        store.add("bob", "pw")
        assert modes(path.parent) == private
    finally:
        os.umask(old)


@posix
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".key"])
def test_a_file_open_to_others_is_refused(store: SqliteAccounts, path: Path, suffix: str) -> None:
    os.chmod(f"{path}{suffix}", 0o640)
    with pytest.raises(UnsafeFile, match=f"{re.escape(path.name + suffix)} is open to others.*chmod 600"):
        SqliteAccounts(path)


@posix
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".key"])
def test_a_link_is_refused_and_nothing_is_made_behind_it(path: Path, suffix: str) -> None:
    os.symlink(path.parent / "elsewhere", f"{path}{suffix}")
    with pytest.raises((UnsafeFile, CorruptStore)):
        SqliteAccounts(path)
    assert not (path.parent / "elsewhere").exists()


@posix
def test_a_folder_in_which_everybody_writes_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)
    with pytest.raises(UnsafeFile, match="everybody may write"):
        SqliteAccounts(path)


def test_neither_hash_nor_password_lies_in_any_file(store: SqliteAccounts, path: Path) -> None:
    account = store.find("alice", "", HERE, NOW)
    store.failed("alice", account, HERE, NOW)
    octets = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"alice" in octets
    for secret in (nt_hash("a password"), nt_hash("a password").hex().encode(), b"a password"):
        assert secret not in octets


def test_a_removed_account_leaves_nothing_in_the_files(store: SqliteAccounts, path: Path) -> None:
    store.add("an-account-to-forget", "pw")
    store.remove("an-account-to-forget")
    for file in path.parent.iterdir():
        assert b"an-account-to-forget" not in file.read_bytes(), file
        assert b"AN-ACCOUNT-TO-FORGET" not in file.read_bytes(), file


# --- keys


def test_a_store_is_reopened_with_its_key_file(store: SqliteAccounts, path: Path) -> None:
    assert hash_in(SqliteAccounts(path), "alice") == nt_hash("a password")


@pytest.mark.parametrize("wrap", [bytes, Secret])
def test_a_given_master_key_is_kept_nowhere(path: Path, wrap: Callable[[bytes], bytes | Secret[bytes]]) -> None:
    key = os.urandom(32)
    SqliteAccounts(path, wrap(key)).add("alice", "pw")
    for file in path.parent.iterdir():
        assert key not in file.read_bytes()
        assert not file.name.endswith(".key")
    assert hash_in(SqliteAccounts(path, wrap(key)), "alice") == nt_hash("pw")


def test_another_master_key_is_refused_when_the_store_is_opened(path: Path) -> None:
    SqliteAccounts(path, bytes(32)).add("alice", "pw")
    with pytest.raises(CorruptStore, match="the master key is not the one"):
        SqliteAccounts(path, b"\x01" * 32)


def test_a_lost_key_file_is_told_and_never_made_anew(store: SqliteAccounts, path: Path) -> None:
    Path(f"{path}.key").unlink()
    with pytest.raises(CorruptStore, match=r"accounts\.db\.key, the master key, is missing"):
        SqliteAccounts(path)
    assert not Path(f"{path}.key").exists()


@pytest.mark.parametrize("octets", [b"", b"00" * 31, b"zz" * 32, b"\xff" * 64])
def test_a_damaged_key_file_is_refused(store: SqliteAccounts, path: Path, octets: bytes) -> None:
    Path(f"{path}.key").write_bytes(octets)
    with pytest.raises(CorruptStore, match="64 hexadecimal digits"):
        SqliteAccounts(path)


def test_a_master_key_of_another_length_is_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="32 octets, not 16"):
        SqliteAccounts(path, bytes(16))
    assert not path.exists()


# --- what somebody edited


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE accounts SET sealed = (SELECT sealed FROM accounts WHERE name = 'mallory') WHERE name = 'alice'",
        "UPDATE accounts SET sid = 'S-1-5-21-0-0-0-500' WHERE name = 'alice'",
        "UPDATE accounts SET disabled = 1 - disabled WHERE name = 'alice'",
        "UPDATE accounts SET domain = 'CORP' WHERE name = 'alice'",
        "UPDATE accounts SET name = 'admin' WHERE name = 'alice'",
        "UPDATE accounts SET sealed = 5 WHERE name = 'alice'",
        "UPDATE accounts SET sealed = x'' WHERE name = 'alice'",
        "UPDATE accounts SET sealed = CAST(x'02' || substr(sealed, 2) AS BLOB) WHERE name = 'alice'",
        "UPDATE accounts SET sealed = substr(sealed, 1, 20) WHERE name = 'alice'",
        "UPDATE store SET identity = randomblob(16)",
    ],
)
def test_a_row_edited_outside_gives_no_logon(store: SqliteAccounts, path: Path, edit: str) -> None:
    store.add("mallory", "known to mallory")
    store.close()
    connection = sqlite3.connect(path)
    connection.execute(edit)
    connection.commit()
    connection.close()
    with pytest.raises(ServiceFailed, match=r"altered outside|not the one"):
        SqliteAccounts(path).find("alice", "", HERE, NOW)


def test_the_hash_of_a_removed_account_does_not_open_its_successor(store: SqliteAccounts, path: Path) -> None:
    connection = sqlite3.connect(path)
    (old,) = connection.execute("SELECT sealed FROM accounts WHERE name = 'alice'").fetchone()
    store.remove("alice")
    store.add("alice", "another password")
    connection.execute("UPDATE accounts SET sealed = ? WHERE name = 'alice'", (old,))
    connection.commit()
    connection.close()
    with pytest.raises(ServiceFailed, match="altered outside"):
        store.find("alice", "", HERE, NOW)


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    path.chmod(0o600)
    with pytest.raises(CorruptStore, match="a database of something else"):
        SqliteAccounts(path)
    assert not Path(f"{path}.key").exists()


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_bytes(b"my notes" * 200)
    path.chmod(0o600)
    with pytest.raises(CorruptStore, match="no sound database"):
        SqliteAccounts(path)
    assert path.read_bytes() == b"my notes" * 200


def test_a_later_schema_is_refused(store: SqliteAccounts, path: Path) -> None:
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(CorruptStore, match="schema version 3"):
        SqliteAccounts(path)


def test_a_store_that_cannot_be_written_refuses_with_a_sentence(
    store: SqliteAccounts, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securestream.services._sqlite.WAIT", 0.05)
    store.close()
    other = sqlite3.connect(path, isolation_level=None)
    account = store.find("alice", "", HERE, NOW)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceFailed, match="locked"):
        store.failed("alice", account, HERE, NOW)
    other.close()
    store.failed("alice", account, HERE, NOW)


# --- the same cost (SECURITY: logon)


def statements(store: SqliteAccounts, work: Callable[[], object]) -> list[str]:
    """The SQL that `work` runs, with the values left out."""
    seen: list[str] = []
    with store._database.reading() as connection:  # pyright: ignore[reportPrivateUsage]  # what SQLite is asked is the point
        connection.set_trace_callback(seen.append)
    work()
    with store._database.reading() as connection:  # pyright: ignore[reportPrivateUsage]  # as above
        connection.set_trace_callback(None)
    return [re.sub(r"'[^']*'|\b[\d.]+(e\+?\d+)?\b", "?", statement) for statement in seen]


def test_unknown_wrong_disabled_locked_and_throttled_run_the_same_statements(path: Path) -> None:
    store = SqliteAccounts(path, throttle=Throttle(failures=2), lockout=Lockout(failures=3))
    for name in ("wrong", "disabled", "locked", "throttled"):
        store.add(name, "pw")
    store.disable("disabled")
    for number in range(3):
        store.failed("locked", store.find("locked", "", HERE, NOW), f"198.51.100.{number}", NOW)
    for _ in range(2):
        store.failed("throttled", store.find("throttled", "", HERE, NOW), HERE, NOW)

    def refused(name: str, *, wrong: bool) -> list[str]:
        def logon() -> None:
            account = store.find(name, "", HERE, NOW)
            store.throttled(name, account, HERE, NOW)
            store.failed(name, account, HERE, NOW, wrong=wrong)

        return statements(store, logon)

    expected = refused("wrong", wrong=True)
    assert len(expected) > 8
    for name in ("unknown", "disabled", "locked", "throttled", ""):
        for wrong in (True, False):
            assert refused(name, wrong=wrong) == expected, (name, wrong)


def test_an_unknown_name_costs_a_decryption_too(store: SqliteAccounts, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    unseal = SqliteAccounts._unseal  # pyright: ignore[reportPrivateUsage]  # counting it is the point

    def counted(self: SqliteAccounts, row: int, *args: object, **kwargs: object) -> bytes:
        opened.append(row)
        return unseal(self, row, *args, **kwargs)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(accounts_sqlite.SqliteAccounts, "_unseal", counted)
    store.find("alice", "", HERE, NOW)
    store.find("mallory", "", HERE, NOW)
    assert len(opened) == 2


def test_unknown_names_create_no_row(store: SqliteAccounts, path: Path) -> None:
    store.failed("mallory", None, HERE, NOW)  # the row of nobody
    before = rows(path)
    for number in range(50):
        store.failed(f"mallory{number}", None, f"198.51.100.{number}", NOW + timedelta(seconds=number))
    assert rows(path) == before


def rows(path: Path) -> tuple[int, int]:
    connection = sqlite3.connect(path)
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("accounts", "sources")]
    connection.close()
    return counts[0], counts[1]


# --- processes


def fail_often(path: str, times: int) -> None:
    store = SqliteAccounts(path, throttle=None, lockout=Lockout(failures=10**6))
    for _ in range(times):
        store.failed("alice", store.find("alice", "", HERE, NOW), HERE, NOW)


def test_failures_from_several_processes_are_all_counted(store: SqliteAccounts, path: Path) -> None:
    workers = [SPAWN.Process(target=fail_often, args=(str(path), 50)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    connection = sqlite3.connect(path)
    (failures,) = connection.execute("SELECT failures FROM accounts WHERE name = 'alice'").fetchone()
    connection.close()
    assert failures == 200


def open_new(path: str, name: str) -> None:
    SqliteAccounts(path).add(name, "pw")


def test_processes_that_make_the_store_at_once_agree_on_its_key(path: Path) -> None:
    workers = [SPAWN.Process(target=open_new, args=(str(path), f"user{number}")) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = SqliteAccounts(path)
    assert [hash_in(store, f"user{number}") for number in range(4)] == [nt_hash("pw")] * 4


@posix
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # as in tests/core/test_fork.py
def test_a_forked_child_opens_a_connection_of_its_own(store: SqliteAccounts, path: Path) -> None:
    with store._database.reading():  # pyright: ignore[reportPrivateUsage]  # the lock is held while forking
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            store.add("child", "pw of the child")
            os.write(write, b"done")
            os._exit(0)
        assert os.read(read, 4) == b"done"
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
    assert hash_in(store, "child") == nt_hash("pw of the child")
    assert hash_in(store, "alice") == nt_hash("a password")
