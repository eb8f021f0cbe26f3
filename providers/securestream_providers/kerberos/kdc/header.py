"""The PA-TGS-REQ of a TGS-REQ: whose ticket it is, and whether the request is that client's (RFC 4120 3.3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from securestream.errors import BadSignature, MalformedMessage
from securestream.redaction import Redacted
from securestream_providers.kerberos.kdc.armor import only_armor, open_authenticator, open_tgs_request, subkey_of
from securestream_providers.kerberos.kdc.realm import Asked, OpenTicket, Realm, check_source
from securestream_providers.kerberos.kdc.refusals import Refused
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import ApReq, Authenticator, AuthorizationData, TgsReq, Ticket
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, KeyUsage, PaType


@dataclass(frozen=True, repr=False)
class Header(Redacted):
    """The ticket of a TGS-REQ.

    Args:
        ticket: the ticket.
        server: whom it was issued for.
        issuer: the realm that issued it.
        subkey: the authenticator's, or `None`.
        client: the account of the client, if it is one of ours.
    """

    ticket: OpenTicket
    server: KerberosName
    issuer: str
    subkey: Key | None

    @property
    def reply_key(self) -> Key:
        """Encrypts the reply."""
        return self.ticket.session if self.subkey is None else self.subkey

    @property
    def usage(self) -> int:
        """The key usage of the reply."""
        return KeyUsage.TGS_REP_SESSION if self.subkey is None else KeyUsage.TGS_REP_SUBKEY


def open_header(realm: Realm, request: TgsReq, octets: bytes, now: datetime, source: str) -> tuple[Header, Asked]:
    """The header ticket of a request, and the request as it counts.

    Raises:
        Refused: with the error that the client is told.
    """
    outer = Asked(request.req_body, request.padata or (), octets, now, source)
    value = outer.find(PaType.TGS_REQ)
    if value is None:
        raise Refused(ErrorCode.PADATA_TYPE_NOSUPP, "there is no PA-TGS-REQ")
    ap_req = ApReq.decode(value)
    ticket = _open(realm, ap_req.ticket)
    authenticator = open_authenticator(realm, ticket, ap_req, KeyUsage.TGS_REQ_AUTHENTICATOR, now)
    _check_body(ticket.session, authenticator, request.body_octets)
    subkey = subkey_of(realm, authenticator)
    asked = open_tgs_request(outer, subkey, ticket.session, value)
    header = Header(ticket, KerberosName.of(ap_req.ticket.sname, ap_req.ticket.realm), ap_req.ticket.realm, subkey)
    return header, asked


def check_header(realm: Realm, header: Header, asked: Asked) -> None:
    """What a header ticket must satisfy for this request.

    Raises:
        Refused: it is not valid now, not from here, or no ticket-granting ticket.
    """
    part, options = header.ticket.part, asked.options
    realm.check_times(part, asked.now, validating=bool(options & KdcOptions.VALIDATE))
    check_source(part.caddr, asked.source)
    if only_armor(header.ticket):
        raise Refused(ErrorCode.POLICY, "this ticket serves as armor only")
    _check_named(realm, header, again=bool(options & (KdcOptions.RENEW | KdcOptions.VALIDATE)))
    if header.issuer != realm.name and part.crealm == realm.name:
        raise Refused(ErrorCode.POLICY, "another realm speaks for a client of this one")


def _check_named(realm: Realm, header: Header, *, again: bool) -> None:
    """Whom a header ticket must name: our ticket-granting service; to be renewed or validated, a service of ours.

    Our ticket-granting ticket for another realm serves there alone: that realm has its key, and could make one that
    speaks for anybody here.
    """
    if header.server.components == ("krbtgt", realm.name):
        return
    if header.server.is_tgs:
        raise Refused(ErrorCode.AP_NOT_US, "a ticket-granting ticket for another realm serves there alone")
    if not again:
        raise Refused(ErrorCode.AP_NOT_US, "this is no ticket-granting ticket")


def _open(realm: Realm, ticket: Ticket) -> OpenTicket:
    name = KerberosName.of(ticket.sname, ticket.realm)
    ours = tgs_name(realm.name, ticket.realm)
    if ticket.realm != realm.name and name != ours:
        raise Refused(ErrorCode.AP_NOT_US)
    found = realm.database.find(name)
    if found is None or not found.service:
        raise Refused(ErrorCode.AP_NOT_US)
    return realm.open_ticket(ticket, found)


def _check_body(session: Key, authenticator: Authenticator, body: bytes) -> None:
    """The authenticator must cover the body, by a keyed checksum (CVE-2018-16860)."""
    checksum = authenticator.cksum
    if checksum is None:
        raise Refused(ErrorCode.AP_INAPP_CKSUM, "the authenticator does not cover the request")
    try:
        session.verify(KeyUsage.TGS_REQ_CHECKSUM, body, checksum.checksum, checksum.cksumtype)
    except BadSignature:
        keyed = checksum.cksumtype == session.checksum_type
        raise Refused(ErrorCode.AP_MODIFIED if keyed else ErrorCode.AP_INAPP_CKSUM) from None


def requested_authorization(header: Header, asked: Asked) -> AuthorizationData | None:
    """What the client asks to be put into the ticket (RFC 4120 5.4.1, enc-authorization-data)."""
    sealed = asked.body.enc_authorization_data
    if sealed is None:
        return None
    subkey = header.subkey
    key = header.ticket.session if subkey is None else subkey
    usage = KeyUsage.TGS_REQ_AUTH_DATA_SESSION if subkey is None else KeyUsage.TGS_REQ_AUTH_DATA_SUBKEY
    if sealed.etype != key.etype:
        raise Refused(ErrorCode.AP_BAD_INTEGRITY)
    try:
        return AuthorizationData.decode(key.decrypt(usage, sealed.cipher))
    except (BadSignature, MalformedMessage):
        raise Refused(ErrorCode.AP_BAD_INTEGRITY) from None


def second_ticket(realm: Realm, asked: Asked, *, opener: KerberosName | None = None) -> OpenTicket:
    """The additional ticket of a request, opened and in its time.

    Args:
        realm: the realm.
        asked: the request.
        opener: whose ticket it must be; `None`: of the ticket-granting service.

    Raises:
        Refused: there is none, or it is not good.
    """
    tickets = asked.body.additional_tickets
    if not tickets:
        raise Refused(ErrorCode.BADOPTION, "there is no additional ticket")
    server = KerberosName.of(tickets[0].sname, tickets[0].realm)
    if server != (tgs_name(realm.name) if opener is None else opener):
        raise Refused(ErrorCode.POLICY if opener is None else ErrorCode.BADOPTION, "the additional ticket is another's")
    principal = realm.database.find(server)
    if principal is None:
        raise Refused(ErrorCode.AP_NOT_US)
    opened = realm.open_ticket(tickets[0], principal)
    realm.check_times(opened.part, asked.now)
    return opened
