"""Who a peer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntFlag
from typing import Final

from securestream.values import made_quickly


class NameType(Enum):
    """What kind of name a principal's name is."""

    USER = "user"
    SERVICE = "service"
    HOST = "host"
    UPN = "user principal name"
    DNS = "dns name"
    EMAIL = "e-mail address"
    SUBJECT = "certificate subject"
    ANONYMOUS = "anonymous"
    UNKNOWN = "unknown"
    """The mechanism did not authenticate this end, as NTLM does not authenticate the server."""


class GroupAttributes(IntFlag):
    """What a membership in a group is good for: SE_GROUP_... ([MS-PAC] 2.2.1)."""

    MANDATORY = 0x1
    ENABLED_BY_DEFAULT = 0x2
    ENABLED = 0x4
    OWNER = 0x8
    USE_FOR_DENY_ONLY = 0x10
    RESOURCE = 0x20000000


MEMBER: Final = GroupAttributes.MANDATORY | GroupAttributes.ENABLED_BY_DEFAULT | GroupAttributes.ENABLED
"""The attributes of an ordinary membership."""


class MembershipOrigin(Enum):
    """Whose statement a membership is."""

    DOMAIN = "the account's domain"
    EXTRA = "another domain, or well-known"
    RESOURCE = "the domain of the resource"


@dataclass(frozen=True)
class Membership:
    """That a principal belongs to a group.

    Args:
        sid: the group's security identifier.
        attributes: what it is good for.
        origin: whose statement it is.
    """

    sid: str
    attributes: GroupAttributes = MEMBER
    origin: MembershipOrigin = MembershipOrigin.DOMAIN

    @property
    def is_enabled(self) -> bool:
        """Whether it may grant something; one that is for denial only may not."""
        return (
            bool(self.attributes & GroupAttributes.ENABLED) and not self.attributes & GroupAttributes.USE_FOR_DENY_ONLY
        )


@made_quickly
@dataclass(frozen=True)
class Principal:
    """An identity that was proved, with everything that makes it one.

    Equality compares the package, the authority, the kind of name and the name: a certificate for alice@CORP is never
    the Kerberos alice@CORP (SECURITY: identity).

    Args:
        name: the name without its authority.
        package: name of the security package that proved it.
        authority: who vouches for the name: a domain, a realm, an issuing CA. Empty for a local store.
        name_type: what kind of name it is.
        sid: the Windows security identifier, or `None`.
        groups: SIDs of the groups it belongs to, as far as they may grant something.
        claims: further facts stated by the authority; a fact with several values stands there once for each.
        memberships: the groups with their attributes and origin, those that only deny included.
        upn: the user principal name that the authority states, or `None`.
    """

    name: str
    package: str
    authority: str = ""
    name_type: NameType = NameType.USER
    sid: str | None = field(default=None, compare=False)
    groups: tuple[str, ...] = field(default=(), compare=False)
    claims: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
    memberships: tuple[Membership, ...] = field(default=(), compare=False, repr=False)
    upn: str | None = field(default=None, compare=False)

    def claimed(self, name: str) -> tuple[str, ...]:
        """All values of a claim; empty where the authority does not state it."""
        return tuple(value for claim, value in self.claims if claim == name)

    @property
    def is_anonymous(self) -> bool:
        """Whether the peer chose to prove nothing."""
        return self.name_type is NameType.ANONYMOUS

    @property
    def is_authenticated(self) -> bool:
        """Whether an identity was proved at all."""
        return self.name_type not in (NameType.ANONYMOUS, NameType.UNKNOWN)

    def __str__(self) -> str:
        if not self.is_authenticated:
            return self.name_type.value
        complete = self.name_type in (NameType.UPN, NameType.EMAIL)  # these say themselves where they belong
        return self.name if complete or not self.authority else f"{self.authority}\\{self.name}"


def unauthenticated(package: str) -> Principal:
    """The principal of a peer that `package` did not authenticate."""
    return Principal("", package, name_type=NameType.UNKNOWN)
