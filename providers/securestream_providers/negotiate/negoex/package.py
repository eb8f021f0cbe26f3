"""NEGOEX as a package of its own, which SPNEGO lists like any other."""

from __future__ import annotations

from typing import Final

from securestream.credentials import Credential
from securestream.errors import Unsupported
from securestream.options import Options, Role
from securestream.provider import Capability, Handshake, PackageInfo, SecurityPackage, TargetName, Unusable

OID: Final = "1.3.6.1.4.1.311.2.2.30"
NAME: Final = "NEGOEX"


class Negoex:
    """Negotiates packages by their scheme GUIDs.

    Args:
        packages: those, the preferred one first.
    """

    def __init__(self, packages: tuple[SecurityPackage, ...]) -> None:
        self._packages = packages
        self.info = PackageInfo(NAME, "Extended negotiation", Capability.CONNECTION, 65536, oids=(OID,))

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why none of its packages can work with `credential`, or `None` when one can."""
        reasons = [package.usable(credential, role) for package in self._packages]
        return None if None in reasons else reasons[0]

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator's handshake."""
        raise Unsupported("NEGOEX is being built")

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor's handshake."""
        raise Unsupported("NEGOEX is being built")
