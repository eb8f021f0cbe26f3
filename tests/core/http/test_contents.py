"""Digest over contents and targets that libraries change on the way: compressed, left out, with an empty query."""

from __future__ import annotations

import gzip
from collections.abc import Generator

import httpx
import pytest

from securestream.credentials import Accounts
from securestream.http.asgi import AuthenticationMiddleware, Receive, Scope, Send
from securestream.http.httpx_auth import SecureAuth
from securestream.http.httpx_blocking import BlockingSecureTransport
from securestream_providers.digest import DigestClient, DigestServer, Qop
from tests.core.http.live import serving
from tests.core.http.peers import BOB


async def _compressing(scope: Scope, receive: Receive, send: Send) -> None:
    """As a middleware that compresses what may be; the length of HEAD's content is told and it is given, too."""
    wanted = b"gzip" in dict(scope["headers"]).get(b"accept-encoding", b"")
    content = gzip.compress(b"hello") if wanted else b"hello"
    headers = [(b"content-length", str(len(content)).encode())] + [(b"content-encoding", b"gzip")] * wanted
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture(scope="module")
def origin() -> Generator[str, None, None]:
    scheme = DigestServer(Accounts.memory(bob="battery staple"), "example", qops=(Qop.AUTH_INT,))
    with serving(AuthenticationMiddleware(_compressing, [scheme])) as url:
        yield url


@pytest.mark.parametrize("how", ["auth", "transport"])
@pytest.mark.parametrize(("method", "content"), [("GET", b"hello"), ("HEAD", b""), ("POST", b"hello")])
@pytest.mark.parametrize("target", ["/a", "/a?"])
def test_the_servers_proof_is_right(origin: str, how: str, method: str, content: bytes, target: str) -> None:
    scheme = DigestClient(BOB, qops=(Qop.AUTH_INT,))
    if how == "auth":
        client = httpx.Client(auth=SecureAuth(origin, scheme))
    else:
        client = httpx.Client(transport=BlockingSecureTransport(origin, scheme))
    with client:
        response = client.request(method, origin + target)
    assert (response.status_code, response.content) == (200, content)
