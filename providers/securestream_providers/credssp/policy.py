"""What CredSSP allows: to whom credentials are delegated, and which peers are old enough to be refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from securestream.arguments import check_kind
from securestream.errors import Downgrade, InvalidToken, NotAuthorized, UsageError
from securestream.options import ContextFlags
from securestream.principal import Principal
from securestream.provider import SecurityContext, TargetName
from securestream_providers.credssp.binding import HASHED_SINCE

NEWEST: Final = 6
OLDEST: Final = 2

Use = Literal["refused", "accepted"]
_EXAMPLE: Final = "TERMSRV/server.example.com"


@dataclass(frozen=True, init=False)
class Delegation:
    """To whom an initiator delegates its credentials.

    Args:
        targets: patterns of targets, ``class/host`` or ``host`` for any class, in which ``*`` stands for any octets:
            ``"TERMSRV/*.example.com"``. Case does not matter. The name is the one that the caller typed; no DNS is
            asked.
        unproven_hosts: ``"accepted"`` delegates to a host whose name nothing proved: neither a certificate that was
            verified, nor Kerberos. Whoever answers in its place then gets the credentials.

    Raises:
        UsageError: a pattern that matches nothing, or no pattern at all.
    """

    targets: tuple[str, ...]
    unproven_hosts: Use

    def __init__(self, *targets: str, unproven_hosts: Use = "refused") -> None:
        for one in targets:
            check_kind("a target of Delegation", one, str, f'write Delegation("{_EXAMPLE}")')
        if not targets or not all(_PATTERN.fullmatch(one) for one in targets):
            raise UsageError('Delegation takes patterns such as "TERMSRV/*.example.com" or "server.example.com"')
        if unproven_hosts not in get_args(Use):
            raise UsageError(f'unproven_hosts is "refused" or "accepted", not {unproven_hosts!r}')
        object.__setattr__(self, "targets", tuple(targets))
        object.__setattr__(self, "unproven_hosts", unproven_hosts)

    def allows(self, target: TargetName | None) -> bool:
        """Whether credentials may go to `target`."""
        return target is not None and any(_matches(pattern, target) for pattern in self.targets)


_PATTERN: Final = re.compile(r"(?:[^/\s]+/)?[^/\s]+")


def _matches(pattern: str, target: str) -> bool:
    parts = target.split("/")
    if len(parts) > 2:  # a third part would name somebody else to Kerberos than to TLS
        return False
    host = parts[-1].rstrip(".")
    compared = f"{parts[0]}/{host}" if "/" in pattern else host
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(expression, compared, re.IGNORECASE | re.ASCII | re.DOTALL) is not None


@dataclass(frozen=True)
class Policy:
    """The arguments of `CredSsp` that decide, which it documents."""

    delegation: Delegation | None = None
    restricted_admin: bool = False
    version: int = NEWEST
    vulnerable_peers: Use = "refused"
    early_authorization: bool = field(default=False)

    def __post_init__(self) -> None:
        if self.delegation is not None:
            check_kind("delegation", self.delegation, Delegation, f'write delegation=Delegation("{_EXAMPLE}")')
        if self.version not in range(OLDEST, NEWEST + 1):
            raise UsageError(f"CredSSP has the versions {OLDEST} to {NEWEST}, not {self.version!r}")
        if self.vulnerable_peers not in get_args(Use):
            raise UsageError(f'vulnerable_peers is "refused" or "accepted", not {self.vulnerable_peers!r}')
        if self.version < HASHED_SINCE and self.vulnerable_peers == "refused":
            raise UsageError(
                f"version {self.version} is open to CVE-2018-0886: "
                'vulnerable_peers="accepted" says that this is understood'
            )

    def require_target(self, target: TargetName | None) -> None:
        """Refuse to begin with a target to which nothing may be delegated; nothing was sent then.

        Raises:
            NotAuthorized: it is none of the policy's.
        """
        if self.restricted_admin:
            return
        if self.delegation is None or not self.delegation.allows(target):
            raise NotAuthorized(
                f"no credentials are delegated to {target or 'a server without a name'}: "
                'name it in CredSsp(delegation=Delegation("class/host")) if it is to have them'
            )

    def require_host(self, peer: Principal | None, inner: Principal, context: SecurityContext) -> None:
        """Refuse to delegate to a host that nothing proved (SECURITY: CredSSP).

        Args:
            peer: whom TLS proved.
            inner: whom the negotiation inside proved.
            context: what it established.

        Raises:
            NotAuthorized: neither TLS nor the mechanism proved the host.
        """
        proved = peer is not None and peer.is_authenticated
        mutual = inner.is_authenticated and ContextFlags.MUTUAL in context.flags
        accepted = self.delegation is not None and self.delegation.unproven_hosts == "accepted"
        if not (proved or mutual or accepted or self.restricted_admin):
            raise NotAuthorized(
                "nothing proves that this is the host that it claims to be, so it gets no credentials: verify its "
                'certificate (`tls`), authenticate by Kerberos, or say Delegation(..., unproven_hosts="accepted")'
            )

    def agree(self, peer: int) -> int:
        """The version in force with a peer of version `peer`; one that is newer than ours speaks ours.

        Raises:
            InvalidToken: there is no such version.
            Downgrade: the peer is vulnerable and policy refuses such.
        """
        if peer < OLDEST:
            raise InvalidToken(f"the peer speaks version {peer} of CredSSP, which does not exist")
        version = min(self.version, peer)
        if version < HASHED_SINCE and self.vulnerable_peers == "refused":
            raise Downgrade(
                f"the peer speaks version {peer} of CredSSP, which is open to CVE-2018-0886: update it, or say "
                'vulnerable_peers="accepted"'
            )
        return version
