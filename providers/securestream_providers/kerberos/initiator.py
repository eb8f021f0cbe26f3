"""The initiator's handshake (RFC 4121 4.1, [MS-KILE] 3.4.5.1)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from securestream.credentials import Credential, Password
from securestream.errors import HandshakeError, InvalidToken, TargetUnknown, Unsupported
from securestream.options import ContextFlags, ImpersonationLevel, Options, Protection, Role, wanted_flags
from securestream.principal import Principal, unauthenticated
from securestream.provider import Effect, Established, Exchange, Handshake, TargetName
from securestream_providers.kerberos import client as kdc_client
from securestream_providers.kerberos.client.tgs_exchange import realm_of
from securestream_providers.kerberos.context import NAME, KerberosContext, Keys, Session
from securestream_providers.kerberos.errors import refused_by_peer
from securestream_providers.kerberos.negotiated_etypes import offer_etypes
from securestream_providers.kerberos.policy import Policy, gss_flags, lifetime_end
from securestream_providers.kerberos.user_to_user import TgtReply, tgt_request
from securestream_providers.krb5 import gss_token
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.gss_checksum import GssChecksum, GssFlag
from securestream_providers.krb5.keys import Key, make_key, random_key
from securestream_providers.krb5.krb_cred import make_krb_cred
from securestream_providers.krb5.messages import (
    PVNO,
    ApRep,
    ApReqToSend,
    Authenticator,
    AuthorizationData,
    AuthorizationElement,
    Checksum,
    EncApRepPart,
    EncryptedData,
    EncryptionKey,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import (
    KERB_AP_OPTIONS_CBT,
    AdType,
    ApOptions,
    ChecksumType,
    KeyUsage,
    TicketFlags,
)
from securestream_providers.krb5.opening import decrypt_message
from securestream_providers.krb5.pac_principal import principal_of
from securestream_providers.krb5.tickets import CachedTicket

_SUPPORTED: Final = (
    ContextFlags.MUTUAL
    | ContextFlags.REPLAY
    | ContextFlags.SEQUENCE
    | ContextFlags.CONFIDENTIALITY
    | ContextFlags.INTEGRITY
    | ContextFlags.IDENTIFY
    | ContextFlags.DCE_STYLE
    | ContextFlags.EXTENDED_ERROR
    | ContextFlags.USE_SESSION_KEY
)
_BINDINGS_SUPPORTED: Final = KERB_AP_OPTIONS_CBT.to_bytes(4, "little")
_MUTUAL: Final = int(ApOptions.MUTUAL_REQUIRED)
_SESSION_KEY: Final = int(ApOptions.USE_SESSION_KEY)
_HALF: Final = 0x3FFFFFFF
"""Initial numbers stay below 2^30: some peers read them signed, and they grow."""


@dataclass(repr=False, slots=True)
class _Sent:
    """What the initiator asserted.

    Args:
        ticket: with which.
        subkey: its subkey.
        number: its first sequence number.
        moment: the time in its authenticator.
        flags: what it asked for.
    """

    ticket: CachedTicket
    subkey: Key
    number: int
    moment: datetime
    flags: ContextFlags


def initiate(policy: Policy, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
    """The initiator's handshake: AP-REQ and, for mutual authentication, AP-REP; in DCE style another AP-REP.

    Raises:
        NoAuthorityKnown: no realm was named, or nobody configured it and no KDC of it is known.
        TargetUnknown: there is no target, or a KDC does not know it.
        NoCredentials: there are no tickets, and nothing to log on with.
        PeerRefused: the acceptor sent an error token.
        InvalidToken: its answer does not prove that it has the service's key.
    """
    config = yield from policy.configuration()
    settings = policy.settings(config)
    _check_realm(credential, settings)
    if target is None:
        raise TargetUnknown("Kerberos needs the name of the service: give a target such as host/server.example.com")
    flags, delegates = _wished(options.flags, options.protection, options.impersonation)
    second_ticket = b""
    if ContextFlags.USE_SESSION_KEY in flags:
        name = _user(target, config)
        reply = yield from Exchange(tgt_request(name))
        second_ticket = _peer_ticket(reply, options.clock())
    else:
        name = policy.service_name(target, config)
    try:
        obtained = yield from kdc_client.obtain(settings, credential, name, options, second_ticket=second_ticket)
    except HandshakeError as error:
        kdc_client.tell_default_realm(error, credential, settings)
        raise
    delegation = None
    if delegates:
        delegation = yield from _delegation(policy, settings, obtained, options)
        if delegation is not None:
            flags |= ContextFlags.DELEGATE
    etypes = policy.etypes(config)
    sent, token = _request(obtained, flags, delegation, etypes, options)
    del delegation, credential
    if ContextFlags.MUTUAL not in flags:
        return _established(sent, None, options, unauthenticated(NAME), token)
    reply = yield from Exchange(token)
    answer, third = _check_reply(sent, reply, etypes, options)
    return _established(sent, answer, options, principal_of(None, sent.ticket.server), third)


def _check_realm(credential: Credential | None, settings: kdc_client.ClientSettings) -> None:
    """Say before anything else that a password has no realm: whatever the target is, there is nobody to ask.

    Raises:
        NoAuthorityKnown: it has none.
    """
    form = kdc_client.client_form(credential)
    if isinstance(form, Password):
        kdc_client.client_name(form, settings)


@lru_cache(maxsize=256)
def _wished(
    flags: ContextFlags, protection: Protection, impersonation: ImpersonationLevel
) -> tuple[ContextFlags, bool]:
    """The flags to ask for, and whether to delegate."""
    wished = wanted_flags(flags, protection, impersonation)
    if ContextFlags.DCE_STYLE in wished:
        wished |= ContextFlags.MUTUAL
    return wished & _SUPPORTED, ContextFlags.DELEGATE in wished


def _user(target: TargetName, config: Krb5Config) -> KerberosName:
    """The principal of the peer in a user-to-user exchange, which need not be a service."""
    if "/" in target:
        return kdc_client.service_name(target, config)
    name = KerberosName.parse(str(target), config.default_realm)
    kdc_client.service_name(TargetName(f"host/{name.components[0]}"), config)  # refuses what no name may contain
    return name


def _peer_ticket(reply: bytes, now: datetime) -> bytes:
    token = gss_token.unframe(reply)
    if token.kind == gss_token.ERROR:
        raise refused_by_peer(token.body, now)
    if token.kind != gss_token.TGT_REP:
        raise InvalidToken("the acceptor's ticket-granting ticket is due: it does no user-to-user authentication")
    return TgtReply.decode(token.body).ticket


def _delegation(
    policy: Policy, settings: kdc_client.ClientSettings, obtained: kdc_client.Obtained, options: Options
) -> Generator[Effect[Any], Any, bytes | None]:
    """A KRB-CRED with a forwarded ticket-granting ticket, where the service may have one (SECURITY 14)."""
    ticket, tgt = obtained.ticket, obtained.tgt
    trusted = bool(ticket.flags & TicketFlags.OK_AS_DELEGATE) or policy.delegation == "always"
    if not trusted or tgt is None or not tgt.flags & TicketFlags.FORWARDABLE:
        return None
    session = kdc_client.Session(settings, options, obtained.kdc_offset)
    if obtained.fast_available:
        session.fast_realms.add(realm_of(tgt))
    forwarded = yield from kdc_client.forwarded_tgt(session, tgt)
    return make_krb_cred((forwarded,), ticket.key, session.kdc_time(), options.random)


def _request(
    obtained: kdc_client.Obtained,
    flags: ContextFlags,
    delegation: bytes | None,
    etypes: tuple[int, ...],
    options: Options,
) -> tuple[_Sent, bytes]:
    """The AP-REQ as a token, and what it asserts."""
    ticket = obtained.ticket
    key = ticket.key
    if key.etype not in etypes:
        raise Unsupported(f"the ticket's session key is of type {key.etype}, which is not allowed: see Kerberos(weak=)")
    subkey = random_key(key.etype, options.random)
    number = int.from_bytes(options.random(4), "big") & _HALF
    moment = options.clock() + obtained.kdc_offset
    bindings = options.channel_bindings
    checksum = GssChecksum(
        gss_flags(flags) | (GssFlag.DELEGATION if delegation is not None else 0),
        bytes(16) if bindings is None else bindings.md5(),
        delegation,
    )
    authenticator = Authenticator(
        5,
        ticket.client.realm,
        ticket.client.principal_name,
        Checksum(ChecksumType.GSS, checksum.pack()),
        moment.microsecond,
        moment.replace(microsecond=0),
        EncryptionKey(subkey.etype, subkey.contents.reveal()),
        number,
        _authorization(etypes, key.etype, bound=bindings is not None),
    ).encode()
    asked = (_MUTUAL if ContextFlags.MUTUAL in flags else 0) | (
        _SESSION_KEY if ContextFlags.USE_SESSION_KEY in flags else 0
    )
    sealed = EncryptedData(key.etype, None, key.encrypt(KeyUsage.AP_REQ_AUTHENTICATOR, authenticator, options.random))
    message = ApReqToSend(PVNO, 14, asked, ticket.ticket, sealed).encode()
    sent = _Sent(ticket, subkey, number, moment, flags)
    if ContextFlags.DCE_STYLE in flags:
        return sent, message
    oid = gss_token.USER_TO_USER if ContextFlags.USE_SESSION_KEY in flags else gss_token.KERBEROS
    return sent, gss_token.frame(gss_token.AP_REQ, message, oid)


@lru_cache(maxsize=64)
def _authorization(etypes: tuple[int, ...], own: int, *, bound: bool) -> AuthorizationData | None:
    """What the authenticator says beside: better encryption types (RFC 4537), and that bindings are supported."""
    elements: list[AuthorizationElement] = []
    offered = offer_etypes(etypes, own)
    if offered is not None:
        elements.append(AuthorizationElement(AdType.ETYPE_NEGOTIATION, offered))
    if bound:
        elements.append(AuthorizationElement(AdType.AP_OPTIONS, _BINDINGS_SUPPORTED))
    if not elements:
        return None
    inner = AuthorizationData(tuple(elements)).encode()
    return AuthorizationData((AuthorizationElement(AdType.IF_RELEVANT, inner),))


def _check_reply(
    sent: _Sent, reply: bytes, etypes: tuple[int, ...], options: Options
) -> tuple[EncApRepPart, bytes | None]:
    """The AP-REP, decrypted: the acceptor knows the ticket's key and saw our authenticator (SECURITY 15).

    Returns:
        What it says, and the third token of DCE style.
    """
    dce = ContextFlags.DCE_STYLE in sent.flags
    message = ApRep.decode(_body(reply, options, dce=dce))
    key = sent.ticket.key
    part = decrypt_message(EncApRepPart, key, KeyUsage.AP_REP, message.enc_part.cipher)
    if part.ctime != sent.moment.replace(microsecond=0) or part.cusec != sent.moment.microsecond:
        raise InvalidToken("the acceptor's answer is to another authenticator: it proves nothing, connect again")
    if part.subkey is not None and part.subkey.keytype not in etypes:
        raise Unsupported(f"the acceptor chose the encryption type {part.subkey.keytype}, which is not allowed here")
    if not dce:
        return part, None
    third = EncApRepPart(part.ctime, part.cusec, None, part.seq_number).encode()
    sealed = EncryptedData(key.etype, None, key.encrypt(KeyUsage.AP_REP, third, options.random))
    return part, ApRep(PVNO, 15, sealed).encode()


def _body(reply: bytes, options: Options, *, dce: bool) -> bytes:
    """The message in the acceptor's token."""
    if not gss_token.is_framed(reply):
        if reply[:1] == b"\x7e":
            raise refused_by_peer(reply, options.clock())
        if not dce:
            raise InvalidToken("the acceptor's token has no frame of GSS-API; is it a Kerberos acceptor?")
        return reply
    token = gss_token.unframe(reply)
    if token.kind == gss_token.ERROR:
        raise refused_by_peer(token.body, options.clock())
    if token.kind != gss_token.AP_REP or dce:
        raise InvalidToken("the acceptor's token is no AP-REP in the form that was asked for")
    return token.body


def _established(
    sent: _Sent, answer: EncApRepPart | None, options: Options, peer: Principal, token: bytes | None
) -> Established:
    acceptor, due = None, sent.number
    if answer is not None:
        if answer.seq_number is not None:
            due = answer.seq_number
        if answer.subkey is not None:
            acceptor = make_key(answer.subkey.keytype, answer.subkey.keyvalue)
    session = Session(
        Role.INITIATOR,
        sent.flags,
        Keys(sent.ticket.key, sent.subkey, acceptor),
        sent.number,
        due,
        lifetime_end(sent.ticket.end_time, options),
        bound=options.channel_bindings is not None,
    )
    return Established(KerberosContext(session, options.clock, options.random), peer, token)
