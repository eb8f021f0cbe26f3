"""A handshake over a byte stream: moves the octets of `CarrierHandshake`, keeps the time, tells the peer why not."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio
from anyio.abc import ByteStream, SocketAttribute

from securestream.ambient import system_options
from securestream.carrier import CarrierHandshake, check_levels
from securestream.credentials import Credential
from securestream.drive import Services, respond
from securestream.errors import (
    FramingError,
    HandshakeError,
    HandshakeTimeout,
    LimitExceeded,
    LogonDenied,
    NoCommonMechanism,
    PeerGone,
    PeerRefused,
    UsageError,
)
from securestream.framing.base import Framing
from securestream.options import BindingPolicy, ImpersonationLevel, Options, Protection, Role
from securestream.provider import Admit, Capability, SecurityPackage, TargetName
from securestream.redaction import Redacted
from securestream.registry import package_of
from securestream.streams._sealed import SealedStream, send_farewell
from securestream.streams.attributes import SecurityAttribute, attribute_of
from securestream.streams.transport import TcpStream

HANDSHAKE_TIMEOUT = 30.0
"""Seconds that a handshake may take by default, with everything it waits for and all its attempts."""

MAX_ATTEMPTS = 3
"""Handshakes that a server allows on one connection at most (SECURITY: logon)."""

_PEERS_DOING = (HandshakeError, PeerRefused, PeerGone, FramingError)
_FAREWELL_SECONDS = 1.0
_READ_SIZE = 65536

CredentialArgument = Credential | Sequence[Credential] | None
"""One credential, `None` for the package's default, or, for clients, several to be tried in turn."""


@dataclass(frozen=True, repr=False, kw_only=True)
class Settings(Redacted):
    """What all ways to a secure stream take; their documentation is in `securestream.streams.connect`."""

    package: SecurityPackage
    credentials: tuple[Credential | None, ...]
    options: Options
    target: TargetName | None = None
    services: Services | None = None
    admit: Admit | None = None
    timeout: float = HANDSHAKE_TIMEOUT
    attempts: int = 1
    standard_compatible: bool = True
    bind_to_channel: bool = True
    own_policy: bool = False
    """Whether the caller chose the binding policy."""

    @property
    def is_stream_package(self) -> bool:
        """Whether the package's result is a record connection."""
        return Capability.STREAM in self.package.info.capabilities

    def for_connection(self, transport: ByteStream, role: Role) -> Settings:
        """These settings with what only the connection knows: the peer's address, the channel to bind to."""
        options = self.options
        if not options.source:
            options = replace(options, source=source_of(transport))
        if self.bind_to_channel and options.channel_bindings is None and not self.is_stream_package:
            bindings = attribute_of(transport, SecurityAttribute.channel_bindings)
            if bindings is not None:
                options = replace(options, channel_bindings=bindings)
                if role is Role.ACCEPTOR and not self.own_policy:
                    options = replace(options, binding_policy=BindingPolicy.WHEN_ADVERTISED)
        return self if options is self.options else replace(self, options=options)


async def settings_of_connection(transport: ByteStream, role: Role, settings: Settings) -> Settings:
    """`Settings.for_connection`; where that fails, the transport is closed like after any failed handshake."""
    try:
        return settings.for_connection(transport, role)
    except BaseException:
        await close_forcefully(transport)
        raise


def make_settings(
    *,
    package: str | SecurityPackage,
    credential: CredentialArgument = None,
    target: str | None = None,
    protection: Protection | None = None,
    options: Options | None = None,
    binding_policy: BindingPolicy | None = None,
    impersonation: ImpersonationLevel | None = None,
    services: Services | None = None,
    admit: Admit | None = None,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
    attempts: int = 1,
    standard_compatible: bool = True,
    bind_to_channel: bool = True,
) -> Settings:
    """Check the arguments that the public functions share.

    Raises:
        UsageError: no such package, or an argument that cannot work.
    """
    if not 1 <= attempts <= MAX_ATTEMPTS:
        raise UsageError(f"attempts is 1 to {MAX_ATTEMPTS}: more would be an invitation to guess passwords")
    if handshake_timeout <= 0:
        raise UsageError("handshake_timeout is a positive number of seconds")
    chosen = system_options() if options is None else options
    if protection is not None:
        chosen = replace(chosen, protection=protection)
    if binding_policy is not None:
        chosen = replace(chosen, binding_policy=binding_policy)
    if impersonation is not None:
        chosen = replace(chosen, impersonation=impersonation)
    credentials: tuple[Credential | None, ...] = (
        (credential,) if credential is None or isinstance(credential, Credential) else tuple(credential)
    )
    if not credentials:
        raise UsageError("an empty sequence of credentials: give one, or None for the package's default")
    used = package_of(package)
    check_levels(used.info, chosen)
    return Settings(
        package=used,
        credentials=credentials,
        options=chosen,
        target=None if target is None else TargetName(target),
        services=services,
        admit=admit,
        timeout=handshake_timeout,
        attempts=attempts,
        standard_compatible=standard_compatible,
        bind_to_channel=bind_to_channel,
        own_policy=binding_policy is not None or chosen.binding_policy is not BindingPolicy.WHEN_SUPPORTED,
    )


