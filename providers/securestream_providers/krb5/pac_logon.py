"""What a PAC says of a logon, a delegation and a device, as NDR structures ([MS-PAC] 2.2, 2.5, 2.9, 2.12)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import Annotated, Final

from securestream.principal import MEMBER, GroupAttributes
from securestream.wire import ndr
from securestream.wire.sids import sid_in_domain

NEVER: Final = 0x7FFFFFFFFFFFFFFF
"""The FILETIME of what never happens."""


class UserFlags(IntFlag):
    """UserFlags of a logon ([MS-PAC] 2.5)."""

    NONE = 0
    GUEST = 0x1
    NO_ENCRYPTION = 0x2
    LM_KEY = 0x8
    EXTRA_SIDS = 0x20
    SUB_AUTH = 0x40
    MACHINE_ACCOUNT = 0x80
    NTLMV2 = 0x100
    RESOURCE_GROUPS = 0x200
    PROFILE_PATH = 0x400


@dataclass(frozen=True, repr=False)
class GroupMembership(ndr.Structure):
    """GROUP_MEMBERSHIP ([MS-PAC] 2.2.2).

    Args:
        relative_id: of the group, in a domain that is said elsewhere.
        attributes: of the membership.
    """

    relative_id: Annotated[int, ndr.U32]
    attributes: Annotated[GroupAttributes, ndr.U32] = MEMBER


@dataclass(frozen=True, repr=False)
class SidAndAttributes(ndr.Structure):
    """KERB_SID_AND_ATTRIBUTES ([MS-PAC] 2.2.1).

    Args:
        sid: of the group.
        attributes: of the membership.
    """

    sid: Annotated[str | None, ndr.SID]
    attributes: Annotated[GroupAttributes, ndr.U32] = MEMBER


@dataclass(frozen=True, repr=False)
class DomainGroups(ndr.Structure):
    """DOMAIN_GROUP_MEMBERSHIP ([MS-PAC] 2.2.3).

    Args:
        domain: the SID of the domain.
        groups: in it.
    """

    domain: Annotated[str | None, ndr.SID]
    groups: Annotated[tuple[GroupMembership, ...], ndr.Counted(GroupMembership)] = ()


@dataclass(frozen=True, repr=False)
class LogonInfo(ndr.Structure):
    """KERB_VALIDATION_INFO ([MS-PAC] 2.5). Times are FILETIMEs; `NEVER` where there is none.

    Args:
        logon_time: of the logon.
        logoff_time: when the client should be logged off.
        kickoff_time: when it must be.
        password_last_set: 0 for never.
        password_can_change: from when on.
        password_must_change: until when.
        effective_name: sAMAccountName.
        full_name: for people.
        logon_script: and the next three: where the user's things are.
        profile_path: see `logon_script`.
        home_directory: see `logon_script`.
        home_directory_drive: see `logon_script`.
        logon_count: logons so far, as one server knows them.
        bad_password_count: likewise.
        user_id: the relative identifier of the account; 0 where the first of `extra_sids` is the account's.
        primary_group_id: the relative identifier of its primary group.
        groups: in the account's domain.
        user_flags: say what is valid.
        user_session_key: zeros, except for NTLM.
        logon_server: NetBIOS name of the KDC.
        logon_domain_name: NetBIOS name of the account's domain.
        logon_domain_id: its SID.
        reserved1: zeros.
        user_account_control: [MS-SAMR] 2.2.1.12.
        sub_auth_status: and the next three: of sub-authentication packages.
        last_successful_logon: see `sub_auth_status`.
        last_failed_logon: see `sub_auth_status`.
        failed_logon_count: see `sub_auth_status`.
        reserved3: zero.
        extra_sids: groups of other domains, and well-known ones; valid with `UserFlags.EXTRA_SIDS`.
        resource_domain: the SID of the domain of `resource_groups`.
        resource_groups: domain-local groups; valid with `UserFlags.RESOURCE_GROUPS`.
    """

    logon_time: Annotated[int, ndr.FILETIME] = 0
    logoff_time: Annotated[int, ndr.FILETIME] = NEVER
    kickoff_time: Annotated[int, ndr.FILETIME] = NEVER
    password_last_set: Annotated[int, ndr.FILETIME] = 0
    password_can_change: Annotated[int, ndr.FILETIME] = 0
    password_must_change: Annotated[int, ndr.FILETIME] = NEVER
    effective_name: Annotated[str, ndr.UNICODE_STRING] = ""
    full_name: Annotated[str, ndr.UNICODE_STRING] = ""
    logon_script: Annotated[str, ndr.UNICODE_STRING] = ""
    profile_path: Annotated[str, ndr.UNICODE_STRING] = ""
    home_directory: Annotated[str, ndr.UNICODE_STRING] = ""
    home_directory_drive: Annotated[str, ndr.UNICODE_STRING] = ""
    logon_count: Annotated[int, ndr.U16] = 0
    bad_password_count: Annotated[int, ndr.U16] = 0
    user_id: Annotated[int, ndr.U32] = 0
    primary_group_id: Annotated[int, ndr.U32] = 513
    groups: Annotated[tuple[GroupMembership, ...], ndr.Counted(GroupMembership)] = ()
    user_flags: Annotated[UserFlags, ndr.U32] = UserFlags.NONE
    user_session_key: Annotated[bytes, ndr.Octets(16)] = field(default=bytes(16), repr=False)
    logon_server: Annotated[str, ndr.UnicodeString(spare=2)] = ""
    logon_domain_name: Annotated[str, ndr.UnicodeString(spare=2)] = ""
    logon_domain_id: Annotated[str | None, ndr.SID] = None
    reserved1: Annotated[bytes, ndr.Octets(8)] = field(default=bytes(8), repr=False)
    user_account_control: Annotated[int, ndr.U32] = 0x10
    sub_auth_status: Annotated[int, ndr.U32] = 0
    last_successful_logon: Annotated[int, ndr.FILETIME] = 0
    last_failed_logon: Annotated[int, ndr.FILETIME] = 0
    failed_logon_count: Annotated[int, ndr.U32] = 0
    reserved3: Annotated[int, ndr.U32] = field(default=0, repr=False)
    extra_sids: Annotated[tuple[SidAndAttributes, ...], ndr.Counted(SidAndAttributes)] = ()
    resource_domain: Annotated[str | None, ndr.SID] = None
    resource_groups: Annotated[tuple[GroupMembership, ...], ndr.Counted(GroupMembership)] = ()

    @property
    def sid(self) -> str | None:
        """The account's SID ([MS-PAC] 2.5, UserId)."""
        if self.user_id and self.logon_domain_id:
            return sid_in_domain(self.logon_domain_id, self.user_id)
        return self.extra_sids[0].sid if self.extra_sids and self.user_flags & UserFlags.EXTRA_SIDS else None


