"""Where a KDC listens: UDP, TCP and HTTPS ([MS-KKDCP]) for tickets, UDP and TCP for passwords; all of it bounded."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketStream, TaskGroup, UDPSocket
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream
from anyio.to_thread import run_sync

from securestream.ambient import system_clock
from securestream.errors import MalformedMessage, UsageError
from securestream.options import Clock
from securestream_providers.kerberos.kdc.core import LARGEST_REQUEST, Kdc
from securestream_providers.kerberos.kdc.passwords import PasswordService
from securestream_providers.krb5.kkdcp import CONTENT_TYPE, PATH, unwrap_proxied, wrap_proxied

_log = logging.getLogger(__name__)
_ATTEMPTS: Final = 20
_LARGEST_HEAD: Final = 8192
_REQUESTS_AT_ONCE: Final = 16

Answer: TypeAlias = Callable[[bytes, str, str, bool], "bytes | None"]
"""From a request, the client's address, ours, and whether it came by a stream, to the reply."""


@dataclass(frozen=True)
class ServerLimits:
    """What a server spends on strangers.

    Args:
        connections: at the same time, over TCP and HTTPS together.
        connections_of_source: of them from one address.
        idle: seconds that a connection may take for its next request.
        requests: on one connection.
        datagrams: that are worked on at the same time, where the database may block; further ones are dropped.
    """

    connections: int = 256
    connections_of_source: int = 64
    idle: float = 10.0
    requests: int = 1000
    datagrams: int = 64


@dataclass
class _Open:
    """Connections at present, by source."""

    total: int = 0
    sources: dict[str, int] = field(default_factory=dict[str, int])


