"""The AS exchange: a first ticket for whoever can prove who they are (RFC 4120 3.1, RFC 6113, RFC 6806)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from securestream.errors import (
    BadSignature,
    HandshakeError,
    InvalidToken,
    LogonDenied,
    MalformedMessage,
    Unsupported,
)
from securestream.provider import Effect
from securestream.redaction import Redacted
from securestream_providers.kerberos.client.asking import ask
from securestream_providers.kerberos.client.checks import Asked, checked_ticket, unsealed
from securestream_providers.kerberos.client.keys import LongTermKeys
from securestream_providers.kerberos.client.mechanisms import MECHANISMS, Mechanism, Situation, reply_key_of
from securestream_providers.kerberos.client.settings import InitialTicket, Session
from securestream_providers.krb5 import fast, preauth
from securestream_providers.krb5.fast import Armor
from securestream_providers.krb5.kdc_error import (
    KdcUnsupported,
    code_name,
    method_data,
    padata_types,
    refusal,
    server_time,
)
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.messages import (
    PVNO,
    AsRep,
    AsReq,
    EncAsRepPart,
    KdcReqBody,
    KrbError,
    PaData,
    PaPacRequest,
)
from securestream_providers.krb5.messages_fast import FastResponse
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, KeyUsage, PaType, TicketFlags

MOST_ROUNDS: Final = 16
"""Requests in one exchange: hints, pre-authentication, a skew, referrals."""

MOST_REALMS: Final = 8
"""Realms to which a client is referred (RFC 6806 7)."""

FOREVER: Final = datetime(2037, 9, 13, 2, 48, 5, tzinfo=UTC)
"""Asked for where the lifetime is up to the KDC; what Windows asks for."""

_LEAST_OFFSET: Final = timedelta(seconds=30)
"""Differences below are taken for the time that the messages took, and the KDC's whole seconds."""

_FURTHER: Final = (ErrorCode.PREAUTH_REQUIRED, ErrorCode.MORE_PREAUTH_DATA_REQUIRED)


@dataclass(frozen=True, repr=False)
class _Request(Redacted):
    """A request that was sent, for the checks of its reply."""

    octets: bytes
    body: KdcReqBody
    armor: Key | None


@dataclass(repr=False)
class _Exchange:
    """Where an exchange stands."""

    session: Session
    client: KerberosName
    keys: LongTermKeys
    service: KerberosName
    recipes: tuple[preauth.KeyRecipe, ...] = ()
    armor: Armor | None = None
    cookie: PaData | None = None
    answer: tuple[PaData, ...] = ()
    mechanism: Mechanism | None = None
    tried: set[int] = field(default_factory=set[int])
    realms: list[str] = field(default_factory=list[str])
    hinted: bool = False
    restarted: bool = False
    offset: timedelta = timedelta(0)

    @property
    def etypes(self) -> tuple[int, ...]:
        """The types asked for: those of which there is a key first, since a KDC takes the first that it knows."""
        asked = self.session.settings.requested_etypes
        return tuple(sorted(asked, key=lambda etype: not self.keys.has(etype)))

    @property
    def situation(self) -> Situation:
        """What mechanisms see; their clock is the KDC's as far as it is known."""
        session = replace(self.session, offset=self.offset)
        armor = None if self.armor is None else self.armor.key
        return Situation(session, self.client, self.keys, self.etypes, self.recipes, armor)

    def kdc_time(self) -> datetime:
        """The KDC's time, as far as it is known."""
        return self.session.options.clock() + self.offset

    def begin_again(self) -> None:
        """Forget what one KDC said."""
        self.recipes, self.cookie, self.answer, self.mechanism = (), None, (), None
        self.tried.clear()
        if self.armor is not None:
            self.put_on_armor()

    def put_on_armor(self) -> None:
        """Make the armor, out of the ticket for it.

        Raises:
            Unsupported: the ticket is of no use with the realm that is asked.
        """
        ticket = self.session.settings.armor
        if ticket is None or not ticket.server.is_tgs or ticket.server.components[1] != self.client.realm:
            raise Unsupported(
                f"FAST with a KDC of {self.client.realm} needs a ticket-granting ticket for that realm as armor"
            )
        self.armor = fast.make_armor(ticket, self.kdc_time(), self.session.options.random)


