"""The authentication service: AS-REQ to AS-REP (RFC 4120 3.1)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from securestream_providers.kerberos.kdc.issuing import Issue, hand_over, session_key
from securestream_providers.kerberos.kdc.pacs import pac_wanted, with_pac
from securestream_providers.kerberos.kdc.preauthentication import Proved, client_keys, key_information, offered, prove
from securestream_providers.kerberos.kdc.principals import KdcPrincipal, StoredKey, changepw_name
from securestream_providers.kerberos.kdc.realm import Asked, Realm, end_of
from securestream_providers.kerberos.kdc.refusals import Refused
from securestream_providers.krb5.keys import random_key
from securestream_providers.krb5.messages import (
    EncTicketPart,
    LastReq,
    TransitedEncoding,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, KeyUsage, NameType, PaType, TicketFlags
from securestream_providers.krb5.preauth import default_salt

_FOR_TGS_ALONE: Final = (
    KdcOptions.FORWARDED
    | KdcOptions.PROXY
    | KdcOptions.RENEW
    | KdcOptions.VALIDATE
    | KdcOptions.ENC_TKT_IN_SKEY
    | KdcOptions.CNAME_IN_ADDL_TKT
)


def authenticate(realm: Realm, asked: Asked) -> bytes:
    """The AS-REP to a request.

    Raises:
        Refused: with the error that the client is told.
    """
    _check_options(realm, asked)
    client = _client(realm, asked)
    server = _server(realm, asked)
    last = realm.database.activity(client.name, asked.now).last_success
    proved = prove(realm, asked, client)
    if proved is None and client.requires_preauth:
        raise Refused(ErrorCode.PREAUTH_REQUIRED, "", offered(realm, asked, client))
    _check_accounts(realm, asked, client, server)
    return _issue(realm, asked, client, server, proved, last)


def _check_options(realm: Realm, asked: Asked) -> None:
    if asked.body.realm != realm.name:
        raise Refused(ErrorCode.WRONG_REALM, f"this is the KDC of {realm.name}")
    if asked.options & (_FOR_TGS_ALONE | KdcOptions.REQUEST_ANONYMOUS):
        raise Refused(ErrorCode.BADOPTION)
    if asked.options & KdcOptions.POSTDATED and not realm.policy.allow_postdated:
        raise Refused(ErrorCode.CANNOT_POSTDATE)


def _client(realm: Realm, asked: Asked) -> KdcPrincipal:
    """The client; a stand-in with unknown keys where unknown names are concealed."""
    name = asked.body.cname
    found = None if name is None else realm.find_client(name, canonicalize=asked.canonicalize)
    if found is not None and found.keys:
        return found
    if name is None or not realm.policy.conceal_unknown:
        raise Refused(ErrorCode.C_PRINCIPAL_UNKNOWN)
    nobody = KerberosName.of(name, realm.name)
    salt = default_salt(nobody)
    etypes = realm.policy.etypes[:4]
    return KdcPrincipal(nobody, tuple(StoredKey(1, random_key(one, realm.random), salt) for one in etypes))


def _server(realm: Realm, asked: Asked) -> KdcPrincipal:
    name = asked.body.sname
    found = None if name is None else realm.find_server(name, canonicalize=asked.canonicalize)
    if found is None or not found.keys:
        raise Refused(ErrorCode.S_PRINCIPAL_UNKNOWN)
    if not found.service:
        raise Refused(ErrorCode.MUST_USE_USER2USER, "tickets for users are made by user-to-user only")
    return found


def _check_accounts(realm: Realm, asked: Asked, client: KdcPrincipal, server: KdcPrincipal) -> None:
    """Told only to clients who proved who they are (where they must)."""
    now = asked.now
    if client.disabled:
        raise Refused(ErrorCode.CLIENT_REVOKED)
    if client.expires is not None and client.expires <= now:
        raise Refused(ErrorCode.NAME_EXP)
    expired = client.password_expires is not None and client.password_expires <= now
    if expired and server.name != changepw_name(realm.name):
        raise Refused(ErrorCode.KEY_EXPIRED, "the password must be changed")
    check_server(server, now)


def check_server(server: KdcPrincipal, now: datetime) -> None:
    """Refuse tickets for a service that is disabled or expired."""
    if server.disabled:
        raise Refused(ErrorCode.SERVICE_REVOKED)
    if server.expires is not None and server.expires <= now:
        raise Refused(ErrorCode.SERVICE_EXP)


def _issue(
    realm: Realm,
    asked: Asked,
    client: KdcPrincipal,
    server: KdcPrincipal,
    proved: Proved | None,
    last: datetime | None,
) -> bytes:
    reply = client_keys(realm, asked, client)[0]
    _, session = session_key(realm.session_etype(asked.body.etype, server), realm)
    ticket_key = server.current(realm.policy.etypes)[0]
    flags = _flags(realm, asked, client, server)
    if proved is not None:
        flags |= TicketFlags.PRE_AUTHENT
    if asked.find(PaType.REQ_ENC_PA_REP) is not None:
        flags |= TicketFlags.ENC_PA_REP
    name = client.name
    if not asked.canonicalize and asked.body.cname is not None and asked.body.cname.name_type != NameType.ENTERPRISE:
        name = KerberosName.of(asked.body.cname, realm.name)
    start, end, renew, flags = _times(realm, asked, client, server, flags)
    part = EncTicketPart(
        flags,
        session,
        realm.name,
        name.principal_name,
        TransitedEncoding(1, b""),
        asked.now.replace(microsecond=0),
        start,
        end,
        renew,
        asked.body.addresses or None,
    )
    attributes = pac_wanted(realm, asked, server)
    if attributes is not None:
        part = with_pac(realm, part, client, server, ticket_key.key, attributes=attributes)
    padata = (key_information((reply,)), *(() if proved is None else proved.padata))
    sname = asked.body.sname or server.name.principal_name
    issue = Issue(
        part,
        server.name if asked.canonicalize else KerberosName.of(sname, realm.name),
        ticket_key.key,
        ticket_key.kvno,
        reply.key,
        KeyUsage.AS_REP,
        reply_kvno=reply.kvno,
        padata=padata,
        last_requests=() if last is None else (LastReq(2, last.replace(microsecond=0)),),
        key_expiration=client.password_expires,
    )
    return hand_over(realm, asked, issue)


def _flags(realm: Realm, asked: Asked, client: KdcPrincipal, server: KdcPrincipal) -> TicketFlags:
    flags = TicketFlags.INITIAL
    if asked.options & KdcOptions.FORWARDABLE and client.forwardable and server.forwardable:
        flags |= TicketFlags.FORWARDABLE
    if asked.options & KdcOptions.PROXIABLE and client.proxiable and server.proxiable:
        flags |= TicketFlags.PROXIABLE
    if asked.options & KdcOptions.ALLOW_POSTDATE and realm.policy.allow_postdated:
        flags |= TicketFlags.MAY_POSTDATE
    if server.ok_as_delegate:
        flags |= TicketFlags.OK_AS_DELEGATE
    return flags


def _times(
    realm: Realm, asked: Asked, client: KdcPrincipal, server: KdcPrincipal, flags: TicketFlags
) -> tuple[datetime, datetime, datetime | None, TicketFlags]:
    """Start, end and renew-till of a ticket, and its flags with RENEWABLE, POSTDATED and INVALID."""
    policy, body, now = realm.policy, asked.body, asked.now.replace(microsecond=0)
    start = now
    if body.from_time is not None and body.from_time > now + policy.clock_skew:
        if not asked.options & KdcOptions.POSTDATED:
            raise Refused(ErrorCode.CANNOT_POSTDATE)
        start = body.from_time
        flags |= TicketFlags.POSTDATED | TicketFlags.INVALID
    end = end_of(body.till, start, policy.max_life, client.max_life, server.max_life)
    until: datetime | None = None
    if asked.options & KdcOptions.RENEWABLE:
        until = body.rtime or start + timedelta(days=3650)
    elif asked.options & KdcOptions.RENEWABLE_OK and body.till.year > 1970 and body.till > end:
        until = body.till
    if until is None or not (client.renewable and server.renewable):
        return start, end, None, flags
    if until.year <= 1970:
        until = start + timedelta(days=3650)
    limits = (policy.max_renew, client.max_renew, server.max_renew)
    renew = min(until, *(start + limit for limit in limits if limit is not None))
    if renew <= end:
        return start, end, None, flags
    return start, end, renew, flags | TicketFlags.RENEWABLE
