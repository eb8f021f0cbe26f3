"""The ticket-granting service: TGS-REQ to TGS-REP (RFC 4120 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from securestream.errors import MalformedMessage
from securestream.redaction import Redacted
from securestream_providers.kerberos.kdc.armor import only_armor
from securestream_providers.kerberos.kdc.authentication import check_server
from securestream_providers.kerberos.kdc.delegation import Impersonation, impersonation
from securestream_providers.kerberos.kdc.header import (
    Header,
    check_header,
    requested_authorization,
    second_ticket,
)
from securestream_providers.kerberos.kdc.issuing import Issue, hand_over, session_key
from securestream_providers.kerberos.kdc.pacs import check_pac, with_pac
from securestream_providers.kerberos.kdc.principals import KdcPrincipal
from securestream_providers.kerberos.kdc.realm import Asked, Realm, end_of
from securestream_providers.kerberos.kdc.refusals import Refused
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import (
    AuthorizationData,
    AuthorizationElement,
    EncTicketPart,
    PrincipalName,
    TransitedEncoding,
)
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import AdType, ErrorCode, KdcOptions, TicketFlags
from securestream_providers.krb5.pac_buffers import PacAttributes

_KEPT: Final = TicketFlags.FORWARDED | TicketFlags.PROXY | TicketFlags.PRE_AUTHENT | TicketFlags.HW_AUTHENT
_OURS_ALONE: Final = frozenset(
    (
        AdType.KDC_ISSUED,
        AdType.INITIAL_VERIFIED_CAS,
        AdType.OSF_DCE,
        AdType.SESAME,
        AdType.OSF_DCE_PKI_CERTID,
        AdType.AUTHENTICATION_STRENGTH,
        AdType.FX_FAST_ARMOR,
        AdType.FX_FAST_USED,
        AdType.CAMMAC,
        AdType.AUTHENTICATION_INDICATOR,
        AdType.WIN2K_PAC,
        AdType.TOKEN_RESTRICTIONS,
        AdType.LOCAL,
        AdType.SIGN_TICKET,
    )
)
"""Authorisation data that a KDC makes; a client's is left out (it would claim what no KDC said)."""
_DEEPEST: Final = 8
"""Containers of authorisation data in each other, at most."""
_AGAIN: Final = KdcOptions.RENEW | KdcOptions.VALIDATE


@dataclass(frozen=True, repr=False)
class Target(Redacted):
    """For whom the new ticket is.

    Args:
        account: the service.
        name: as the ticket names it.
        key: encrypts the ticket.
        kvno: the key's version; `None` for the session key of user-to-user.
        session_etype: of the new session key.
    """

    account: KdcPrincipal
    name: KerberosName
    key: Key
    kvno: int | None
    session_etype: int


def grant(realm: Realm, header: Header, asked: Asked) -> bytes:
    """The TGS-REP to a request.

    Raises:
        Refused: with the error that the client is told.
    """
    check_header(realm, header, asked)
    if asked.body.realm != realm.name:
        raise Refused(ErrorCode.WRONG_REALM, f"this is the KDC of {realm.name}")
    options = asked.options
    if options & (KdcOptions.POSTDATED | KdcOptions.ALLOW_POSTDATE):
        raise Refused(ErrorCode.CANNOT_POSTDATE)
    if options & KdcOptions.REQUEST_ANONYMOUS:
        raise Refused(ErrorCode.BADOPTION)
    client = _client(realm, header, asked)
    target = _target(realm, header, asked)
    attributes = check_pac(realm, header.ticket, client)
    user = impersonation(realm, header, asked, client, target.account)
    part = _part(realm, header, asked, target, user)
    if user is not None:
        part = with_pac(
            realm, part, user.account, target.account, target.key, delegation=user.delegation, asserted=user.asserted
        )
    elif attributes is not None and client is not None and _carries_pac(realm, asked, target, attributes):
        part = with_pac(realm, part, client, target.account, target.key, attributes=attributes)
    issue = Issue(
        part,
        target.name,
        target.key,
        target.kvno,
        header.reply_key,
        header.usage,
        padata=() if user is None else user.padata,
    )
    return hand_over(realm, asked, issue)