def initial_ticket(
    session: Session, client: KerberosName, keys: LongTermKeys, *, service: KerberosName | None = None
) -> Generator[Effect[Any], Any, InitialTicket]:
    """A first ticket for `client`.

    Args:
        session: how to ask; what is learned of the KDC goes into it.
        client: who; the realm says which KDC.
        keys: the client's long-term keys.
        service: for what, instead of the realm's ticket-granting service.

    Raises:
        KdcRefused: the KDC says no; each of its kinds says why.
        LogonDenied: the reply cannot be decrypted with `keys`.
        InvalidToken: the reply is malformed, altered, or answers something else than was asked.
        NoAuthority: no KDC answers; `NoAuthorityKnown` where none of the client's realm is known.
    """
    exchange = _Exchange(
        session, client, keys, tgs_name(client.realm) if service is None else service, offset=session.offset
    )
    exchange.realms.append(client.realm)
    if session.settings.armor is not None and session.settings.armor_policy == "required":
        exchange.put_on_armor()
    for number in range(MOST_ROUNDS):
        request = _make_request(exchange)
        reply = yield from ask(session.settings, exchange.client.realm, request.octets, AsRep, first=number == 0)
        try:
            if isinstance(reply, AsRep):
                return (yield from _accept(exchange, request, reply))
            yield from _consider(exchange, request, reply)
        except MalformedMessage as problem:
            raise InvalidToken(f"the reply of the KDC of {exchange.client.realm} is malformed: {problem}") from problem
    raise InvalidToken(f"the KDC of {exchange.client.realm} asks for ever more steps; giving up")


# --- requests --------------------------------------------------------------------------------------------------------


def _make_request(exchange: _Exchange) -> _Request:
    session = exchange.session
    body = _body(exchange)
    padata: list[PaData] = [PaData(PaType.REQ_ENC_PA_REP, b"")]
    if session.settings.pac is not None:
        padata.append(PaData(PaType.PAC_REQUEST, PaPacRequest(session.settings.pac).encode()))
    if exchange.cookie is not None:
        padata.append(exchange.cookie)
    padata.extend(exchange.answer)
    armor = exchange.armor
    if armor is not None:
        padata = [fast.wrap_request(armor, body.encode(), tuple(padata), body, session.options.random)]
    octets = AsReq(PVNO, 10, tuple(padata), body).encode()
    return _Request(octets, body, None if armor is None else armor.key)


def _body(exchange: _Exchange) -> KdcReqBody:
    settings, now = exchange.session.settings, exchange.kdc_time().replace(microsecond=0)
    config = settings.config
    options = KdcOptions(0)
    if config.forwardable if settings.forwardable is None else settings.forwardable:
        options |= KdcOptions.FORWARDABLE
    if config.proxiable if settings.proxiable is None else settings.proxiable:
        options |= KdcOptions.PROXIABLE
    if settings.may_canonicalize:
        options |= KdcOptions.CANONICALIZE
    lifetime = settings.lifetime or config.ticket_lifetime
    renewable = config.renew_lifetime if settings.renew_lifetime is None else settings.renew_lifetime
    rtime = None
    if renewable:
        options |= KdcOptions.RENEWABLE
        rtime = now + renewable
    return KdcReqBody(
        options,
        exchange.client.principal_name,
        exchange.client.realm,
        exchange.service.principal_name,
        None,
        FOREVER if lifetime is None else now + lifetime,
        rtime,
        exchange.session.nonce(),
        exchange.etypes,
    )


# --- errors ----------------------------------------------------------------------------------------------------------


def _consider(exchange: _Exchange, request: _Request, error: KrbError) -> Generator[Effect[Any], Any, None]:
    """Make of an error what the next request says; raise what ends the exchange."""
    if request.armor is not None:
        error, padata = _out_of_armor(exchange, request.armor, request.body.nonce, error)
    else:
        padata = method_data(error)
        if _offers_wanted_fast(exchange, padata):
            exchange.begin_again()
            exchange.put_on_armor()
            return
    code = error.error_code
    if code in _FURTHER:
        yield from _pre_authenticate(exchange, error, padata)
    elif _is_skew(exchange, error) and not exchange.hinted:
        exchange.hinted = True  # nobody authenticated it: it is good for one try
        exchange.offset = server_time(error) - exchange.session.options.clock()
        exchange.begin_again()
    elif code == ErrorCode.PREAUTH_EXPIRED and not exchange.restarted:
        exchange.restarted = True
        exchange.begin_again()
    elif code == ErrorCode.WRONG_REALM and exchange.session.settings.may_canonicalize and error.crealm:
        _follow(exchange, error.crealm)
    else:
        raise _refused(exchange, error)


