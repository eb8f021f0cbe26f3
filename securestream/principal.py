"""Who a peer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


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
        groups: SIDs of the groups it belongs to.
        claims: further facts stated by the authority.
    """

    name: str
    package: str
    authority: str = ""
    name_type: NameType = NameType.USER
    sid: str | None = field(default=None, compare=False)
    groups: tuple[str, ...] = field(default=(), compare=False)
    claims: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

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
        return f"{self.authority}\\{self.name}" if self.authority and "@" not in self.name else self.name


def unauthenticated(package: str) -> Principal:
    """The principal of a peer that `package` did not authenticate."""
    return Principal("", package, name_type=NameType.UNKNOWN)