@dataclass(frozen=True, repr=False)
class _Service(ndr.Structure):
    """A name in an array: RPC_UNICODE_STRING."""

    name: Annotated[str, ndr.UNICODE_STRING]


@dataclass(frozen=True, repr=False)
class _Delegation(ndr.Structure):
    """S4U_DELEGATION_INFO as it is laid out."""

    target: Annotated[str, ndr.UNICODE_STRING]
    services: Annotated[tuple[_Service, ...], ndr.Counted(_Service)]


@dataclass(frozen=True)
class DelegationInfo:
    """S4U_DELEGATION_INFO ([MS-PAC] 2.9): by whom a ticket was asked for in the user's name.

    Args:
        target: the service to which the last of them delegated.
        services: the services that delegated, the first first.
    """

    target: str
    services: tuple[str, ...] = ()

    @classmethod
    def unpack(cls, octets: bytes) -> DelegationInfo:
        """Read it.

        Raises:
            MalformedMessage: it is no such structure.
        """
        found = _Delegation.unpack(octets)
        return cls(found.target, tuple(service.name for service in found.services))

    def pack(self) -> bytes:
        """Write it."""
        return _Delegation(self.target, tuple(_Service(name) for name in self.services)).pack()


@dataclass(frozen=True, repr=False)
class DeviceInfo(ndr.Structure):
    """PAC_DEVICE_INFO ([MS-PAC] 2.12): the machine whose ticket armored the request.

    Args:
        user_id: the relative identifier of the machine's account.
        primary_group_id: of its primary group.
        domain: the SID of its domain.
        groups: in that domain.
        extra_sids: further groups.
        domain_groups: groups of other domains.
    """

    user_id: Annotated[int, ndr.U32]
    primary_group_id: Annotated[int, ndr.U32]
    domain: Annotated[str | None, ndr.SID]
    groups: Annotated[tuple[GroupMembership, ...], ndr.Counted(GroupMembership)] = ()
    extra_sids: Annotated[tuple[SidAndAttributes, ...], ndr.Counted(SidAndAttributes)] = ()
    domain_groups: Annotated[tuple[DomainGroups, ...], ndr.Counted(DomainGroups)] = ()
