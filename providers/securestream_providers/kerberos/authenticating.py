"""Judging an AP-REQ: nothing here is believed before its key has proved it (RFC 4120 3.2.3, SECURITY 8, 15, 16)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from securestream.channel_bindings import is_unbound
from securestream.credentials import Credential
from securestream.errors import (
    BadBindings,
    BadSignature,
    ErrorKind,
    InvalidToken,
    LogonDenied,
    MalformedMessage,
    NoCredentials,
    NotAuthorized,
    TargetUnknown,
    TimeSkew,
    Unsupported,
)
from securestream.options import BindingPolicy, ContextFlags, Options, Protection, required_flags
from securestream.principal import Principal
from securestream_providers.kerberos.authorization import elements_of, find, peer_of
from securestream_providers.kerberos.credentials import Tickets
from securestream_providers.kerberos.known_tickets import OpenedTicket, Place, place_of
from securestream_providers.kerberos.negotiated_etypes import choose_etype
from securestream_providers.kerberos.policy import Policy, ServiceKeys, context_flags
from securestream_providers.kerberos.realms import is_trusted, knows_address
from securestream_providers.kerberos.refusing import Refuser
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.gss_checksum import GssChecksum
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.krb_cred import read_krb_cred
from securestream_providers.krb5.messages import ApReq, Authenticator, AuthorizationElement, EncTicketPart
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import (
    KERB_AP_OPTIONS_CBT,
    AdType,
    ApOptions,
    ChecksumType,
    ErrorCode,
    KeyUsage,
    TicketFlags,
)
from securestream_providers.krb5.opening import decrypt_message, unpadded
from securestream_providers.krb5.tickets import CachedTicket, KeytabEntry, TicketCache

_SESSION_KEY: Final = int(ApOptions.USE_SESSION_KEY)  # members of an IntFlag are slow to combine
_INVALID: Final = int(TicketFlags.INVALID)
_MOST_KEYS: Final = 4
"""Keys of one type that are tried on a ticket whose key version is not in the keytab."""

_WITHOUT_CHECKSUM: Final = (
    ContextFlags.REPLAY | ContextFlags.SEQUENCE | ContextFlags.CONFIDENTIALITY | ContextFlags.INTEGRITY
)
"""What a client that states no flags is taken to want."""


@dataclass(repr=False, slots=True)
class Checked:
    """What an AP-REQ proved.

    Args:
        principal: who the client is.
        session_key: of the ticket.
        subkey: that the client asserted.
        etype: of the acceptor's subkey.
        flags: of the context.
        number: the client's first sequence number.
        stated: the client's time in its authenticator.
        moment: the later of that and ours.
        end: the ticket's.
        bound: whether channel bindings were verified.
        delegated: what the client delegated.
        authorization_data: the ticket's.
    """

    principal: Principal
    session_key: Key
    subkey: Key | None
    etype: int
    flags: ContextFlags
    number: int
    stated: datetime
    moment: datetime
    end: datetime
    bound: bool
    delegated: Credential | None
    authorization_data: tuple[AuthorizationElement, ...]


def check_request(
    policy: Policy,
    config: Krb5Config,
    keys: ServiceKeys | None,
    own: CachedTicket | None,
    request: ApReq,
    options: Options,
    refuser: Refuser,
) -> Checked:
    """Judge an AP-REQ in full; only whether it came before is still to be asked.

    Args:
        policy: what is allowed.
        config: realms that are trusted, encryption types.
        keys: the acceptor's.
        own: the acceptor's ticket-granting ticket in a user-to-user exchange, in place of keys.
        request: the AP-REQ.
        options: clock, bindings, address.
        refuser: makes the exceptions.

    Raises:
        HandshakeError: of the kind that says why.
        MalformedMessage: what was decrypted is none of Kerberos' messages.
    """
    etypes = policy.etypes(config)
    service = KerberosName.of(request.ticket.sname, request.ticket.realm)
    refuser.name = service
    now = options.clock()
    place = None if keys is None or own is not None else place_of(request.ticket)
    opened = _known(keys, place, request, etypes, now) or _opened(keys, own, service, request, etypes, refuser)
    ticket, session_key = opened.content, opened.session_key
    authenticator = _open_authenticator(session_key, request, refuser)
    if authenticator.crealm != ticket.crealm or authenticator.cname.name_string != ticket.cname.name_string:
        raise refuser.refused(
            ErrorCode.AP_BADMATCH, InvalidToken, "the authenticator names another client than the ticket"
        )
    stated = authenticator.ctime + timedelta(microseconds=authenticator.cusec)
    _check_times(ticket, stated, now, options, refuser)
    _check_origin(config, ticket, service, options, refuser)
    stated_beside = elements_of(authenticator.authorization_data, refuser)
    asked = find(stated_beside, AdType.AP_OPTIONS)
    gss, flags = _flags(policy, request, authenticator, asked, options, refuser)
    bound = gss is not None and _check_bindings(gss, asked, options, refuser)
    subkey = _subkey(authenticator, etypes, refuser)
    if opened.proved is None:
        opened.proved = _prove(policy, opened, refuser)
        if keys is not None and place is not None:
            keys.known.keep(place, opened, now)
    elements, principal = opened.proved
    if principal.is_anonymous:
        if not policy.allow_anonymous:
            raise refuser.refused(
                ErrorCode.POLICY, LogonDenied, "anonymous clients are refused: see Kerberos(allow_anonymous=...)"
            )
        flags |= ContextFlags.ANONYMOUS
    delegated = _delegated(gss, subkey, session_key, refuser)
    if delegated is not None:
        flags |= ContextFlags.DELEGATE
    if own is not None:
        flags |= ContextFlags.USE_SESSION_KEY
    base = session_key if subkey is None else subkey
    offered = find(stated_beside, AdType.ETYPE_NEGOTIATION)
    return Checked(
        principal,
        session_key,
        subkey,
        choose_etype(offered, etypes, base.etype),
        flags,
        authenticator.seq_number or 0,
        stated,
        max(stated, now),
        ticket.endtime,
        bound,
        delegated,
        elements,
    )


# --- the ticket ------------------------------------------------------------------------------------------------------


def _known(
    keys: ServiceKeys | None, place: Place | None, request: ApReq, etypes: tuple[int, ...], now: datetime
) -> OpenedTicket | None:
    """The ticket as it was opened before; `None` for all that is refused, which `_opened` explains."""
    if keys is None or place is None or request.ap_options & _SESSION_KEY:
        return None
    found = keys.known.find(place, now)
    if found is None or found.service_key.etype not in etypes or found.session_key.etype not in etypes:
        return None
    return found


def _opened(
    keys: ServiceKeys | None,
    own: CachedTicket | None,
    service: KerberosName,
    request: ApReq,
    etypes: tuple[int, ...],
    refuser: Refuser,
) -> OpenedTicket:
    if own is None:
        service_key, octets = _open_ticket(keys, service, request, etypes, refuser)
    else:
        service_key, octets = _open_own(own, service, request, refuser)
    ticket = EncTicketPart.decode(unpadded(service_key.etype, octets))
    if ticket.key.keytype not in etypes:
        raise refuser.refused(
            ErrorCode.ETYPE_NOSUPP,
            Unsupported,
            f"the ticket's session key is of type {ticket.key.keytype}, which is not allowed: see Kerberos(weak=...)",
        )
    return OpenedTicket(ticket, service_key, make_key(ticket.key.keytype, ticket.key.keyvalue))


def _prove(
    policy: Policy, opened: OpenedTicket, refuser: Refuser
) -> tuple[tuple[AuthorizationElement, ...], Principal]:
    """The authorisation data of a ticket, and who its client is (SECURITY 15, 16)."""
    ticket = opened.content
    elements = elements_of(ticket.authorization_data, refuser)
    client = KerberosName.of(ticket.cname, ticket.crealm)
    return elements, peer_of(policy, client, ticket, opened.service_key, refuser)


# --- keys ------------------------------------------------------------------------------------------------------------


def _open_ticket(
    keys: ServiceKeys | None, service: KerberosName, request: ApReq, etypes: tuple[int, ...], refuser: Refuser
) -> tuple[Key, bytes]:
    """Decrypt the ticket with the acceptor's key of its version and type, or one of a few others (key rollover)."""
    if request.ap_options & _SESSION_KEY:
        raise refuser.refused(
            ErrorCode.AP_NOKEY, InvalidToken, "the ticket is for user-to-user authentication, which was not begun here"
        )
    entries = None if keys is None else keys.of(service)
    if entries is None:
        raise refuser.refused(
            ErrorCode.AP_NOT_US,
            TargetUnknown,
            f"the client asked for {service}, which is not served here; see the keytab and Kerberos(served=...)",
        )
    sealed = request.ticket.enc_part
    if sealed.etype not in etypes:
        raise refuser.refused(
            ErrorCode.ETYPE_NOSUPP,
            Unsupported,
            f"the ticket is encrypted in type {sealed.etype}, which is not allowed: see Kerberos(weak=...)",
        )
    fitting = _in_order([entry for entry in entries if entry.key.etype == sealed.etype], sealed.kvno)
    for entry in fitting[:_MOST_KEYS]:
        try:
            return entry.key, entry.key.decrypt(KeyUsage.TICKET, sealed.cipher)
        except BadSignature:
            continue
    if not any(_same_version(entry, sealed.kvno) for entry in fitting):
        raise refuser.refused(
            ErrorCode.AP_BADKEYVER,
            NoCredentials,
            f"the keytab has no key of {service} of version {sealed.kvno} and type {sealed.etype}; renew the keytab",
            kind=ErrorKind.UNKNOWN_CREDENTIALS,  # there are some: whoever writes a version must not turn us to NTLM
        )
    raise refuser.refused(
        ErrorCode.AP_BAD_INTEGRITY,
        LogonDenied,
        f"the ticket does not open with the keytab's key of {service}: the KDC has another one, or it was forged",
    )