def _carries_pac(realm: Realm, asked: Asked, target: Target, attributes: PacAttributes) -> bool:
    """Whether the new ticket has a PAC, as the header's had: services' may do without."""
    always = target.account.name.is_tgs or bool(asked.options & _AGAIN)
    return always or (realm.policy.pac and bool(attributes))


def _client(realm: Realm, header: Header, asked: Asked) -> KdcPrincipal | None:
    """The account of the ticket's client, which may have changed since; `None` for other realms' clients."""
    part = header.ticket.part
    if part.crealm != realm.name:
        return None
    found = realm.find_client(part.cname, canonicalize=True)
    if found is None:
        raise Refused(ErrorCode.TGT_REVOKED, "the client of the ticket is not there any more")
    if found.disabled or (found.expires is not None and found.expires <= asked.now):
        raise Refused(ErrorCode.TGT_REVOKED)
    return found


def _target(realm: Realm, header: Header, asked: Asked) -> Target:
    """The service, and the key of the new ticket."""
    name, options = asked.body.sname, asked.options
    if options & KdcOptions.ENC_TKT_IN_SKEY:
        if options & _AGAIN:
            raise Refused(ErrorCode.BADOPTION, "a ticket is renewed or validated for its own service, in its own key")
        return _user_to_user(realm, asked)
    if name is None:
        raise Refused(ErrorCode.S_PRINCIPAL_UNKNOWN)
    found = realm.find_server(name, canonicalize=asked.canonicalize) or _referral(realm, asked, name)
    if found is None or not found.keys:
        raise Refused(ErrorCode.S_PRINCIPAL_UNKNOWN)
    if not found.service:
        raise Refused(ErrorCode.MUST_USE_USER2USER, "tickets for users are made by user-to-user only")
    if found.as_only:
        raise Refused(ErrorCode.POLICY, "tickets for this service are made with the client's own key only")
    if options & _AGAIN and found.name != header.server:
        raise Refused(ErrorCode.SERVER_NOMATCH)
    check_server(found, asked.now)
    ticket_key = found.current(realm.policy.etypes)
    if not ticket_key:
        raise Refused(ErrorCode.NULL_KEY, "the service has no key of a type that is allowed")
    shown = found.name if asked.canonicalize else KerberosName.of(name, realm.name)
    return Target(found, shown, ticket_key[0].key, ticket_key[0].kvno, realm.session_etype(asked.body.etype, found))


def _user_to_user(realm: Realm, asked: Asked) -> Target:
    """A ticket in the session key of the service's own ticket-granting ticket (RFC 4120 3.3.3, 2.9.2)."""
    second = second_ticket(realm, asked)
    account = realm.find_client(second.part.cname, canonicalize=True) if second.part.crealm == realm.name else None
    if account is None:
        raise Refused(ErrorCode.SERVER_NOMATCH)
    if only_armor(second):
        raise Refused(ErrorCode.POLICY, "the additional ticket serves as armor only")
    check_pac(realm, second, account)  # its name may be another account's by now
    name = asked.body.sname
    if name is not None:
        named = realm.find_client(name, canonicalize=True)
        if named is None or named.name != account.name:
            raise Refused(ErrorCode.SERVER_NOMATCH, "the additional ticket is not the service's")
    check_server(account, asked.now)
    key = second.session
    etype = next((etype for etype in asked.body.etype if etype in realm.policy.etypes), None)
    if etype is None or key.etype not in realm.policy.etypes:
        raise Refused(ErrorCode.ETYPE_NOSUPP)
    shown = account.name if name is None or asked.canonicalize else KerberosName.of(name, realm.name)
    return Target(account, shown, key, None, etype)


