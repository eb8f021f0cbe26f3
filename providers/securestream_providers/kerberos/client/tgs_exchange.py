"""The TGS exchange: with a ticket, another ticket (RFC 4120 3.3, RFC 6113 5.4.2)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from securestream.errors import BadSignature, InvalidToken, MalformedMessage
from securestream.provider import Effect
from securestream.redaction import Redacted
from securestream_providers.kerberos.client.asking import ask
from securestream_providers.kerberos.client.checks import Asked, checked_ticket, unsealed
from securestream_providers.kerberos.client.settings import Session
from securestream_providers.krb5 import fast, preauth
from securestream_providers.krb5.ap_requests import make_ap_req
from securestream_providers.krb5.fast import Armor
from securestream_providers.krb5.kdc_error import method_data, refusal, server_time
from securestream_providers.krb5.keys import Key, make_key, random_key
from securestream_providers.krb5.messages import (
    PVNO,
    Checksum,
    EncryptedData,
    EncTgsRepPart,
    KdcReqBody,
    KrbError,
    PaData,
    TgsRep,
    TgsReq,
    Ticket,
)
from securestream_providers.krb5.messages_fast import FastResponse
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, KeyUsage, PaType, TicketFlags
from securestream_providers.krb5.tickets import CachedTicket

ExtraPadata: TypeAlias = Callable[[int, Key], tuple[PaData, ...]]
"""Makes further padata of the request's nonce and its authenticator's subkey."""

_HANDED_ON: Final = (
    (TicketFlags.FORWARDABLE, KdcOptions.FORWARDABLE),
    (TicketFlags.PROXIABLE, KdcOptions.PROXIABLE),
)


@dataclass(frozen=True, repr=False)
class TicketRequest(Redacted):
    """What is asked of a ticket-granting service.

    Args:
        server: for which service; the realm is the KDC's.
        options: `KdcOptions` beside those that the ticket at hand implies.
        additional: tickets in DER: of the peer (user-to-user), or as evidence (S4U2proxy).
        extra: further padata.
        client: whom the new ticket will name, where that is not the owner of the ticket at hand.
        referral: whether the KDC may answer with a ticket-granting ticket of a realm that is nearer.
        until: the end to ask for; `None`: that of the ticket at hand.
        unlimited: the new ticket may end later than was asked: renewals.
    """

    server: KerberosName
    options: int = 0
    additional: tuple[bytes, ...] = ()
    extra: ExtraPadata | None = None
    client: KerberosName | None = None
    referral: bool = False
    until: datetime | None = None
    unlimited: bool = False


@dataclass(frozen=True, repr=False)
class _Request(Redacted):
    """A request that was sent, for the checks of its reply."""

    octets: bytes
    body: KdcReqBody
    subkey: Key
    armor: Key | None


def realm_of(tgt: CachedTicket) -> str:
    """The realm whose KDC takes a ticket: another than the issuer's for tickets across realms."""
    return tgt.server.components[1] if tgt.server.is_tgs else tgt.server.realm


def tgs_exchange(
    session: Session, tgt: CachedTicket, asked: TicketRequest
) -> Generator[Effect[Any], Any, CachedTicket]:
    """A ticket for `asked.server`, or one that leads there.

    Args:
        session: how to ask.
        tgt: the ticket at hand; one to be renewed or validated may be of any service.
        asked: for what.

    Raises:
        KdcRefused: the KDC says no; each of its kinds says why.
        InvalidToken: the reply is malformed, altered, or answers something else than was asked.
        NoAuthority: no KDC answers.
    """
    realm = realm_of(tgt)
    hinted: timedelta | None = None
    while True:
        now = session.kdc_time() if hinted is None else session.options.clock() + hinted
        request = _make_request(session, tgt, asked, now)
        reply = yield from ask(session.settings, realm, request.octets, TgsRep)
        try:
            if isinstance(reply, TgsRep):
                ticket = _accept(session, tgt, asked, request, reply, now)
                if hinted is not None:  # the reply proves that the KDC took the time for its own
                    session.offset = hinted
                return ticket
            error = _error_of(request, reply, realm)
        except MalformedMessage as problem:
            raise InvalidToken(f"the reply of the KDC of {realm} is malformed: {problem}") from problem
        if error.error_code == ErrorCode.AP_SKEW and hinted is None:
            hinted = server_time(error) - session.options.clock()
            continue
        client = asked.client or tgt.client
        raise refusal(error, client=client, server=asked.server, realm=realm, now=session.options.clock())


def _make_request(session: Session, tgt: CachedTicket, asked: TicketRequest, now: datetime) -> _Request:
    random = session.options.random
    subkey = random_key(tgt.key.etype, random)
    body = _body(session, tgt, asked)
    inner = () if asked.extra is None else asked.extra(body.nonce, subkey)
    octets = body.encode()
    checksum = Checksum(tgt.key.checksum_type, tgt.key.checksum(KeyUsage.TGS_REQ_CHECKSUM, octets))
    ap_req = make_ap_req(tgt, now, random, usage=KeyUsage.TGS_REQ_AUTHENTICATOR, subkey=subkey, checksum=checksum)
    outer = [PaData(PaType.TGS_REQ, ap_req)]
    armor = None
    if realm_of(tgt) in session.fast_realms:
        armor = fast.armor_key(subkey, tgt.key)
        outer.append(fast.wrap_request(Armor(armor), ap_req, inner, body, random))
    else:
        outer.extend(inner)
    return _Request(TgsReq(PVNO, 12, tuple(outer), body).encode(), body, subkey, armor)


