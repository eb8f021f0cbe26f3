"""The security package Negotiate: what it says of itself, and its two roles."""

from __future__ import annotations

from typing import Final

from securestream.credentials import Credential
from securestream.errors import UsageError
from securestream.extensions import ContextImporter
from securestream.inspection import Inspection, Node
from securestream.options import Options, Role
from securestream.provider import (
    Capability,
    Handshake,
    PackageInfo,
    SecurityContext,
    SecurityPackage,
    TargetName,
    Unusable,
)
from securestream_providers.negotiate import acceptor, initiator
from securestream_providers.negotiate.describe import describe
from securestream_providers.negotiate.messages import SPNEGO
from securestream_providers.negotiate.policy import Policy, unusable_reason

NAME: Final = "Negotiate"

INFO: Final = PackageInfo(
    name=NAME,
    comment="Microsoft Package Negotiator",
    capabilities=(
        Capability.INTEGRITY
        | Capability.PRIVACY
        | Capability.CONNECTION
        | Capability.MULTI_REQUIRED
        | Capability.EXTENDED_ERROR
        | Capability.IMPERSONATION
        | Capability.ACCEPT_WIN32_NAME
        | Capability.GSS_COMPATIBLE
        | Capability.LOGON
        | Capability.MUTUAL_AUTH
        | Capability.DELEGATION
        | Capability.READONLY_WITH_CHECKSUM
        | Capability.NEGO_EXTENDER
    ),
    max_token=65536,
    oids=(SPNEGO,),
    rpc_id=9,
)
"""As Windows lists it, without what it has for restricted tokens."""


class Negotiate(Policy):
    """The security package Negotiate (RFC 4178, [MS-SPNG], [MS-NEGOEX]): the best mechanism that both ends have.

    Args:
        mechanisms: the packages to negotiate, the preferred one first; none: Kerberos, then NTLM. Those with a NEGOEX
            scheme are negotiated by NEGOEX. Installing a package adds none.
        ntlm: when an initiator uses NTLM: ``"never"``; ``"no-kdc"``, where Kerberos has no KDC to ask; ``"always"``,
            whenever Kerberos fails by one of `FALLBACK`. By default: ``"always"`` where no Kerberos stands before it,
            ``"no-kdc"`` for a password without a realm, else ``"never"``. Behind a NEGOEX that can be used only
            ``"always"`` offers it: whoever alters its schemes on the way makes an acceptor go on to the next mechanism,
            and is not found out. An acceptor refuses it by ``"never"`` alone.
        bare: whether an acceptor answers tokens of a mechanism that come without SPNEGO, as other clients of SSPI, and
            .NET at level None, send them.
        server_first: the acceptor speaks first, by a NegTokenInit2, as in SMB; both ends must know.

    Raises:
        UsageError: arguments that contradict each other, or a package that cannot be negotiated.
    """

    @property
    def info(self) -> PackageInfo:
        """What the package is."""
        return INFO

    def with_mechanisms(self, *mechanisms: SecurityPackage) -> Negotiate:
        """The same over other packages."""
        return Negotiate(*mechanisms, ntlm=self.ntlm, bare=self.bare, server_first=self.server_first)

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why none of its mechanisms can work with `credential` in `role`, or `None` when one can."""
        reasons: list[str] = []
        for mechanism in self.candidates:
            reason = unusable_reason(mechanism, credential, role)
            if not reason and (role is Role.INITIATOR or self.allows(mechanism)):
                return None
            reasons.append(f"{mechanism.name}: {reason or 'policy forbids it'}")
        return Unusable("; ".join(reasons))

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator's negotiation; see `initiator.initiate`.

        Args:
            credential: what the mechanisms take; `Credentials` for several forms of one identity.
            target: the service to reach.
            options: what is wanted.
        """
        return initiator.initiate(self, credential, target, options)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor's negotiation; see `acceptor.accept`.

        Args:
            credential: what the mechanisms take: ``Credentials(Keytab(...), Accounts(...))`` for both default ones.
            options: what is wanted.
        """
        return acceptor.accept(self, credential, options)

    def import_context(self, exported: bytes) -> SecurityContext:
        """Revive a context that a mechanism of its own gave away.

        Args:
            exported: what `SecurityContext.export` gave.

        Raises:
            UsageError: it is of none of them.
        """
        for package in self.mechanisms:
            if isinstance(package, ContextImporter):
                try:
                    return package.import_context(exported)
                except UsageError:  # another one's, or damaged
                    continue
        raise UsageError("these octets are no exported context of a mechanism that is negotiated here")

    def describe_token(self, token: bytes) -> str:
        """One readable line on a token, with that of the mechanism inside; nothing that proves or seals."""
        return describe(self.mechanisms, token)

    def inspect_token(self, token: bytes, inspection: Inspection) -> Node | None:
        """The tree of a token; see `inspect.inspect`."""
        from securestream_providers.negotiate.inspect import inspect  # only who looks at tokens needs it

        return inspect(token, inspection)
