"""PACs at the KDC: made of the account as it is, verified in tickets that come back ([MS-PAC], [MS-KILE] 3.3.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from securestream.wire.sids import sid_in_domain, sid_to_octets
from securestream.wire.times import to_filetime
from securestream_providers.kerberos.kdc.principals import KdcPrincipal
from securestream_providers.kerberos.kdc.realm import Asked, OpenTicket, Realm
from securestream_providers.kerberos.kdc.refusals import Refused
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import EncTicketPart, PaPacRequest
from securestream_providers.krb5.numbers import ErrorCode, PaType
from securestream_providers.krb5.pac import Pac, PacBuffer, PacRefused, PacType
from securestream_providers.krb5.pac_buffers import PacAttributes, UpnDnsInfo, UpnFlags
from securestream_providers.krb5.pac_logon import (
    DelegationInfo,
    GroupMembership,
    LogonInfo,
    SidAndAttributes,
    UserFlags,
)
from securestream_providers.krb5.pac_signing import sign_ticket, verify_ticket

BY_AUTHORITY: Final = "S-1-18-1"
"""The user proved a key to us ([MS-SFU] 3.2.5.1.2, [MS-DTYP] 2.4.2.4)."""

BY_SERVICE: Final = "S-1-18-2"
"""A service says that it was the user."""

_MOST_KEYS: Final = 4
_IN_EVIDENCE: Final = (PacType.KDC_CHECKSUM, PacType.TICKET_CHECKSUM, PacType.FULL_CHECKSUM)


@dataclass(frozen=True)
class Delegation:
    """Who acted in the user's name ([MS-PAC] 2.9).

    Args:
        target: the service that is asked for.
        services: who handed the user's identity on, the first first.
    """

    target: str
    services: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """What a verified evidence ticket says.

    Args:
        services: who handed the user's identity on before.
        asserted: `BY_AUTHORITY` or `BY_SERVICE`.
    """

    services: tuple[str, ...]
    asserted: str


def account_sid(realm: Realm, account: KdcPrincipal) -> str:
    """The SID of an account."""
    return sid_in_domain(realm.database.domain_sid, account.rid)


def pac_wanted(realm: Realm, asked: Asked, server: KdcPrincipal) -> PacAttributes | None:
    """Whether a new ticket of the AS gets a PAC, and why ([MS-KILE] 3.3.5.6.3).

    Ticket-granting tickets always get one, for it says which account asked (CVE-2021-42287); that the client wants
    none is noted in it, and counts for the tickets of services.

    Raises:
        MalformedMessage: the PA-PAC-REQUEST is malformed.
    """
    value = asked.find(PaType.PAC_REQUEST)
    refused = value is not None and not PaPacRequest.decode(value).include_pac
    if not server.name.is_tgs and (refused or not realm.policy.pac):
        return None
    if refused:
        return PacAttributes(0)
    return PacAttributes.WAS_GIVEN_IMPLICITLY if value is None else PacAttributes.WAS_REQUESTED


def with_pac(
    realm: Realm,
    part: EncTicketPart,
    account: KdcPrincipal,
    server: KdcPrincipal,
    server_key: Key,
    *,
    delegation: Delegation | None = None,
    asserted: str = BY_AUTHORITY,
    attributes: PacAttributes = PacAttributes.WAS_GIVEN_IMPLICITLY,
) -> EncTicketPart:
    """The ticket with a PAC of the account as the database has it now.

    Args:
        realm: the realm.
        part: the ticket's content, complete but for the PAC.
        account: the client's.
        server: the service.
        server_key: encrypts the ticket.
        delegation: with S4U2proxy.
        asserted: who says that it is the user.
        attributes: why there is a PAC; in ticket-granting tickets.
    """
    plain = server.name.is_tgs or server.as_only  # [MS-PAC] 2.8.3: these have no signature over the ticket
    buffers = tuple(_buffers(realm, part, account, delegation, asserted))
    if server.name.is_tgs:
        sid = sid_to_octets(account_sid(realm, account))
        buffers += (
            PacBuffer(PacType.ATTRIBUTES, attributes.pack()),
            PacBuffer(PacType.REQUESTOR_SID, sid),
        )
    return sign_ticket(
        part, buffers, server_key, realm.tgs_key(), with_ticket_signature=not plain, with_full_signature=not plain
    )


def _buffers(
    realm: Realm, part: EncTicketPart, account: KdcPrincipal, delegation: Delegation | None, asserted: str
) -> Iterator[PacBuffer]:
    name = "/".join(account.name.components)
    domain = realm.name.partition(".")[0].upper()[:15]
    logon = LogonInfo(
        logon_time=to_filetime(part.authtime),
        effective_name=name,
        user_id=account.rid,
        primary_group_id=account.groups[0] if account.groups else 513,
        groups=tuple(GroupMembership(group) for group in account.groups),
        user_flags=UserFlags.EXTRA_SIDS,
        logon_server=domain,
        logon_domain_name=domain,
        logon_domain_id=realm.database.domain_sid,
        extra_sids=(SidAndAttributes(asserted),),
    )
    yield PacBuffer(PacType.LOGON_INFO, logon.pack())
    upn = next((alias for alias in account.aliases if "@" in alias), None)
    names = UpnDnsInfo(
        f"{name}@{realm.name.lower()}" if upn is None else upn,
        realm.name.upper(),
        UpnFlags.CONSTRUCTED if upn is None else UpnFlags.NONE,
        name,
        account_sid(realm, account),
    )
    yield PacBuffer(PacType.UPN_DNS_INFO, names.pack())
    if delegation is not None:
        yield PacBuffer(PacType.DELEGATION_INFO, DelegationInfo(delegation.target, delegation.services).pack())


def check_pac(realm: Realm, ticket: OpenTicket, client: KdcPrincipal | None) -> PacAttributes | None:
    """Verify the PAC of a header ticket, or of the second ticket of user-to-user; why it is there.

    `None` is for tickets without one that the new ticket would follow. The account's SID must be the one that asked
    for the ticket: a name that was given to another account meanwhile is another account (CVE-2021-42287). PACs of
    other realms are verified as far as we can, and go no further.

    A service's ticket, which comes to be renewed or validated, needs our signatures: the service knows its key, and
    could have made the ticket itself.

    Raises:
        Refused: it is not what we made.
    """
    if not ticket.principal.name.is_tgs:
        _check_ours(realm, ticket, client)
        return PacAttributes.WAS_GIVEN_IMPLICITLY
    if client is None:
        _verified(ticket, None)
        return None
    pac = _proved(realm, ticket, _IN_EVIDENCE[:1])
    if pac is None:
        if realm.policy.require_pac:
            raise Refused(ErrorCode.TGT_REVOKED, "the ticket has no PAC")
        return None
    if pac.requestor_sid != account_sid(realm, client):
        raise Refused(ErrorCode.TGT_REVOKED, "the ticket is of another account that had this name")
    noted = pac.get(PacType.ATTRIBUTES)
    return PacAttributes.WAS_GIVEN_IMPLICITLY if noted is None else PacAttributes.unpack(noted)


def _check_ours(realm: Realm, ticket: OpenTicket, client: KdcPrincipal | None) -> None:
    pac = None if client is None else _proved(realm, ticket, _IN_EVIDENCE)
    logon = None if pac is None else pac.logon_info
    if client is None or logon is None:
        raise Refused(ErrorCode.BADOPTION, "the service's ticket has no PAC, so nothing says that we made it")
    if logon.sid != account_sid(realm, client):
        raise Refused(ErrorCode.TGT_REVOKED, "the ticket is of another account that had this name")


def check_evidence(realm: Realm, evidence: OpenTicket, account: KdcPrincipal) -> Evidence:
    """Verify the user's ticket that a service shows; with the ticket's own signature (CVE-2020-17049).

    Raises:
        Refused: it has no PAC, or one that is not ours.
    """
    pac = _proved(realm, evidence, _IN_EVIDENCE)
    logon = None if pac is None else pac.logon_info
    if pac is None or logon is None:
        raise Refused(ErrorCode.BADOPTION, "the user's ticket has no PAC, so nothing says that its flags are ours")
    if logon.sid != account_sid(realm, account):
        raise Refused(ErrorCode.TGT_REVOKED, "the ticket is of another account that had this name")
    before = pac.delegation_info
    asserted = any(extra.sid == BY_SERVICE for extra in logon.extra_sids)
    return Evidence(() if before is None else before.services, BY_SERVICE if asserted else BY_AUTHORITY)


def _proved(realm: Realm, ticket: OpenTicket, needed: tuple[PacType, ...]) -> Pac | None:
    """The PAC under the key that the ticket-granting service has, or had when it signed."""
    newest = realm.tgs_key()
    stored = sorted(realm.tgs().keys, key=lambda one: -one.kvno)
    keys = [one.key for one in stored if one.key.etype == newest.etype][:_MOST_KEYS]
    for key in keys[:-1]:
        try:
            return verify_ticket(ticket.part, ticket.key, kdc_key=key, needed=needed)
        except PacRefused:
            continue
    return _verified(ticket, keys[-1], needed)


def _verified(ticket: OpenTicket, kdc_key: Key | None, needed: tuple[PacType, ...] = ()) -> Pac | None:
    try:
        return verify_ticket(ticket.part, ticket.key, kdc_key=kdc_key, needed=needed)
    except PacRefused:
        raise Refused(ErrorCode.AP_MODIFIED, "the PAC of the ticket is not ours") from None