def _referral(realm: Realm, asked: Asked, name: PrincipalName) -> KdcPrincipal | None:
    """The ticket-granting service of the realm that knows a service, if we share a key (RFC 6806 8)."""
    parts = name.name_string
    if len(parts) < 2:
        return None
    if parts[0] == "krbtgt" or not asked.canonicalize:
        return None
    host = parts[1].casefold()
    realms = realm.policy.host_realms
    other = realms.get(host)
    while other is None and "." in host:
        other = realms.get(host[host.index(".") :])
        host = host[host.index(".") + 1 :]
    return None if other is None else realm.database.find(tgs_name(other, realm.name))


def _part(realm: Realm, header: Header, asked: Asked, target: Target, user: Impersonation | None) -> EncTicketPart:
    """The content of the new ticket, without a PAC."""
    old = header.ticket.part
    options, account = asked.options, target.account
    _, session = session_key(target.session_etype, realm)
    if options & _AGAIN:
        if target.name != header.server:
            raise Refused(ErrorCode.SERVER_NOMATCH)
        transited, _ = _transited(realm, header, options, old.flags)
        return replace(_again(old, asked), key=session, transited=transited)
    flags = _flags(old, options, account) if user is None else user.flags(old, account)
    start, end, renew, flags = _times(realm, asked, old if user is None else user.limits(old), account, flags)
    transited, flags = _transited(realm, header, options, flags)
    addresses = old.caddr
    if options & (KdcOptions.FORWARDED | KdcOptions.PROXY):
        addresses = asked.body.addresses or None
    if user is not None:
        name, authtime = user.name, user.authtime or old.authtime
        return EncTicketPart(
            flags, session, name.realm, name.principal_name, transited, authtime, start, end, renew, addresses, None
        )
    data = _authorization(old.authorization_data, requested_authorization(header, asked))
    return EncTicketPart(
        flags, session, old.crealm, old.cname, transited, old.authtime, start, end, renew, addresses, data
    )


def _again(old: EncTicketPart, asked: Asked) -> EncTicketPart:
    """A renewed or validated ticket (RFC 4120 3.3.3)."""
    now = asked.now.replace(microsecond=0)
    if asked.options & KdcOptions.VALIDATE:
        if not old.flags & TicketFlags.INVALID:
            raise Refused(ErrorCode.BADOPTION, "the ticket is valid already")
        return replace(old, flags=old.flags & ~TicketFlags.INVALID)
    if not old.flags & TicketFlags.RENEWABLE or old.renew_till is None:
        raise Refused(ErrorCode.BADOPTION, "the ticket is not renewable")
    if old.renew_till <= now:
        raise Refused(ErrorCode.AP_TKT_EXPIRED, "the ticket can be renewed no longer")
    life = old.endtime - (old.authtime if old.starttime is None else old.starttime)
    return replace(old, starttime=now, endtime=min(old.renew_till, now + life), flags=old.flags & ~TicketFlags.INITIAL)


def _flags(old: EncTicketPart, options: KdcOptions, account: KdcPrincipal) -> TicketFlags:
    flags = old.flags & _KEPT
    if options & KdcOptions.FORWARDED:
        if not old.flags & TicketFlags.FORWARDABLE:
            raise Refused(ErrorCode.BADOPTION, "the ticket-granting ticket is not forwardable")
        flags |= TicketFlags.FORWARDED
    if options & KdcOptions.PROXY:
        if not old.flags & TicketFlags.PROXIABLE:
            raise Refused(ErrorCode.BADOPTION, "the ticket-granting ticket is not proxiable")
        if account.name.is_tgs:
            raise Refused(ErrorCode.BADOPTION, "a ticket-granting ticket is forwarded, not proxied")
        flags |= TicketFlags.PROXY
    # what the ticket does not allow is not granted, rather than refused: Windows asks for it always
    if options & KdcOptions.FORWARDABLE and account.forwardable:
        flags |= old.flags & TicketFlags.FORWARDABLE
    if options & KdcOptions.PROXIABLE and account.proxiable:
        flags |= old.flags & TicketFlags.PROXIABLE
    if account.ok_as_delegate:
        flags |= TicketFlags.OK_AS_DELEGATE
    return flags