def _same_version(entry: KeytabEntry, kvno: int | None) -> bool:
    """Whether an entry has the version; old keytabs hold its lowest octet only."""
    return kvno is None or entry.kvno == kvno or (entry.kvno < 256 and entry.kvno == kvno & 0xFF)


def _in_order(entries: list[KeytabEntry], kvno: int | None) -> list[KeytabEntry]:
    if len(entries) < 2:
        return entries
    return sorted(entries, key=lambda entry: (not _same_version(entry, kvno), -entry.kvno))


def _open_own(own: CachedTicket, service: KerberosName, request: ApReq, refuser: Refuser) -> tuple[Key, bytes]:
    """Decrypt a user-to-user ticket with the session key of our own ticket-granting ticket (RFC 4120 3.7)."""
    if not request.ap_options & _SESSION_KEY:
        raise refuser.refused(
            ErrorCode.AP_NOKEY, InvalidToken, "a user-to-user ticket is due: the client asked for our ticket"
        )
    if service != own.client:
        raise refuser.refused(ErrorCode.AP_NOT_US, TargetUnknown, f"the client asked for {service}, not {own.client}")
    try:
        return own.key, own.key.decrypt(KeyUsage.TICKET, request.ticket.enc_part.cipher)
    except BadSignature:
        raise refuser.refused(
            ErrorCode.AP_BAD_INTEGRITY, LogonDenied, "the user-to-user ticket is not encrypted in our session key"
        ) from None


