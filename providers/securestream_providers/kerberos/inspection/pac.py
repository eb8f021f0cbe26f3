"""A PAC as a tree: who the client is by SIDs and names, and which of its signatures the keys prove ([MS-PAC])."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from enum import IntFlag
from typing import Any, Final, cast

from securestream.errors import BadSignature, MalformedMessage, Unsupported, UsageError
from securestream.inspection import Node, Value, malformed, octets_text
from securestream.principal import MEMBER
from securestream.sid_names import sid_name
from securestream.wire.sids import sid_from_octets, sid_in_domain
from securestream.wire.times import from_filetime
from securestream_providers.kerberos.inspection.ring import Held
from securestream_providers.kerberos.inspection.values import bit_names, enum_name
from securestream_providers.krb5.numbers import ChecksumType, KeyUsage
from securestream_providers.krb5.pac import SIGNATURES, Pac, PacType
from securestream_providers.krb5.pac_buffers import ClientInfo, PacAttributes, Signature, UpnDnsInfo
from securestream_providers.krb5.pac_claims import Claims, ClaimsSource, Compression
from securestream_providers.krb5.pac_logon import (
    NEVER,
    DelegationInfo,
    DeviceInfo,
    DomainGroups,
    GroupMembership,
    LogonInfo,
    SidAndAttributes,
)

_TIMES: Final = frozenset(
    {
        *("logon_time", "logoff_time", "kickoff_time", "password_last_set", "password_can_change"),
        *("password_must_change", "last_successful_logon", "last_failed_logon"),
    }
)
_EMPTY: Final = frozenset({"reserved1", "reserved3", "sub_auth_status"})
_ACCOUNT_CONTROL: Final = {
    0x1: "ACCOUNT_DISABLED",
    0x2: "HOME_DIRECTORY_REQUIRED",
    0x4: "PASSWORD_NOT_REQUIRED",
    0x8: "TEMP_DUPLICATE_ACCOUNT",
    0x10: "NORMAL_ACCOUNT",
    0x20: "MNS_LOGON_ACCOUNT",
    0x40: "INTERDOMAIN_TRUST_ACCOUNT",
    0x80: "WORKSTATION_TRUST_ACCOUNT",
    0x100: "SERVER_TRUST_ACCOUNT",
    0x200: "DONT_EXPIRE_PASSWORD",
    0x400: "ACCOUNT_AUTO_LOCKED",
    0x800: "ENCRYPTED_TEXT_PASSWORD_ALLOWED",
    0x1000: "SMARTCARD_REQUIRED",
    0x2000: "TRUSTED_FOR_DELEGATION",
    0x4000: "NOT_DELEGATED",
    0x8000: "USE_DES_KEY_ONLY",
    0x10000: "DONT_REQUIRE_PREAUTH",
    0x20000: "PASSWORD_EXPIRED",
    0x40000: "TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION",
    0x80000: "NO_AUTH_DATA_REQUIRED",
    0x100000: "PARTIAL_SECRETS_ACCOUNT",
}
"""[MS-SAMR] 2.2.1.12."""


def pac_tree(octets: bytes, ticket_key: Held | None, keys: Iterable[Held]) -> Node:
    """The buffers of a PAC.

    Args:
        octets: the content of an AD-WIN2K-PAC.
        ticket_key: what opened the ticket that holds it, by which the service's signature is checked.
        keys: those that may have made the KDC's signature.
    """
    try:
        pac = Pac.decode(octets)
    except MalformedMessage as error:
        return malformed("PAC", octets, str(error))
    children = [_buffer(pac, buffer.kind, buffer.octets, ticket_key, keys) for buffer in pac.buffers]
    return Node("PAC", None, f"{len(children)} buffers, {octets_text(len(octets))}", tuple(children))


def _buffer(pac: Pac, kind: int, octets: bytes, ticket_key: Held | None, keys: Iterable[Held]) -> Node:
    name = enum_name(PacType, kind) or f"buffer of type {kind}"
    try:
        if kind in SIGNATURES:
            return _signature(name, pac, kind, Signature.unpack(octets), ticket_key, keys)
        reader = _READERS.get(kind)
        if reader is None:
            return Node(name, octets, octets_text(len(octets)))
        return Node(name, None, octets_text(len(octets)), tuple(reader(octets)))
    except MalformedMessage as error:
        return malformed(name, octets, str(error))


def sid_node(name: str, sid: str | None, note: str = "") -> Node:
    """A SID with its name."""
    known = "" if sid is None else sid_name(sid)
    return Node(name, sid, "; ".join(part for part in (known, note) if part))


def _filetime(value: int) -> tuple[Value, str]:
    if value in (0, NEVER):
        return None, "never"
    moment = from_filetime(value)
    return (value, "FILETIME") if moment is None else (moment, "")


def _memberships(groups: Iterable[GroupMembership], domain: str | None) -> Iterator[Node]:
    for group in groups:
        sid = str(group.relative_id) if domain is None else sid_in_domain(domain, group.relative_id)
        yield sid_node("group", sid, _attributes(group.attributes))


def _attributes(value: IntFlag) -> str:
    return "" if value == MEMBER else bit_names(int(value), {int(bit): str(bit.name) for bit in type(value)})


def _structure(message: Any, domain: str | None) -> Iterator[Node]:
    """The fields of an NDR structure; those that say nothing are left out."""
    for declared in fields(message):
        if declared.name.startswith("_"):
            continue
        value = getattr(message, declared.name)
        name = declared.name.replace("_", " ")
        if declared.name in _TIMES:
            yield Node(name, *_filetime(value))
        elif value in ("", (), None) or (declared.name in _EMPTY and not any((value,))):
            continue
        elif declared.name == "user_session_key":
            if any(value):
                yield Node(name, value, secret=True)
        elif isinstance(value, tuple):
            of = message.resource_domain if declared.name == "resource_groups" else domain
            found = tuple(_item(item, of) for item in cast("tuple[object, ...]", value))
            yield Node(name, None, str(len(found)), found)
        elif declared.name == "user_account_control":
            yield Node(name, f"{value:#x}", bit_names(value, _ACCOUNT_CONTROL))
        elif isinstance(value, IntFlag):
            yield Node(
                name, f"{int(value):#x}", bit_names(int(value), {int(bit): str(bit.name) for bit in type(value)})
            )
        elif declared.name in ("user_id", "primary_group_id") and domain is not None:
            yield Node(name, value, sid_name(sid_in_domain(domain, value)))
        elif isinstance(value, str) and value.startswith("S-1-"):
            yield sid_node(name, value)
        elif not (isinstance(value, bytes) and not any(value)):
            yield Node(name, value)


def _item(item: object, domain: str | None) -> Node:
    if isinstance(item, GroupMembership):
        return next(_memberships((item,), domain))
    if isinstance(item, SidAndAttributes):
        return sid_node("group", item.sid, _attributes(item.attributes))
    if isinstance(item, DomainGroups):
        return Node("domain", item.domain, "", tuple(_memberships(item.groups, item.domain)))
    return Node("item", str(item))


def _logon(octets: bytes) -> Iterator[Node]:
    info = LogonInfo.unpack(octets)
    if info.sid is not None:
        yield sid_node("account", info.sid)
    yield from _structure(info, info.logon_domain_id)


def _client(octets: bytes) -> Iterator[Node]:
    info = ClientInfo.unpack(octets)
    yield Node("name", info.name)
    yield Node("authtime", *_filetime(info.auth_time))


def _upn(octets: bytes) -> Iterator[Node]:
    info = UpnDnsInfo.unpack(octets)
    yield Node("user principal name", info.upn)
    yield Node("DNS domain", info.dns_domain)
    if info.flags:
        yield Node("flags", f"{int(info.flags):#x}", "the name was constructed" if info.flags & 1 else "")
    if info.sam_name is not None:
        yield Node("SAM name", info.sam_name)
    if info.sid is not None:
        yield sid_node("SID", info.sid)


def _delegation(octets: bytes) -> Iterator[Node]:
    info = DelegationInfo.unpack(octets)
    yield Node("target", info.target)
    for service in info.services:
        yield Node("delegated by", service)


def _device(octets: bytes) -> Iterator[Node]:
    info = DeviceInfo.unpack(octets)
    yield from _structure(info, info.domain)


def _claims(octets: bytes) -> Iterator[Node]:
    claims = Claims.unpack(octets)
    if claims.compressed:
        how = enum_name(Compression, claims.compression) or str(claims.compression)
        yield Node("claims", claims.compressed, f"compressed by {how}, {octets_text(claims.size)} without")
    for array in claims.arrays:
        found = tuple(
            Node("claim", str(claim.id), "", tuple(Node("value", text) for text in claim.texts))
            for claim in array.claims
        )
        yield Node("claims", None, f"of {enum_name(ClaimsSource, array.source) or array.source}", found)


def _pac_attributes(octets: bytes) -> Iterator[Node]:
    found = PacAttributes.unpack(octets)
    yield Node("flags", int(found), bit_names(int(found), {int(bit): str(bit.name) for bit in PacAttributes}))


def _requestor(octets: bytes) -> Iterator[Node]:
    yield sid_node("SID", sid_from_octets(octets))


_READERS: Final[dict[int, Callable[[bytes], Iterator[Node]]]] = {
    PacType.LOGON_INFO: _logon,
    PacType.CLIENT_INFO: _client,
    PacType.UPN_DNS_INFO: _upn,
    PacType.DELEGATION_INFO: _delegation,
    PacType.CLIENT_CLAIMS: _claims,
    PacType.DEVICE_CLAIMS: _claims,
    PacType.DEVICE_INFO: _device,
    PacType.ATTRIBUTES: _pac_attributes,
    PacType.REQUESTOR_SID: _requestor,
}


# --- signatures ------------------------------------------------------------------------------------------------------


def _signature(name: str, pac: Pac, kind: int, found: Signature, ticket_key: Held | None, keys: Iterable[Held]) -> Node:
    children = [
        Node("type", found.kind, enum_name(ChecksumType, found.kind)),
        Node("value", found.value),
    ]
    if found.rodc is not None:
        children.append(Node("RODC", found.rodc))
    note, problem = "", False
    if kind == PacType.SERVER_CHECKSUM and ticket_key is not None:
        problem = not _fits(ticket_key, found, _covered(pac, PacType.SERVER_CHECKSUM))
        note = "does not fit the key of the ticket" if problem else "fits the key of the ticket"
    elif kind in (PacType.KDC_CHECKSUM, PacType.FULL_CHECKSUM):
        covered = _covered(pac, kind)
        signer = next((held for held in keys if _fits(held, found, covered)), None)
        note = "" if signer is None else f"fits {signer.origin}"
    return Node(name, None, note, tuple(children), problem=problem)


def _covered(pac: Pac, kind: int) -> tuple[bytes, ...]:
    """What a signature may cover: whether an RODC's identifier counts as its part is read both ways."""
    if kind == PacType.KDC_CHECKSUM:
        server = pac.signature(PacType.SERVER_CHECKSUM)
        return () if server is None else (server.value,)
    zeroed = [PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM]
    if kind == PacType.FULL_CHECKSUM:
        zeroed.append(PacType.FULL_CHECKSUM)
    return pac.zeroed(zeroed), pac.zeroed(zeroed, whole=True)


def _fits(held: Held, found: Signature, covered: tuple[bytes, ...]) -> bool:
    for octets in covered:
        try:
            held.key.verify(KeyUsage.NON_KERB_CHECKSUM_SALT, octets, found.value, found.kind)
        except (BadSignature, MalformedMessage, Unsupported, UsageError):
            continue  # the other reading may fit
        return True
    return False
