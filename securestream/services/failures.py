"""Counting failed logons: the policies of throttling and lock-out, and their counters in memory."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from securestream.errors import UsageError
from securestream.services.lockout import Lockout as Lockout


@dataclass(frozen=True)
class Throttle:
    """When a source address is refused for one account, whatever its password.

    Args:
        failures: this many wrong responses...
        window: ...within this time of the first refuse the source until the window ends.
        entries: pairs of account and source that are remembered; beyond them the oldest window is forgotten.
    """

    failures: int = 10
    window: timedelta = timedelta(minutes=5)
    entries: int = 65536

    def __post_init__(self) -> None:
        if self.failures < 1 or self.entries < 1 or self.window <= timedelta():
            raise UsageError("throttling needs at least one failure, one entry and a window above zero")


def source_key(source: str) -> str:
    """The form in which source addresses are compared: IPv6 by its /64, which one customer owns whole."""
    return _source_key(source[:128]) if source else ""


@lru_cache(1024)  # a logon asks twice, and a client comes again
def _source_key(source: str) -> str:
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.exploded[:19]


@dataclass
class _Failing:
    failures: int
    since: datetime


class FailureCounts:
    """Failures of a store in memory. Safe for threads; bounded by `Throttle.entries` and the number of accounts.

    Accounts are named by any key of the store's own; `None` stands for a name that the store does not know, for which
    the same look-ups are made and nothing is kept.

    Args:
        throttle: when a source is refused; `None` for never.
        lockout: when an account is refused; `None` for never.
    """

    def __init__(self, throttle: Throttle | None, lockout: Lockout | None) -> None:
        self._throttle = throttle
        self._lockout = lockout
        self._lock = threading.Lock()
        self._sources: OrderedDict[tuple[Hashable, str], _Failing] = OrderedDict()  # ordered by `since`
        self._accounts: dict[Hashable, _Failing] = {}
        self._locked: dict[Hashable, datetime] = {}

    def throttled(self, account: Hashable | None, source: str, now: datetime) -> bool:
        """Whether `source` is refused for `account` at present."""
        key = (account, source_key(source))
        with self._lock:
            return self._throttled(key, now)

    def locked_until(self, account: Hashable | None, now: datetime) -> datetime | None:
        """Until when `account` is locked, or `None`."""
        with self._lock:
            until = self._locked.get(account)
            return until if until is not None and now < until else None

    def failed(self, account: Hashable | None, source: str, now: datetime, *, wrong: bool) -> None:
        """Count a wrong response, once for its source and once for its account.

        What comes while the source is throttled or the account is locked was not judged and is not counted, so both
        end in time however long somebody goes on.
        """
        key = (account, source_key(source))
        with self._lock:
            refused = self._throttled(key, now) or self._locks(account, now)
            if wrong and not refused and account is not None:
                self._count_source(key, now)
                self._count_account(account, now)

    def succeeded(self, account: Hashable, source: str, now: datetime) -> bool:
        """Forget the failures of `account` and `source`; False where they stand at their limit meanwhile."""
        key = (account, source_key(source))
        with self._lock:
            if self._throttled(key, now) or self._locks(account, now):
                return False
            self._sources.pop(key, None)
            self._accounts.pop(account, None)
            return True

    def forget(self, account: Hashable) -> None:
        """Unlock `account` and forget all its failures."""
        with self._lock:
            self._accounts.pop(account, None)
            self._locked.pop(account, None)
            for key in [key for key in self._sources if key[0] == account]:
                del self._sources[key]

    def _throttled(self, key: tuple[Hashable, str], now: datetime) -> bool:
        entry = self._sources.get(key)
        throttle = self._throttle
        if entry is None or throttle is None:
            return False
        return entry.failures >= throttle.failures and now < entry.since + throttle.window

    def _locks(self, account: Hashable | None, now: datetime) -> bool:
        until = self._locked.get(account)
        return until is not None and now < until

    def _count_source(self, key: tuple[Hashable, str], now: datetime) -> None:
        throttle = self._throttle
        if throttle is None:
            return
        entry = self._sources.get(key)
        if entry is not None and now < entry.since + throttle.window:
            entry.failures += 1
            return
        self._sources.pop(key, None)
        if len(self._sources) >= throttle.entries:
            self._sources.popitem(last=False)
        self._sources[key] = _Failing(1, now)

    def _count_account(self, account: Hashable, now: datetime) -> None:
        lockout = self._lockout
        if lockout is None:
            return
        entry = self._accounts.get(account)
        if entry is None or now >= entry.since + lockout.window:
            entry = self._accounts[account] = _Failing(0, now)
        entry.failures += 1
        entry.since = now
        if entry.failures >= lockout.failures:
            del self._accounts[account]
            self._locked[account] = now + lockout.duration
