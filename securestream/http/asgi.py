"""An ASGI middleware that authenticates requests: the application finds a `Principal` in the scope.

Handshakes of one leg (Kerberos, Digest) need nothing else. Those of several legs (NTLM) belong to one connection, which
ASGI does not show: they are offered where the server puts an `HttpConnection` of each of its connections into the
scope's state, as `securestream.http.uvicorn_connections` does.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias, cast

from securestream.arguments import check_sequence
from securestream.channel_bindings import ChannelBindings
from securestream.drive import Services
from securestream.errors import HandshakeError, InvalidToken, MalformedMessage, UsageError, kind_of, lies_at_this_end
from securestream.http.performing import authenticate, bound, http_options
from securestream.http.schemes import HttpField, HttpRequest, Origin, ServerScheme
from securestream.http.server import Admitted, HttpConnection, HttpServer, Refused
from securestream.options import Options
from securestream.provider import Admit
from securestream.readable import printable

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

PEER: Final = "securestream.peer"
"""Where in the scope the client's `Principal` stands; `None` where `AuthenticationMiddleware` lets nobody in, too."""
ESTABLISHED: Final = "securestream.established"
"""Where in the scope the outcome of the handshake stands, with a delegated credential, if any. The keys of its context
last as long as the request, or as the connection that it authenticated."""
CONNECTION: Final = "securestream.connection"
"""Where in the scope's state a server puts the `HttpConnection` of the request's connection."""
BODY_LIMIT: Final = 1 << 20
"""Octets of a body that are read where a scheme looks at it."""

_log = logging.getLogger(__name__)

_PROXIED: Final = frozenset((b"via", b"forwarded", b"x-forwarded-for"))
"""Fields by which a proxy tells that it passed the request on."""


def connection_of(scope: Scope) -> HttpConnection | None:
    """The connection of a request, where the server gives it and it is HTTP/1.1; `None` elsewhere, for a client whose
    address and port are others than those that the connection had, and for what a proxy passed on, which may send
    requests of several clients through one connection.
    """
    if scope.get("http_version") != "1.1" or any(name.lower() in _PROXIED for name, _ in scope["headers"]):
        return None
    state = cast("dict[str, Any]", scope.get("state") or {})
    found = state.get(CONNECTION)
    if not isinstance(found, HttpConnection):
        return None
    client = tuple(scope.get("client") or ())
    if found.client is None:
        found.client = client
    return found if found.client == client else None


