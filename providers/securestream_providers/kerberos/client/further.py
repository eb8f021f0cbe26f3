"""Further uses of a ticket: renew, validate, forward, user-to-user, S4U (RFC 4120 3.3, [MS-SFU] 3.1)."""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from typing import Any, Final

from securestream.errors import InvalidToken
from securestream.provider import Effect
from securestream_providers.kerberos.client.referrals import ServiceTicket, service_ticket
from securestream_providers.kerberos.client.settings import Session
from securestream_providers.kerberos.client.tgs_exchange import TicketRequest, realm_of, tgs_exchange
from securestream_providers.krb5 import s4u
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import PaData, PaPacOptions
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import KdcOptions, PaType, TicketFlags
from securestream_providers.krb5.tickets import CachedTicket

_DELEGATED: Final = KdcOptions.CNAME_IN_ADDL_TKT


def renew(session: Session, ticket: CachedTicket) -> Generator[Effect[Any], Any, CachedTicket]:
    """The same ticket with a later end (RFC 4120 3.3.3.1).

    Raises:
        KdcRefused: it is not renewable, or no longer.
        InvalidToken: the reply is not what was asked for.
    """
    request = TicketRequest(ticket.server, KdcOptions.RENEW | KdcOptions.RENEWABLE, unlimited=True)
    return (yield from tgs_exchange(session, ticket, request))


def validate(session: Session, ticket: CachedTicket) -> Generator[Effect[Any], Any, CachedTicket]:
    """A postdated ticket made valid (RFC 4120 2.3)."""
    return (yield from tgs_exchange(session, ticket, TicketRequest(ticket.server, KdcOptions.VALIDATE)))


def forwarded_tgt(
    session: Session, tgt: CachedTicket, *, until: datetime | None = None
) -> Generator[Effect[Any], Any, CachedTicket]:
    """A ticket-granting ticket to hand to a service, for delegation (RFC 4120 2.6).

    Args:
        session: how to ask.
        tgt: the client's own, which must be forwardable.
        until: its end; `None`: that of `tgt`.

    Raises:
        KdcRefused: `tgt` is not forwardable, or policy forbids it.
        InvalidToken: the reply is not what was asked for.
    """
    home = realm_of(tgt)
    request = TicketRequest(tgs_name(home), KdcOptions.FORWARDED | KdcOptions.FORWARDABLE, until=until)
    ticket = yield from tgs_exchange(session, tgt, request)
    if not ticket.flags & TicketFlags.FORWARDED:
        raise InvalidToken("the KDC gave a ticket that is not marked as forwarded, and it is not handed on")
    return ticket


def user_to_user(
    session: Session, tgt: CachedTicket, peer: KerberosName, second_ticket: bytes
) -> Generator[Effect[Any], Any, ServiceTicket]:
    """A ticket for a user, encrypted in the session key of that user's ticket-granting ticket (RFC 4120 3.7).

    Args:
        session: how to ask.
        tgt: the client's.
        peer: the user.
        second_ticket: the user's ticket-granting ticket in DER.
    """
    return (yield from service_ticket(session, tgt, peer, second_ticket=second_ticket))


def s4u2self(
    session: Session, tgt: CachedTicket, user: KerberosName, *, server: KerberosName | None = None
) -> Generator[Effect[Any], Any, CachedTicket]:
    """A ticket of `user` for the service itself: protocol transition ([MS-SFU] 3.1.5.1.1).

    Args:
        session: how to ask.
        tgt: the service's ticket-granting ticket.
        user: whom it names; of the service's own realm.
        server: the service's own principal; `None`: the client of `tgt`.

    Raises:
        KdcRefused: the user is unknown, or policy forbids it.
        InvalidToken: the reply is not what was asked for.
    """

    def padata(nonce: int, subkey: Key) -> tuple[PaData, ...]:
        return s4u.make_s4u_x509_user(user, nonce, subkey), s4u.make_for_user(user, tgt.key)

    own = tgt.client if server is None else server
    request = TicketRequest(own, KdcOptions.FORWARDABLE | KdcOptions.CANONICALIZE, extra=padata, client=user)
    return (yield from tgs_exchange(session, tgt, request))


def s4u2proxy(
    session: Session, tgt: CachedTicket, evidence: CachedTicket, server: KerberosName
) -> Generator[Effect[Any], Any, CachedTicket]:
    """A ticket of a user for another service: constrained delegation ([MS-SFU] 3.1.5.2).

    Args:
        session: how to ask.
        tgt: the service's ticket-granting ticket.
        evidence: the user's ticket for the service, forwardable.
        server: the other service; of the same realm.

    Raises:
        KdcRefused: the service may not delegate to that one, or the evidence is not forwardable.
        InvalidToken: the reply is not what was asked for.
    """

    def padata(_nonce: int, _subkey: Key) -> tuple[PaData, ...]:
        return (PaData(PaType.PAC_OPTIONS, PaPacOptions(s4u.RESOURCE_BASED).encode()),)

    target = KerberosName(server.realm or realm_of(tgt), server.components, server.name_type)
    request = TicketRequest(
        target,
        _DELEGATED | KdcOptions.FORWARDABLE,
        (evidence.ticket,),
        extra=padata,
        client=evidence.client,
        until=min(tgt.end_time, evidence.end_time),
    )
    return (yield from tgs_exchange(session, tgt, request))