def _body(session: Session, tgt: CachedTicket, asked: TicketRequest) -> KdcReqBody:
    options = asked.options
    for flag, option in _HANDED_ON:
        if tgt.flags & flag and not options & (KdcOptions.RENEW | KdcOptions.VALIDATE):
            options |= option
    if asked.referral:
        options |= KdcOptions.CANONICALIZE
    return KdcReqBody(
        int(options),
        None,
        asked.server.realm,
        asked.server.principal_name,
        None,
        tgt.end_time if asked.until is None else asked.until,
        tgt.renew_till if options & KdcOptions.RENEWABLE else None,
        session.nonce(),
        session.settings.requested_etypes,
        None,
        None,
        tuple(Ticket.decode(ticket) for ticket in asked.additional) or None,
    )


def _error_of(request: _Request, error: KrbError, realm: str) -> KrbError:
    """The error itself, out of its armor where the request had one (RFC 6113 5.4.4)."""
    if request.armor is None:
        return error
    value = preauth.find_padata(method_data(error), PaType.FX_FAST)
    if value is None:
        return error  # refused all the same; its skew is a hint as any
    response = _unwrapped(request, value)
    inner = preauth.find_padata(response.padata, PaType.FX_ERROR)
    try:
        return error if inner is None else KrbError.decode(inner)
    except MalformedMessage as problem:
        raise InvalidToken(f"the armored error of the KDC of {realm} is malformed: {problem}") from problem


def _unwrapped(request: _Request, value: bytes) -> FastResponse:
    if request.armor is None:
        raise InvalidToken("the KDC answers inside FAST what was asked outside")
    try:
        return fast.unwrap_reply(request.armor, value, request.body.nonce)
    except BadSignature as problem:
        raise unsealed(problem, "the KDC's armored reply does not stand up") from problem


def _accept(
    session: Session, tgt: CachedTicket, asked: TicketRequest, request: _Request, reply: TgsRep, now: datetime
) -> CachedTicket:
    client = KerberosName.of(reply.cname, reply.crealm)
    key: Key | None = request.subkey
    if request.armor is not None:
        value = preauth.find_padata(reply.padata, PaType.FX_FAST)
        if value is None:
            raise InvalidToken("the KDC's reply came without FAST, which it does; somebody may have stripped it")
        response = _unwrapped(request, value)
        try:
            client = fast.check_finished(request.armor, response, reply.ticket)
        except BadSignature as problem:
            raise unsealed(problem, "the KDC's armored reply does not stand up") from problem
        if response.strengthen_key is not None:
            strength = response.strengthen_key
            key = fast.strengthen(make_key(strength.keytype, strength.keyvalue), request.subkey)
    part = _opened(reply.enc_part, key or request.subkey, tgt, armored=request.armor is not None)
    expected = Asked(
        request.body,
        asked.client or tgt.client,
        asked.server,
        # whom a ticket names in S4U2self is the service's to read: it holds the key (MS-SFU 3.1.5.1.1.2)
        other_client=asked.client is not None and _same_but_case(client, asked.client),
        other_server=session.settings.may_canonicalize and asked.referral,
        referral=asked.referral or asked.server.is_tgs,
        until=None if asked.unlimited else request.body.till,
    )
    skew = session.settings.config.clock_skew
    return checked_ticket(reply, client, part, expected, request.body.etype, now, skew)


def _same_but_case(one: KerberosName, other: KerberosName) -> bool:
    """Whether two names differ in case only, or the one is an enterprise name that the KDC replaced."""
    if len(other.components) == 1 and "@" in other.components[0]:
        return True
    return str(one).casefold() == str(other).casefold()


def _opened(sealed: EncryptedData, key: Key, tgt: CachedTicket, *, armored: bool) -> EncTgsRepPart:
    """The decrypted part: under the subkey, or, from KDCs that ignore it, the session key (RFC 4120 3.3.3)."""
    attempts = [(key, KeyUsage.TGS_REP_SUBKEY)]
    if not armored:
        attempts.append((tgt.key, KeyUsage.TGS_REP_SESSION))
    failure: BadSignature | None = None
    for candidate, usage in attempts:
        if candidate.etype != sealed.etype:
            continue
        try:
            return EncTgsRepPart.decode(candidate.decrypt(usage, sealed.cipher))
        except BadSignature as problem:
            failure = failure or problem
        except MalformedMessage as problem:
            raise InvalidToken(f"the sealed part of the KDC's reply is malformed: {problem}") from problem
    if failure is None:
        raise InvalidToken(f"the KDC sealed its reply with the encryption type {sealed.etype}, not that of our key")
    raise unsealed(failure, "the KDC's reply cannot be read with the key of the request")
