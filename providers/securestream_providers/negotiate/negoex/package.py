"""NEGOEX as a package of its own, which SPNEGO lists like any other."""

from __future__ import annotations

from typing import Final

from securestream.credentials import Credential
from securestream.errors import UsageError
from securestream.extensions import Negotiating
from securestream.options import Options, Role
from securestream.provider import Capability, Handshake, PackageInfo, SecurityPackage, TargetName, Unusable
from securestream_providers.negotiate.messages import NEGOEX
from securestream_providers.negotiate.negoex import acceptor, initiator
from securestream_providers.negotiate.negoex.describe import describe
from securestream_providers.negotiate.negoex.journal import Schemes

NAME: Final = "NEGOEX"


class Negoex:
    """Negotiates packages by their scheme GUIDs.

    A package does this much for it: its `PackageInfo.negoex_scheme` names the scheme, and its handshakes announce a
    key by `VerifyKeys`, when both ends have it or at the end. With `Metadata` they speak to each other beforehand.

    Args:
        packages: those, the preferred one first.

    Raises:
        UsageError: one has no scheme, two have the same, or one negotiates itself.
    """

    def __init__(self, packages: tuple[SecurityPackage, ...]) -> None:
        taken: set[object] = set()
        for package in packages:
            info = package.info
            if info.negoex_scheme is None or isinstance(package, Negotiating):
                raise UsageError(f"{info.name} cannot be negotiated by NEGOEX: it has no scheme, or negotiates itself")
            if info.negoex_scheme in taken:
                raise UsageError(f"the NEGOEX scheme {info.negoex_scheme} of {info.name} is listed twice")
            taken.add(info.negoex_scheme)
        self._packages = packages
        self.info = PackageInfo(NAME, "Extended negotiation", Capability.CONNECTION, 65536, oids=(NEGOEX,))

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why none of its packages can work with `credential`, or `None` when one can."""
        reasons: list[str] = []
        for package in self._packages:
            unusable = package.usable(credential, role)
            if unusable is None:
                return None
            reasons.append(f"{package.info.name}: {unusable.reason}")
        return Unusable("; ".join(reasons))

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator's handshake; see `initiator.initiate`."""
        schemes = Schemes(Role.INITIATOR)
        packages = self._ready(credential, schemes, Role.INITIATOR)
        return initiator.initiate(
            packages, lambda package: package.initiate(credential, target, options), schemes, options
        )

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor's handshake; see `acceptor.accept`."""
        schemes = Schemes(Role.ACCEPTOR)
        packages = self._ready(credential, schemes, Role.ACCEPTOR)
        return acceptor.accept(packages, lambda package: package.accept(credential, options), schemes, options)

    def _ready(self, credential: Credential | None, schemes: Schemes, role: Role) -> tuple[SecurityPackage, ...]:
        """The packages that can be used with `credential`."""
        ready: list[SecurityPackage] = []
        for package in self._packages:
            unusable = package.usable(credential, role)
            if unusable is None:
                ready.append(package)
            else:
                schemes.passed_over(package, unusable.reason)
        return tuple(ready)

    def describe_token(self, token: bytes) -> str:
        """One readable line on a token, with what the packages say of theirs."""
        return describe(self._packages, token)
