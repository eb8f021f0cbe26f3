"""Account stores: what an acceptor that verifies passwords itself looks names up in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from securestream.redaction import Redacted, Secret


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


class AccountStore(Protocol):
    """A store of accounts. Implement it to verify against one of your own.

    All methods may be called from worker threads. Unknown, disabled, locked and wrong must cost the same
    (SECURITY: logon), so `find` is asked once per logon, and one of `succeeded` and `failed` is called after it with
    whatever `find` gave.
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

        Args:
            user: the name as the peer sent it, at most 256 characters are looked at.
            domain: the domain as the peer sent it.
            source: the peer's address, for throttling; empty where unknown.
            now: the present moment.
        """
        ...

    def throttled(self, user: str, source: str, now: datetime) -> bool:
        """Whether this source has failed so often for this name that the logon is refused, whatever its password."""
        ...

    def failed(self, user: str, account: Account | None, source: str, now: datetime) -> None:
        """Count a wrong response. Unknown names (`account` is `None`) create no row."""
        ...

    def succeeded(self, user: str, account: Account, source: str, now: datetime) -> None:
        """Forget the failures of this account and source."""
        ...
