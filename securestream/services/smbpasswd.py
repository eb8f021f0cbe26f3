"""Samba's smbpasswd(5) as an account store, read-only: the file stays Samba's to write."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from securestream.errors import MalformedMessage, ServiceFailed
from securestream.files import UnsafeFile, open_private
from securestream.redaction import Secret
from securestream.services.accounts import LONGEST_NAME, Account, CorruptStore, Listing, name_key
from securestream.services.failures import FailureCounts, Lockout, Throttle

LARGEST: Final = 64 << 20
"""Octets of the largest file that is read."""

_KNOWN_FLAGS: Final = frozenset("NDHTUMWSLXI ")
"""The account control letters that Samba writes, and the spaces that fill the field."""

_REFUSING_FLAGS: Final = frozenset("NDTLWSIM")
"""No password, disabled, duplicate, locked, and the trust accounts of machines and domains: nobody logs on as these."""

_NO_HASH: Final = frozenset(["X" * 32])
_HEX: Final = frozenset("0123456789ABCDEFabcdef")
_RACY: Final = 2_000_000_000
"""Nanoseconds within which a file may change again without its time of change showing it."""


def parse_smbpasswd(data: bytes, decoy: Secret[bytes]) -> dict[str, Account]:
    """The accounts of an smbpasswd(5) file, by `name_key`.

    A line is ``name:uid:LM hash:NT hash:[flags]:LCT-time:``. Thirty-two ``X``, or ``NO PASSWORD`` at the start of a
    hash field, stand for none: such an account is there and disabled, with `decoy` for its hash.

    Raises:
        MalformedMessage: a line is not of that form; the message gives its number. No line is guessed or left out.
    """
    accounts: dict[str, Account] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            account = _parse_line(line.decode("utf-8"), decoy)
        except UnicodeDecodeError:
            raise MalformedMessage(f"line {number}: it is not UTF-8") from None
        except MalformedMessage as error:
            raise MalformedMessage(f"line {number}: {error}") from None
        key = name_key(account.name)
        if key in accounts:
            raise MalformedMessage(f"line {number}: the account of line {lines[key]} comes again")
        accounts[key] = account
        lines[key] = number
    return accounts


def _parse_line(line: str, decoy: Secret[bytes]) -> Account:
    fields = line.split(":")
    if len(fields) < 6:
        raise MalformedMessage("it has fewer than six fields; write the file anew with pdbedit -e smbpasswd")
    name, uid, lm_field, nt_field, flags, changed = fields[:6]
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise MalformedMessage("the name is empty, too long, or has characters that no name has")
    if not (uid.isascii() and uid.isdigit() and len(uid) <= 10):
        raise MalformedMessage("the user number is not decimal")
    if any(field.strip() for field in fields[6:]):
        raise MalformedMessage("something follows its sixth field")
    _check_time(changed)
    refused = _is_refused(flags)
    lm_hash, nt_hash = _parse_hash(lm_field, "LM"), _parse_hash(nt_field, "NT")
    return Account(
        name,
        decoy if nt_hash is None else nt_hash,
        disabled=refused or nt_hash is None,
        lm_hash=None if refused else lm_hash,
    )


def _is_refused(flags: str) -> bool:
    """Whether the account control field lets nobody log on."""
    letters = flags[1:-1]
    if len(flags) != 13 or flags[0] != "[" or flags[-1] != "]":
        raise MalformedMessage("the flags are not eleven characters in brackets")
    if not set(letters) <= _KNOWN_FLAGS:
        raise MalformedMessage("it has a flag that is not known here")
    return "U" not in letters or not _REFUSING_FLAGS.isdisjoint(letters)


def _parse_hash(field: str, kind: str) -> Secret[bytes] | None:
    if len(field) != 32:
        raise MalformedMessage(f"the {kind} hash has not 32 characters")
    if field in _NO_HASH or field.startswith("NO PASSWORD"):
        return None
    if not _HEX.issuperset(field):
        raise MalformedMessage(f"the {kind} hash is not hexadecimal")
    return Secret(bytes.fromhex(field))


def _check_time(field: str) -> None:
    if not (len(field) == 12 and field.startswith("LCT-") and _HEX.issuperset(field[4:])):
        raise MalformedMessage("the time of the last change is not LCT- and eight hexadecimal digits")


@dataclass(frozen=True)
class _Version:
    """What tells one state of the file from another."""

    inode: int
    size: int
    changed: int
    settled: bool
    """Whether the file is old enough for `changed` to tell it from every later state."""


class SmbpasswdAccounts:
    """The accounts of a Samba ``smbpasswd`` file, read anew whenever it changes.

    Failures are counted in memory, since the file is Samba's. The format has no domains: each account is found under
    any domain.

    Args:
        path: the file, mode 0600.
        throttle: when a source address is refused for an account; `None` for never.
        lockout: when an account is refused for everybody; `None`, the default, for never.

    Raises:
        CorruptStore: a line cannot be read; the message gives its number. Once the store is open, a file that became
            unreadable refuses every logon until it is mended.
        UnsafeFile: the file is a link, belongs to somebody else, or is open to others.
        FileNotFoundError: there is none.
    """

    blocking = True

    def __init__(
        self,
        path: str | Path,
        *,
        throttle: Throttle | None = Throttle(),  # noqa: B008  an immutable value
        lockout: Lockout | None = None,
    ) -> None:
        self.path = Path(path)
        self._decoy = Secret(os.urandom(16))
        self._counts = FailureCounts(throttle, lockout)
        self._lock = threading.Lock()
        self._accounts, self._version = self._load()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    @property
    def decoy(self) -> Secret[bytes]:
        """A random key of this store that stands for the hash of an unknown user."""
        return self._decoy

    def listing(self) -> tuple[Listing, ...]:
        """All accounts by name, without secrets."""
        now = datetime.now(UTC)
        return tuple(
            Listing(account.name, disabled=account.disabled, locked_until=self._counts.locked_until(key, now))
            for key, account in sorted(self._current().items())
        )

    def __iter__(self) -> Iterator[Listing]:
        return iter(self.listing())

    def _load(self) -> tuple[dict[str, Account], _Version]:
        with open(open_private(self.path), "rb") as file:
            version = _version_of(os.fstat(file.fileno()))
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise CorruptStore(f"{self.path} has more than {LARGEST} octets: is it the right file?")
        try:
            return parse_smbpasswd(data, self._decoy), version
        except MalformedMessage as error:
            raise CorruptStore(f"{self.path}, {error}") from None

    def _current(self) -> dict[str, Account]:
        """The accounts as the file has them now.

        Raises:
            ServiceFailed: the file cannot be read any more; no earlier state of it is used in its place.
        """
        with self._lock:
            try:
                if not self._version.settled or _version_of(os.stat(self.path)) != self._version:
                    self._accounts, self._version = self._load()
            except UnsafeFile as error:
                raise ServiceFailed(str(error)) from error
            except OSError as error:
                raise ServiceFailed(f"{self.path} cannot be read: {os.strerror(error.errno or 0)}") from error
            return self._accounts

    # --- logons: AccountStore

    def find(self, user: str, domain: str, source: str, now: datetime) -> Account | None:
        """The account, or `None`."""
        key = name_key(user)
        found = self._current().get(key)
        until = self._counts.locked_until(None if found is None else key, now)
        return found if found is None or until is None else replace(found, locked_until=until)

    def throttled(self, user: str, account: Account | None, source: str, now: datetime) -> bool:
        """Whether this source is refused for this account at present."""
        return self._counts.throttled(None if account is None else name_key(account.name), source, now)

    def failed(self, user: str, account: Account | None, source: str, now: datetime, *, wrong: bool = True) -> None:
        """Count a wrong response."""
        self._counts.failed(None if account is None else name_key(account.name), source, now, wrong=wrong)

    def succeeded(self, user: str, account: Account, source: str, now: datetime) -> bool:
        """Forget the failures of this account and source; False where they stand at their limit meanwhile."""
        return self._counts.succeeded(name_key(account.name), source, now)

    def unlock(self, name: str) -> None:
        """End a lock-out, and forget the account's failures."""
        self._counts.forget(name_key(name))


def _version_of(found: os.stat_result) -> _Version:
    age = datetime.now(UTC).timestamp() * 1e9 - found.st_mtime_ns
    return _Version(found.st_ino, found.st_size, found.st_mtime_ns, age > _RACY)
