"""HTTP authentication at both ends (RFC 9110 11, RFC 4559): the public names, each loaded when first used.

Pure values decide: `HttpClient`, `HttpServer` and their schemes. Adapters are beside them: `SecureAuth` and
`SecureTransport` for httpx, `AuthenticationMiddleware` for ASGI, `SecureH11Protocol` for uvicorn's connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securestream._lazy import lazy_names

if TYPE_CHECKING:
    from securestream.http.asgi import AuthenticationMiddleware as AuthenticationMiddleware
    from securestream.http.client import HttpClient as HttpClient
    from securestream.http.fields import Authorization as Authorization
    from securestream.http.fields import Challenge as Challenge
    from securestream.http.httpx_auth import SecureAuth as SecureAuth
    from securestream.http.httpx_blocking import BlockingSecureTransport as BlockingSecureTransport
    from securestream.http.httpx_transport import SecureTransport as SecureTransport
    from securestream.http.performing import authenticate as authenticate
    from securestream.http.performing import authenticate_blocking as authenticate_blocking
    from securestream.http.performing import end_point_bindings as end_point_bindings
    from securestream.http.schemes import ClientScheme as ClientScheme
    from securestream.http.schemes import HttpField as HttpField
    from securestream.http.schemes import HttpReply as HttpReply
    from securestream.http.schemes import HttpRequest as HttpRequest
    from securestream.http.schemes import Origin as Origin
    from securestream.http.schemes import SendChallenge as SendChallenge
    from securestream.http.schemes import SendRequest as SendRequest
    from securestream.http.schemes import ServerScheme as ServerScheme
    from securestream.http.server import Admitted as Admitted
    from securestream.http.server import HttpConnection as HttpConnection
    from securestream.http.server import HttpServer as HttpServer
    from securestream.http.server import Refused as Refused
    from securestream.http.tokens import TokenScheme as TokenScheme
    from securestream.http.uvicorn_connections import SecureH11Protocol as SecureH11Protocol

_NAMES = {
    "asgi": "AuthenticationMiddleware",
    "client": "HttpClient",
    "fields": "Authorization Challenge",
    "httpx_auth": "SecureAuth",
    "httpx_blocking": "BlockingSecureTransport",
    "httpx_transport": "SecureTransport",
    "performing": "authenticate authenticate_blocking end_point_bindings",
    "schemes": "ClientScheme HttpField HttpReply HttpRequest Origin SendChallenge SendRequest ServerScheme",
    "server": "Admitted HttpConnection HttpServer Refused",
    "tokens": "TokenScheme",
    "uvicorn_connections": "SecureH11Protocol",
}

if not TYPE_CHECKING:  # checkers see the names above alone, and report others
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
