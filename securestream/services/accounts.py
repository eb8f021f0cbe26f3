"""Account stores: what an acceptor that verifies passwords itself looks names up in."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from securestream.credentials import join_name, split_name
from securestream.errors import ServiceFailed, UsageError
from securestream.redaction import Redacted, Secret

if TYPE_CHECKING:
    from securestream.services.verifiers import VerifierKey

LONGEST_NAME = 256
"""Characters that a user or domain name of a store may have; UNLEN of lmcons.h."""


@dataclass(frozen=True, repr=False)
class Account(Redacted):
    """One account of a store.

    Args:
        name: the user name as the store writes it.
        nt_hash: MD4 of the password in UTF-16LE, 16 octets.
        domain: the domain it belongs to; empty where the store knows none.
        disabled: whether logons are refused.
        locked_until: until when logons are refused after too many failures, aware UTC, or `None`.
        lm_hash: the LM hash, for acceptors that allow LM by name; `None` where it is not kept.
        sid: the account's security identifier, or `None`.
    """

    name: str
    nt_hash: Secret[bytes]
    domain: str = ""
    disabled: bool = False
    locked_until: datetime | None = None
    lm_hash: Secret[bytes] | None = None
    sid: str | None = None

    def is_closed(self, now: datetime) -> bool:
        """Whether nobody logs on to it at `now`: it is disabled or locked."""
        return self.disabled or (self.locked_until is not None and self.locked_until > now)


@dataclass(frozen=True)
class Listing:
    """What a store tells of an account to whoever administers it: no secret.

    Args:
        name: the user name.
        domain: its domain; empty for none.
        disabled: whether logons are refused.
        locked_until: until when it is locked, aware UTC, or `None`.
        sid: its security identifier, or `None`.
    """

    name: str
    domain: str = ""
    disabled: bool = False
    locked_until: datetime | None = None
    sid: str | None = None

    def __str__(self) -> str:
        return join_name(self.name, self.domain)


class AccountStore(Protocol):
    """A store of accounts. Implement it to verify against one of your own.

    Unknown, disabled, locked, throttled and wrong must look and cost the same (SECURITY: logon), so a logon asks `find`
    and `throttled` once each, computes the same proofs with the account's hash or with `decoy`, and then calls exactly
    one of `succeeded` and `failed` with whatever `find` gave. All methods may be called from several threads at once.

    Any of them raises `ServiceFailed` when the store itself cannot be read or written.
    """

    @property
    def blocking(self) -> bool:
        """Whether its methods may wait for a disk or a network; a worker thread then calls them."""
        ...

    @property
    def decoy(self) -> Secret[bytes]:
        """A random key of the store (16 octets) that stands for the hash of an unknown user."""
        ...

    def find(self, user: str, domain: str, source: str, now: datetime) -> Account | None:
        """The account, or `None`; names are compared without regard to case.

        An account of a domain is found under that domain only; one without a domain is found under any.

        Args:
            user: the name as the peer sent it; a name of more than 256 characters is unknown.
            domain: the domain as the peer sent it.
            source: the peer's address; empty where unknown.
            now: the present moment.
        """
        ...

    def throttled(self, user: str, account: Account | None, source: str, now: datetime) -> bool:
        """Whether this source has failed so often for this account that the logon is refused, whatever its password."""
        ...

    def failed(self, user: str, account: Account | None, source: str, now: datetime, *, wrong: bool = True) -> None:
        """A logon was refused.

        Args:
            user: as for `find`.
            account: what `find` gave; unknown names (`None`) create no row, and cost the same.
            source: as for `find`.
            now: as for `find`.
            wrong: whether the response was really wrong. False (the account is disabled, locked or throttled, or the
                bindings are wrong) costs the same and counts nothing.
        """
        ...

    def succeeded(self, user: str, account: Account, source: str, now: datetime) -> bool:
        """Forget the failures of this account and source, unless they have meanwhile reached their limit.

        Returns:
            Whether the logon stands. False when other logons that ran at the same time failed so often that the
            account is now throttled for this source, or locked: then refuse, so that guessing in parallel gains
            nothing over guessing one by one.
        """
        ...


@runtime_checkable
class VerifierStore(AccountStore, Protocol):
    """An account store that also keeps what Digest and SCRAM verify with (`securestream.services.verifiers`).

    A logon calls `find` or `find_hashed`, then `throttled`, then `verifier`, then `failed` or `succeeded`, once each.
    `decoy` should stay what it is when the program starts again, and be the same in all its processes: the salts that
    SCRAM tells are derived from it (`salt_of`), those of unknown names included.
    """

    def verifier(self, account: Account | None, key: VerifierKey) -> Secret[bytes] | None:
        """A verifier of what `find` gave; `None` where there is none. Asked for nobody (`None`) it costs the same."""
        ...

    def find_hashed(self, user_hash: bytes, key: VerifierKey, source: str, now: datetime) -> Account | None:
        """`find` for a name that was sent as H(user:realm) (RFC 7616 3.4.4).

        Args:
            user_hash: the hash; anything else is unknown.
            key: which hash and realm.
            source: as for `find`.
            now: as for `find`.
        """
        ...


class CorruptStore(ServiceFailed):
    """The octets of a store are not what it wrote, or its key is another one; nothing of it is used.

    The message names the file, and the line where it has lines.
    """


def name_key(name: str) -> str:
    """The form in which names are compared: NFC, in which Digest sends them, in upper case, one character for each, as
    Windows does.

    Full case mapping would make ``straße`` and ``STRASSE`` one account. What is longer than a name may be has a key
    that no name has.
    """
    return _name_key(name) if len(name) <= LONGEST_NAME else _name_key(name[:LONGEST_NAME]) + "\0"


@lru_cache(1024)  # a logon asks several times, and a client comes again
def _name_key(name: str) -> str:
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    upper = name.upper()
    if len(upper) == len(name):
        return upper
    return "".join(folded if len(folded := character.upper()) == 1 else character for character in name)


def checked_name(name: str) -> tuple[str, str]:
    r"""User and domain of the ``DOMAIN\user`` or ``user`` that an administrator gives.

    Raises:
        UsageError: the name is empty, too long, or has characters that no name has.
    """
    user, domain = split_name(name)
    if not user:
        raise UsageError("an account needs a name, alone or as DOMAIN\\name")
    for part in (user, domain):
        if len(part) > LONGEST_NAME:
            raise UsageError(f"a name has at most {LONGEST_NAME} characters, not {len(part)}")
        if not part.isprintable() or "\\" in part or ":" in part:
            raise UsageError("a name has no control characters, colons or further backslashes")
    return user, domain