class AuthenticationMiddleware:
    """Wraps an ASGI application; requests that authenticate nobody never reach it.

    The client is told as little as its scheme tells; why a request was refused, the log says. Override
    `handle_handshake_error` to do more about it.

    Args:
        app: the application.
        schemes: what is offered, the preferred one first.
        options: what is asked of handshakes; by default no protection of data, which is TLS's business.
        bindings: of the TLS that clients see, used for requests of a secure origin: `ChannelBindings`, or a function
            from the scope to them; `None` takes them from the certificate that the server shows by ASGI's TLS
            extension, where it does.
        connection: how to find the `HttpConnection` of a request; never anything that clients share.
        services: who performs effects; `None` for the process-wide ones.
        admit: a further judgement of who was authenticated; raises `NotAuthorized` to answer 403.
        optional: whether requests without credentials reach the application, with nobody as their peer.
        proxy: whether the application is a proxy: 407 and the Proxy- fields.
        body_limit: octets of a request's or response's body that may be held in memory for schemes that look at it.
        origin: ``scheme://host[:port]`` as clients see it; `None` takes the scope's scheme and the Host field, which is
            wrong behind a proxy that ends TLS.
    """

    def __init__(
        self,
        app: Application,
        schemes: Sequence[ServerScheme],
        *,
        options: Options | None = None,
        bindings: ChannelBindings | Callable[[Scope], ChannelBindings | None] | None = None,
        connection: Callable[[Scope], HttpConnection | None] = connection_of,
        services: Services | None = None,
        admit: Admit | None = None,
        optional: bool = False,
        proxy: bool = False,
        body_limit: int = BODY_LIMIT,
        origin: str | None = None,
    ) -> None:
        check_sequence("schemes", schemes, '[TokenScheme("Negotiate", Negotiate())]')
        self._app = app
        self._server = HttpServer(*schemes, admit=admit, proxy=proxy)
        self._options = http_options(options)
        self._bindings = bindings
        self._connection = connection
        self._services = services
        self._optional = optional
        self._body_limit = body_limit
        self._origin = None if origin is None else Origin.parse(origin)

    @property
    def server(self) -> HttpServer:
        """What authenticates the requests."""
        return self._server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket, whose opening request is authenticated.

        Raises:
            UsageError: the server has another protocol, which nobody could authenticate in.
        """
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise UsageError(f"AuthenticationMiddleware authenticates http and websocket, not {scope['type']}")
        try:
            request = self._request(scope)
        except MalformedMessage as error:
            malformed = InvalidToken(f"the credentials are malformed: {error}")
            await self.handle_handshake_error(malformed, _source(scope))
            await _respond(scope, receive, send, 400, (), str(malformed))
            return
        scheme = self._server.scheme_of(request)
        if scheme is not None and scheme.needs_body and scope["type"] == "http":
            body = await _read(receive, self._body_limit)
            if body is None:
                await _respond(scope, receive, send, 413, (), "the content is too long to authenticate", close=True)
                return
            request = replace(request, body=body)
            receive = _replay(body, receive)
        outcome: Admitted | Refused | None
        if request.authorization is None and self._optional:
            outcome = self._known(scope)
        else:
            outcome = await authenticate(
                self._server, request, self._options_for(request, scope), self._connection(scope), self._services
            )
        if isinstance(outcome, Refused):
            if outcome.error is not None:
                await self.handle_handshake_error(outcome.error, _source(scope))
            await _refuse(scope, receive, send, outcome)
            return
        await self._serve(scope, receive, send, outcome)

    async def handle_handshake_error(self, error: HandshakeError, source: str) -> None:
        """Credentials came and were refused; the response says so. Logs one line; what is amiss at this end (no
        keytab, a store that fails) as a warning, all else as information.

        Override it to count, or to ban.

        Args:
            error: why.
            source: the client's address.
        """
        level = logging.WARNING if lies_at_this_end(error) else logging.INFO
        who, why = printable(source) or "a client", printable(str(error))  # both may hold what the client chose
        _log.log(level, "authentication of %s failed (%s): %s", who, kind_of(error).sspi, why)

    def _known(self, scope: Scope) -> Admitted | None:
        connection = self._connection(scope)
        return None if connection is None else self._server.known(connection)

    def _request(self, scope: Scope) -> HttpRequest:
        fields = cast("list[tuple[bytes, bytes]]", scope["headers"])
        wanted = b"proxy-authorization" if self._server.is_proxy else b"authorization"
        path = cast("bytes | None", scope.get("raw_path")) or str(scope["path"]).encode()
        query = cast("bytes", scope.get("query_string") or b"")
        target = (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")
        return HttpRequest.received(
            str(scope.get("method", "GET")),
            target,
            self._origin or _origin(scope, fields),
            [value for name, value in fields if name.lower() == wanted],
            proxy=self._server.is_proxy,
        )

    def _options_for(self, request: HttpRequest, scope: Scope) -> Options:
        source = self._options.source or _source(scope)
        options = replace(self._options, source=source) if source else self._options
        if not request.origin.is_secure:
            return options
        bindings = self._bindings(scope) if callable(self._bindings) else self._bindings
        if bindings is not None:
            return replace(options, channel_bindings=bindings)
        return bound(options, _certificate(scope))

    async def _serve(self, scope: Scope, receive: Receive, send: Send, admitted: Admitted | None) -> None:
        scope = dict(scope)
        scope[PEER] = None if admitted is None else admitted.peer
        scope[ESTABLISHED] = None if admitted is None else admitted.established
        if admitted is not None and admitted.confirms:
            limit = self._body_limit if admitted.scheme.needs_body else 0
            send = _Confirming(send, admitted, limit, sends_body=scope.get("method") != "HEAD")
        try:
            await self._app(scope, receive, send)
        finally:
            if admitted is not None:
                admitted.served(self._connection(scope))


class _Confirming:
    """Adds the fields that prove the server; where they cover the content, the response waits for it."""

    def __init__(self, send: Send, admitted: Admitted, limit: int, *, sends_body: bool) -> None:
        self._send = send
        self._sends_body = sends_body
        self._admitted = admitted
        self._limit = limit
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            if self._limit and kind == "http.response.start":
                self._start = message
                return
            await self._send(_with_fields(message, self._admitted.fields()))
            return
        if self._start is None or kind != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if len(self._body) > self._limit:
            raise UsageError(
                f"{self._admitted.scheme.name} covers the response's content, which is longer than the body_limit of "
                f"{self._limit} octets: raise it, or offer qop auth"
            )
        if not message.get("more_body", False):
            start, self._start = self._start, None
            covered = self._body if self._sends_body else b""  # of HEAD, whatever the application says
            await self._send(_with_fields(start, self._admitted.fields(covered)))
            await self._send({**message, "body": self._body})


def _with_fields(message: Message, fields: Iterable[HttpField]) -> Message:
    added = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in fields]
    return {**message, "headers": [*message.get("headers", ()), *added]}


def _source(scope: Scope) -> str:
    """The client's address, where the server tells it."""
    client = cast("Sequence[Any] | None", scope.get("client"))
    return str(client[0]) if client else ""


def _origin(scope: Scope, fields: Sequence[tuple[bytes, bytes]]) -> Origin:
    host = next((value.decode("latin-1") for name, value in fields if name.lower() == b"host"), "")
    try:
        return Origin.parse(f"{scope.get('scheme', 'http')}://{host}")
    except UsageError:
        raise MalformedMessage("the Host field names no host") from None


def _certificate(scope: Scope) -> bytes | None:
    """The certificate that the server shows by the TLS extension of ASGI, as DER."""
    extensions = cast("dict[str, dict[str, Any]]", scope.get("extensions") or {})
    pem = (extensions.get("tls") or {}).get("server_cert")
    if not isinstance(pem, str) or "-----BEGIN CERTIFICATE-----" not in pem:
        return None
    encoded = pem.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
    return base64.b64decode(encoded)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole content of a request, or `None` where it is longer than `limit`, or the client is gone."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
        if len(body) > limit or message["type"] != "http.request":
            return None
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    text = "forbidden" if refused.status == 403 else "authentication is required"
    await _respond(scope, receive, send, refused.status, refused.fields, text, close=refused.close)


async def _respond(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    fields: Iterable[HttpField],
    text: str,
    *,
    close: bool = False,
) -> None:
    content = f"{text}\n".encode("ascii", "replace")
    headers = [
        (b"content-type", b"text/plain; charset=us-ascii"),
        (b"content-length", str(len(content)).encode("ascii")),
    ]
    if close:
        headers.append((b"connection", b"close"))
    prefix = ""
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        prefix = "websocket."
    start = {"type": f"{prefix}http.response.start", "status": status, "headers": headers}
    await send(_with_fields(start, fields))
    await send({"type": f"{prefix}http.response.body", "body": content})