def _open_authenticator(key: Key, request: ApReq, refuser: Refuser) -> Authenticator:
    try:
        return decrypt_message(Authenticator, key, KeyUsage.AP_REQ_AUTHENTICATOR, request.authenticator.cipher)
    except BadSignature:
        raise refuser.refused(
            ErrorCode.AP_BAD_INTEGRITY, LogonDenied, "the authenticator was not made with the ticket's session key"
        ) from None


def _subkey(authenticator: Authenticator, etypes: tuple[int, ...], refuser: Refuser) -> Key | None:
    subkey = authenticator.subkey
    if subkey is None:
        return None
    if subkey.keytype not in etypes:
        raise refuser.refused(
            ErrorCode.ETYPE_NOSUPP, Unsupported, f"the client's subkey is of type {subkey.keytype}: not allowed here"
        )
    return make_key(subkey.keytype, subkey.keyvalue)


# --- time and place --------------------------------------------------------------------------------------------------


def _check_times(ticket: EncTicketPart, stated: datetime, now: datetime, options: Options, refuser: Refuser) -> None:
    skew = options.max_skew
    if abs(stated - now) > skew:
        raise refuser.refused(
            ErrorCode.AP_SKEW,
            TimeSkew,
            f"the client's clock is {(stated - now).total_seconds():+.0f} seconds ahead of ours, more than is allowed",
        )
    if int(ticket.flags) & _INVALID or (ticket.starttime or ticket.authtime) - skew > now:
        raise refuser.refused(ErrorCode.AP_TKT_NYV, LogonDenied, "the client's ticket is not valid yet")
    if ticket.endtime + skew < now:
        raise refuser.refused(
            ErrorCode.AP_TKT_EXPIRED, LogonDenied, "the client's ticket has expired; it needs a new one"
        )


