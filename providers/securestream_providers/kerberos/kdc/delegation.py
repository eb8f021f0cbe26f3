"""S4U2self and S4U2proxy: a service asks for a ticket in a user's name ([MS-SFU] 3.2.5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from securestream.errors import BadSignature
from securestream.redaction import Redacted
from securestream_providers.kerberos.kdc.header import second_ticket
from securestream_providers.kerberos.kdc.pacs import BY_SERVICE, Delegation, check_evidence
from securestream_providers.kerberos.kdc.principals import KdcPrincipal
from securestream_providers.kerberos.kdc.realm import Asked, Realm
from securestream_providers.kerberos.kdc.refusals import Refused
from securestream_providers.krb5.messages import EncTicketPart, PaData, PaPacOptions
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, PaType, TicketFlags
from securestream_providers.krb5.s4u import (
    RESOURCE_BASED,
    answer_s4u_x509_user,
    read_for_user,
    read_s4u_x509_user,
)

if TYPE_CHECKING:
    from securestream_providers.kerberos.kdc.header import Header


@dataclass(frozen=True, repr=False)
class Impersonation(Redacted):
    """In whose name a ticket is made.

    Args:
        account: the user's.
        name: as the ticket names the user.
        forwardable: whether the ticket may be.
        authtime: when; `None` with S4U2self: the service's own.
        evidence: with S4U2proxy, the user's ticket for the service.
        padata: of the reply.
        delegation: for the PAC.
        asserted: who says that it is the user, for the PAC.
    """

    account: KdcPrincipal
    name: KerberosName
    forwardable: bool
    authtime: datetime | None = None
    evidence: EncTicketPart | None = None
    padata: tuple[PaData, ...] = ()
    delegation: Delegation | None = None
    asserted: str = BY_SERVICE

    def flags(self, old: EncTicketPart, account: KdcPrincipal) -> TicketFlags:
        """The flags of the ticket."""
        flags = old.flags & TicketFlags.PRE_AUTHENT
        if self.forwardable:
            flags |= TicketFlags.FORWARDABLE
        if account.ok_as_delegate:
            flags |= TicketFlags.OK_AS_DELEGATE
        return flags

    def limits(self, old: EncTicketPart) -> EncTicketPart:
        """`old`, ending no later than the evidence; never renewable."""
        end = old.endtime if self.evidence is None else min(old.endtime, self.evidence.endtime)
        return replace(old, endtime=end, renew_till=None)


def impersonation(
    realm: Realm, header: Header, asked: Asked, client: KdcPrincipal | None, target: KdcPrincipal
) -> Impersonation | None:
    """The user in whose name a request asks; `None` for requests in the client's own name.

    Raises:
        Refused: it must not.
    """
    for_user, by_id = asked.find(PaType.FOR_USER), asked.find(PaType.S4U_X509_USER)
    to_self = for_user is not None or by_id is not None
    to_other = bool(asked.options & KdcOptions.CNAME_IN_ADDL_TKT)
    if not to_self and not to_other:
        return None
    forbidden = KdcOptions.ENC_TKT_IN_SKEY | KdcOptions.RENEW | KdcOptions.VALIDATE
    forbidden |= KdcOptions.FORWARDED | KdcOptions.PROXY
    if (to_self and to_other) or asked.options & (forbidden if to_other else forbidden & ~KdcOptions.ENC_TKT_IN_SKEY):
        raise Refused(ErrorCode.BADOPTION)
    if client is None:
        raise Refused(ErrorCode.POLICY, "services of other realms cannot ask in the name of users here")
    if not to_self:
        return _to_other(realm, asked, client, target)
    return _to_self(realm, header, asked, client, target)


def _to_self(realm: Realm, header: Header, asked: Asked, client: KdcPrincipal, target: KdcPrincipal) -> Impersonation:
    """S4U2self ([MS-SFU] 3.2.5.1): a ticket for the service itself."""
    for_user, by_id = asked.find(PaType.FOR_USER), asked.find(PaType.S4U_X509_USER)
    padata: tuple[PaData, ...] = ()
    try:
        if by_id is not None:
            identity = read_s4u_x509_user(by_id, header.reply_key, asked.body.nonce)
            if identity.cname is None or identity.subject_certificate:
                raise Refused(ErrorCode.C_PRINCIPAL_UNKNOWN, "users are known by name here, not by certificate")
            user = KerberosName.of(identity.cname, identity.crealm)
            padata = (answer_s4u_x509_user(by_id, header.reply_key),)
        else:
            user = read_for_user(for_user or b"", header.ticket.session)
    except BadSignature:
        raise Refused(ErrorCode.AP_MODIFIED, "the user's name is not protected by the service's key") from None
    if target.name != client.name:
        raise Refused(ErrorCode.SERVER_NOMATCH, "S4U2self gives tickets for the asking service itself only")
    account = realm.find_client(user.principal_name, canonicalize=True) if user.realm == realm.name else None
    if account is None:
        raise Refused(ErrorCode.C_PRINCIPAL_UNKNOWN)
    _check_user(account, asked.now)
    forwardable = bool(
        asked.options & KdcOptions.FORWARDABLE
        and header.ticket.part.flags & TicketFlags.FORWARDABLE
        and client.trusted_to_auth
        and account.forwardable
        and not account.not_delegated
    )
    return Impersonation(account, account.name, forwardable, padata=padata)


def _to_other(realm: Realm, asked: Asked, client: KdcPrincipal, target: KdcPrincipal) -> Impersonation:
    """S4U2proxy ([MS-SFU] 3.2.5.2): a ticket for another service, on the evidence of the user's ticket for this one."""
    evidence = second_ticket(realm, asked, opener=client.name)
    user = evidence.client
    account = realm.database.find(user) if user.realm == realm.name else None
    if account is None:
        raise Refused(ErrorCode.C_PRINCIPAL_UNKNOWN)
    shown = check_evidence(realm, evidence, account)  # its signature says that the flag is ours (CVE-2020-17049)
    _check_user(account, asked.now)
    if not evidence.part.flags & TicketFlags.FORWARDABLE:
        raise Refused(ErrorCode.BADOPTION, "the user's ticket is not forwardable")
    if account.not_delegated:
        raise Refused(ErrorCode.BADOPTION, "the user's account must not be delegated")
    if not _allowed(asked, client, target):
        raise Refused(ErrorCode.BADOPTION, "this service may not ask for that one in a user's name")
    asker = _text(client)
    delegation = Delegation(_text(target), (*shown.services, f"{asker}@{realm.name}"))
    forwardable = bool(asked.options & KdcOptions.FORWARDABLE)
    return Impersonation(
        account,
        user,
        forwardable,
        evidence.part.authtime,
        evidence.part,
        delegation=delegation,
        asserted=shown.asserted,
    )


def _check_user(account: KdcPrincipal, now: datetime) -> None:
    """Nobody acts in the name of a user who could not log on."""
    if account.disabled:
        raise Refused(ErrorCode.CLIENT_REVOKED)
    if account.expires is not None and account.expires <= now:
        raise Refused(ErrorCode.NAME_EXP)


def _allowed(asked: Asked, client: KdcPrincipal, target: KdcPrincipal) -> bool:
    if _text(target) in client.delegate_to:
        return True
    value = asked.find(PaType.PAC_OPTIONS)
    resource_based = value is not None and bool(PaPacOptions.decode(value).flags & RESOURCE_BASED)
    return resource_based and _text(client) in target.delegate_from


def _text(account: KdcPrincipal) -> str:
    return "/".join(account.name.components)
