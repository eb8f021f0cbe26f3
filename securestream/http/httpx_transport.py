"""`SecureTransport`: a transport of httpx that owns its connections, so that handshakes of several legs (NTLM) work.

Authentication happens below httpx's redirects: each request that httpx makes is looked at by itself, and what it sees
of a request never holds credentials. HTTP/1.1 only, since a connection of HTTP/2 is shared (SECURITY: HTTP).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Literal, Self, cast

import anyio

try:
    import httpcore
    import httpx
except ImportError as error:
    raise ImportError("securestream.http.httpx_transport needs httpx: pip install 'securestream[http]'") from error

from securestream.drive import Services, respond
from securestream.errors import InvalidToken, LimitExceeded, MalformedMessage, PeerGone, PeerRefused, UsageError
from securestream.http.client import HttpClient
from securestream.http.httpx_values import ESTABLISHED, PEER, AsyncOnly, certificate_of, origin_of, request_of
from securestream.http.performing import bound, http_options
from securestream.http.schemes import ClientScheme, HttpReply, HttpRequest, Origin, SendRequest
from securestream.machine import HandshakeMachine
from securestream.options import Options
from securestream.provider import Established

_log = logging.getLogger(__name__)

KEPT: Final = 10
"""Idle connections that are kept."""
KEEPALIVE: Final = 5.0
"""Seconds that an idle connection is kept."""
STRAYED: Final = "securestream.strayed"
"""Where in a request's extensions, which httpx takes along on a redirect, it is noted that another origin was asked."""
DRAINED: Final = 1 << 20
"""Octets of a 401 response that are read so that its connection can go on."""
_ANSWERS: Final = (SendRequest,)
_BACKEND: Final = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())  # on asyncio and on trio
_ERRORS: Final = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.TimeoutException, httpx.TimeoutException),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.NetworkError, httpx.NetworkError),
    (httpcore.ProxyError, httpx.ProxyError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
)


