"""GSS-SPNEGO ([MS-ADTS] 5.1.1.1.2): what Negotiate chooses, and the layer that its context agreed on.

Unlike GSSAPI it chooses no layer and tells no buffer afterwards: both ends read the layer from the flags of the
context. Negotiate always agrees on integrity, which its own list of mechanisms needs, so there always is a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securestream.credentials import Credential
from securestream.errors import QualityNotMet, UsageError
from securestream.options import ContextFlags, Options, Protection, Role, required_flags
from securestream.provider import (
    Capability,
    Established,
    Handshake,
    PackageInfo,
    SecurityPackage,
    TargetName,
    Unusable,
)
from securestream.registry import check_package
from securestream.sasl.gss_layer import GssLayer, context_of, fitting
from securestream.sasl.gssapi import check_buffer
from securestream.sasl.mechanism import MAX_BUFFER, mechanism_info

NAME: Final = "GSS-SPNEGO"
SPNEGO: Final = "1.3.6.1.5.5.2"
PEER_BUFFER: Final = 65536
"""Octets of the buffers that this end sends; nobody tells what the peer takes, and every peer takes these."""

_INFO: Final = mechanism_info(
    NAME,
    "Negotiate with the security layer of its context",
    Capability.INTEGRITY | Capability.PRIVACY | Capability.MUTUAL_AUTH | Capability.DELEGATION,
)


@dataclass(frozen=True)
class GssSpnego:
    """The SASL mechanism GSS-SPNEGO over Negotiate. It carries no authorisation identity.

    Args:
        package: the Negotiate package.
        max_buffer: octets of the longest protected buffer that this end takes; domain controllers send each answer as
            one.

    Raises:
        UsageError: the package does not speak SPNEGO.
    """

    package: SecurityPackage
    max_buffer: int = MAX_BUFFER

    def __post_init__(self) -> None:
        check_buffer(self.max_buffer)
        check_package(self.package, NAME, "GssSpnego(Negotiate())")
        if SPNEGO not in self.package.info.oids:
            raise UsageError(f"{NAME} carries Negotiate: put {self.package.info.name} into it")

    @property
    def info(self) -> PackageInfo:
        """What the mechanism is."""
        return _INFO

    @property
    def client_first(self) -> bool:
        """The client speaks first."""
        return True

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can."""
        return self.package.usable(credential, role)

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The client's handshake.

        Args:
            credential: what Negotiate takes.
            target: the service, ``ldap/dc1.example.com``.
            options: what is wanted.

        Raises:
            HandshakeError: of Negotiate.
            QualityNotMet: what was agreed protects less than `Options.protection`.
        """
        outcome = yield from self.package.initiate(credential, target, fitting(options))
        return self._layered(outcome, options)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The server's handshake; arguments and errors as for `initiate`."""
        outcome = yield from self.package.accept(credential, fitting(options))
        return self._layered(outcome, options)

    def _layered(self, outcome: Established, options: Options) -> Established:
        context = context_of(outcome)
        missing = required_flags(options.protection) & ~context.flags
        if missing:
            context.discard()
            raise QualityNotMet(
                f"{options.protection.name} was asked for, but {context.package} inside {NAME} gives no "
                f"{', '.join(str(flag.name) for flag in missing)}: let the peer ask for the same protection"
            )
        if ContextFlags.CONFIDENTIALITY in context.flags:
            protection = Protection.ENCRYPT_AND_SIGN
        else:
            protection = Protection.SIGN if ContextFlags.INTEGRITY in context.flags else Protection.NONE
        layer = GssLayer(NAME, context, protection, peer_buffer=PEER_BUFFER, own_buffer=self.max_buffer)
        return Established(layer, outcome.peer, outcome.token, outcome.negotiation)
