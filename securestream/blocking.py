"""Authenticated connections over blocking sockets: the synchronous driver, for programs without an event loop.

The same handshakes, framings and rules as the asynchronous streams; a thread blocks where a task would await::

    with blocking.connect("files.example", 9000) as connection:  # as whoever has run kinit
        connection.sendall(b"...")
        answer = connection.recv(65536)
"""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from threading import Lock
from typing import Self, cast

from securestream._channel import Channel, Frames, Records
from securestream.ambient import system_options
from securestream.carrier import CarrierHandshake, impersonation_of
from securestream.credentials import Credential
from securestream.drive import Services, respond_blocking
from securestream.errors import ContextExpired, HandshakeTimeout, UsageError
from securestream.framing.base import Framing
from securestream.framing.nns import NnsFraming
from securestream.framing.raw import RawFraming
from securestream.negotiation import Negotiation
from securestream.options import ImpersonationLevel, Options, Protection, Role
from securestream.principal import Principal
from securestream.provider import (
    Admit,
    Buffer,
    Capability,
    SecurityContext,
    SecurityPackage,
    TargetName,
)
from securestream.registry import DEFAULT_PACKAGE, package_of

READ_SIZE = 65536
HANDSHAKE_TIMEOUT = 30.0
"""Seconds that a handshake may take in all, unless told otherwise."""
FAREWELL_TIMEOUT = 1.0
"""Seconds that the last octets to a refused peer may take to leave."""


