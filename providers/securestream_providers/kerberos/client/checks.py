"""What a KDC's reply must hold before its ticket is used (RFC 4120 3.1.5, 3.3.4; SECURITY: Kerberos client).

Names, times, flags and nonce are taken from the decrypted part alone; what stands outside of it must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from securestream.errors import BadSignature, InvalidToken, MalformedMessage, Unsupported
from securestream_providers.krb5.keys import make_key
from securestream_providers.krb5.messages import EncKdcRepPart, KdcRep, KdcReqBody, Ticket
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.tickets import CachedTicket


@dataclass(frozen=True)
class Asked:
    """What a request asked for.

    Args:
        body: its body.
        client: in whose name.
        server: the service, with the realm that was asked.
        other_client: whether the reply may name another client.
        other_server: whether it may name another service: with canonicalisation.
        referral: whether it may be for a ticket-granting service instead, of another realm.
        until: the latest end that is accepted; `None` for any.
    """

    body: KdcReqBody
    client: KerberosName
    server: KerberosName
    other_client: bool = False
    other_server: bool = False
    referral: bool = False
    until: datetime | None = None


def checked_ticket(
    reply: KdcRep,
    client: KerberosName,
    part: EncKdcRepPart,
    asked: Asked,
    etypes: tuple[int, ...],
    now: datetime,
    skew: timedelta,
) -> CachedTicket:
    """The ticket of a reply, once everything agrees.

    Args:
        reply: as received.
        client: whom the reply names: with FAST the authenticated name, else that outside of the encrypted part.
        part: the decrypted part.
        asked: what was asked for.
        etypes: that were asked for.
        now: the KDC's time.
        skew: the most that clocks may differ.

    Raises:
        InvalidToken: the reply answers something else than was asked.
        Unsupported: it has a session key of a type that was not asked for.
    """
    if part.nonce != asked.body.nonce:
        raise InvalidToken("the KDC's reply answers another request: its nonce is not ours")
    if client != asked.client and not asked.other_client:
        raise InvalidToken(
            f"the KDC answered for {client} where {asked.client} was asked for; "
            "allow canonicalisation if the account has several names"
        )
    server = KerberosName.of(part.sname, part.srealm)
    _check_server(server, asked)
    try:
        ticket = Ticket.decode(reply.ticket)
    except MalformedMessage as problem:
        raise InvalidToken(f"the ticket in the KDC's reply is malformed: {problem}") from problem
    if KerberosName.of(ticket.sname, ticket.realm) != server:
        raise InvalidToken("somebody changed the KDC's reply: its ticket names another service than its sealed part")
    if part.key.keytype not in etypes:
        raise Unsupported(
            f"the KDC chose the encryption type {part.key.keytype} for the session, which was not asked for"
        )
    _check_times(part, asked, now, skew)
    return CachedTicket(
        client=client,
        server=server,
        key=make_key(part.key.keytype, part.key.keyvalue),
        ticket=reply.ticket,
        flags=part.flags,
        auth_time=part.authtime,
        start_time=part.starttime,
        end_time=part.endtime,
        renew_till=part.renew_till,
        addresses=part.caddr or (),
    )


def _check_server(server: KerberosName, asked: Asked) -> None:
    if server == asked.server:
        return
    if asked.referral and server.is_tgs and server.realm == asked.server.realm:
        return
    if asked.other_server and server.is_tgs == asked.server.is_tgs:
        return
    raise InvalidToken(f"the KDC answered with a ticket for {server} where one for {asked.server} was asked for")


def _check_times(part: EncKdcRepPart, asked: Asked, now: datetime, skew: timedelta) -> None:
    start = part.authtime if part.starttime is None else part.starttime
    if part.endtime <= start or part.endtime <= now:
        raise InvalidToken(
            "the KDC gave a ticket that has expired already; check this machine's clock and the KDC's policy"
        )
    wanted = asked.body.from_time
    if start > max(now, wanted or now) + skew:  # a KDC starts tickets at once, or when it was asked to (3.1.3)
        raise InvalidToken(
            "the KDC gave a ticket that is not valid yet, though none for later was asked for; check this machine's "
            "clock and the KDC's"
        )
    if asked.until is not None and part.endtime > asked.until:
        raise InvalidToken("the KDC's reply is valid for longer than was asked")
    latest = asked.body.rtime
    if part.renew_till is not None and latest is not None and part.renew_till > max(latest, asked.body.till):
        raise InvalidToken("the KDC's reply can be renewed for longer than was asked")


def unsealed(error: BadSignature, what: str) -> InvalidToken:
    """The error of a reply that does not stand up to a check with a key."""
    problem = InvalidToken(f"{what}: {error}")
    problem.__cause__ = error
    return problem
