"""Everything that an initiator needs: from any credential to a ticket for a service."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from securestream.credentials import Credential
from securestream.errors import NoCredentials, ServiceFailed
from securestream.options import Options
from securestream.provider import Effect, TargetName
from securestream.redaction import Redacted
from securestream_providers.kerberos.client.as_exchange import initial_ticket
from securestream_providers.kerberos.client.further import renew
from securestream_providers.kerberos.client.identity import client_form, long_term, service_name
from securestream_providers.kerberos.client.keys import LongTermKeys
from securestream_providers.kerberos.client.referrals import service_ticket
from securestream_providers.kerberos.client.settings import ClientSettings, Obtained, Session
from securestream_providers.kerberos.client.tgs_exchange import realm_of
from securestream_providers.kerberos.credentials import Tickets
from securestream_providers.kerberos.effects import RecallTickets, RememberTickets
from securestream_providers.krb5.kdc_error import KdcRefused
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import TicketFlags
from securestream_providers.krb5.tickets import CachedTicket, TicketCache

_REFRESHED_BEFORE_END: Final = timedelta(minutes=5)
"""Ticket-granting tickets are renewed, or fetched again, this long before their end."""

_INVALID: Final = int(TicketFlags.INVALID)  # members of an IntFlag are slow to combine
FAST_AVAILABLE: Final = "fast_avail"
"""The configuration entry of a cache that says that a realm's KDC does FAST; MIT krb5 writes it, too."""


@dataclass(frozen=True, repr=False)
class _Known(Redacted):
    """What there is before a KDC is asked."""

    client: KerberosName | None
    keys: LongTermKeys | None
    cache: TicketCache | None

    def named(self, session: Session) -> KerberosName | None:
        """Whose tickets are looked for: those that a password's cache holds are its own, whatever the KDC calls it."""
        return None if self.keys is not None and session.settings.may_canonicalize else self.client


def obtain(
    settings: ClientSettings,
    credential: Credential | None,
    target: KerberosName | TargetName,
    options: Options,
    *,
    second_ticket: bytes = b"",
) -> Generator[Effect[Any], Any, Obtained]:
    """A ticket for `target`: a known one where there is one, else fetched, and remembered.

    Args:
        settings: how KDCs are asked.
        credential: a `Password` or `Keytab` (log on), a `CredentialCache` (use its tickets), `Tickets` (use these), or
            `None` (the default cache).
        target: the service; `service_name` says how a `TargetName` is read.
        options: clock and randomness.
        second_ticket: the peer's ticket-granting ticket in DER, for user-to-user.

    Raises:
        NoCredentials: there are no tickets, or no longer valid ones, and nothing to log on with.
        KdcRefused: a KDC says no; each of its kinds says why.
        InvalidToken: a reply is malformed or not what was asked for.
        NoAuthority: no KDC answers; `NoAuthorityKnown` where a password has no realm, or none that has a known KDC.
    """
    server = service_name(target, settings.config)
    session = Session(settings, options)
    known = yield from _known(settings, credential)
    if known.cache is not None:
        session.offset = timedelta(seconds=known.cache.kdc_offset)
        session.fast_realms.update(fast_realms_of(known.cache))
    tickets = () if known.cache is None else known.cache.tickets
    found = _find_service(session, tickets, server, known, second_ticket)
    tgt = _find_tgt(session, tickets, known.named(session))
    if found is not None:
        fast_available = tgt is not None and realm_of(tgt) in session.fast_realms
        return Obtained(found, tgt, session.offset, fast_available)
    fetched: list[CachedTicket] = []
    tgt = yield from _fresh_tgt(session, known, tgt, fetched)
    made = yield from service_ticket(session, tgt, server, second_ticket=second_ticket, known=tickets)
    fetched.extend(made.path)
    fetched.append(made.ticket)
    yield from remember(session, credential, tgt.client, fetched)
    return Obtained(made.ticket, tgt, session.offset, realm_of(tgt) in session.fast_realms)


def own_tgt(
    settings: ClientSettings, credential: Credential | None, options: Options
) -> Generator[Effect[Any], Any, Obtained]:
    """The ticket-granting ticket of a credential: known, refreshed or fetched; what the acceptor of a user-to-user
    exchange sends.

    Raises:
        NoCredentials: there is none, and nothing to log on with.
    """
    session = Session(settings, options)
    known = yield from _known(settings, credential)
    if known.cache is not None:
        session.offset = timedelta(seconds=known.cache.kdc_offset)
        session.fast_realms.update(fast_realms_of(known.cache))
    tgt = _find_tgt(session, () if known.cache is None else known.cache.tickets, known.named(session))
    fetched: list[CachedTicket] = []
    tgt = yield from _fresh_tgt(session, known, tgt, fetched)
    if fetched:
        yield from remember(session, credential, tgt.client, fetched)
    return Obtained(tgt, tgt, session.offset, realm_of(tgt) in session.fast_realms)


