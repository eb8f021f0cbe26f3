"""What a client of KDCs is configured with, what it asks for, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from securestream.options import Options
from securestream.redaction import Redacted
from securestream.values import made_quickly
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.numbers import EncryptionType
from securestream_providers.krb5.tickets import CachedTicket

WEAK: Final = frozenset((EncryptionType.RC4_HMAC, EncryptionType.DES3_CBC_SHA1_KD))
"""Encryption types that are asked for only where they are allowed by name."""


@dataclass(frozen=True, repr=False)
class ClientSettings(Redacted):
    """How KDCs are asked.

    Args:
        config: realms and where their KDCs are.
        etypes: encryption types to ask for and to accept, the preferred first; empty: those of `config`, of weak ones
            only those in `weak`.
        weak: weak types (`WEAK`) of `config` that are allowed.
        canonicalize: whether a KDC may answer with another name than was asked for; `None` as `config` says.
        enterprise: the client's name is an enterprise name (RFC 6806 5), whose realm the KDC finds.
        armor: a ticket-granting ticket for FAST.
        armor_policy: ``"required"``: with an `armor`, nothing is said or believed outside of FAST. ``"offered"``: FAST
            only where the KDC offers it, which whoever is in the middle can prevent.
        pac: whether to ask for a PAC; `None` leaves it to the KDC.
        stream: skip UDP.
        forwardable: ask for forwardable tickets; `None` as `config` says.
        proxiable: likewise.
        lifetime: ask for; `None` as `config` says.
        renew_lifetime: ask for renewable tickets; `None` as `config` says.
    """

    config: Krb5Config
    etypes: tuple[int, ...] = ()
    weak: frozenset[int] = frozenset()
    canonicalize: bool | None = None
    enterprise: bool = False
    armor: CachedTicket | None = None
    armor_policy: Literal["required", "offered"] = "required"
    pac: bool | None = None
    stream: bool = False
    forwardable: bool | None = None
    proxiable: bool | None = None
    lifetime: timedelta | None = None
    renew_lifetime: timedelta | None = None

    @property
    def requested_etypes(self) -> tuple[int, ...]:
        """The encryption types to ask for, the preferred first."""
        if self.etypes:
            return self.etypes
        return tuple(etype for etype in self.config.permitted_etypes if etype not in WEAK or etype in self.weak)

    @property
    def may_canonicalize(self) -> bool:
        """Whether other names than those asked for are accepted (RFC 6806); enterprise names need it."""
        return self.enterprise or (self.config.canonicalize if self.canonicalize is None else self.canonicalize)


@dataclass(repr=False)
class Session:
    """One use of KDCs: the settings, the handshake's options, and what was learned on the way.

    Args:
        settings: how KDCs are asked.
        options: clock and randomness.
        offset: how far the KDC's clock is ahead of ours, from an authenticated reply.
        fast_realms: realms whose KDC said in an authenticated reply that it does FAST.
    """

    settings: ClientSettings
    options: Options
    offset: timedelta = timedelta(0)
    fast_realms: set[str] = field(default_factory=set[str])

    def kdc_time(self) -> datetime:
        """The KDC's time, as far as we know it."""
        return self.options.clock() + self.offset

    def nonce(self) -> int:
        """A fresh nonce of 31 bits: some KDCs read it signed."""
        return int.from_bytes(self.options.random(4), "big") & 0x7FFFFFFF


@dataclass(frozen=True, repr=False)
class InitialTicket(Redacted):
    """What an AS exchange gives.

    Args:
        ticket: the ticket, usually a ticket-granting one.
        kdc_offset: how far the KDC's clock is ahead of ours.
        fast_available: whether the KDC said, authenticated, that it does FAST.
        password_expires: when the password expires, where the KDC tells.
    """

    ticket: CachedTicket
    kdc_offset: timedelta
    fast_available: bool = False
    password_expires: datetime | None = None


@made_quickly
@dataclass(frozen=True, repr=False)
class Obtained(Redacted):
    """What an initiator needs for a service.

    Args:
        ticket: for the service.
        tgt: the client's ticket-granting ticket, where there is one; delegation needs it.
        kdc_offset: how far the KDC's clock is ahead of ours; the authenticator's time is ours plus this.
        fast_available: whether the client's KDC is known to do FAST.
    """

    ticket: CachedTicket
    tgt: CachedTicket | None
    kdc_offset: timedelta = timedelta(0)
    fast_available: bool = False
