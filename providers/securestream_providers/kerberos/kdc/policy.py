"""What a KDC allows: lifetimes, encryption types, lock-out, other realms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from securestream.errors import UsageError
from securestream.services.lockout import Lockout as Lockout

STRONG: Final = (18, 17, 20, 19, 26, 25)
"""Encryption types that are used unless others are named; RC4 and DES3 are not among them."""


@dataclass(frozen=True)
class KdcPolicy:
    """What a KDC allows.

    Args:
        etypes: encryption types of tickets, session keys and pre-authentication, the preferred first.
        clock_skew: the most that clocks may differ.
        max_life: of a ticket.
        max_renew: how long after the first authentication a ticket can be renewed.
        lockout: when a principal is locked; `None` for never.
        conceal_unknown: answer for unknown clients as for a wrong password, rather than with error 6 (RFC 4120 3.1.3).
        allow_postdated: whether tickets may begin in the future.
        least_password: characters of a new password, at least.
        password_admins: principals (their text) who may set the passwords of others.
        pac: whether tickets for services carry a PAC; ticket-granting tickets always do, and those of S4U.
        require_pac: refuse ticket-granting tickets of our own clients without one (CVE-2021-42287); `False` takes a
            name's ticket for that of whoever has the name now.
        host_realms: hosts and ``.domains`` (lower case) whose services another realm knows, for referrals.
        transit: client realms to the realms that may lie between theirs and this one.
        largest_datagram: octets of a reply by UDP; larger ones answer 52.
        amplification: how many times the octets of a request a reply by UDP may have; beyond: 52.
    """

    etypes: tuple[int, ...] = STRONG
    clock_skew: timedelta = timedelta(minutes=5)
    max_life: timedelta = timedelta(hours=10)
    max_renew: timedelta = timedelta(days=7)
    lockout: Lockout | None = None
    conceal_unknown: bool = False
    allow_postdated: bool = False
    least_password: int = 8
    password_admins: Collection[str] = ()
    pac: bool = True
    require_pac: bool = True
    host_realms: Mapping[str, str] = field(default_factory=dict[str, str])
    transit: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    largest_datagram: int = 1400
    amplification: int = 5

    def __post_init__(self) -> None:
        if not self.etypes or self.max_life <= timedelta() or self.clock_skew < timedelta():
            raise UsageError("a KDC needs at least one encryption type, a lifetime above zero and a skew not below it")