def remember(
    session: Session, credential: Credential | None, client: KerberosName, tickets: Iterable[CachedTicket]
) -> Generator[Effect[Any], Any, None]:
    """Have tickets kept for the next time."""
    fast_realms = tuple((FAST_AVAILABLE, tgs_name(realm), b"yes") for realm in sorted(session.fast_realms))
    with contextlib.suppress(ServiceFailed):  # a cache that cannot be written costs the next time a request, no more
        yield from RememberTickets(
            credential,
            session.settings.config,
            client,
            tuple(tickets),
            session.offset.total_seconds(),
            fast_realms,
        )


def _known(settings: ClientSettings, credential: Credential | None) -> Generator[Effect[Any], Any, _Known]:
    given = client_form(credential)
    if isinstance(given, Tickets):
        recalled = yield from RecallTickets(credential, settings.config)
        return _Known(given.cache.client, None, given.cache if recalled is None else recalled)
    logon = yield from long_term(credential, settings)
    cache = yield from RecallTickets(credential, settings.config)
    if logon is None:
        return _Known(None if cache is None else cache.client, None, cache)
    return _Known(*logon, cache)


def fast_realms_of(cache: TicketCache) -> set[str]:
    """The realms whose KDC does FAST, as a cache remembers."""
    return {
        about.components[1]
        for name, about, value in cache.configuration
        if name == FAST_AVAILABLE and value == b"yes" and about is not None and about.is_tgs
    }


def _find_service(
    session: Session,
    tickets: Iterable[CachedTicket],
    server: KerberosName,
    known: _Known,
    second_ticket: bytes,
) -> CachedTicket | None:
    """A ticket for the service that is still good and of a type that is allowed."""
    now, etypes = session.kdc_time(), session.settings.requested_etypes
    for ticket in tickets:
        if (
            ticket.server.components == server.components
            and server.realm in ("", ticket.server.realm)
            and _is_good(ticket, known.named(session))
            and ticket.end_time > now
            and ticket.second_ticket == second_ticket
            and ticket.is_session_key == bool(second_ticket)
            and ticket.key.etype in etypes
        ):
            return ticket
    return None


def _find_tgt(session: Session, tickets: Iterable[CachedTicket], client: KerberosName | None) -> CachedTicket | None:
    """The client's own ticket-granting ticket, or a delegated one: of the realm it is for; the last to end wins."""
    own = [
        ticket
        for ticket in tickets
        if ticket.server.is_tgs
        and ticket.server.realm == ticket.server.components[1]
        and _is_good(ticket, client)
        and ticket.key.etype in session.settings.requested_etypes
    ]
    at_home = [ticket for ticket in own if ticket.server.realm == ticket.client.realm]
    return max(at_home or own, key=lambda ticket: ticket.end_time, default=None)


def _is_good(ticket: CachedTicket, client: KerberosName | None) -> bool:
    """Whether a ticket is the client's and valid in principle; `None` where the KDC may have replaced its name."""
    if int(ticket.flags) & _INVALID:
        return False
    return client is None or ticket.client == client


def _fresh_tgt(
    session: Session, known: _Known, tgt: CachedTicket | None, fetched: list[CachedTicket]
) -> Generator[Effect[Any], Any, CachedTicket]:
    """The ticket-granting ticket: as it is, renewed, or fetched anew."""
    now = session.kdc_time()
    if tgt is not None and tgt.end_time - now > _REFRESHED_BEFORE_END:
        return tgt
    if known.keys is not None and known.client is not None:
        session.offset = timedelta(0)  # what was learned before may have been mended since
        made = yield from initial_ticket(session, known.client, known.keys)
        fetched.append(made.ticket)
        return made.ticket
    if tgt is None:
        raise NoCredentials(
            "there is no ticket-granting ticket; log on (securestream kinit), or give a Password or Keytab"
        )
    if tgt.end_time <= now:
        ago = round((now - tgt.end_time).total_seconds())
        raise NoCredentials(
            f"the tickets of {tgt.client} have expired, {ago} seconds ago; log on again (securestream kinit)"
        )
    if tgt.flags & TicketFlags.RENEWABLE and tgt.renew_till is not None and tgt.renew_till > now:
        try:
            tgt = yield from renew(session, tgt)
        except KdcRefused:  # the old one is still good for a while
            return tgt
        fetched.append(tgt)
    return tgt
