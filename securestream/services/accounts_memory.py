"""Accounts in memory: for tests, demonstrations, and programs that keep their accounts elsewhere and load them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

from securestream.ambient import system_clock
from securestream.credentials import join_name
from securestream.errors import MalformedMessage, UsageError
from securestream.options import Clock
from securestream.redaction import Secret
from securestream.services.accounts import Account, Listing, checked_name, name_key
from securestream.services.failures import FailureCounts, Lockout, Throttle
from securestream.services.nt_hash import nt_hash as hash_of
from securestream.services.verifiers import (
    DIGESTS,
    SCRAM_SHA_256,
    VerifierKey,
    digest_verifier,
    salt_of,
    scram_verifier,
    user_hash,
)

_Key: TypeAlias = tuple[str, str]


class MemoryAccounts:
    r"""An account store in memory. Names are given as ``DOMAIN\user`` or ``user``. Safe for threads.

    It keeps the passwords that it is given, and so has verifiers for every realm.

    Args:
        throttle: when a source address is refused for an account; `None` for never.
        lockout: when an account is refused for everybody; `None`, the default, for never.
        clock: the present moment, for `listing`.
    """

    blocking = False

    def __init__(
        self,
        *,
        throttle: Throttle | None = Throttle(),  # noqa: B008  an immutable value
        lockout: Lockout | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._accounts: dict[_Key, Account] = {}
        self._passwords: dict[_Key, Secret[str]] = {}
        self._scram: dict[_Key, Secret[bytes]] = {}
        self._hashed: dict[VerifierKey, dict[bytes, _Key]] = {}
        """By H(user:realm), made when it is first asked for and anew when accounts come or go."""
        self._lock = threading.Lock()
        self._counts = FailureCounts(throttle, lockout)
        self._clock = clock
        self._decoy = Secret(os.urandom(16))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._accounts)} accounts>"

    @property
    def decoy(self) -> Secret[bytes]:
        """A random key of this store that stands for the hash of an unknown user."""
        return self._decoy

    # --- administration

    def add(self, name: str, password: str, *, sid: str | None = None, realms: Iterable[str] = ()) -> None:
        """Add an account, or give an existing one a new password; whether it is disabled stays as it is.

        Args:
            name: the account's.
            password: its password.
            sid: its security identifier; `None` leaves an existing one.
            realms: as for `SqliteAccounts`; here every realm has its verifiers.

        Raises:
            UsageError: the name cannot be one.
        """
        secret = Secret(password)
        del password  # as for a credential
        user, _ = checked_name(name)
        scram: Secret[bytes] | None
        try:
            scram = Secret(scram_verifier(secret.reveal(), salt_of(self._decoy.reveal(), name_key(user))).pack())
        except MalformedMessage:  # such a password works for the other mechanisms
            scram = None
        self._set(name, hash_of(secret.reveal()), sid, secret, scram)

    def add_hash(self, name: str, nt_hash: bytes, *, sid: str | None = None) -> None:
        """`add` for a caller who has the NT hash (16 octets) and not the password; such an account has no verifiers.

        Raises:
            UsageError: the name cannot be one, or `nt_hash` is no such hash.
        """
        if len(nt_hash) != 16:
            raise UsageError(f"an NT hash is 16 octets, not {len(nt_hash)}")
        self._set(name, nt_hash, sid, None, None)

    def _set(
        self, name: str, nt_hash: bytes, sid: str | None, password: Secret[str] | None, scram: Secret[bytes] | None
    ) -> None:
        user, domain = checked_name(name)
        key = name_key(user), name_key(domain)
        with self._lock:
            old = self._accounts.get(key)
            self._forget(key)
            self._accounts[key] = Account(
                user,
                Secret(bytes(nt_hash)),
                domain=domain,
                disabled=old is not None and old.disabled,
                sid=old.sid if old is not None and sid is None else sid,
            )
            if password is not None:
                self._passwords[key] = password
            if scram is not None:
                self._scram[key] = scram
        self._counts.forget(key)

    def _forget(self, key: _Key) -> None:
        self._accounts.pop(key, None)
        self._passwords.pop(key, None)
        self._scram.pop(key, None)
        self._hashed.clear()

    def remove(self, name: str) -> None:
        """Remove an account.

        Raises:
            UsageError: there is none of that name.
        """
        with self._lock:
            key = self._existing(name)
            self._forget(key)
        self._counts.forget(key)

    def disable(self, name: str) -> None:
        """Refuse logons of this account until `enable`."""
        self._set_disabled(name, disabled=True)

    def enable(self, name: str) -> None:
        """Admit logons of this account again."""
        self._set_disabled(name, disabled=False)

    def unlock(self, name: str) -> None:
        """End a lock-out, and forget the account's failures."""
        with self._lock:
            key = self._existing(name)
        self._counts.forget(key)

    def listing(self) -> tuple[Listing, ...]:
        """All accounts by name, without secrets."""
        now = self._clock()
        with self._lock:
            accounts = sorted(self._accounts.items())
        return tuple(
            Listing(a.name, a.domain, a.disabled, self._counts.locked_until(key, now), a.sid) for key, a in accounts
        )

    def __iter__(self) -> Iterator[Listing]:
        return iter(self.listing())

    def _existing(self, name: str) -> _Key:
        user, domain = checked_name(name)
        key = name_key(user), name_key(domain)
        if key not in self._accounts:
            raise UsageError(f"there is no account {name}")
        return key

    def _set_disabled(self, name: str, *, disabled: bool) -> None:
        with self._lock:
            key = self._existing(name)
            self._accounts[key] = replace(self._accounts[key], disabled=disabled)

    # --- logons: AccountStore

    def find(self, user: str, domain: str, source: str, now: datetime) -> Account | None:
        """The account, or `None`."""
        key, domain_key = name_key(user), name_key(domain)
        with self._lock:
            exact = self._accounts.get((key, domain_key))
            anywhere = self._accounts.get((key, ""))
        return self._with_lock(anywhere if exact is None else exact, now)

    def _with_lock(self, found: Account | None, now: datetime) -> Account | None:
        until = self._counts.locked_until(None if found is None else _key_of(found), now)
        return found if found is None or until is None else replace(found, locked_until=until)

    def throttled(self, user: str, account: Account | None, source: str, now: datetime) -> bool:
        """Whether this source is refused for this account at present."""
        return self._counts.throttled(None if account is None else _key_of(account), source, now)

    def failed(self, user: str, account: Account | None, source: str, now: datetime, *, wrong: bool = True) -> None:
        """Count a wrong response."""
        self._counts.failed(None if account is None else _key_of(account), source, now, wrong=wrong)

    def succeeded(self, user: str, account: Account, source: str, now: datetime) -> bool:
        """Forget the failures of this account and source; False where they stand at their limit meanwhile."""
        return self._counts.succeeded(_key_of(account), source, now)

    # --- verifiers: VerifierStore

    def verifier(self, account: Account | None, key: VerifierKey) -> Secret[bytes] | None:
        """The verifier of an account, for any realm; for nobody as much is computed."""
        at = ("", "") if account is None else _key_of(account)
        with self._lock:
            password, scram = self._passwords.get(at), self._scram.get(at)
        if key.kind == SCRAM_SHA_256:
            return scram
        if key.kind not in DIGESTS:
            return None
        name = "" if account is None else _full_name(account)
        computed = digest_verifier(key.kind, name, key.realm, "" if password is None else password.reveal())
        return None if password is None else Secret(computed)

    def find_hashed(self, user_hash: bytes, key: VerifierKey, source: str, now: datetime) -> Account | None:
        """The account whose name and realm have this hash, or `None`."""
        with self._lock:
            hashes = self._hashed.get(key)
            if hashes is None:
                hashes = self._hashed[key] = self._hashes(key)
            at = hashes.get(user_hash)
            found = None if at is None else self._accounts[at]
        return self._with_lock(found, now)

    def _hashes(self, key: VerifierKey) -> dict[bytes, _Key]:
        if key.kind not in DIGESTS:
            return {}
        return {user_hash(key.kind, _full_name(account), key.realm): at for at, account in self._accounts.items()}


def _full_name(account: Account) -> str:
    return join_name(account.name, account.domain)


def _key_of(account: Account) -> _Key:
    return _key(account.name, account.domain)


@lru_cache(1024)  # a logon asks three times; never for names that only a peer has given
def _key(name: str, domain: str) -> _Key:
    return name_key(name), name_key(domain)
