"""`connect` and `listen`: secure streams over TCP in one call, and anyio's connectable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
from anyio.abc import AnyByteStreamConnectable, ByteStream, ByteStreamConnectable

from securestream.credentials import Credential
from securestream.drive import Services
from securestream.errors import HandshakeTimeout, NoCredentials, UsageError
from securestream.extensions import ListenerScoped
from securestream.options import BindingPolicy, ImpersonationLevel, Options, Protection, Role
from securestream.provider import Admit, SecurityPackage, TargetName
from securestream.registry import DEFAULT_PACKAGE
from securestream.rehearsal import rehearse
from securestream.streams._dial import connect_tcp
from securestream.streams._handshake import HANDSHAKE_TIMEOUT, CredentialArgument, Settings, make_settings
from securestream.streams._wrap import SecureStream, wrap
from securestream.streams.listeners import MAX_HANDSHAKES, MAX_HANDSHAKES_PER_SOURCE, SecureListener
from securestream.streams.transport import listen_tcp


async def connect(
    host: str,
    port: int,
    *,
    package: str | SecurityPackage = DEFAULT_PACKAGE,
    credential: CredentialArgument = None,
    target: str | None = None,
    protection: Protection | None = None,
    impersonation: ImpersonationLevel | None = None,
    options: Options | None = None,
    services: Services | None = None,
    admit: Admit | None = None,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
    standard_compatible: bool = True,
) -> SecureStream:
    """Connect by TCP, authenticate, and return the protected stream.

    Args:
        host: a name or an address; all addresses of a name are tried (Happy Eyeballs).
        port: the TCP port.
        package: a package, or the name of an installed one, such as ``"ntlm"`` or ``"schannel"``; by default Negotiate:
            Kerberos, or NTLM where policy allows it.
        credential: as whom; `None` for the package's default. Of a sequence the next one is tried, over the same
            connection, when the server (or a KDC) refuses the one before.
        target: the service to reach, ``class/host``; by default ``host/`` and `host` as it was given.
        protection: the least protection of the data; by default that of `options`, which is to encrypt and sign.
        impersonation: how far the server may act as this client; by default what `options` say, which is to identify
            it.
        options: what else is asked of the handshake; `securestream.system_options` makes them.
        services: who performs effects; `None` for the process-wide ones.
        admit: a last judgement on what was established; raises `NotAuthorized` to refuse.
        handshake_timeout: seconds for the handshake; connecting has the system's own limit.
        standard_compatible: see `TlsStream.wrap_client`.

    Returns:
        A `TlsStream` where the package speaks records (Schannel; of CredSSP a `CredSspStream`), else a
        `NegotiateStream`.

    Raises:
        anyio.ConnectionFailed: no address answered.
        NoCredentials: the package cannot use the credential; nothing was sent.
        HandshakeError: the handshake failed at this end.
        PeerRefused: the server refused.
        PeerGone: the server ended its stream.
        FramingError: what came is no frame.
        UsageError: the arguments cannot work.

    Cancelled, the connection is closed.
    """
    settings = make_settings(
        package=package,
        credential=credential,
        target=f"host/{host}" if target is None else target,
        protection=protection,
        impersonation=impersonation,
        options=options,
        services=services,
        admit=admit,
        handshake_timeout=handshake_timeout,
        standard_compatible=standard_compatible,
    )
    if unusable := settings.package.usable(settings.credentials[0], Role.INITIATOR):
        raise NoCredentials(f"{settings.package.info.name} cannot connect so: {unusable.reason}")
    return await wrap(await connect_tcp(host, port), Role.INITIATOR, settings)


class SecureConnectable(ByteStreamConnectable):
    """A connectable (`anyio.abc.ByteStreamConnectable`) whose streams are authenticated and protected.

    Args:
        below: what gives the transport: host and port, or another connectable.
        package: as for `connect`; so are the further arguments.
        credential: as for `connect`.
        target: as for `connect`; it must be given where `below` is a connectable and the package wants one.
        protection: as for `connect`.
        impersonation: as for `connect`.
        options: as for `connect`.
        services: as for `connect`.
        admit: as for `connect`.
        handshake_timeout: as for `connect`.
        standard_compatible: as for `connect`.
    """

    def __init__(
        self,
        below: tuple[str, int] | AnyByteStreamConnectable,
        *,
        package: str | SecurityPackage = DEFAULT_PACKAGE,
        credential: CredentialArgument = None,
        target: str | None = None,
        protection: Protection | None = None,
        impersonation: ImpersonationLevel | None = None,
        options: Options | None = None,
        services: Services | None = None,
        admit: Admit | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        standard_compatible: bool = True,
    ) -> None:
        self._below = below
        self._settings = make_settings(
            package=package,
            credential=credential,
            target=target,
            protection=protection,
            impersonation=impersonation,
            options=options,
            services=services,
            admit=admit,
            handshake_timeout=handshake_timeout,
            standard_compatible=standard_compatible,
        )

    def __repr__(self) -> str:
        return f"<SecureConnectable {self._settings.package.info.name}>"

    async def connect(self) -> SecureStream:
        """Connect and authenticate; raises and is cancelled as `securestream.connect`."""
        settings = self._settings
        if isinstance(self._below, tuple):
            host, port = self._below
            if settings.target is None:
                settings = replace(settings, target=TargetName(f"host/{host}"))
            return await wrap(await connect_tcp(host, port), Role.INITIATOR, settings)
        transport = await self._below.connect()
        if not isinstance(transport, ByteStream):
            await transport.aclose()
            raise UsageError("a secure stream needs a byte stream below it, not a stream of objects")
        return await wrap(transport, Role.INITIATOR, settings)


ListenerFactory = Callable[..., SecureListener]
"""`SecureListener`, or a subclass of it that overrides `SecureListener.handle_handshake_error`."""


async def listen(
    host: str | None,
    port: int,
    *,
    package: str | SecurityPackage = DEFAULT_PACKAGE,
    credential: Credential | None = None,
    protection: Protection | None = None,
    impersonation: ImpersonationLevel | None = None,
    options: Options | None = None,
    binding_policy: BindingPolicy | None = None,
    services: Services | None = None,
    admit: Admit | None = None,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
    attempts: int = 1,
    standard_compatible: bool = True,
    max_handshakes: int = MAX_HANDSHAKES,
    max_handshakes_per_source: int = MAX_HANDSHAKES_PER_SOURCE,
    max_connections: int | None = None,
    backlog: int = 1024,
    reuse_port: bool = False,
    listener: ListenerFactory = SecureListener,
) -> SecureListener:
    """Listen for TCP connections that authenticate. Serve them by ``await listener.serve(handler)``.

    Args:
        host: a name or an address; all addresses of a name are listened on; `None` for all interfaces.
        port: the TCP port; 0 lets the system choose one (`SecureListener.port`).
        package: a package, or the name of an installed one; by default Negotiate: Kerberos with a keytab, NTLM with
            accounts.
        credential: with what to verify clients: a `Keytab` for Kerberos, `Accounts` for NTLM, both in `Credentials`, a
            `Certificate` for Schannel.
        protection: the least protection of the data; a client that offers less is refused.
        impersonation: how far this server must be allowed to act as its clients, who are refused otherwise; by default
            what `options` say, which is to identify them.
        options: what else is asked of the handshakes; ``source`` is filled in with each client's address.
        binding_policy: what is demanded of channel bindings.
        services: who performs effects; `None` for the process-wide ones.
        admit: a last judgement on what was established; raises `NotAuthorized` to refuse. [MS-NNS] tells the client, as
            CredSSP does (`CredSspStream.wrap_server`); a connection of TLS alone ends.
        handshake_timeout: seconds for each handshake, with all its attempts and everything it waits for.
        attempts: handshakes that may fail before the connection is closed, 1 to 3.
        standard_compatible: see `TlsStream.wrap_client`.
        max_handshakes: handshakes at once.
        max_handshakes_per_source: of them, how many may come from one address.
        max_connections: authenticated connections at once; `None` for no limit.
        backlog: connections that the system holds ready.
        reuse_port: let several processes listen on one port, where the system can.
        listener: makes the listener; a subclass of `SecureListener` that overrides something.

    Raises:
        OSError: the address cannot be bound.
        UsageError: the arguments cannot work, or a certificate cannot be read.
        HandshakeError: what every client would have met: `NoCredentials`, where the keytab is not there.
    """
    settings = make_settings(
        package=package,
        credential=credential,
        protection=protection,
        impersonation=impersonation,
        options=options,
        binding_policy=binding_policy,
        services=services,
        admit=admit,
        handshake_timeout=handshake_timeout,
        attempts=attempts,
        standard_compatible=standard_compatible,
    )
    if unusable := settings.package.usable(credential, Role.ACCEPTOR):
        raise UsageError(f"{settings.package.info.name} cannot listen so: {unusable.reason}")
    if isinstance(settings.package, ListenerScoped):
        settings = replace(settings, package=settings.package.for_listener())
    await _rehearse(settings)
    listeners = await listen_tcp(host, port, backlog=backlog, reuse_port=reuse_port)
    try:
        return listener(
            listeners,
            settings,
            max_handshakes=max_handshakes,
            max_handshakes_per_source=max_handshakes_per_source,
            max_connections=max_connections,
        )
    except BaseException:
        for one in listeners:
            one.close()
        raise


async def _rehearse(settings: Settings) -> None:
    """Meet before listening what each client would have met.

    Raises:
        HandshakeTimeout: it took longer than a handshake may.
    """
    with anyio.move_on_after(settings.timeout):
        await rehearse(settings.package, settings.credentials[0], settings.options, settings.services)
        return
    raise HandshakeTimeout(f"what this server needs could not be loaded within {settings.timeout:g} seconds")
