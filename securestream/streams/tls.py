"""TlsStream: a record connection over any byte stream, from its first octet or as an upgrade of an open one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self, TypedDict

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint_if_cancelled

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Credential
from securestream.drive import Services
from securestream.errors import SecureStreamError, Truncated, Unsupported, UsageError
from securestream.framing.raw import RawFraming
from securestream.options import ContextFlags, Options, Protection, Role
from securestream.provider import Admit, Buffer, Established, SecurityContext, SecurityPackage
from securestream.records.base import PeerClosed, PlainData, RecordConnection
from securestream.streams._handshake import (
    HANDSHAKE_TIMEOUT,
    CredentialArgument,
    Settings,
    make_settings,
    perform_handshake,
    settings_of_connection,
)
from securestream.streams._sealed import ENDS, SealedStream, StreamState
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.transport import TcpStream

_FLAGS = (
    ContextFlags.CONFIDENTIALITY | ContextFlags.INTEGRITY | ContextFlags.REPLAY | ContextFlags.SEQUENCE
)  # what every TLS record has (RFC 8446 5)

_OPEN = StreamState.OPEN  # before Python 3.12 a look at an enumeration costs as much as a call


class WrapArguments(TypedDict, total=False):
    """The arguments of `TlsStream.wrap_client` and `TlsStream.wrap_server`, which document them, that mean the same for
    every stream of records: a subclass passes them on.
    """

    protection: Protection | None
    options: Options | None
    services: Services | None
    handshake_timeout: float
    received: bytes
    standard_compatible: bool


class TlsStream(SealedStream):
    """A TLS connection as a byte stream. Made by `wrap_client` and `wrap_server`."""

    _flush_size = 65536  # sealing more at once would cost fresh pages of memory each time

    def __init__(
        self, transport: ByteStream, established: Established, settings: Settings, *, leftover: bytes = b""
    ) -> None:
        connection = established.result
        if isinstance(connection, SecurityContext):
            raise UsageError(f"{settings.package.info.name} gives a security context: use NegotiateStream")
        super().__init__(transport, settings.package.info.name)
        self._live: RecordConnection | None = connection
        self._peer = established.peer
        self._delegated = established.delegated
        self._negotiation = established.negotiation
        self._target = settings.target
        self._standard_compatible = settings.standard_compatible
        self._closure: PeerClosed | None = None
        self._tcp = transport if isinstance(transport, TcpStream) else None
        self._take_in(self._unseal, leftover)  # data may have come with the last flight

    @classmethod
    async def wrap_client(
        cls,
        transport: ByteStream,
        *,
        package: str | SecurityPackage = "schannel",
        credential: CredentialArgument = None,
        target: str | None = None,
        protection: Protection | None = None,
        options: Options | None = None,
        services: Services | None = None,
        admit: Admit | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        received: bytes = b"",
        standard_compatible: bool = True,
    ) -> Self:
        """Speak TLS as a client over `transport`; for STARTTLS, over the stream that is open.

        Args:
            transport: an open byte stream; it belongs to the returned stream, and is closed if the handshake fails.
            package: a package whose result is a record connection, or the name of an installed one.
            credential: a `Certificate`, or `None`.
            target: the server's name or address, plain or as ``class/host``; it is what the certificate is checked for.
            protection: the least protection of the data.
            options: what else is asked of the handshake.
            services: who performs effects; `None` for the process-wide ones.
            admit: a last judgement on what was established.
            handshake_timeout: seconds for the whole handshake.
            received: octets that were already read from `transport`. Whatever had come before the upgrade began must
                stand here: it goes into TLS and is never delivered as data.
            standard_compatible: `False` takes an end of stream without close_notify for a proper one, although
                whoever is on the way may have cut the data off.

        Raises:
            HandshakeError: it failed at this end; `CertificateRejected` where the certificate was refused.
            PeerRefused: the server sent an alert.
            PeerGone: the server ended its stream.
            UsageError: the arguments cannot work.

        Cancelled, the transport is closed.
        """
        settings = make_settings(
            package=package,
            credential=credential,
            target=target,
            protection=protection,
            options=options,
            services=services,
            admit=admit,
            handshake_timeout=handshake_timeout,
            standard_compatible=standard_compatible,
        )
        return await cls._wrap(transport, Role.INITIATOR, settings, received)

    @classmethod
    async def wrap_server(
        cls,
        transport: ByteStream,
        *,
        package: str | SecurityPackage = "schannel",
        credential: Credential | None = None,
        protection: Protection | None = None,
        options: Options | None = None,
        services: Services | None = None,
        admit: Admit | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        received: bytes = b"",
        standard_compatible: bool = True,
    ) -> Self:
        """Speak TLS as a server over `transport`; arguments, errors and cancellation as for `wrap_client`.

        Args:
            transport: see `wrap_client`.
            package: see `wrap_client`; it says whether client certificates are asked for.
            credential: a `Certificate`, or `Credentials` of several.
            protection: see `wrap_client`.
            options: see `wrap_client`.
            services: see `wrap_client`.
            admit: see `wrap_client`; the peer is `Established.peer`.
            handshake_timeout: see `wrap_client`.
            received: see `wrap_client`.
            standard_compatible: see `wrap_client`.
        """
        settings = make_settings(
            package=package,
            credential=credential,
            protection=protection,
            options=options,
            services=services,
            admit=admit,
            handshake_timeout=handshake_timeout,
            standard_compatible=standard_compatible,
        )
        return await cls._wrap(transport, Role.ACCEPTOR, settings, received)

    @classmethod
    async def _wrap(cls, transport: ByteStream, role: Role, settings: Settings, received: bytes) -> Self:
        settings = await settings_of_connection(transport, role, settings)
        framing = RawFraming(settings.options.limits)
        carrier = await perform_handshake(transport, framing, role, settings, received)
        return cls(transport, carrier.established, settings, leftover=framing.trailing_data())

    @property
    def _connection(self) -> RecordConnection:
        if self._live is None:
            raise anyio.ClosedResourceError
        return self._live

    # --- sealing ---

    def _seal(self, data: memoryview) -> bytes:
        connection = self._live or self._connection
        connection.send(data)
        return connection.data_to_send()

    def _unseal(self, data: Buffer) -> None:
        connection = self._live or self._connection
        parts = connection.receive_plain(data)
        if self._plain:
            self._plain.extend(parts)
        elif parts:
            self._plain = deque(parts)
        self._take_events(connection)

    def _unseal_end(self) -> None:
        connection = self._connection
        connection.receive_eof()
        self._take_events(connection)

    def _take_events(self, connection: RecordConnection) -> None:
        while (event := connection.next_event()) is not None:
            if isinstance(event, PlainData):
                self._deliver(event.data)
            elif isinstance(event, PeerClosed):
                self._closure = event
                if self._standard_compatible and not event.authenticated:
                    raise anyio.BrokenResourceError from Truncated(
                        "the peer's stream ended without a close_notify: data may have been cut off"
                    )
                self._end(anyio.EndOfStream())

    def _farewell(self) -> bytes:
        try:
            self._connection.close()
        except SecureStreamError:  # the connection has failed: only its alert is owed
            pass
        return self._connection.data_to_send()

    def _discard(self) -> None:
        self._live = None  # OpenSSL keeps the keys for as long as the object lives

    # --- the stream ---

    async def send(self, item: bytes) -> None:
        """See `SealedStream.send`. What one system call takes goes the short way: the same steps with fewer calls."""
        tcp, lock = self._tcp, self._send_lock
        short = tcp is not None and self._state is _OPEN and 0 < len(item) <= self._flush_size
        if tcp is None or not short or lock.held or self._eof_sent:
            await super().send(item)
            return
        lock.held = True
        try:
            await tcp.enter()
            self._check_open()
            try:
                connection = self._live or self._connection
                connection.send(item)
                if (rest := tcp.send_now(connection.data_to_send())) is not None:
                    await rest
            except BaseException:
                self._cut_short = True
                self._break()
                self._check_closed()
                raise
        except ENDS as error:
            self.remember(error)
            raise
        finally:
            lock.release()

    def _own_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        own: dict[Any, Callable[[], Any]] = {
            SecurityAttribute.peer: lambda: self._peer,
            SecurityAttribute.package: lambda: self._package,
            SecurityAttribute.flags: lambda: _FLAGS,
            SecurityAttribute.protection: lambda: Protection.ENCRYPT_AND_SIGN,
            SecurityAttribute.target: lambda: self._target,
            SecurityAttribute.delegated: lambda: self._delegated,
            SecurityAttribute.bound: lambda: False,
            SecurityAttribute.closure_authenticated: self._closure_authenticated,
            SecurityAttribute.channel_bindings: self._channel_bindings,
            SecurityAttribute.alpn: lambda: self._connection.session.alpn,
            SecurityAttribute.tls_session: lambda: self._connection.session,
            SecurityAttribute.record_connection: lambda: self._connection,
        }
        negotiation = self._negotiation
        if negotiation is not None:  # of a mechanism inside TLS (CredSSP)
            own[SecurityAttribute.negotiation] = lambda: negotiation
        return own

    def _closure_authenticated(self) -> bool:
        return self._standard_compatible if self._closure is None else self._closure.authenticated

    def _channel_bindings(self) -> ChannelBindings:
        """What Windows and .NET bind to; where the certificate has no such binding, the exporter (RFC 9266)."""
        try:
            return self._connection.channel_bindings("tls-server-end-point")
        except Unsupported:
            return self._connection.channel_bindings("tls-exporter")

    async def send_eof(self) -> None:
        """Send close_notify; the peer can still send under TLS 1.3 (RFC 8446 6.1).

        Raises:
            UsageError: under TLS 1.2, where a close_notify ends both directions (RFC 5246 7.2.1).

        Further errors and cancellation as for `send`.
        """
        self._check_open()
        if self._connection.session.version != "TLSv1.3":
            raise UsageError("TLS 1.2 cannot end one direction alone: close the stream, or agree on an end in the data")
        await self._send_close()

    async def _send_close(self) -> None:
        await self._send_lock.acquire()
        try:
            self._check_open()
            await checkpoint_if_cancelled()
            if not self._eof_sent:
                self._eof_sent = True
                await self._flush(self._farewell())
        finally:
            self._send_lock.release()

    async def unwrap(self) -> tuple[ByteStream, bytes]:
        """End TLS politely and give the transport back, with the octets that the peer sent after its close_notify.

        Sends close_notify and waits for that of the peer.

        Raises:
            UsageError: there is data that was not received.
            anyio.BrokenResourceError: the peer ended without close_notify, or sent further data.
            anyio.BusyResourceError: another task is receiving.

        Cancelled, the stream is broken.
        """
        self._check_open()
        if self._receiving:
            raise anyio.BusyResourceError("reading from")
        if self._plain:
            raise UsageError("there is data to receive: read it to its end before unwrapping")
        self._receiving = True
        try:
            await self._send_close()
            while self._closure is None:
                if self._plain:
                    raise anyio.BrokenResourceError("the peer sent data while TLS was being ended")
                if self._ending is not None:
                    self._raise_ending(self._ending)
                await self._fill()
            if not self._closure.authenticated:
                raise anyio.BrokenResourceError from Truncated("the stream ended without a close_notify")
        except BaseException:
            self._break()
            raise
        finally:
            self._receiving = False
        trailing = self._connection.trailing_data()
        self._state = StreamState.CLOSED
        self._drop()
        return self._transport, trailing