def _refused(exchange: _Exchange, error: KrbError) -> HandshakeError:
    return refusal(
        error,
        client=exchange.client,
        server=exchange.service,
        realm=exchange.client.realm,
        now=exchange.session.options.clock(),
    )


def _is_skew(exchange: _Exchange, error: KrbError) -> bool:
    if error.error_code == ErrorCode.AP_SKEW:
        return True
    far = abs(server_time(error) - exchange.kdc_time()) > exchange.session.settings.config.clock_skew
    return error.error_code == ErrorCode.NEVER_VALID and far


def _offers_wanted_fast(exchange: _Exchange, padata: Sequence[PaData]) -> bool:
    return exchange.session.settings.armor is not None and PaType.FX_FAST in padata_types(padata)


def _out_of_armor(exchange: _Exchange, key: Key, nonce: int, error: KrbError) -> tuple[KrbError, tuple[PaData, ...]]:
    """The authenticated error inside FAST (RFC 6113 5.4.4).

    Outside of it a KDC can say but one thing that helps: that the armor's own clock is wrong.
    """
    value = preauth.find_padata(method_data(error), PaType.FX_FAST)
    if value is None:
        if error.error_code == ErrorCode.AP_SKEW and not exchange.hinted:
            return error, ()
        realm = exchange.client.realm
        raise KdcUnsupported(
            f"the KDC of {realm} does not answer inside FAST ({code_name(error.error_code)}), which is required; "
            "check the armor ticket, or whether that KDC does FAST at all",
            error.error_code,
            error,
        )
    try:
        response = fast.unwrap_reply(key, value, nonce)
        inner = preauth.find_padata(response.padata, PaType.FX_ERROR)
        if inner is None:
            raise InvalidToken("the KDC's armored reply holds no error (RFC 6113 5.4.4)")
        return KrbError.decode(inner), response.padata
    except BadSignature as problem:
        raise unsealed(problem, "the KDC's armored error does not stand up") from problem
    except MalformedMessage as problem:
        raise InvalidToken(f"the KDC's armored error is malformed: {problem}") from problem


def _pre_authenticate(
    exchange: _Exchange, error: KrbError, padata: Sequence[PaData]
) -> Generator[Effect[Any], Any, None]:
    """Choose a mechanism, and make its answer."""
    cookie = preauth.find_padata(padata, PaType.FX_COOKIE)
    exchange.cookie = None if cookie is None else PaData(PaType.FX_COOKIE, cookie)
    exchange.recipes = preauth.key_recipes(padata, exchange.client) or exchange.recipes
    offered = padata_types(padata)
    situation = exchange.situation
    for mechanism in MECHANISMS:
        if mechanism.pa_type not in offered or mechanism.pa_type in exchange.tried or not mechanism.usable(situation):
            continue
        exchange.tried.add(mechanism.pa_type)
        exchange.mechanism = mechanism
        value = preauth.find_padata(padata, mechanism.pa_type) or b""
        exchange.answer = yield from mechanism.answer(situation, value)
        return
    raise _refused(exchange, error)


def _follow(exchange: _Exchange, realm: str) -> None:
    """Ask the realm to which the client is referred (RFC 6806 7)."""
    if realm in exchange.realms or len(exchange.realms) >= MOST_REALMS:
        raise InvalidToken(f"the KDCs refer {exchange.client} in a circle: {' to '.join([*exchange.realms, realm])}")
    exchange.realms.append(realm)
    if exchange.service == tgs_name(exchange.client.realm):
        exchange.service = tgs_name(realm)
    else:
        exchange.service = replace(exchange.service, realm=realm)
    exchange.client = replace(exchange.client, realm=realm)
    exchange.begin_again()


# --- the reply -------------------------------------------------------------------------------------------------------