class KdcServer:
    """A running KDC: ``async with KdcServer(kdc, passwords): ...`` serves until the block ends.

    Args:
        kdc: the KDC.
        passwords: the password service, or `None` for none.
        host: the address to listen at.
        port: for tickets, over UDP and TCP; 0 lets the system choose.
        password_port: likewise for passwords.
        https: the TLS configuration of the proxy protocol; `None` for none.
        https_port: of the proxy protocol.
        clock: gives the present time.
        limits: what is spent on strangers.
    """

    def __init__(
        self,
        kdc: Kdc,
        passwords: PasswordService | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        password_port: int = 0,
        https: ssl.SSLContext | None = None,
        https_port: int = 0,
        plain_http: bool = False,
        clock: Clock = system_clock,
        limits: ServerLimits = ServerLimits(),
    ) -> None:
        if plain_http and not _is_loopback(host):
            raise UsageError("the proxy protocol without TLS is for loopback only")
        self.kdc = kdc
        self.passwords = passwords
        self.host = host
        self.port = port
        self.password_port = password_port
        self.https_port = https_port
        self._https = https
        self._plain_http = plain_http
        self._clock = clock
        self._limits = limits
        self._open = _Open()
        self._stack: AsyncExitStack | None = None
        self._blocking = kdc.realm.database.blocking
        self._limiter: anyio.CapacityLimiter | None = None
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._limiter = anyio.CapacityLimiter(_REQUESTS_AT_ONCE)
            tickets = await self._listen(stack, self.port)
            self.port = tickets[0].extra(SocketAttribute.local_port)
            passwords = None if self.passwords is None else await self._listen(stack, self.password_port)
            if passwords is not None:
                self.password_port = passwords[0].extra(SocketAttribute.local_port)
            proxy: Listener[SocketStream] | None = None
            if self._https is not None or self._plain_http:
                proxy = await stack.enter_async_context(
                    await anyio.create_tcp_listener(local_host=self.host, local_port=self.https_port)
                )
                self.https_port = proxy.extra(SocketAttribute.local_port)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            self._serve(tasks, *tickets, self._tickets)
            if passwords is not None:
                self._serve(tasks, *passwords, self._passwords)
            if proxy is not None:
                tasks.start_soon(proxy.serve, self._proxied)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        stack, self._stack = self._stack, None
        return None if stack is None else await stack.__aexit__(kind, error, trace)

    # --- answers

    def _tickets(self, request: bytes, source: str, local: str, stream: bool) -> bytes | None:
        return self.kdc.handle(request, now=self._clock(), source=source, stream=stream)

    def _passwords(self, request: bytes, source: str, local: str, stream: bool) -> bytes | None:
        if self.passwords is None:
            return None
        return self.passwords.handle(request, now=self._clock(), source=source, local=local)

    async def _answered(self, answer: Answer, request: bytes, source: str, local: str, *, stream: bool) -> bytes | None:
        """The reply; a bug costs this request, with a log line, and not the server."""
        try:
            if self._blocking or answer == self._passwords:  # a new password costs its key derivations
                return await run_sync(answer, request, source, local, stream, limiter=self._limiter)
            return answer(request, source, local, stream)
        except Exception:  # one request must not end the KDC of a realm; the trace says where
            _log.exception("a request from %s could not be answered", source)
            return None

    # --- listening

    async def _listen(self, stack: AsyncExitStack, port: int) -> tuple[Listener[SocketStream], UDPSocket]:
        listener, datagrams = await _listeners(self.host, port)
        await stack.enter_async_context(listener)
        await stack.enter_async_context(datagrams)
        return listener, datagrams

    def _serve(self, tasks: TaskGroup, listener: Listener[SocketStream], datagrams: UDPSocket, answer: Answer) -> None:
        async def connected(stream: SocketStream) -> None:
            await self._bounded(stream, lambda: self._stream(stream, answer))

        tasks.start_soon(listener.serve, connected)
        tasks.start_soon(self._datagrams, datagrams, answer, tasks)

    async def _datagrams(self, datagrams: UDPSocket, answer: Answer, tasks: TaskGroup) -> None:
        while True:
            try:
                request, (host, port) = await datagrams.receive()
            except anyio.ClosedResourceError:
                return
            except (OSError, anyio.BrokenResourceError):
                continue  # an ICMP error of an earlier reply
            if self._waiting < self._limits.datagrams:
                self._waiting += 1
                if self._blocking or answer == self._passwords:
                    tasks.start_soon(self._datagram, datagrams, answer, request, host, port)
                else:
                    await self._datagram(datagrams, answer, request, host, port)

    async def _datagram(self, datagrams: UDPSocket, answer: Answer, request: bytes, host: str, port: int) -> None:
        try:
            local = _local_address(self.host, host) if answer == self._passwords else ""
            reply = await self._answered(answer, request, host, local, stream=False)
            if reply is not None:
                await datagrams.sendto(reply, host, port)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            _log.debug("a reply to %s was not sent: %s", host, error)
        finally:
            self._waiting -= 1

    async def _bounded(self, stream: SocketStream, serve: Callable[[], Awaitable[None]]) -> None:
        """Serve a connection, unless there are too many; whatever its peer does, it ends alone."""
        source, known = _host(stream, SocketAttribute.remote_address), self._open
        async with stream:
            of_source = known.sources.get(source, 0)
            if known.total >= self._limits.connections or of_source >= self._limits.connections_of_source:
                return
            known.total += 1
            known.sources[source] = of_source + 1
            try:
                await serve()
            except (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, TimeoutError) as error:
                _log.debug("a connection from %s ended: %s", source, type(error).__name__)
            except (anyio.DelimiterNotFound, anyio.ClosedResourceError, ValueError) as error:
                _log.debug("a connection from %s ended: %s", source, type(error).__name__)
            finally:
                known.total -= 1
                known.sources[source] -= 1
                if not known.sources[source]:
                    del known.sources[source]

    async def _stream(self, stream: SocketStream, answer: Answer) -> None:
        """Requests with their length in front (RFC 4120 7.2.2)."""
        source = _host(stream, SocketAttribute.remote_address)
        local = _host(stream, SocketAttribute.local_address)
        buffered = BufferedByteReceiveStream(stream)
        for _ in range(self._limits.requests):
            with anyio.fail_after(self._limits.idle):
                length = int.from_bytes(await buffered.receive_exactly(4), "big")
                if length > LARGEST_REQUEST:  # the high bit among them: an extension that we do not know
                    return
                request = await buffered.receive_exactly(length)
            reply = await self._answered(answer, request, source, local, stream=True)
            if reply is None:
                return
            with anyio.fail_after(self._limits.idle):
                await stream.send(len(reply).to_bytes(4, "big") + reply)

    # --- the proxy protocol

    async def _proxied(self, stream: SocketStream) -> None:
        await self._bounded(stream, lambda: self._http(stream))

    async def _http(self, stream: SocketStream) -> None:
        source = _host(stream, SocketAttribute.remote_address)
        with anyio.fail_after(self._limits.idle):
            channel: ByteStream = stream
            if self._https is not None:
                channel = await TLSStream.wrap(
                    stream, server_side=True, ssl_context=self._https, standard_compatible=False
                )
            buffered = BufferedByteReceiveStream(channel)
            head = await buffered.receive_until(b"\r\n\r\n", _LARGEST_HEAD)
            length = _content_length(head)
            body = b"" if length is None else await buffered.receive_exactly(length)
        status, reply = (b"400 Bad Request", b"") if length is None else await self._proxy(head, body, source)
        answer = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
        with anyio.fail_after(self._limits.idle):
            await channel.send(answer % (status, CONTENT_TYPE.encode(), len(reply), reply))
            await channel.aclose()

    async def _proxy(self, head: bytes, body: bytes, source: str) -> tuple[bytes, bytes]:
        """A request for our own realm; others are not passed on."""
        method, _, rest = head.partition(b" ")
        if method != b"POST" or rest.partition(b" ")[0].strip(b"/").lower() != PATH.lower().encode():
            return b"404 Not Found", b""
        try:
            message, realm = unwrap_proxied(body)
        except MalformedMessage:
            return b"400 Bad Request", b""
        if realm is not None and realm.casefold() != self.kdc.realm.name.casefold():
            return b"403 Forbidden", b""
        is_request = message[:1] in (b"\x6a", b"\x6c")
        answer = self._tickets if is_request or self.passwords is None else self._passwords
        reply = await self._answered(answer, message, source, "", stream=True)
        return (b"400 Bad Request", b"") if reply is None else (b"200 OK", wrap_proxied(reply))


