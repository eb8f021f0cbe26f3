"""Who a verified PAC says that a client is: a `Principal` with SID, groups, UPN and claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from securestream.errors import InvalidToken
from securestream.principal import Membership, MembershipOrigin, NameType, Principal
from securestream.wire.sids import sid_in_domain
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import NameType as KerberosNameType
from securestream_providers.krb5.pac import Pac
from securestream_providers.krb5.pac_buffers import UpnDnsInfo
from securestream_providers.krb5.pac_logon import LogonInfo, SidAndAttributes, UserFlags

LOGON_SERVER: Final = "logon-server"
LOGON_DOMAIN: Final = "logon-domain"
LOGON_DOMAIN_SID: Final = "logon-domain-sid"
FULL_NAME: Final = "full-name"
SAM_NAME: Final = "sam-account-name"
DNS_DOMAIN: Final = "dns-domain"
REQUESTOR_SID: Final = "requestor-sid"
DELEGATED_BY: Final = "delegated-by"
DEVICE_SID: Final = "device-sid"
DEVICE_GROUP: Final = "device-group"
_DEVICE: Final = "device:"
_OURS: Final = frozenset(
    {
        *(LOGON_SERVER, LOGON_DOMAIN, LOGON_DOMAIN_SID, FULL_NAME, SAM_NAME, DNS_DOMAIN, REQUESTOR_SID),
        *(DELEGATED_BY, DEVICE_SID, DEVICE_GROUP),
    }
)
"""Names of claims that are facts of the PAC; no claim of a directory passes under one of them."""

_ANONYMOUS: Final = ("WELLKNOWN", "ANONYMOUS")


def principal_of(pac: Pac | None, client: KerberosName) -> Principal:
    """The principal of an authenticated client.

    Args:
        pac: of its ticket, verified; `None` gives a principal without SID and groups.
        client: the client that the ticket names.

    Raises:
        InvalidToken: the ticket names nobody.
        MalformedMessage: a buffer of the PAC is malformed.
    """
    if not any(client.components):
        raise InvalidToken("the ticket's client has no name; whoever issued it is no KDC to trust")
    kind = _name_type(client)
    name = _text(client)
    if pac is None or kind is NameType.ANONYMOUS:
        return Principal(name, "Kerberos", client.realm, kind)
    logon, upn = pac.logon_info, pac.upn_dns_info
    sid = None if logon is None else logon.sid
    if sid is None and upn is not None:
        sid = upn.sid
    memberships = () if logon is None else tuple(_memberships(logon))
    return Principal(
        name,
        "Kerberos",
        client.realm,
        kind,
        sid=sid or pac.requestor_sid,
        groups=tuple(dict.fromkeys(group.sid for group in memberships if group.is_enabled)),
        claims=tuple(_claims(pac, logon, upn)),
        memberships=memberships,
        upn=None if upn is None else upn.upn or None,
    )


def _text(client: KerberosName) -> str:
    r"""The name's text, in which a ``/`` of a component is escaped: different names have different texts (SECURITY 7).

    The ``@`` of an enterprise name stands as it is, as in every user principal name: with no realm behind it, it can be
    nothing but the component's own.
    """
    return client.text.replace("\\@", "@") if client.name_type == KerberosNameType.ENTERPRISE else client.text


def _name_type(client: KerberosName) -> NameType:
    """By the components alone: the type of a Kerberos name is a hint, and makes no other identity (RFC 4120 6.2)."""
    if client.components == _ANONYMOUS:
        return NameType.ANONYMOUS
    if len(client.components) == 1:
        return NameType.USER
    return NameType.HOST if client.components[0] == "host" else NameType.SERVICE


def _memberships(logon: LogonInfo) -> Iterator[Membership]:
    """Groups of the domain, extra ones and those of the resource, where the flags say that they are valid."""
    if logon.logon_domain_id:
        for group in logon.groups:
            yield Membership(sid_in_domain(logon.logon_domain_id, group.relative_id), group.attributes)
    if logon.user_flags & UserFlags.EXTRA_SIDS:
        own = None if logon.user_id else logon.sid
        yield from _extra(sid for sid in logon.extra_sids if sid.sid != own)
    if logon.resource_domain and logon.user_flags & UserFlags.RESOURCE_GROUPS:
        for group in logon.resource_groups:
            sid = sid_in_domain(logon.resource_domain, group.relative_id)
            yield Membership(sid, group.attributes, MembershipOrigin.RESOURCE)


def _extra(sids: Iterable[SidAndAttributes]) -> Iterator[Membership]:
    for group in sids:
        if group.sid:
            yield Membership(group.sid, group.attributes, MembershipOrigin.EXTRA)


def _claims(pac: Pac, logon: LogonInfo | None, upn: UpnDnsInfo | None) -> Iterator[tuple[str, str]]:
    for name, value in _facts(pac, logon, upn):
        if value:
            yield name, value
    for prefix, claims in (("", pac.client_claims), (_DEVICE, pac.device_claims)):
        for claim in () if claims is None else claims.all:
            if claim.id and claim.id not in _OURS and not (claim.id.startswith(_DEVICE) and not prefix):
                for text in claim.texts:
                    yield prefix + claim.id, text


def _facts(pac: Pac, logon: LogonInfo | None, upn: UpnDnsInfo | None) -> Iterator[tuple[str, str | None]]:
    delegation, device = pac.delegation_info, pac.device_info
    sam_name = None if upn is None else upn.sam_name
    if logon is not None:
        yield LOGON_SERVER, logon.logon_server
        yield LOGON_DOMAIN, logon.logon_domain_name
        yield LOGON_DOMAIN_SID, logon.logon_domain_id
        yield FULL_NAME, logon.full_name
        sam_name = sam_name or logon.effective_name
    yield SAM_NAME, sam_name
    yield DNS_DOMAIN, None if upn is None else upn.dns_domain
    yield REQUESTOR_SID, pac.requestor_sid
    for service in () if delegation is None else delegation.services:
        yield DELEGATED_BY, service
    if device is None:
        return
    if device.domain:
        yield DEVICE_SID, sid_in_domain(device.domain, device.user_id)
        for group in device.groups:
            yield DEVICE_GROUP, sid_in_domain(device.domain, group.relative_id)
    for extra in device.extra_sids:
        yield DEVICE_GROUP, extra.sid
    for held in device.domain_groups:
        for group in held.groups if held.domain else ():
            yield DEVICE_GROUP, sid_in_domain(held.domain or "", group.relative_id)