def source_of(transport: ByteStream) -> str:
    """The peer's address without its port, as text; empty where the transport has none."""
    try:
        address = attribute_of(transport, SocketAttribute.remote_address)
    except OSError:  # the peer is gone already
        return ""
    return "" if address is None or isinstance(address, str) else str(address[0])


class _Wire:
    """The transport during a handshake; remembers whether a send was cut short."""

    def __init__(self, transport: ByteStream, framing: Framing) -> None:
        self._transport = transport
        self._framing = framing
        self.cut_short = False

    async def send(self, octets: bytes) -> None:
        if octets:
            self.cut_short = True
            try:
                await self._transport.send(octets)
            except anyio.BrokenResourceError as error:
                raise PeerGone("the connection was lost before the handshake was complete") from error
            self.cut_short = False

    async def receive(self) -> None:
        try:
            data = await self._transport.receive(_READ_SIZE)
        except anyio.EndOfStream:
            self._framing.receive_eof()
        except anyio.BrokenResourceError as error:
            raise PeerGone("the connection was lost before the handshake was complete") from error
        else:
            self._framing.receive_data(data)

    async def refuse(self, octets: bytes) -> None:
        if not self.cut_short:
            await send_farewell(self._transport, octets, _FAREWELL_SECONDS)


async def perform_handshake(
    transport: ByteStream, framing: Framing, role: Role, settings: Settings, received: bytes
) -> CarrierHandshake:
    """Authenticate over `transport`, within the time of `settings` and with the attempts it allows.

    Raises:
        HandshakeError: it failed here; the peer was told, the transport is closed.
        PeerRefused: it failed there; the transport is closed.
        PeerGone: the peer ended its stream; the transport is closed.
        FramingError: what came is no frame; the transport is closed.

    Cancellation closes the transport, after a short word to the peer.
    """
    wire = _Wire(transport, framing)
    carrier: CarrierHandshake | None = None
    try:
        if received:
            framing.receive_data(received)
        with anyio.move_on_after(settings.timeout):
            for last, credential in _attempts(role, settings):
                carrier = CarrierHandshake(
                    settings.package,
                    role,
                    framing=framing,
                    options=settings.options,
                    credential=credential,
                    target=settings.target,
                    admit=settings.admit,
                )
                try:
                    await _exchange(carrier, wire, settings.services)
                except (HandshakeError, PeerRefused) as error:
                    if last or isinstance(error, LimitExceeded) or not _may_retry(role, error):
                        raise
                    await wire.send(carrier.refuse(error))
                else:
                    return carrier
        raise HandshakeTimeout(f"the handshake took longer than {settings.timeout:g} seconds")
    except BaseException as error:
        if carrier is not None:
            octets = carrier.refuse(error)
            await wire.refuse(octets)
            if isinstance(transport, SealedStream) and isinstance(error, _PEERS_DOING):
                transport.remember(error)
        await close_forcefully(transport)
        raise


def _attempts(role: Role, settings: Settings) -> list[tuple[bool, Credential | None]]:
    """The credential of each attempt, and whether it is the last one."""
    credentials = settings.credentials
    if role is Role.ACCEPTOR:
        if len(credentials) > 1:
            raise UsageError("a server has one credential: join the forms of its identity by Credentials(a, b)")
        credentials = credentials * settings.attempts
    return [(number == len(credentials), credential) for number, credential in enumerate(credentials, 1)]


def _may_retry(role: Role, error: Exception) -> bool:
    """A client tries its next credential when the server refused the last, or a KDC the user or the password, also
    where a negotiation then had nothing left; a server waits for whatever comes next.
    """
    if isinstance(error, NoCommonMechanism) and isinstance(error.__cause__, LogonDenied):
        return True
    return role is Role.ACCEPTOR or isinstance(error, PeerRefused | LogonDenied)


async def _exchange(carrier: CarrierHandshake, wire: _Wire, services: Services | None) -> None:
    token: bytes | None = None
    while not carrier.is_complete:
        step = await respond(carrier.machine, token, services)
        await wire.send(carrier.answer(step))
        while (token := carrier.next_token()) is None and not carrier.is_complete:
            await wire.receive()


async def close_forcefully(transport: ByteStream) -> None:
    """Close without waiting, in a way that lets the last octets sent reach the peer.

    A TCP socket closed with octets unread resets the connection, and the reset may overtake the error frame.
    """
    if isinstance(transport, TcpStream):
        with contextlib.suppress(OSError, anyio.ClosedResourceError):
            transport.shut_down()
        transport.close()
        return
    await anyio.aclose_forcefully(transport)