def _times(
    realm: Realm, asked: Asked, old: EncTicketPart, account: KdcPrincipal, flags: TicketFlags
) -> tuple[datetime, datetime, datetime | None, TicketFlags]:
    start, body = asked.now.replace(microsecond=0), asked.body
    end = min(old.endtime, end_of(body.till, start, realm.policy.max_life, account.max_life))
    if end <= start:
        raise Refused(ErrorCode.NEVER_VALID)
    wanted = bool(asked.options & KdcOptions.RENEWABLE)
    until = body.rtime
    if not wanted and asked.options & KdcOptions.RENEWABLE_OK and body.till.year > 1970 and body.till > end:
        wanted, until = True, body.till
    if not (wanted and old.flags & TicketFlags.RENEWABLE and old.renew_till is not None and account.renewable):
        return start, end, None, flags
    if until is None or until.year <= 1970:
        until = old.renew_till
    limit = realm.policy.max_renew if account.max_renew is None else min(realm.policy.max_renew, account.max_renew)
    renew = min(until, old.renew_till, start + limit)
    if renew <= end or renew - start <= timedelta():
        return start, end, None, flags
    return start, end, renew, flags | TicketFlags.RENEWABLE


def _transited(
    realm: Realm, header: Header, options: KdcOptions, flags: TicketFlags
) -> tuple[TransitedEncoding, TicketFlags]:
    """The realms that the client came through, and whether we checked them (RFC 4120 3.3.3.2, 2.7)."""
    old = header.ticket.part
    if old.transited.contents and old.transited.tr_type != 1:
        raise Refused(ErrorCode.TRTYPE_NOSUPP)
    contents = old.transited.contents.decode("utf-8", "surrogateescape")
    realms = contents.split(",") if contents else []
    if header.issuer not in (realm.name, old.crealm):
        realms.append(header.issuer)
    allowed = realm.policy.transit.get(old.crealm, ())
    if any(one not in allowed for one in realms):
        raise Refused(ErrorCode.POLICY, "the client came through a realm that is not trusted with its names")
    if not options & KdcOptions.DISABLE_TRANSITED_CHECK:
        flags |= TicketFlags.TRANSITED_POLICY_CHECKED
    return TransitedEncoding(1, ",".join(realms).encode("utf-8", "surrogateescape")), flags


def _authorization(old: AuthorizationData | None, wanted: AuthorizationData | None) -> AuthorizationData | None:
    """Authorisation data of the old ticket and of the client's wish, without what only a KDC may say."""
    found = (*_told(old), *_told(wanted))
    return AuthorizationData(found) if found else None


def _told(data: AuthorizationData | None, depth: int = 0) -> tuple[AuthorizationElement, ...]:
    if depth > _DEEPEST:
        raise Refused(ErrorCode.POLICY, "authorisation data lies in too many containers")
    kept: list[AuthorizationElement] = []
    for element in data.elements if data is not None else ():
        if element.ad_type in _OURS_ALONE:
            continue
        if element.ad_type == AdType.MANDATORY_FOR_KDC:
            raise Refused(ErrorCode.POLICY, "the ticket holds restrictions that this KDC does not know")
        if element.ad_type != AdType.IF_RELEVANT:
            kept.append(element)
            continue
        try:
            inner = _told(AuthorizationData.decode(element.ad_data), depth + 1)
        except MalformedMessage:
            continue
        if inner:
            kept.append(AuthorizationElement(AdType.IF_RELEVANT, AuthorizationData(inner).encode()))
    return tuple(kept)