class SecureTransport(AsyncOnly, httpx.AsyncBaseTransport):
    """Connections of `httpx.AsyncClient` that authenticate to one origin, and to a proxy.

    ``response.extensions["securestream.peer"]`` is the server's `Principal` where a handshake completed with that
    response. Requests to other origins go out without authentication, and so does what another origin redirected here:
    nobody else can make authenticated requests. Only redirects from what went through this transport are seen.

    Args:
        origin: whom to answer, ``scheme://host[:port]``.
        schemes: what to answer with, in order of preference.
        verify: the TLS context; `None` for the system's authorities. ``"none"`` gives up the proof of who the server
            is, and so of whom a password is shown to.
        options: what is asked of handshakes; by default no protection of data, which is TLS's business.
        services: who performs effects; `None` for the process-wide ones.
        preemptive: whether to authenticate before the server asks; not again on a connection that a handshake of
            several legs authenticated.
        proxy: ``http://host:port`` or ``https://...`` through which every connection is made, by CONNECT.
        proxy_schemes: what to answer the proxy with.
    """

    def __init__(
        self,
        origin: str,
        *schemes: ClientScheme,
        verify: ssl.SSLContext | Literal["none"] | None = None,
        options: Options | None = None,
        services: Services | None = None,
        preemptive: bool = False,
        proxy: str | None = None,
        proxy_schemes: Sequence[ClientScheme] = (),
    ) -> None:
        self._client = HttpClient(origin, *schemes)
        self._verify = _checked(verify)
        self._options = http_options(options)
        self._services = services
        self._preemptive = preemptive
        self._proxy = None if proxy is None else Origin.parse(proxy)
        self._proxy_client = None
        if proxy_schemes:
            if self._proxy is None:
                raise UsageError("schemes for a proxy need the proxy")
            self._proxy_client = HttpClient(self._proxy, *proxy_schemes, proxy=True)
        self._idle: list[_Link] = []
        self._closed = False

    def __repr__(self) -> str:
        return f"<SecureTransport of {self._client.origin}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all idle connections; one in use is closed at the end of its response."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, with as many legs as its authentication takes; its content is held in memory for them.

        Raises:
            HandshakeError: the handshake failed here; among others, the server did not prove itself.
            PeerGone: the server closed the connection in the middle of the handshake.
            httpx.TransportError: the connection failed.
        """
        content = await request.aread()
        origin = origin_of(request.url)
        strayed = STRAYED in request.extensions
        if origin != self._client.origin:
            request.extensions = {**request.extensions, STRAYED: True}
        client = None if strayed else self._client
        link = None if strayed else await self._kept(origin)  # which may be an authenticated one
        link = link or _Link(origin, self._open)
        try:
            if not link.is_open:
                await link.open(request.extensions)
            preempt = self._preemptive and not link.is_authenticated
            asked = request_of(request, with_body=self._client.needs_body)
            made = _Made(request.method.encode("ascii"), _url_of(request.url), request.headers.raw, content)
            response, established = await self._converse(client, asked, made, link, request.extensions, preempt)
        except BaseException as error:  # whatever it is, nobody else gets a connection in the middle of a handshake
            with anyio.CancelScope(shield=True):
                await link.aclose()
            for theirs, ours in _ERRORS:
                if isinstance(error, theirs):
                    raise ours(str(error), request=request) from error
            raise
        extensions = _extensions(response)
        if established is not None:
            extensions.update({PEER: established.peer, ESTABLISHED: established})
        stream = _ResponseStream(self, link, response)
        return httpx.Response(response.status, headers=response.headers, stream=stream, extensions=extensions)

    async def _converse(
        self,
        client: HttpClient | None,
        asked: HttpRequest,
        made: _Made,
        link: _Link,
        extensions: MutableMapping[str, Any],
        preempt: bool,
    ) -> tuple[httpcore.Response, Established | None]:
        """Send a request until it is answered otherwise than by a challenge that `client` answers."""
        response: httpcore.Response | None = None
        machine: HandshakeMachine | None = None
        if client is not None and preempt:
            machine = client.begin(asked, None, bound(self._options, link.certificate), keeps_connection=True)
        if client is None or machine is None:
            response = await link.send(made, extensions)
            if client is None:
                return response, None
            reply = await _reply(response, client)
            machine = client.begin(asked, reply, bound(self._options, link.certificate), keeps_connection=True)
            if machine is None:
                if reply.is_challenge:
                    _log.warning("%s", client.unanswered(reply))
                return response, None
            await _drain(response, link)
            if not link.is_available:  # the server closes after its challenge: the handshake begins on another one
                machine.close()
                await link.aclose()
                await link.open(extensions)
                machine = client.begin(asked, reply, bound(self._options, link.certificate), keeps_connection=True)
                if machine is None:
                    raise UsageError(f"{client!r} answers a challenge once, and not again")
        with closing(machine):
            return await self._handshake(client, machine, made, link, extensions)

    async def _handshake(
        self,
        client: HttpClient,
        machine: HandshakeMachine,
        made: _Made,
        link: _Link,
        extensions: MutableMapping[str, Any],
    ) -> tuple[httpcore.Response, Established | None]:
        response: httpcore.Response | None = None
        several = False
        step = await respond(machine, None, self._services, answers=_ANSWERS)
        while isinstance(step.need, SendRequest):
            if response is not None:
                await _drain(response, link)
                if step.need.same_connection and not link.is_available:
                    raise PeerGone("the server closed the connection in the middle of the handshake: try again")
            several = several or step.need.same_connection
            name = b"Proxy-Authorization" if client.is_proxy else b"Authorization"
            response = await link.send(made.authorized(name, step.need.authorization), extensions)
            try:
                step = await respond(machine, await _reply(response, client), self._services, answers=_ANSWERS)
            except PeerRefused:
                return response, None  # the response says so itself
        if response is None:
            raise UsageError("a scheme's handshake sends the request at least once")
        link.is_authenticated = several and step.established is not None
        return response, step.established

    # --- connections ---------------------------------------------------------------------------------------------

    async def _kept(self, origin: Origin) -> _Link | None:
        """A connection that is idle and that the server has not closed meanwhile."""
        while (link := next((one for one in self._idle if one.origin == origin), None)) is not None:
            self._idle.remove(link)
            if link.is_available:
                return link
            await link.aclose()
        return None

    async def give_back(self, link: _Link) -> None:
        """Keep a connection whose response was read to its end; close any other."""
        if self._closed or not link.is_available or len(self._idle) >= KEPT:
            await link.aclose()
        else:
            self._idle.append(link)

    async def _open(self, origin: Origin, extensions: MutableMapping[str, Any]) -> httpcore.AsyncNetworkStream:
        via = self._proxy or origin
        seconds = _connect_timeout(extensions)
        stream = await _BACKEND.connect_tcp(via.host, via.port, timeout=seconds)
        try:
            if via.is_secure:
                stream = await self._start_tls(stream, via, seconds)
            if self._proxy is not None:
                stream = await self._tunnel(stream, self._proxy, origin, extensions)
                if origin.is_secure:
                    stream = await self._start_tls(stream, origin, seconds)
        except BaseException:  # whatever it is, the connection is nobody's
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            raise
        return stream

    async def _start_tls(
        self, stream: httpcore.AsyncNetworkStream, origin: Origin, seconds: float | None
    ) -> httpcore.AsyncNetworkStream:
        if self._verify is None:
            self._verify = httpcore.default_ssl_context()
        self._verify.set_alpn_protocols(["http/1.1"])
        return await stream.start_tls(self._verify, server_hostname=origin.host, timeout=seconds)

    async def _tunnel(
        self,
        stream: httpcore.AsyncNetworkStream,
        proxy: Origin,
        origin: Origin,
        extensions: MutableMapping[str, Any],
    ) -> httpcore.AsyncNetworkStream:
        """Ask the proxy for a connection to `origin` (RFC 9110 9.3.6), authenticated where it asks for that."""

        async def again(_: Origin, extensions: MutableMapping[str, Any]) -> httpcore.AsyncNetworkStream:
            seconds = _connect_timeout(extensions)
            opened = await _BACKEND.connect_tcp(proxy.host, proxy.port, timeout=seconds)
            return await self._start_tls(opened, proxy, seconds) if proxy.is_secure else opened

        link = _Link(proxy, again)
        link.use(stream)
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{host}:{origin.port}"
        url = httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target=target)
        made = _Made(b"CONNECT", url, [(b"Host", target.encode("ascii"))], b"")
        asked = HttpRequest("CONNECT", target, proxy, proxy=True)
        response, _ = await self._converse(self._proxy_client, asked, made, link, extensions, self._preemptive)
        if not 200 <= response.status < 300:
            raise httpcore.ProxyError(f"the proxy {proxy} answered {response.status} to CONNECT {target}")
        return cast("httpcore.AsyncNetworkStream", _extensions(response)["network_stream"])


@dataclass(frozen=True)
class _Made:
    """A request as it is sent."""

    method: bytes
    url: httpcore.URL
    headers: list[tuple[bytes, bytes]]
    content: bytes

    def authorized(self, name: bytes, value: str) -> _Made:
        kept = [(key, text) for key, text in self.headers if key.lower() != name.lower()]
        return replace(self, headers=[*kept, (name, value.encode("latin-1"))])


class _Link:
    """One connection at a time to an origin; it serves one request at a time."""

    def __init__(
        self,
        origin: Origin,
        opener: Callable[[Origin, MutableMapping[str, Any]], Awaitable[httpcore.AsyncNetworkStream]],
    ) -> None:
        self.origin = origin
        self.is_authenticated = False
        self.certificate: bytes | None = None
        self._opener = opener
        self._connection: httpcore.AsyncHTTP11Connection | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def is_available(self) -> bool:
        connection = self._connection
        return connection is not None and connection.is_idle() and not connection.has_expired()

    async def open(self, extensions: MutableMapping[str, Any]) -> None:
        self.use(await self._opener(self.origin, extensions))

    def use(self, stream: httpcore.AsyncNetworkStream) -> None:
        self.certificate = certificate_of(stream)
        self.is_authenticated = False
        origin = httpcore.Origin(self.origin.scheme.encode(), self.origin.host.encode(), self.origin.port)
        self._connection = httpcore.AsyncHTTP11Connection(origin, stream, keepalive_expiry=KEEPALIVE)

    async def send(self, made: _Made, extensions: MutableMapping[str, Any]) -> httpcore.Response:
        if self._connection is None:
            raise UsageError("the connection is not open")
        request = httpcore.Request(
            made.method, made.url, headers=made.headers, content=made.content, extensions=dict(extensions)
        )
        return await self._connection.handle_async_request(request)

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()


class _ResponseStream(httpx.AsyncByteStream):
    """The content of a response; its connection goes back when it is closed."""

    def __init__(self, transport: SecureTransport, link: _Link, response: httpcore.Response) -> None:
        self._transport = transport
        self._link = link
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            if "_content" in vars(self._response):
                yield self._response.content
                return
            async for part in self._response.aiter_stream():
                yield part
        except httpcore.TimeoutException as error:
            raise httpx.ReadTimeout(str(error)) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.ReadError(str(error)) from error

    async def aclose(self) -> None:
        await self._response.aclose()
        await self._transport.give_back(self._link)


async def _reply(response: httpcore.Response, client: HttpClient) -> HttpReply:
    body: bytes | None = None
    if client.needs_body and response.status != (407 if client.is_proxy else 401):  # a challenge proves nothing
        body = await response.aread()
        await response.aclose()
    prefix = b"proxy-" if client.is_proxy else b""
    challenges = b"proxy-authenticate" if client.is_proxy else b"www-authenticate"
    try:
        return HttpReply.received(
            response.status,
            [value for name, value in response.headers if name.lower() == challenges],
            [v.decode("latin-1") for name, v in response.headers if name.lower() == prefix + b"authentication-info"],
            body=body,
            proxy=client.is_proxy,
        )
    except MalformedMessage as error:
        raise InvalidToken(f"the challenges of the server are malformed: {error}") from error


async def _drain(response: httpcore.Response, link: _Link) -> None:
    """Read a response that asks for authentication to its end, within bounds, so that its connection can go on."""
    if "_content" not in vars(response):
        size = 0
        try:
            async for part in response.aiter_stream():
                size += len(part)
                if size > DRAINED:  # the iterator goes on to its end, which comes now: trio wants to see it
                    await link.aclose()
        except httpcore.NetworkError:
            if size <= DRAINED:
                raise
        if size > DRAINED:
            raise LimitExceeded(f"the server's challenge has more than {DRAINED} octets of content")
    await response.aclose()


def _url_of(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _connect_timeout(extensions: MutableMapping[str, Any]) -> float | None:
    """Seconds for connecting, as httpx hands them to transports."""
    timeouts = cast("dict[str, float | None]", extensions.get("timeout") or {})
    return timeouts.get("connect")


def _extensions(response: httpcore.Response) -> dict[str, Any]:
    given: Any = response.extensions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # untyped
    return dict(given)


def _checked(verify: ssl.SSLContext | Literal["none"] | None) -> ssl.SSLContext | None:
    if verify == "none":
        context = httpcore.default_ssl_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if verify is not None and (verify.verify_mode != ssl.CERT_REQUIRED or not verify.check_hostname):
        raise UsageError('this TLS context does not verify the server: say verify="none" if that is meant')
    return verify
