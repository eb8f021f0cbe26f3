"""Tickets with all that makes them usable: what a cache holds and what a KDC's reply yields."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from securestream.redaction import Redacted
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import AuthorizationElement, HostAddress
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import TicketFlags


@dataclass(frozen=True, repr=False)
class CachedTicket(Redacted):
    """A ticket, its session key, and what the KDC said of both in the encrypted part of its reply.

    Args:
        client: whose ticket it is.
        server: the service it opens.
        key: the session key.
        ticket: the Ticket in DER, as received.
        flags: the ticket's flags.
        auth_time: when the client first authenticated, aware UTC.
        start_time: from when on it is valid; `None` is `auth_time`.
        end_time: until when.
        renew_till: until when it can be renewed, or `None`.
        is_session_key: the ticket is encrypted in the session key of `second_ticket` (user-to-user).
        addresses: the addresses it is bound to.
        authorization_data: what the client asked to be put in.
        second_ticket: the peer's TGT for user-to-user, in DER; empty otherwise.
    """

    client: KerberosName
    server: KerberosName
    key: Key
    ticket: bytes
    flags: TicketFlags
    auth_time: datetime
    start_time: datetime | None
    end_time: datetime
    renew_till: datetime | None = None
    is_session_key: bool = False
    addresses: tuple[HostAddress, ...] = ()
    authorization_data: tuple[AuthorizationElement, ...] = ()
    second_ticket: bytes = field(default=b"")


@dataclass(frozen=True, repr=False)
class KeytabEntry(Redacted):
    """One key of a keytab.

    Args:
        principal: whose key.
        kvno: its version.
        key: the key.
        timestamp: when it was written, aware UTC.
    """

    principal: KerberosName
    kvno: int
    key: Key
    timestamp: datetime


@dataclass(frozen=True, repr=False)
class TicketCache(Redacted):
    """The content of a credential cache.

    Args:
        client: the default principal.
        tickets: in the order of the cache.
        configuration: entries such as ``fast_avail`` or ``pa_type``: the name, the principal it is about (or `None`),
            and the value.
        kdc_offset: seconds that the KDC's clock is ahead of ours, as learned.
        positions: for each configuration entry, how many tickets stand before it in the file, and the type its name has
            there (releases of MIT differ), so that a cache is written as it was read; without, they stand after all.
    """

    client: KerberosName
    tickets: tuple[CachedTicket, ...] = ()
    configuration: tuple[tuple[str, KerberosName | None, bytes], ...] = ()
    kdc_offset: float = 0.0
    positions: tuple[tuple[int, int], ...] = field(default=(), repr=False, compare=False)