async def _listeners(host: str, port: int) -> tuple[Listener[SocketStream], UDPSocket]:
    """Listen over TCP and UDP at one port; a port that is free for one of them alone is passed over."""
    for attempt in range(_ATTEMPTS):
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
        chosen: int = listener.extra(SocketAttribute.local_port)
        try:
            return listener, await anyio.create_udp_socket(local_host=host, local_port=chosen)
        except OSError:
            await listener.aclose()
            if port or attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError


def _content_length(head: bytes) -> int | None:
    """The length of a request's body; `None` where it has none that we take."""
    lengths = [
        value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        if name.strip().lower() == b"content-length"
    ]
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 7:
        return None
    length = int(lengths[0])
    return length if length <= LARGEST_REQUEST else None


def _host(stream: SocketStream, attribute: Any) -> str:
    address: Any = stream.extra(attribute, "")
    return address if isinstance(address, str) else str(address[0])


def _local_address(bound: str, peer: str) -> str:
    """The address at which `peer` reaches us, where we are bound to all of them."""
    try:
        if not ipaddress.ip_address(bound).is_unspecified:
            return bound
        family = socket.AF_INET6 if ":" in peer else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((peer, 9))  # sends nothing: asks the routing table
            return str(probe.getsockname()[0])
    except (ValueError, OSError):
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