class SecureSocket:
    """An authenticated, protected connection over a connected blocking socket.

    `wrap_client` and `wrap_server` make one and perform the handshake: who the peer is is a result. One thread may send
    while another receives. The socket's own time-out (`socket.settimeout`) holds for sending and receiving.
    """

    def __init__(self, sock: socket.socket, carrier: CarrierHandshake, framing: Framing) -> None:
        """Use `wrap_client` or `wrap_server`."""
        established = carrier.established
        self._socket = sock
        self._peer = established.peer
        self._negotiation = established.negotiation
        self._protection = carrier.protection
        self._channel: Channel
        self._impersonation: ImpersonationLevel | None = None
        if isinstance(established.result, SecurityContext):
            self._impersonation = impersonation_of(established.result)
            self._channel = Frames(established.result, framing, carrier.protection)
            self._delegated = established.result.delegated
        else:
            self._delegated = established.delegated
            self._channel = Records(established.result, framing.trailing_data())
        self._ready = memoryview(b"")
        self._ended = self._broken = self._closed = False
        self._failure: Exception | None = None
        self._sending, self._receiving = Lock(), Lock()

    @classmethod
    def wrap_client(
        cls,
        sock: socket.socket,
        *,
        package: str | SecurityPackage = DEFAULT_PACKAGE,
        credential: Credential | None = None,
        target: str | None = None,
        protection: Protection | None = None,
        impersonation: ImpersonationLevel | None = None,
        options: Options | None = None,
        framing: Framing | None = None,
        services: Services | None = None,
        admit: Admit | None = None,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        received: bytes = b"",
    ) -> Self:
        """Perform the initiator's handshake on a connected socket.

        Args:
            sock: the socket, which belongs to the result from now on; it is closed when the handshake fails.
            package: the security package, or the name of one that is installed; by default Negotiate.
            credential: as whom; `None` for the package's default identity.
            target: the service to reach.
            protection: the least protection of the data; by default that of `options`, which is to encrypt and sign.
            impersonation: how far a server may act as its client: as a client the most that is allowed, as a server the
                least that is demanded; by default that of `options`, which is to identify it.
            options: what else is asked; `None` for `system_options()`.
            framing: the wire; `None` for that of .NET's NegotiateStream, or for a package like TLS, which is a protocol
                of its own, none.
            services: who performs effects; `None` for the process-wide ones.
            admit: judges the outcome before the last token leaves; raises a `HandshakeError` to refuse it.
            handshake_timeout: seconds for the whole handshake; `None` for no limit. A performer of effects that blocks
                is not interrupted, but the handshake fails when it comes back too late.
            received: octets that were read from the socket already.

        Raises:
            HandshakeError: the handshake failed; the peer was told.
            PeerRefused: the peer refused.
            PeerGone: the peer ended its stream.
            FramingError: the peer speaks something else.
            OSError: the socket failed.
        """
        asked = _asked(options, protection, impersonation)
        made = _Handshaking(sock, package, asked, framing, handshake_timeout)
        name = None if target is None else TargetName(target)
        return cls(sock, *made.run(Role.INITIATOR, credential, name, services, admit, received))

    @classmethod
    def wrap_server(
        cls,
        sock: socket.socket,
        *,
        package: str | SecurityPackage = DEFAULT_PACKAGE,
        credential: Credential | None = None,
        protection: Protection | None = None,
        impersonation: ImpersonationLevel | None = None,
        options: Options | None = None,
        framing: Framing | None = None,
        services: Services | None = None,
        admit: Admit | None = None,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        received: bytes = b"",
    ) -> Self:
        """Perform the acceptor's handshake on an accepted socket; arguments and errors are those of `wrap_client`."""
        asked = _asked(options, protection, impersonation)
        made = _Handshaking(sock, package, asked, framing, handshake_timeout)
        return cls(sock, *made.run(Role.ACCEPTOR, credential, None, services, admit, received))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "broken" if self._broken else "open"
        return f"<SecureSocket {self._peer.package} {state}>"

    @property
    def peer(self) -> Principal:
        """Who the peer is."""
        return self._peer

    @property
    def protection(self) -> Protection:
        """How data is protected."""
        return self._protection

    @property
    def impersonation(self) -> ImpersonationLevel | None:
        """How far the server may act as the client; `None` where the channel is TLS."""
        return self._impersonation

    @property
    def delegated(self) -> Credential | None:
        """The credential that the client delegated, fit to open the next connection; `None` if it did not."""
        return self._delegated

    @property
    def package(self) -> str:
        """Name of the security package; of several that were negotiated, the one that was chosen."""
        return self._peer.package

    @property
    def negotiation(self) -> Negotiation | None:
        """What was offered, what was chosen and why; `None` where the package was not negotiated."""
        return self._negotiation

    def fileno(self) -> int:
        """The socket's descriptor. That it is not readable does not mean that no data is at hand."""
        return self._socket.fileno()

    def sendall(self, data: Buffer) -> None:
        """Protect and send `data`.

        Raises:
            OSError: the socket failed or its time-out passed. What left is unknown, so nothing can be sent any more.
            ContextExpired: the connection is closed or was inherited through a fork.
        """
        with self._sending:
            self._check_open()
            if self._broken:
                raise BrokenPipeError("the connection failed earlier and cannot be used any more")
            self._broken = True
            for octets in self._channel.protect(memoryview(data).cast("B")):
                self._socket.sendall(octets)
            self._broken = False

    def recv(self, size: int = READ_SIZE) -> bytes:
        """Between 1 and `size` octets of data; ``b""`` when the peer ended its stream.

        With TLS the end was proved by a close_notify; otherwise it is the transport's, which anybody on the way can
        cause (SECURITY: closure).

        Raises:
            ContextError: what came was altered, out of order or not encrypted; nothing more is received.
            FramingError: the stream was cut off inside a frame, or is not of this framing.
            OSError: the socket failed or its time-out passed; after a time-out `recv` may be called again.
        """
        if size < 1:
            raise UsageError("receive at least one octet")
        with self._receiving:
            self._check_open()
            while not self._ready and not self._ended:
                data = self._next()
                if data is None:
                    self._channel.feed(self._socket.recv(READ_SIZE))
                elif 0 < len(data) <= size:
                    return data
                else:
                    self._ready, self._ended = memoryview(data), not data
            taken, self._ready = bytes(self._ready[:size]), self._ready[size:]
            return taken

    def unwrap(self) -> tuple[socket.socket, bytes]:
        """End the protection politely and give the socket back, with octets that were received behind it.

        TLS exchanges close_notify; data that the peer sends meanwhile is dropped. Other packages have no such message.
        """
        with self._sending, self._receiving:
            self._check_open()
            self._socket.sendall(self._channel.farewell())
            while self._channel.awaits_farewell and not self._ended:
                data = self._channel.next_data()
                if data is None:
                    self._channel.feed(self._socket.recv(READ_SIZE))
                self._ended = data == b""
            self._closed = True
            trailing = self._channel.trailing()
            self._channel.discard()
            return self._socket, trailing

    def close(self) -> None:
        """Drop the keys and close the socket; never waits for the peer. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._broken:
                self._socket.settimeout(0)
                self._socket.send(self._channel.farewell())
        except OSError:
            pass  # the peer does not read, or is gone: it sees the end of the transport
        finally:
            self._channel.discard()
            self._socket.close()

    def _next(self) -> bytes | None:
        if self._failure is not None:
            raise self._failure
        try:
            return self._channel.next_data()
        except Exception as error:  # whatever it is: what comes behind it cannot be trusted either
            self._failure, self._broken = error, True
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise ContextExpired("this connection is closed")


def connect(
    host: str,
    port: int,
    *,
    package: str | SecurityPackage = DEFAULT_PACKAGE,
    credential: Credential | None = None,
    target: str | None = None,
    protection: Protection | None = None,
    impersonation: ImpersonationLevel | None = None,
    options: Options | None = None,
    services: Services | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
) -> SecureSocket:
    """Connect to a server and authenticate; arguments and errors are those of `SecureSocket.wrap_client`.

    Args:
        host: name or address of the server.
        port: its TCP port.
        target: the service; `None` for ``host/<host>``.
        handshake_timeout: seconds for connecting and for the handshake, each.
    """
    sock = socket.create_connection((host, port), handshake_timeout)
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SecureSocket.wrap_client(
        sock,
        package=package,
        credential=credential,
        target=f"host/{host}" if target is None else target,
        protection=protection,
        impersonation=impersonation,
        options=options,
        services=services,
        handshake_timeout=handshake_timeout,
    )


def _asked(options: Options | None, protection: Protection | None, impersonation: ImpersonationLevel | None) -> Options:
    """The options, with what was given beside them in its place."""
    asked = system_options() if options is None else options
    if protection is not None:
        asked = replace(asked, protection=protection)
    return asked if impersonation is None else replace(asked, impersonation=impersonation)


def _source_of(sock: socket.socket) -> str:
    """The peer's address without its port; empty where there is none."""
    try:
        address: object = sock.getpeername()
    except OSError:  # the peer is gone already
        return ""
    return str(cast("tuple[object, ...]", address)[0]) if isinstance(address, tuple) else ""


