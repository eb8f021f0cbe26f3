"""HTTP/2 on hypercorn, on both event loops: one leg authenticates there, several legs are not even offered."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import hypercorn.asyncio
import hypercorn.config
import hypercorn.trio
import pytest

from securestream.http.asgi import AuthenticationMiddleware
from securestream.http.httpx_auth import SecureAuth
from securestream.http.httpx_transport import SecureTransport
from securestream.http.performing import end_point_bindings
from tests.core.http.live import LOCALHOST, WhoAmI, trusting
from tests.core.http.peers import ALICE, BOB, Realm, digest, ntlm

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _hypercorn(app: Any, folder: Path, backend: str) -> AsyncGenerator[str, None]:
    certificate, key = LOCALHOST.write(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = hypercorn.config.Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.certfile, config.keyfile, config.loglevel = str(certificate), str(key), "CRITICAL"
        stop = anyio.Event()
        library: Any = hypercorn.trio if backend == "trio" else hypercorn.asyncio
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                await library.serve(app, config, shutdown_trigger=stop.wait)

            tasks.start_soon(run)
            yield f"https://localhost:{port}"
            stop.set()


async def test_one_leg_over_http_2(tmp_path: Path, anyio_backend_name: str) -> None:
    realm, app = Realm(), WhoAmI()
    bindings = end_point_bindings(LOCALHOST.der)
    middleware = AuthenticationMiddleware(app, realm.offered(), bindings=bindings, services=realm.services)
    async with _hypercorn(middleware, tmp_path, anyio_backend_name) as origin:
        for scheme, seen in ((realm.as_(ALICE), r"EXAMPLE.COM\alice"), (digest(BOB), "bob")):
            auth = SecureAuth(origin, scheme, services=realm.services)
            async with httpx.AsyncClient(auth=auth, verify=trusting(), http2=True) as client:
                response = await client.get(origin)
                assert (response.status_code, response.text) == (200, f"{seen}:0")
                assert response.http_version == "HTTP/2"
        async with httpx.AsyncClient(verify=trusting(), http2=True) as client:
            offered = (await client.get(origin)).headers.get_list("www-authenticate")
            assert [value.partition(" ")[0] for value in offered] == ["Negotiate", "Digest"]
        async with httpx.AsyncClient(transport=SecureTransport(origin, ntlm(BOB), verify=trusting())) as client:
            assert (await client.get(origin)).http_version == "HTTP/1.1"  # where connections are not shared
    assert {scope["http_version"] for scope in app.scopes if scope["type"] == "http"} == {"2"}