def _check_origin(
    config: Krb5Config, ticket: EncTicketPart, service: KerberosName, options: Options, refuser: Refuser
) -> None:
    foreign = ticket.crealm != service.realm and not ticket.flags & TicketFlags.TRANSITED_POLICY_CHECKED
    if foreign and not is_trusted(config, ticket.crealm, service.realm, ticket.transited):
        raise refuser.refused(
            ErrorCode.AP_PATH_NOT_ACCEPTED,
            NotAuthorized,
            f"no KDC vouched for the realms between {ticket.crealm} and {service.realm}, and [capaths] allows none",
        )
    if ticket.caddr and options.source and not knows_address(ticket.caddr, options.source):
        raise refuser.refused(
            ErrorCode.AP_BADADDR, LogonDenied, "the client's ticket is bound to other addresses than the client's"
        )


# --- the GSS checksum ------------------------------------------------------------------------------------------------


def _flags(
    policy: Policy,
    request: ApReq,
    authenticator: Authenticator,
    asked: bytes | None,
    options: Options,
    refuser: Refuser,
) -> tuple[GssChecksum | None, ContextFlags]:
    """The checksum 0x8003 and the flags in it."""
    checksum = authenticator.cksum
    if checksum is None or checksum.cksumtype != ChecksumType.GSS:
        own, demand = options.channel_bindings, options.binding_policy
        bindings = demand is BindingPolicy.ALWAYS or (
            own is not None and demand is BindingPolicy.WHEN_ADVERTISED and _supports_bindings(asked)
        )
        if policy.checksum == "required" or bindings:
            raise refuser.refused(
                ErrorCode.AP_INAPP_CKSUM,
                Unsupported,
                "the client's authenticator has no GSS checksum, so nothing proves flags and bindings; for clients "
                'that never send one there is Kerberos(checksum="optional")',
            )
        mutual = request.ap_options & ApOptions.MUTUAL_REQUIRED
        return None, _WITHOUT_CHECKSUM | (ContextFlags.MUTUAL if mutual else ContextFlags.NONE)
    gss = GssChecksum.unpack(checksum.checksum)
    flags = context_flags(gss.flags)
    refuser.extended = ContextFlags.EXTENDED_ERROR in flags
    if (ContextFlags.DCE_STYLE in flags) is not refuser.raw or (refuser.raw and ContextFlags.MUTUAL not in flags):
        raise refuser.refused(
            ErrorCode.AP_MSG_TYPE,
            InvalidToken,
            "only DCE style, which is mutual, has tokens without the frame of GSS-API, and none with it",
        )
    return gss, _with_own_order(flags, options.flags, options.protection)


@lru_cache(maxsize=256)
def _with_own_order(flags: ContextFlags, own: ContextFlags, protection: Protection) -> ContextFlags:
    """`flags` with what this end asks of the order of messages, which it sees to by itself: every message has a number.

    .NET 8 on Linux, as a client, asks for neither, and takes whatever order our messages come in.
    """
    if ContextFlags.INTEGRITY not in flags:
        return flags
    return flags | ((own | required_flags(protection)) & (ContextFlags.REPLAY | ContextFlags.SEQUENCE))


def _supports_bindings(asked: bytes | None) -> bool:
    return asked is not None and bool(int.from_bytes(asked[:4], "little") & KERB_AP_OPTIONS_CBT)


def _check_bindings(gss: GssChecksum, asked: bytes | None, options: Options, refuser: Refuser) -> bool:
    """Whether the client's channel is ours (SECURITY 8)."""
    policy, own = options.binding_policy, options.channel_bindings
    if own is None or policy is BindingPolicy.NEVER:
        return False
    if not is_unbound(gss.bindings):
        if hmac.compare_digest(gss.bindings, own.md5()):
            return True
        raise refuser.refused(
            ErrorCode.AP_MODIFIED,
            BadBindings,
            "the client's channel is not ours: somebody relays, or a proxy ends TLS between us",
        )
    advertised = policy is BindingPolicy.WHEN_ADVERTISED and _supports_bindings(asked)
    if advertised or policy is BindingPolicy.ALWAYS:
        raise refuser.refused(
            ErrorCode.AP_MODIFIED,
            BadBindings,
            f"the client bound its authentication to no channel, and the policy is {policy.value!r}",
        )
    return False


def _delegated(gss: GssChecksum | None, subkey: Key | None, session_key: Key, refuser: Refuser) -> Tickets | None:
    if gss is None or gss.delegation is None:
        return None
    keys = (session_key,) if subkey is None else (subkey, session_key)
    try:
        tickets = read_krb_cred(gss.delegation, *keys)
    except (BadSignature, MalformedMessage) as damaged:
        raise refuser.refused(
            ErrorCode.AP_MODIFIED, InvalidToken, f"the client's delegated tickets are refused: {damaged}"
        ) from damaged
    if not tickets:
        return None
    return Tickets(TicketCache(tickets[0].client, tickets))