def _default_framing(package: SecurityPackage, options: Options) -> Framing:
    return RawFraming() if Capability.STREAM in package.info.capabilities else NnsFraming(options.limits)


class _Handshaking:
    """One handshake under one deadline. Whatever ends it, the socket is closed or in the state in which it came."""

    def __init__(
        self,
        sock: socket.socket,
        package: str | SecurityPackage,
        options: Options,
        framing: Framing | None,
        timeout: float | None,
    ) -> None:
        self._socket = sock
        self._package = package_of(package)
        self._options = options if options.source else replace(options, source=_source_of(sock))
        self._framing = _default_framing(self._package, self._options) if framing is None else framing
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._interrupted = False

    def run(
        self,
        role: Role,
        credential: Credential | None,
        target: TargetName | None,
        services: Services | None,
        admit: Admit | None,
        received: bytes,
    ) -> tuple[CarrierHandshake, Framing]:
        before = self._socket.gettimeout()
        try:
            carrier = CarrierHandshake(
                self._package,
                role,
                framing=self._framing,
                options=self._options,
                credential=credential,
                target=target,
                admit=admit,
            )
            if received:
                self._framing.receive_data(received)
            self._exchange(carrier, services, min(self._options.limits.token_size, READ_SIZE))
        except BaseException:  # whatever it is, the peer is not kept waiting on a dead connection
            self._socket.close()
            raise
        self._socket.settimeout(before)
        return carrier, self._framing

    def _exchange(self, carrier: CarrierHandshake, services: Services | None, read_size: int) -> None:
        token: bytes | None = None
        try:
            while not carrier.is_complete:
                step = respond_blocking(carrier.machine, token, services)
                self._limit()
                self._send(carrier.answer(step))
                while (token := carrier.next_token()) is None and not carrier.is_complete:
                    if octets := self._receive(read_size):
                        self._framing.receive_data(octets)
                    else:
                        self._framing.receive_eof()
        except BaseException as error:  # an interrupt, too, is told to the peer
            owed = carrier.refuse(error)
            if owed and not self._interrupted:
                self._say_farewell(owed)
            raise
        finally:
            del token  # this frame is in the traceback of what is raised

    def _send(self, octets: bytes) -> None:
        if octets:
            self._interrupted = True
            try:
                self._limit()
                self._socket.sendall(octets)
            except TimeoutError:
                raise self._too_late() from None
            self._interrupted = False

    def _receive(self, size: int) -> bytes:
        self._limit()
        try:
            return self._socket.recv(size)
        except TimeoutError:
            raise self._too_late() from None

    def _limit(self) -> None:
        if self._deadline is None:
            self._socket.settimeout(None)
            return
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._too_late()
        self._socket.settimeout(left)

    def _too_late(self) -> HandshakeTimeout:
        return HandshakeTimeout("the handshake took too long: look whether the peer answers, or allow more time")

    def _say_farewell(self, octets: bytes) -> None:
        try:
            self._socket.settimeout(FAREWELL_TIMEOUT)
            self._socket.sendall(octets)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone or does not read: it sees the end of the transport
