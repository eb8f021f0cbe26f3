"""FAST at the KDC: opening armored requests, armoring replies and errors (RFC 6113 5.4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from securestream.errors import BadSignature, MalformedMessage
from securestream_providers.kerberos.kdc.realm import Asked, OpenTicket, Realm
from securestream_providers.kerberos.kdc.refusals import Refused, krb_error, method_data
from securestream_providers.krb5.fast import (
    ARMOR_AP_REQUEST,
    CRITICAL_OPTIONS,
    HIDE_CLIENT_NAMES,
    armor_key,
    unwrap_request,
    wrap_reply,
)
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.messages import ApReq, Authenticator, KdcReq, PaData
from securestream_providers.krb5.messages_fast import FastArmor, FastArmoredReq, FastResponse, PaFxFastRequest
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import AdType, ErrorCode, KeyUsage, PaType

COOKIE: Final = PaData(PaType.FX_COOKIE, b"securestream")
"""We keep no state between the requests of a client; the cookie is there because RFC 6113 5.2 wants one."""


def open_request(realm: Realm, request: KdcReq, octets: bytes, now: datetime, source: str) -> Asked:
    """An AS-REQ as it counts.

    Raises:
        Refused: the armor is not good.
    """
    asked = Asked(request.req_body, request.padata or (), octets, now, source)
    value = asked.find(PaType.FX_FAST)
    if not value:
        return asked
    armored = _armored(value)
    if armored.armor is None:
        raise Refused(ErrorCode.PREAUTH_FAILED, "there is no armor")
    key = _explicit_armor(realm, armored.armor, now)
    return _inner(asked, key, value, request.body_octets)


def open_tgs_request(asked: Asked, subkey: Key | None, session: Key, ap_req: bytes) -> Asked:
    """A TGS-REQ as it counts; its armor is the PA-TGS-REQ itself (RFC 6113 5.4.2).

    Raises:
        Refused: the armor is not good.
    """
    value = asked.find(PaType.FX_FAST)
    if not value:
        return asked
    if _armored(value).armor is not None or subkey is None:
        raise Refused(ErrorCode.PREAUTH_FAILED, "a TGS-REQ is armored by its own subkey")
    return _inner(asked, armor_key(subkey, session), value, ap_req)


def armored_padata(realm: Realm, armor: Key, response: FastResponse) -> tuple[PaData, ...]:
    """PA-FX-FAST with `response`."""
    return (wrap_reply(armor, response, realm.random),)


def refusal(realm: Realm, asked: Asked, refused: Refused) -> bytes:
    """The KRB-ERROR of a refusal, inside the armor where there is one (RFC 6113 5.4.4)."""
    body = asked.body
    client = None if body.cname is None else (body.realm, body.cname)
    server = None if body.sname is None else KerberosName.of(body.sname, realm.name)
    code, padata = refused.code, refused.padata
    if asked.armor is not None:
        inner = krb_error(realm.name, asked.now, code, refused.text, client=client, server=server)
        response = FastResponse((PaData(PaType.FX_ERROR, inner), *padata), None, None, body.nonce)
        padata = armored_padata(realm, asked.armor, response)
    e_data = method_data(padata)
    return krb_error(realm.name, asked.now, code, refused.text, client=client, server=server, e_data=e_data)


def _armored(value: bytes) -> FastArmoredReq:
    return PaFxFastRequest.decode(value).armored_data


def _inner(asked: Asked, key: Key, value: bytes, covered: bytes) -> Asked:
    try:
        inner = unwrap_request(key, _armored(value), covered)
    except BadSignature:
        raise Refused(ErrorCode.PREAUTH_FAILED, "the armored request was altered") from None
    armored = replace(asked, body=inner.req_body, padata=inner.padata, armor=key)
    if inner.fast_options & CRITICAL_OPTIONS & ~HIDE_CLIENT_NAMES:
        raise ArmoredRefusal(armored, Refused(ErrorCode.UNKNOWN_CRITICAL_FAST_OPTION))
    return armored


class ArmoredRefusal(Refused):
    """A refusal that is found out while the armor is opened, and is armored itself."""

    def __init__(self, asked: Asked, refused: Refused) -> None:
        super().__init__(refused.code, refused.text, refused.padata)
        self.asked = asked


def _explicit_armor(realm: Realm, armor: FastArmor, now: datetime) -> Key:
    if armor.armor_type != ARMOR_AP_REQUEST:
        raise Refused(ErrorCode.PREAUTH_FAILED, f"armor type {armor.armor_type} is not known")
    request = ApReq.decode(armor.armor_value)
    ticket = request.ticket
    if KerberosName.of(ticket.sname, ticket.realm) != tgs_name(realm.name):
        raise Refused(ErrorCode.AP_NOT_US, "the armor ticket is not for the ticket-granting service")
    opened = realm.open_ticket(ticket, realm.tgs())
    realm.check_times(opened.part, now)
    authenticator = open_authenticator(realm, opened, request, KeyUsage.AP_REQ_AUTHENTICATOR, now)
    if authenticator.subkey is None:
        raise Refused(ErrorCode.PREAUTH_FAILED, "the armor has no subkey")
    subkey = make_key(authenticator.subkey.keytype, authenticator.subkey.keyvalue)
    _check_etype(realm, subkey)
    return armor_key(subkey, opened.session)


def open_authenticator(realm: Realm, opened: OpenTicket, request: ApReq, usage: int, now: datetime) -> Authenticator:
    """The authenticator of an AP-REQ, checked against its ticket and our clock (RFC 4120 3.2.3).

    Raises:
        Refused: it is another one's, or its clock is off.
    """
    sealed = request.authenticator
    if sealed.etype != opened.session.etype:
        raise Refused(ErrorCode.AP_BAD_INTEGRITY)
    try:
        octets = opened.session.decrypt(usage, sealed.cipher)
    except BadSignature:
        raise Refused(ErrorCode.AP_BAD_INTEGRITY) from None
    try:
        found = Authenticator.decode(octets)
    except MalformedMessage:
        raise Refused(ErrorCode.AP_MODIFIED) from None
    if KerberosName.of(found.cname, found.crealm) != opened.client:
        raise Refused(ErrorCode.AP_BADMATCH)
    realm.check_skew(found.ctime + timedelta(microseconds=found.cusec), now)
    return found


def subkey_of(realm: Realm, authenticator: Authenticator) -> Key | None:
    """The subkey of an authenticator, or `None`.

    Raises:
        Refused: its type is not allowed.
    """
    if authenticator.subkey is None:
        return None
    key = make_key(authenticator.subkey.keytype, authenticator.subkey.keyvalue)
    _check_etype(realm, key)
    return key


def _check_etype(realm: Realm, key: Key) -> None:
    if key.etype not in realm.policy.etypes:
        raise Refused(ErrorCode.ETYPE_NOSUPP, f"encryption type {key.etype} is not allowed")


def only_armor(opened: OpenTicket) -> bool:
    """Whether a ticket must serve as armor alone (RFC 6113 5.4.1.1)."""
    data = opened.part.authorization_data
    return data is not None and any(one.ad_type == AdType.FX_FAST_ARMOR for one in data.elements)
