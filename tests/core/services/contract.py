"""What every account store does, as tests: subclass `AccountStoreContract` to hold a store of one's own to it.

    class TestMyAccounts(AccountStoreContract):
        def make(self, folder, passwords, throttle, lockout): ...

A store that can disable an account takes `DisablingContract` instead, and says how.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from securestream.services.accounts import Account, AccountStore
from securestream.services.failures import Lockout, Throttle
from securestream.services.nt_hash import nt_hash

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
THROTTLE = Throttle(failures=3, window=timedelta(minutes=5), entries=8)
LOCKOUT = Lockout(failures=4, window=timedelta(minutes=10), duration=timedelta(minutes=30))
PASSWORDS = {"alice": "Pässwörd", "Bob": "secret of Bob", "carol": ""}
HERE = "192.0.2.1"


class AccountStoreContract(ABC):
    """The behaviours that logons rely on."""

    @abstractmethod
    def make(
        self,
        folder: Path,
        passwords: Mapping[str, str],
        throttle: Throttle | None = THROTTLE,
        lockout: Lockout | None = None,
    ) -> AccountStore:
        """A fresh store, in `folder` if it needs one, with these accounts and policies."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> AccountStore:
        """A store of `PASSWORDS`, throttling and without lock-out."""
        return self.make(tmp_path, PASSWORDS)

    def found(self, store: AccountStore, name: str, domain: str = "", now: datetime = NOW) -> Account:
        """The account, which is there."""
        account = store.find(name, domain, HERE, now)
        assert account is not None
        return account

    def fail(self, store: AccountStore, name: str, times: int, source: str = HERE, now: datetime = NOW) -> None:
        """As many logons with a wrong password."""
        for _ in range(times):
            account = store.find(name, "", source, now)
            store.throttled(name, account, source, now)
            store.failed(name, account, source, now)

    # --- looking up

    def test_an_account_is_found_with_the_hash_of_its_password(self, store: AccountStore) -> None:
        for name, password in PASSWORDS.items():
            account = self.found(store, name)
            assert (account.name, account.nt_hash.reveal()) == (name, nt_hash(password))
            assert not account.disabled
            assert account.locked_until is None

    @pytest.mark.parametrize("name", ["ALICE", "Alice", "aLICE", "BOB"])
    def test_names_are_found_without_regard_to_case(self, store: AccountStore, name: str) -> None:
        assert self.found(store, name).name.upper() == name.upper()

    @pytest.mark.parametrize("domain", ["", "CORP", "WORKSTATION", "."])
    def test_an_account_without_a_domain_is_found_under_any(self, store: AccountStore, domain: str) -> None:
        assert self.found(store, "alice", domain).domain == ""

    @pytest.mark.parametrize(
        "name",
        ["", "mallory", "alice ", "alice\0", "%", "' OR 1=1 --", "\ud800", "a" * 257, "b" * 100_000, "\ufb00"],
        ids=lambda name: repr(name[:12]),
    )
    def test_an_unknown_name_is_unknown_however_strange(self, store: AccountStore, name: str) -> None:
        assert store.find(name, "", HERE, NOW) is None
        assert store.find("alice", "", "\ud800" * 1000, NOW) is not None

    def test_no_secret_is_shown(self, store: AccountStore) -> None:
        account = self.found(store, "alice")
        shown = repr(account) + repr(store) + repr(vars(account))
        for form in (account.nt_hash.reveal().hex(), repr(account.nt_hash.reveal()), store.decoy.reveal().hex()):
            assert form not in shown

    def test_each_store_has_a_decoy_of_its_own(self, tmp_path: Path) -> None:
        decoys = set[bytes]()
        for name in ("a", "b"):
            (tmp_path / name).mkdir(mode=0o700)
            decoys.add(self.make(tmp_path / name, PASSWORDS).decoy.reveal())
        assert [len(decoy) for decoy in decoys] == [16, 16]

    # --- throttling by account and source

    def test_a_source_is_throttled_after_so_many_failures_and_others_are_not(self, store: AccountStore) -> None:
        account = self.found(store, "alice")
        self.fail(store, "alice", THROTTLE.failures - 1)
        assert not store.throttled("alice", account, HERE, NOW)
        self.fail(store, "Alice", 1)
        assert store.throttled("alice", account, HERE, NOW)
        assert not store.throttled("alice", account, "192.0.2.2", NOW)
        assert not store.throttled("Bob", self.found(store, "Bob"), HERE, NOW)

    def test_throttling_ends_with_its_window_however_long_somebody_goes_on(self, store: AccountStore) -> None:
        account = self.found(store, "alice")
        self.fail(store, "alice", THROTTLE.failures)
        for minute in range(5):
            self.fail(store, "alice", 10, now=NOW + timedelta(minutes=minute))
        end = NOW + THROTTLE.window
        assert store.throttled("alice", account, HERE, end - SECOND)
        assert not store.throttled("alice", account, HERE, end)
        assert store.succeeded("alice", account, HERE, end)

    def test_a_success_forgets_the_failures_of_its_source_alone(self, store: AccountStore) -> None:
        account = self.found(store, "alice")
        self.fail(store, "alice", 2)
        self.fail(store, "alice", 2, source="192.0.2.2")
        assert store.succeeded("alice", account, HERE, NOW)
        self.fail(store, "alice", 1)
        self.fail(store, "alice", 1, source="192.0.2.2")
        assert not store.throttled("alice", account, HERE, NOW)
        assert store.throttled("alice", account, "192.0.2.2", NOW)

    def test_a_right_password_that_was_checked_while_others_failed_is_refused(self, store: AccountStore) -> None:
        """Guessing in parallel: all ask first whether they are throttled, and are judged in the order they end."""
        account = self.found(store, "alice")
        assert not store.throttled("alice", account, HERE, NOW)
        self.fail(store, "alice", THROTTLE.failures)
        assert not store.succeeded("alice", account, HERE, NOW)
        assert store.throttled("alice", account, HERE, NOW)

    def test_a_refusal_that_was_not_wrong_counts_nothing(self, store: AccountStore) -> None:
        account = self.found(store, "alice")
        for _ in range(THROTTLE.failures * 2):
            store.failed("alice", account, HERE, NOW, wrong=False)
        assert not store.throttled("alice", account, HERE, NOW)

    def test_failures_under_unknown_names_are_accepted_and_kept_nowhere(self, store: AccountStore) -> None:
        for number in range(50):
            self.fail(store, f"mallory{number}", 1)
        self.fail(store, "mallory", 20)
        assert store.find("mallory", "", HERE, NOW) is None
        assert not store.throttled("mallory", None, HERE, NOW)

    def test_unknown_names_do_not_push_out_what_is_remembered(self, store: AccountStore) -> None:
        self.fail(store, "alice", THROTTLE.failures)
        for number in range(3 * THROTTLE.entries):
            self.fail(store, f"mallory{number}", THROTTLE.failures, source=f"198.51.100.{number}")
        assert store.throttled("alice", self.found(store, "alice"), HERE, NOW)

    def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(self, store: AccountStore) -> None:
        account = self.found(store, "alice")
        sources = [f"198.51.100.{number}" for number in range(2 * THROTTLE.entries)]
        for number, source in enumerate(sources):
            self.fail(store, "alice", THROTTLE.failures, source=source, now=NOW + number * SECOND)
        now = NOW + len(sources) * SECOND
        remembered = [source for source in sources if store.throttled("alice", account, source, now)]
        assert len(remembered) in (THROTTLE.entries - 1, THROTTLE.entries)
        assert remembered == sources[-len(remembered) :]

    def test_a_network_of_ipv6_addresses_is_one_source(self, store: AccountStore) -> None:
        account = self.found(store, "alice")
        for host in range(THROTTLE.failures):
            self.fail(store, "alice", 1, source=f"2001:db8:1:2::{host:x}")
        assert store.throttled("alice", account, "2001:db8:1:2:ffff::1", NOW)
        assert not store.throttled("alice", account, "2001:db8:1:3::1", NOW)

    def test_throttling_can_be_left_out(self, tmp_path: Path) -> None:
        store = self.make(tmp_path, PASSWORDS, throttle=None)
        self.fail(store, "alice", 100)
        account = self.found(store, "alice")
        assert not store.throttled("alice", account, HERE, NOW)
        assert store.succeeded("alice", account, HERE, NOW)

    # --- lock-out

    def test_nothing_is_locked_unless_lock_out_was_asked_for(self, store: AccountStore) -> None:
        for number in range(20):
            self.fail(store, "alice", 3, source=f"198.51.100.{number}")
        assert self.found(store, "alice").locked_until is None

    def locking(self, folder: Path) -> AccountStore:
        """A store with lock-out and no throttling."""
        return self.make(folder, PASSWORDS, throttle=None, lockout=LOCKOUT)

    def test_wrong_responses_from_all_sources_together_lock_the_account_for_a_time(self, tmp_path: Path) -> None:
        store = self.locking(tmp_path)
        for number in range(LOCKOUT.failures):
            assert self.found(store, "alice").locked_until is None
            self.fail(store, "alice", 1, source=f"198.51.100.{number}")
        until = NOW + LOCKOUT.duration
        assert self.found(store, "ALICE").locked_until == until
        assert self.found(store, "Bob").locked_until is None
        assert self.found(store, "alice", now=until - SECOND).locked_until == until
        assert self.found(store, "alice", now=until).locked_until is None

    def test_a_locked_account_is_not_opened_by_a_right_password(self, tmp_path: Path) -> None:
        store = self.locking(tmp_path)
        account = self.found(store, "alice")
        self.fail(store, "alice", LOCKOUT.failures)
        assert not store.succeeded("alice", account, HERE, NOW)
        assert self.found(store, "alice").locked_until is not None

    def test_a_lock_is_not_made_longer_by_going_on(self, tmp_path: Path) -> None:
        store = self.locking(tmp_path)
        self.fail(store, "alice", LOCKOUT.failures)
        self.fail(store, "alice", 10, now=NOW + LOCKOUT.duration - SECOND)
        assert self.found(store, "alice", now=NOW + LOCKOUT.duration).locked_until is None

    def test_a_success_forgets_the_failures_before_it(self, tmp_path: Path) -> None:
        store = self.locking(tmp_path)
        for _ in range(5):
            self.fail(store, "alice", LOCKOUT.failures - 1)
            assert store.succeeded("alice", self.found(store, "alice"), HERE, NOW)
        assert self.found(store, "alice").locked_until is None

    def test_failures_far_apart_do_not_add_up(self, tmp_path: Path) -> None:
        store = self.locking(tmp_path)
        for number in range(2 * LOCKOUT.failures):
            self.fail(store, "alice", 1, now=NOW + number * (LOCKOUT.window + SECOND))
        assert self.found(store, "alice", now=NOW + LOCKOUT.window * 20).locked_until is None

    def test_only_wrong_responses_lock(self, tmp_path: Path) -> None:
        store = self.locking(tmp_path)
        account = self.found(store, "alice")
        for _ in range(LOCKOUT.failures * 2):
            store.failed("alice", account, HERE, NOW, wrong=False)
        assert self.found(store, "alice").locked_until is None

    # --- at once

    def test_failures_from_many_threads_are_all_counted(self, tmp_path: Path) -> None:
        """Exactly at the limit the source is refused: not one count is lost, not one is made twice."""
        limit = Throttle(failures=64, window=timedelta(minutes=5), entries=8)
        store = self.make(tmp_path, PASSWORDS, throttle=limit)
        account = self.found(store, "alice")

        def work() -> None:
            for _ in range(8):
                store.failed("alice", account, HERE, NOW)

        threads = [threading.Thread(target=work) for _ in range(8)]
        store.failed("alice", account, "192.0.2.7", NOW)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.throttled("alice", account, HERE, NOW)
        assert not store.throttled("alice", account, "192.0.2.7", NOW)


class DisablingContract(AccountStoreContract):
    """The contract of a store that can disable an account."""

    @abstractmethod
    def disable(self, store: AccountStore, name: str) -> None:
        """Disable an account."""

    def test_a_disabled_account_is_found_and_says_so(self, store: AccountStore) -> None:
        self.disable(store, "alice")
        assert self.found(store, "alice").disabled
        assert self.found(store, "alice").nt_hash.reveal() == nt_hash(PASSWORDS["alice"])
        assert not self.found(store, "Bob").disabled
