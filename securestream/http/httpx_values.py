"""httpx's messages as the values that authentication looks at; shared by `SecureAuth` and `SecureTransport`."""

from __future__ import annotations

from typing import Any, Final, NoReturn

try:
    import httpx
except ImportError as error:
    raise ImportError("authentication of httpx needs httpx: pip install 'securestream[http]'") from error

from securestream.errors import UsageError
from securestream.http.schemes import HttpReply, HttpRequest, Origin

PEER: Final = "securestream.peer"
"""Where in ``response.extensions`` the server's `Principal` stands."""
ESTABLISHED: Final = "securestream.established"
"""Where in ``response.extensions`` the outcome of the handshake stands."""

_FOR_ASYNC: Final = (
    "SecureTransport is for httpx.AsyncClient: give httpx.Client a BlockingSecureTransport, with the same arguments"
)
_FOR_BLOCKING: Final = (
    "BlockingSecureTransport is for httpx.Client: give httpx.AsyncClient a SecureTransport, with the same arguments"
)


class AsyncOnly:
    """A transport that tells `httpx.Client` which one it needs."""

    def handle_request(self, request: httpx.Request) -> NoReturn:
        """Refuse to work without an event loop.

        Raises:
            UsageError: always.
        """
        raise UsageError(_FOR_ASYNC)

    def __enter__(self) -> NoReturn:
        raise UsageError(_FOR_ASYNC)

    def close(self) -> None:
        """Nothing is open; `httpx.Client` closes what it could not use, too."""


class BlockingOnly:
    """A transport that tells `httpx.AsyncClient` which one it needs."""

    async def handle_async_request(self, request: httpx.Request) -> NoReturn:
        """Refuse to block an event loop.

        Raises:
            UsageError: always.
        """
        raise UsageError(_FOR_BLOCKING)

    async def __aenter__(self) -> NoReturn:
        raise UsageError(_FOR_BLOCKING)

    async def aclose(self) -> None:
        """Nothing is open; `httpx.AsyncClient` closes what it could not use, too."""


class SentHeaders(httpx.Headers):
    """Headers with credentials that only what is sent shows: httpx copies headers when it follows a redirect, and these
    are for one request (SECURITY: HTTP).
    """

    def __init__(self, headers: httpx.Headers, name: bytes, value: str) -> None:
        super().__init__([(key, text) for key, text in headers.raw if key.lower() != name.lower()])
        self._sent = (name, value.encode("latin-1"))

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """What is sent."""
        return [*super().raw, self._sent]


def origin_of(url: httpx.URL) -> Origin:
    """The origin of a URL."""
    return Origin.of(url.scheme, url.host, url.port)


def request_of(request: httpx.Request, *, with_body: bool) -> HttpRequest:
    """A request; its content must have been read where it is wanted."""
    target = request.url.raw_path.decode("ascii")
    return HttpRequest(request.method, target, origin_of(request.url), None, request.content if with_body else None)


def reply_of(response: httpx.Response, *, with_body: bool) -> HttpReply:
    """A response; its content must have been read where it is wanted.

    Raises:
        MalformedMessage: its challenges are malformed.
    """
    return HttpReply.received(
        response.status_code,
        response.headers.get_list("www-authenticate"),
        response.headers.get_list("authentication-info"),
        body=response.content if with_body else None,
    )


def authorized(request: httpx.Request, authorization: str) -> httpx.Request:
    """The request again, with credentials."""
    again = httpx.Request(request.method, request.url, stream=request.stream, extensions=request.extensions)
    again.headers = SentHeaders(request.headers, b"Authorization", authorization)
    return again


def certificate_of(stream: Any) -> bytes | None:
    """The certificate, DER, of the server at the other end of a network stream of httpcore; `None` without TLS."""
    tls = None if stream is None else stream.get_extra_info("ssl_object")
    if tls is None:
        return None
    certificate: bytes | None = tls.getpeercert(True)
    return certificate
