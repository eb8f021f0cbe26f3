"""Our three account stores under one contract, and what is particular to the one in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream import credentials
from securestream.errors import UsageError
from securestream.files import write_private
from securestream.services.accounts import AccountStore, Listing, checked_name, name_key
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream.services.failures import Lockout, Throttle, source_key
from securestream.services.nt_hash import nt_hash
from securestream.services.smbpasswd import SmbpasswdAccounts
from tests.core.services.contract import HERE, LOCKOUT, NOW, THROTTLE, AccountStoreContract, DisablingContract


class TestMemoryAccounts(DisablingContract):
    def make(
        self,
        folder: Path,
        passwords: Mapping[str, str],
        throttle: Throttle | None = THROTTLE,
        lockout: Lockout | None = None,
    ) -> AccountStore:
        store = MemoryAccounts(throttle=throttle, lockout=lockout)
        for name, password in passwords.items():
            store.add(name, password)
        return store

    def disable(self, store: AccountStore, name: str) -> None:
        assert isinstance(store, MemoryAccounts)
        store.disable(name)


class TestSqliteAccounts(DisablingContract):
    def make(
        self,
        folder: Path,
        passwords: Mapping[str, str],
        throttle: Throttle | None = THROTTLE,
        lockout: Lockout | None = None,
    ) -> AccountStore:
        store = SqliteAccounts(folder / "accounts.db", throttle=throttle, lockout=lockout)
        for name, password in passwords.items():
            store.add(name, password)
        return store

    def disable(self, store: AccountStore, name: str) -> None:
        assert isinstance(store, SqliteAccounts)
        store.disable(name)


class TestSmbpasswdAccounts(AccountStoreContract):
    # Samba's own tools disable accounts; tests/core/services/test_smbpasswd.py reads what they write

    def make(
        self,
        folder: Path,
        passwords: Mapping[str, str],
        throttle: Throttle | None = THROTTLE,
        lockout: Lockout | None = None,
    ) -> AccountStore:
        lines = (
            f"{name}:{1000 + number}:{'X' * 32}:{nt_hash(password).hex().upper()}:[U          ]:LCT-5F0E66D0:\n"
            for number, (name, password) in enumerate(passwords.items())
        )
        write_private(folder / "smbpasswd", "".join(lines).encode())
        return SmbpasswdAccounts(folder / "smbpasswd", throttle=throttle, lockout=lockout)


# --- what administers an account, in memory and in SQLite alike


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryAccounts | SqliteAccounts:
    if request.param == "memory":
        return MemoryAccounts(throttle=THROTTLE, lockout=LOCKOUT)
    return SqliteAccounts(tmp_path / "accounts.db", throttle=THROTTLE, lockout=LOCKOUT)


Administered = MemoryAccounts | SqliteAccounts


def test_a_listing_names_the_accounts_in_order_and_shows_no_secret(store: Administered) -> None:
    store.add("zoe", "pw of zoe")
    store.add(r"CORP\alice", "pw of alice", sid="S-1-5-21-1-2-3-1104")
    store.disable("zoe")
    assert store.listing() == (Listing("alice", "CORP", sid="S-1-5-21-1-2-3-1104"), Listing("zoe", disabled=True))
    assert [str(account) for account in store] == [r"CORP\alice", "zoe"]
    for form in (nt_hash("pw of zoe").hex(), repr(nt_hash("pw of zoe")), "pw of zoe"):
        assert form not in repr(store.listing())


def test_a_listing_shows_who_is_locked(store: Administered) -> None:
    store.add("alice", "pw")
    account = store.find("alice", "", HERE, NOW)
    now = NOW.replace(year=9000)
    for number in range(LOCKOUT.failures):
        store.failed("alice", account, f"198.51.100.{number}", now)
    assert store.listing()[0].locked_until == now + LOCKOUT.duration
    store.unlock("ALICE")
    assert store.listing()[0].locked_until is None


def test_an_account_of_a_domain_is_found_there_alone_and_before_one_without(store: Administered) -> None:
    store.add(r"CORP\alice", "corp")
    assert store.find("alice", "OTHER", HERE, NOW) is None
    assert store.find("alice", "", HERE, NOW) is None
    store.add("alice", "local")
    hashes = [store.find("alice", domain, HERE, NOW) for domain in ("corp", "OTHER", "")]
    assert [account.nt_hash.reveal() for account in hashes if account] == [
        nt_hash(p) for p in ("corp", "local", "local")
    ]


def test_the_same_name_in_two_domains_is_counted_apart(store: Administered) -> None:
    """Whoever has CORP\\alice may not wipe the failures of guessing at LAB\\alice."""
    store.add(r"CORP\alice", "corp")
    store.add(r"LAB\alice", "lab")
    corp, lab = (store.find("alice", domain, HERE, NOW) for domain in ("CORP", "LAB"))
    assert corp is not None
    for _ in range(THROTTLE.failures):
        store.failed("alice", lab, HERE, NOW)
    assert store.succeeded("alice", corp, HERE, NOW)
    assert store.throttled("alice", lab, HERE, NOW)


def test_a_new_password_replaces_the_old_and_keeps_the_rest(store: Administered) -> None:
    store.add("alice", "old", sid="S-1-5-21-9")
    store.disable("alice")
    store.add("Alice", "new")
    account = store.find("alice", "", HERE, NOW)
    assert account is not None
    assert (account.name, account.nt_hash.reveal(), account.disabled) == ("Alice", nt_hash("new"), True)
    assert account.sid == "S-1-5-21-9"
    store.enable("ALICE")
    account = store.find("alice", "", HERE, NOW)
    assert account is not None
    assert not account.disabled


def test_a_removed_account_is_unknown_and_its_failures_go_with_it(store: Administered) -> None:
    store.add("alice", "pw")
    account = store.find("alice", "", HERE, NOW)
    for _ in range(THROTTLE.failures):
        store.failed("alice", account, HERE, NOW)
    store.remove("ALICE")
    assert store.find("alice", "", HERE, NOW) is None
    assert store.listing() == ()
    store.add("alice", "pw")
    assert not store.throttled("alice", store.find("alice", "", HERE, NOW), HERE, NOW)


def test_a_logon_that_ends_after_its_account_was_removed_is_harmless(store: Administered) -> None:
    store.add("alice", "pw")
    account = store.find("alice", "", HERE, NOW)
    store.remove("alice")
    store.failed("alice", account, HERE, NOW)
    assert not store.throttled("alice", account, HERE, NOW)
    assert store.listing() == ()


@pytest.mark.parametrize("action", ["remove", "disable", "enable", "unlock"])
def test_what_is_not_there_cannot_be_changed(store: Administered, action: str) -> None:
    with pytest.raises(UsageError, match="there is no account mallory"):
        getattr(store, action)("mallory")


@pytest.mark.parametrize("name", ["", "CORP\\", "a:b", "a\nb", "a\\b\\c", "x" * 257, "\ud800"], ids=repr)
def test_a_name_that_could_not_be_one_is_refused(store: Administered, name: str) -> None:
    with pytest.raises(UsageError):
        store.add(name, "pw")
    assert store.listing() == ()


def test_a_hash_of_another_length_is_refused(store: Administered) -> None:
    with pytest.raises(UsageError, match="16 octets, not 15"):
        store.add_hash("alice", bytes(15))
    store.add_hash("alice", bytes(16))


# --- names, sources, policies


def test_names_that_full_case_mapping_would_join_stay_apart() -> None:
    assert name_key("straße") != name_key("STRASSE")
    assert name_key("Ärger") == name_key("äRGER")


@given(st.text(max_size=300))
def test_every_name_has_one_key_of_bounded_length(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)
    assert len(name_key(name)) <= 257


def test_an_administrators_name_is_split_at_its_backslash() -> None:
    assert checked_name(r"CORP\alice") == ("alice", "CORP")
    assert checked_name("alice@corp.example") == ("alice@corp.example", "")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:0DB8:0:0:1::"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ],
)
def test_addresses_of_one_source_have_one_key(one: str, other: str) -> None:
    assert source_key(one) == source_key(other)


def test_sources_that_are_no_addresses_are_kept_apart_and_short() -> None:
    assert source_key("unix:/a") != source_key("unix:/b")
    assert len(source_key("x" * 10_000)) == 128
    assert source_key("") == ""


def test_a_policy_that_never_ends_or_refuses_everybody_cannot_be_made() -> None:
    for policy in (Throttle, Lockout):
        with pytest.raises(UsageError):
            policy(failures=0)
        with pytest.raises(UsageError):
            policy(window=timedelta())


def test_the_credential_makes_each_store(tmp_path: Path) -> None:
    memory = credentials.Accounts.memory(alice="pw").store
    sqlite = credentials.Accounts.sqlite(tmp_path / "accounts.db").store
    write_private(tmp_path / "smbpasswd", b"")
    samba = credentials.Accounts.smbpasswd(tmp_path / "smbpasswd").store
    assert memory.find("ALICE", "", HERE, NOW) is not None
    assert [store.blocking for store in (memory, sqlite, samba)] == [False, True, True]
