"""NegotiateStream: authentication and sealed data over any byte stream, as .NET's class of that name ([MS-NNS])."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from anyio.abc import ByteStream

from securestream.carrier import CarrierHandshake, impersonation_of
from securestream.credentials import Credential
from securestream.drive import Services
from securestream.errors import FramingError, NotEncrypted, UsageError
from securestream.framing.base import EndOfInput, Framing, RawData, SealedFrame
from securestream.framing.nns import MAX_PLAINTEXT, NnsFraming
from securestream.options import BindingPolicy, ImpersonationLevel, Options, Protection, Role
from securestream.provider import Admit, SecurityContext, SecurityPackage, TargetName
from securestream.registry import DEFAULT_PACKAGE
from securestream.streams._framed import FramedStream
from securestream.streams._handshake import (
    HANDSHAKE_TIMEOUT,
    CredentialArgument,
    Settings,
    make_settings,
    perform_handshake,
    settings_of_connection,
)
from securestream.streams.attributes import SecurityAttribute, attribute_of


class NegotiateStream(FramedStream):
    """An authenticated byte stream whose data is sealed, signed or bare. Made by `wrap_client` and `wrap_server`."""

    _flush_size = 4 * MAX_PLAINTEXT  # whole frames: only the last one of a send is shorter, as .NET cuts them

    def __init__(self, transport: ByteStream, framing: Framing, carrier: CarrierHandshake, settings: Settings) -> None:
        established = carrier.established
        context = established.result
        if not isinstance(context, SecurityContext):
            raise UsageError(f"{settings.package.info.name} gives no security context: use TlsStream")
        super().__init__(transport, context.package, framing)
        self._context = context
        self._protection = carrier.protection
        self._bare = carrier.protection is Protection.NONE
        self._encrypted = carrier.protection is Protection.ENCRYPT_AND_SIGN
        self._peer = established.peer
        self._negotiation = established.negotiation
        self._target = settings.target
        self._take_in(self._take_events)  # data may have come with the last token

    @classmethod
    async def wrap_client(
        cls,
        transport: ByteStream,
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
        framing: Framing | None = None,
        received: bytes = b"",
        bind_to_channel: bool = True,
    ) -> Self:
        """Authenticate as a client over `transport`.

        Args:
            transport: an open byte stream; it belongs to the returned stream, and is closed if the handshake fails.
            package: a package, or the name of an installed one; by default Negotiate.
            credential: as whom; `None` for the package's default. Of a sequence the next one is tried, over the same
                connection, when the server (or a KDC) refuses the one before.
            target: the service to reach, ``class/host``.
            protection: the least protection of the data; by default that of `options`, which is to encrypt and sign.
            impersonation: how far the server may act as this client; by default what `options` say, which is to
                identify it.
            options: what else is asked of the handshake.
            services: who performs effects; `None` for the process-wide ones.
            admit: a last judgement on what was established; raises `NotAuthorized` to refuse.
            handshake_timeout: seconds for the whole handshake.
            framing: the wire; by default [MS-NNS].
            received: octets that were already read from `transport`.
            bind_to_channel: whether to bind to the TLS channel that `transport` is.

        Raises:
            HandshakeError: it failed at this end.
            PeerRefused: the server refused.
            PeerGone: the server ended its stream.
            FramingError: what came is no frame.
            UsageError: the arguments cannot work.

        Cancelled, the transport is closed after a short word to the peer.
        """
        settings = make_settings(
            package=package,
            credential=credential,
            target=target,
            protection=protection,
            impersonation=impersonation,
            options=options,
            services=services,
            admit=admit,
            handshake_timeout=handshake_timeout,
            bind_to_channel=bind_to_channel,
        )
        return await cls._wrap(transport, Role.INITIATOR, settings, framing, received)

    @classmethod
    async def wrap_server(
        cls,
        transport: ByteStream,
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
        framing: Framing | None = None,
        received: bytes = b"",
        bind_to_channel: bool = True,
    ) -> Self:
        """Authenticate a client over `transport`; arguments, errors and cancellation as for `wrap_client`.

        Args:
            transport: see `wrap_client`.
            package: see `wrap_client`.
            credential: with what to verify clients: `Keytab` for Kerberos, `Accounts` for NTLM, `Credentials` of both.
            protection: see `wrap_client`; a client that offers less is refused.
            impersonation: how far this server must be allowed to act as the client, who is refused otherwise.
            options: see `wrap_client`.
            binding_policy: what is demanded of channel bindings; by default `BindingPolicy.WHEN_ADVERTISED` inside our
                own TLS, where only this argument can ask for `BindingPolicy.WHEN_SUPPORTED`, and what `options` say
                elsewhere.
            services: see `wrap_client`.
            admit: see `wrap_client`; the peer is `Established.peer`.
            handshake_timeout: seconds for all attempts together.
            attempts: handshakes that may fail before the connection is closed, 1 to 3.
            framing: see `wrap_client`.
            received: see `wrap_client`.
            bind_to_channel: see `wrap_client`.
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
            bind_to_channel=bind_to_channel,
        )
        return await cls._wrap(transport, Role.ACCEPTOR, settings, framing, received)

    @classmethod
    async def _wrap(
        cls, transport: ByteStream, role: Role, settings: Settings, framing: Framing | None, received: bytes
    ) -> Self:
        settings = await settings_of_connection(transport, role, settings)
        wire = NnsFraming(settings.options.limits) if framing is None else framing
        carrier = await perform_handshake(transport, wire, role, settings, received)
        return cls(transport, wire, carrier, settings)

    # --- sealing ---

    def _seal(self, data: memoryview) -> bytes:
        if self._bare:
            return bytes(data)
        encrypt = self._encrypted
        wrap, header, limit = self._context.wrap, self._framing.sealed_header, self._framing.max_plaintext
        if len(data) <= limit:
            sealed = wrap(data, encrypt=encrypt)
            return header(len(sealed)) + sealed
        parts: list[bytes] = []
        for offset in range(0, len(data), limit):
            sealed = wrap(data[offset : offset + limit], encrypt=encrypt)
            parts += (header(len(sealed)), sealed)
        return b"".join(parts)

    def _take_events(self) -> None:
        """Unseal every complete frame that is there."""
        next_event, unwrap = self._framing.next_event, self._context.unwrap
        must_be_encrypted = self._encrypted
        while (event := next_event()) is not None:
            if isinstance(event, SealedFrame):
                plain, encrypted = unwrap(event.data)
                if must_be_encrypted and not encrypted:
                    raise NotEncrypted("the peer sent data in clear although encryption was agreed on")
                self._deliver(plain)
            elif isinstance(event, RawData):
                self._deliver(bytes(event.data))
            elif isinstance(event, EndOfInput):
                return
            else:
                raise FramingError("a handshake frame came where data was due")

    def _discard(self) -> None:
        self._context.discard()
        self._framing.trailing_data()

    # --- the stream ---

    def _own_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        target: TargetName | None = self._target
        own: dict[Any, Callable[[], Any]] = {
            SecurityAttribute.peer: lambda: self._peer,
            SecurityAttribute.package: lambda: self._package,
            SecurityAttribute.flags: lambda: self._context.flags,
            SecurityAttribute.protection: lambda: self._protection,
            SecurityAttribute.impersonation: lambda: impersonation_of(self._context),
            SecurityAttribute.target: lambda: target,
            SecurityAttribute.delegated: lambda: self._context.delegated,
            SecurityAttribute.bound: lambda: self._context.bound,
            SecurityAttribute.context: lambda: self._context,
        }
        negotiation = self._negotiation
        if negotiation is not None:
            own[SecurityAttribute.negotiation] = lambda: negotiation
        if attribute_of(self._transport, SecurityAttribute.closure_authenticated) is None:
            own[SecurityAttribute.closure_authenticated] = lambda: False
        return own
