"""The mechanisms that a negotiation chooses from: packages by their OIDs, and NEGOEX for those that have a scheme."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

from securestream.errors import UsageError
from securestream.extensions import Negotiating
from securestream.negotiation import Consideration, Verdict
from securestream.provider import Capability, SecurityPackage
from securestream.registry import check_package
from securestream_providers.negotiate.messages import KERBEROS, NEGOEX, NTLM, SPNEGO, canonical
from securestream_providers.negotiate.negoex.package import Negoex

_DEFAULT: Final = ("securestream_providers.kerberos:Kerberos", "securestream_providers.ntlm:Ntlm")
"""What is negotiated where nothing is said, the preferred first. Named here and nowhere else: no installed distribution
adds a mechanism (SECURITY: Negotiate)."""


@dataclass(frozen=True, eq=False)
class Mechanism:
    """One mechanism that can stand in a list.

    Args:
        package: does the work.
        oid: as it is offered.
        names: every OID by which peers may call it, in canonical form.
    """

    package: SecurityPackage
    oid: str
    names: frozenset[str]

    @cached_property
    def name(self) -> str:
        """The package's name."""
        return self.package.info.name

    @cached_property
    def offered(self) -> Consideration:
        """That it was offered, which needs no reason."""
        return Consideration(self.name, self.oid, Verdict.OFFERED)

    @cached_property
    def chosen(self) -> Consideration:
        """That it was chosen, which needs no reason."""
        return Consideration(self.name, self.oid, Verdict.CHOSEN)

    @cached_property
    def is_ntlm(self) -> bool:
        """Whether it is NTLM, which policy allows or not."""
        return NTLM in self.names

    @cached_property
    def is_kerberos(self) -> bool:
        """Whether it is Kerberos, for which NTLM may or may not stand in."""
        return KERBEROS in self.names

    @cached_property
    def is_negoex(self) -> bool:
        """Whether it is NEGOEX, which proves its own negotiation."""
        return NEGOEX in self.names


def default_packages() -> tuple[SecurityPackage, ...]:
    """Kerberos, then NTLM."""
    return tuple(_made(place) for place in _DEFAULT)


def _made(place: str) -> SecurityPackage:
    module, _, name = place.partition(":")
    factory = cast("Callable[[], SecurityPackage]", getattr(importlib.import_module(module), name))
    return factory()


def mechanisms_of(packages: tuple[SecurityPackage, ...]) -> tuple[Mechanism, ...]:
    """The mechanisms of these packages in their order; those with a NEGOEX scheme are one, where the first stands.

    Raises:
        UsageError: a package cannot be negotiated, or two answer to one OID.
    """
    for package in packages:
        _check(package)
    extended = tuple(package for package in packages if package.info.negoex_scheme is not None)
    found: list[Mechanism] = []
    for package in packages:
        if package.info.negoex_scheme is None:
            found.append(_mechanism(package))
        elif package is extended[0]:
            found.append(_mechanism(Negoex(extended)))
    taken: set[str] = set()
    for mechanism in found:
        if taken & mechanism.names:
            raise UsageError(f"{mechanism.name} is listed twice")
        taken |= mechanism.names
    return tuple(found)


def _mechanism(package: SecurityPackage) -> Mechanism:
    oids = package.info.oids
    return Mechanism(package, oids[0], frozenset(canonical(oid) for oid in oids))


def _check(package: SecurityPackage) -> None:
    check_package(package, "Negotiate", "Negotiate(Kerberos(), Ntlm())")
    info = package.info
    if isinstance(package, Negotiating) or SPNEGO in info.oids:
        raise UsageError(f"{info.name} negotiates itself: a negotiation in a negotiation is refused")
    if Capability.STREAM in info.capabilities:
        raise UsageError(f"{info.name} is a protocol of its own and cannot be negotiated")
    if not info.oids and info.negoex_scheme is None:
        raise UsageError(f"{info.name} has neither an OID nor a NEGOEX scheme by which it could be negotiated")