def _accept(exchange: _Exchange, request: _Request, reply: AsRep) -> Generator[Effect[Any], Any, InitialTicket]:
    """The ticket, once the reply is decrypted and holds what was asked for."""
    session = exchange.session
    client, padata = KerberosName.of(reply.cname, reply.crealm), reply.padata or ()
    armored = None if request.armor is None else _out_of_reply(request.armor, request.body.nonce, reply)
    if armored is not None and request.armor is not None:
        client, padata = _finished_name(request.armor, armored, reply), armored.padata
    etype = reply.enc_part.etype
    if etype not in request.body.etype:
        raise Unsupported(f"the KDC sealed its reply with the encryption type {etype}, which was not asked for")
    if exchange.mechanism is None:
        key = yield from reply_key_of(exchange.situation, etype, padata)
    else:
        key = yield from exchange.mechanism.reply_key(exchange.situation, etype, padata)
    if armored is not None and armored.strengthen_key is not None:
        strength = armored.strengthen_key
        key = fast.strengthen(make_key(strength.keytype, strength.keyvalue), key)
    part = _opened(exchange, reply, key)
    _check_request_seen(key, request, part)
    canonical = session.settings.may_canonicalize
    asked = Asked(
        request.body,
        exchange.client,
        exchange.service,
        other_client=canonical,
        other_server=canonical,
        until=request.body.till,
    )
    session.offset = _learned_offset(session, part)
    skew = session.settings.config.clock_skew
    ticket = checked_ticket(reply, client, part, asked, request.body.etype, session.kdc_time(), skew)
    fast_available = request.armor is not None or _fast_available(part)
    if fast_available:
        session.fast_realms.add(ticket.server.realm)
    return InitialTicket(ticket, session.offset, fast_available, part.key_expiration)


def _out_of_reply(key: Key, nonce: int, reply: AsRep) -> FastResponse:
    value = preauth.find_padata(reply.padata, PaType.FX_FAST)
    if value is None:
        raise InvalidToken("the KDC's reply came without FAST, which is required; somebody may have stripped it")
    try:
        return fast.unwrap_reply(key, value, nonce)
    except BadSignature as problem:
        raise unsealed(problem, "the KDC's armored reply does not stand up") from problem


def _finished_name(key: Key, response: FastResponse, reply: AsRep) -> KerberosName:
    try:
        return fast.check_finished(key, response, reply.ticket)
    except BadSignature as problem:
        raise unsealed(problem, "the KDC's armored reply does not stand up") from problem


def _opened(exchange: _Exchange, reply: AsRep, key: Key) -> EncAsRepPart:
    if key.etype != reply.enc_part.etype:
        raise InvalidToken("the KDC's reply is sealed with another encryption type than its key has")
    try:
        plain = key.decrypt(KeyUsage.AS_REP, reply.enc_part.cipher)
    except BadSignature as problem:
        raise LogonDenied(
            f"the KDC's reply cannot be read with the password or key of {exchange.client}; check it, and the name"
        ) from problem
    try:
        return EncAsRepPart.decode(plain)
    except MalformedMessage as problem:
        raise InvalidToken(f"the sealed part of the KDC's reply is malformed: {problem}") from problem


def _check_request_seen(key: Key, request: _Request, part: EncAsRepPart) -> None:
    """The KDC says that it protects the request: then its checksum must be there and right (RFC 6806 11)."""
    if part.flags & TicketFlags.ENC_PA_REP:
        try:
            preauth.check_request_checksum(key, request.octets, part.encrypted_pa_data)
        except BadSignature as problem:
            raise unsealed(problem, "the request was altered on its way to the KDC") from problem


def _fast_available(part: EncAsRepPart) -> bool:
    """Whether the KDC says, where nobody can alter it, that it does FAST (RFC 6806 11)."""
    inside = padata_types(part.encrypted_pa_data or ())
    return bool(part.flags & TicketFlags.ENC_PA_REP) and PaType.FX_FAST in inside


def _learned_offset(session: Session, part: EncAsRepPart) -> timedelta:
    """How far the KDC's clock is ahead: its reply, which holds our nonce, was made just now."""
    offset = part.authtime - session.options.clock()
    return offset if abs(offset) >= _LEAST_OFFSET else timedelta(0)
