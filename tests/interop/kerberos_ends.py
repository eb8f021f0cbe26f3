"""Our ends of Kerberos handshakes with foreign ones, token by token, and the realm that both are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securestream.ambient import system_options
from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Credential, Keytab, Password
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, ContextFlags, Protection
from securestream.provider import Established, SecurityContext, TargetName
from securestream_providers.kerberos import Kerberos
from securestream_providers.kerberos.context import KerberosContext
from tests.interop.peers.gssapi_krb5 import KerberosPeer
from tests.interop.peers.mit_kdc import ETYPES, HOST, MitKdc

USER = "alice"
PASSWORD = "alice's password"
TRUSTED = "trusted"
"""A service that may be given delegated credentials."""

WEAK = {23: ("rc4-hmac",)}


def service_of(etype: int) -> str:
    """The service whose key is of a type."""
    return f"echo{etype}"


@dataclass
class Realm:
    """MIT's realm with a user and services; one environment for each encryption type.

    Args:
        kdc: the realm.
        environments: by encryption type, in which MIT's library permits that one alone.
    """

    kdc: MitKdc
    environments: dict[int, Mapping[str, str]] = field(default_factory=dict[int, Mapping[str, str]])

    @property
    def user(self) -> str:
        """The user with the realm."""
        return f"{USER}@{self.kdc.realm}"

    def populate(self) -> None:
        """Make the principals."""
        self.kdc.add_user(USER, f'"{PASSWORD}"')
        for etype in ETYPES:
            self.kdc.add_service(f"{service_of(etype)}/{HOST}", etypes=(etype,))
        self.kdc.add_service(f"{TRUSTED}/{HOST}", options=("+requires_preauth", "+ok_as_delegate"))

    def environment(self, etype: int) -> Mapping[str, str]:
        """Where MIT's library has the user's TGT and the services' keys, and permits `etype` alone."""
        if etype not in self.environments:
            made = self.kdc.environment(cache=self.kdc.folder / f"ccache-{etype}", permitted_enctypes=ETYPES[etype])
            self.kdc.kinit(USER, PASSWORD, "-f", environment=made)
            self.environments[etype] = made
        return self.environments[etype]

    def package(self, etype: int = 18, **arguments: Any) -> Kerberos:
        """Our package, with `etype` alone."""
        config = self.kdc.krb5_config(permitted_etypes=(etype,))
        return Kerberos(config=config, weak=WEAK.get(etype, ()), **arguments)

    def initiator(
        self,
        etype: int = 18,
        *,
        service: str | None = None,
        credential: Credential | None = None,
        flags: ContextFlags = ContextFlags.MUTUAL,
        bindings: bytes | None = None,
        protection: Protection = Protection.ENCRYPT_AND_SIGN,
    ) -> HandshakeMachine:
        """Our initiator, by default with the user's password."""
        options = system_options(flags=flags, protection=protection, channel_bindings=bound_to(bindings))
        used = Password(self.user, PASSWORD) if credential is None else credential
        return HandshakeMachine(
            self.package(etype).initiate(used, TargetName(f"{service or service_of(etype)}/{HOST}"), options)
        )

    def acceptor(
        self,
        etype: int = 18,
        *,
        keytab: Path | None = None,
        bindings: bytes | None = None,
        policy: BindingPolicy = BindingPolicy.WHEN_ADVERTISED,
        protection: Protection = Protection.ENCRYPT_AND_SIGN,
        **arguments: Any,
    ) -> HandshakeMachine:
        """Our acceptor with the services' keytab."""
        options = system_options(
            protection=protection, channel_bindings=bound_to(bindings), binding_policy=policy, flags=ContextFlags.NONE
        )
        credential = Keytab(keytab or self.kdc.default_keytab)
        return HandshakeMachine(self.package(etype, **arguments).accept(credential, options))


def bound_to(bindings: bytes | None) -> ChannelBindings | None:
    """Channel bindings of application data."""
    return None if bindings is None else ChannelBindings(bindings)


def initiate_to(theirs: KerberosPeer, ours: HandshakeMachine, services: Services | None = None) -> Established:
    """Run a handshake whose acceptor, which has begun, is theirs."""
    services = Services() if services is None else services
    step = respond_blocking(ours, None, services)
    while step.token is not None:
        reply = theirs.step(step.token)
        if step.established is not None:
            break
        step = respond_blocking(ours, reply, services)
    assert step.established is not None
    assert theirs.complete
    return step.established


def accept_from(theirs: KerberosPeer, ours: HandshakeMachine, services: Services | None = None) -> Established:
    """Run a handshake whose initiator, which has begun, is theirs."""
    services = Services() if services is None else services
    step = respond_blocking(ours, theirs.step(None), services)
    while step.token is not None:
        answer = theirs.step(step.token)
        if step.established is not None:
            break
        step = respond_blocking(ours, answer, services)
    assert step.established is not None
    assert theirs.complete
    return step.established


def context_of(established: Established) -> KerberosContext:
    """The security context."""
    assert isinstance(established.result, SecurityContext)
    assert isinstance(established.result, KerberosContext)
    return established.result
