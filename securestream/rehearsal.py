"""Rehearsing an acceptor: what its first client would have met, a keytab that is not there, is told before it listens.

A handshake that nobody asked for is begun, and ends where it would hear from its peer. Only effects that load
(`Effect.loads`) are performed: nothing is asked of others, remembered, or counted.
"""

from __future__ import annotations

from dataclasses import replace

from securestream.credentials import Credential, Keytab
from securestream.drive import Performer, Services, default_services, respond, respond_blocking
from securestream.extensions import Composed, Negotiating
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, Options, Role
from securestream.provider import Compute, Effect, SecurityPackage


async def rehearse(
    package: SecurityPackage, credential: Credential | None, options: Options, services: Services | None = None
) -> None:
    """Begin a handshake of an acceptor, and of each package that works inside it, as far as nobody is needed for it.

    Args:
        package: the package, which can use the credential.
        credential: with what it verifies; `None` stands for the system's keytab where the package serves with keytabs.
        options: what is asked of its handshakes.
        services: who performs effects; `None` for the process-wide ones.

    Raises:
        SecureStreamError: what the first client would have met: `NoCredentials` for a keytab that is not there.
    """
    loading = _Loading(services)
    for machine in _handshakes(package, credential, options):
        try:
            await respond(machine, services=loading)
        except _Enough:
            pass
        finally:
            machine.close()


def rehearse_blocking(
    package: SecurityPackage, credential: Credential | None, options: Options, services: Services | None = None
) -> None:
    """`rehearse` for callers without an event loop; arguments and errors are the same."""
    loading = _Loading(services)
    for machine in _handshakes(package, credential, options):
        try:
            respond_blocking(machine, services=loading)
        except _Enough:
            pass
        finally:
            machine.close()


class _Enough(Exception):
    """The handshake needs more than what is loaded: nothing further can be known before a client comes."""


class _Loading(Services):
    """Those of `services` who load; the handshake ends where it needs others."""

    def __init__(self, services: Services | None) -> None:
        super().__init__()
        self._services = default_services() if services is None else services

    def performer_of(self, effect: type[Effect[object]]) -> Performer:
        if not (effect.loads or issubclass(effect, Compute)):
            raise _Enough
        return self._services.performer_of(effect)


def _handshakes(package: SecurityPackage, credential: Credential | None, options: Options) -> list[HandshakeMachine]:
    """The handshakes to begin."""
    if credential is None and _serves_with_keytabs(package):
        credential = Keytab()
    found = [HandshakeMachine(package.accept(credential, options), options.limits)]
    if isinstance(package, Composed):  # what works inside begins only when a client has come
        inside = replace(options, binding_policy=BindingPolicy.NEVER)  # bindings are the outer package's to give
        for part in package.parts.values():
            if part.usable(credential, Role.ACCEPTOR) is None:
                found += _handshakes(part, credential, inside)
    return found


def _serves_with_keytabs(package: SecurityPackage) -> bool:
    """Whether all that can serve with nothing given can serve with a keytab, too: nothing else is then its default."""
    packages = package.mechanisms if isinstance(package, Negotiating) else (package,)
    able = [one for one in packages if one.usable(None, Role.ACCEPTOR) is None]
    return bool(able) and all(one.usable(Keytab(), Role.ACCEPTOR) is None for one in able)
