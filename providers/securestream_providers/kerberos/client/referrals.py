"""From one realm to another: referrals, configured paths, and the hierarchy of names (RFC 4120 1.2, RFC 6806 8)."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from securestream.errors import InvalidToken
from securestream.provider import Effect
from securestream.redaction import Redacted
from securestream_providers.kerberos.client.settings import Session
from securestream_providers.kerberos.client.tgs_exchange import TicketRequest, realm_of, tgs_exchange
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.kdc_error import KdcTargetUnknown
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import KdcOptions
from securestream_providers.krb5.tickets import CachedTicket

MOST_HOPS: Final = 10
"""Realms on the way to a service."""


@dataclass(frozen=True, repr=False)
class ServiceTicket(Redacted):
    """A ticket for a service.

    Args:
        ticket: the ticket.
        path: the ticket-granting tickets of other realms that led to it.
    """

    ticket: CachedTicket
    path: tuple[CachedTicket, ...] = ()


def service_ticket(
    session: Session,
    tgt: CachedTicket,
    server: KerberosName,
    *,
    second_ticket: bytes = b"",
    known: Iterable[CachedTicket] = (),
) -> Generator[Effect[Any], Any, ServiceTicket]:
    """A ticket for `server`, wherever it is.

    The KDC of the server's realm is asked where that realm is known, else the client's own, which may refer to others.

    Args:
        session: how to ask.
        tgt: the client's ticket-granting ticket.
        server: which service; an empty realm leaves it to referrals.
        second_ticket: the peer's ticket-granting ticket, for user-to-user (RFC 4120 3.7).
        known: further tickets of the client; those across realms save the way.

    Raises:
        KdcRefused: a KDC says no.
        InvalidToken: KDCs refer in a circle or without end, or a reply is not what was asked for.
    """
    path: list[CachedTicket] = []
    if server.realm and server.realm != realm_of(tgt):
        tgt = yield from _towards(session, tgt, server.realm, path, _across(known, session))
    visited = {realm_of(tgt)}
    for _ in range(MOST_HOPS):
        here = realm_of(tgt)
        request = TicketRequest(
            replace(server, realm=here),
            KdcOptions.ENC_TKT_IN_SKEY if second_ticket else 0,
            (second_ticket,) if second_ticket else (),
            referral=True,
        )
        ticket = yield from tgs_exchange(session, tgt, request)
        if not ticket.server.is_tgs or ticket.server.components == server.components:
            if second_ticket:
                ticket = replace(ticket, is_session_key=True, second_ticket=second_ticket)
            return ServiceTicket(ticket, tuple(path))
        tgt = ticket
        path.append(tgt)
        if realm_of(tgt) in visited:
            raise InvalidToken(f"the KDCs refer in a circle, back to {realm_of(tgt)}, on the way to {server}")
        visited.add(realm_of(tgt))
    raise InvalidToken(f"the way to {server} leads through more than {MOST_HOPS} realms; giving up")


def _across(known: Iterable[CachedTicket], session: Session) -> dict[tuple[str, str], CachedTicket]:
    """The tickets for other realms that are still good, by the realm that issued them and the one they are for."""
    now = session.kdc_time()
    return {
        (ticket.server.realm, ticket.server.components[1]): ticket
        for ticket in known
        if ticket.server.is_tgs and ticket.server.realm != ticket.server.components[1] and ticket.end_time > now
    }


def _towards(
    session: Session,
    tgt: CachedTicket,
    realm: str,
    path: list[CachedTicket],
    known: dict[tuple[str, str], CachedTicket],
) -> Generator[Effect[Any], Any, CachedTicket]:
    """A ticket-granting ticket of `realm`.

    Where [capaths] names a path from the client's realm, exactly that is taken. Else the KDC at hand is asked for
    `realm` itself, and may answer with one that is nearer; where it knows no way, the next realm in the hierarchy of
    names is tried (RFC 4120 1.2).
    """
    home = realm_of(tgt)
    configured = configured_path(session.settings.config, home, realm)
    visited = {home}
    for hop in range(MOST_HOPS):
        here = realm_of(tgt)
        if here == realm:
            return tgt
        if configured is not None:
            tgt = yield from _one_hop(session, tgt, configured[hop], known)
            if realm_of(tgt) != configured[hop]:
                raise InvalidToken(f"the KDC of {here} leads to {realm_of(tgt)}, off the configured path to {realm}")
        else:
            try:
                tgt = yield from _one_hop(session, tgt, realm, known)
            except KdcTargetUnknown as unknown:
                following = next_in_hierarchy(here, realm)
                if following == realm or following in visited:
                    raise
                try:
                    tgt = yield from _one_hop(session, tgt, following, known)
                except KdcTargetUnknown:  # nobody asked for that one by name
                    raise unknown from None
        path.append(tgt)
        if realm_of(tgt) in visited:
            raise InvalidToken(f"the KDCs refer in a circle, back to {realm_of(tgt)}, on the way to {realm}")
        visited.add(realm_of(tgt))
    raise InvalidToken(f"the way to {realm} leads through more than {MOST_HOPS} realms; giving up")


def _one_hop(
    session: Session, tgt: CachedTicket, realm: str, known: dict[tuple[str, str], CachedTicket]
) -> Generator[Effect[Any], Any, CachedTicket]:
    here = realm_of(tgt)
    found = known.get((here, realm))
    if found is not None and found.client == tgt.client:
        return found
    return (yield from tgs_exchange(session, tgt, TicketRequest(tgs_name(realm, here))))


def configured_path(config: Krb5Config, client: str, server: str) -> tuple[str, ...] | None:
    """The realms from `client` to `server` as [capaths] names them, `server` last; `None` where it names none."""
    between = config.capaths.get(client, {}).get(server)
    return None if between is None else (*between, server)


def next_in_hierarchy(here: str, goal: str) -> str:
    """The next realm on the way from one realm to another by their names: up to what both end in, then down."""
    up, down = here.split("."), goal.split(".")
    common = 0
    while common < min(len(up), len(down)) and up[-1 - common] == down[-1 - common]:
        common += 1
    if common == 0:
        return goal
    if len(up) > common:
        return ".".join(up[1:])
    return ".".join(down[-common - 1 :])
