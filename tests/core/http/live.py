"""A uvicorn in a thread, which knows its connections, around an application that says whom it sees."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn

from securestream.http.asgi import ESTABLISHED, PEER, Application, Message, Receive, Scope, Send
from securestream.http.uvicorn_connections import SecureH11Protocol
from tests.certificates import Pair, authority

AUTHORITY = authority("the HTTP tests' authority")
LOCALHOST = AUTHORITY.leaf(["localhost"])


class WhoAmI:
    """Answers with the name of the peer; remembers every request that reached it."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        status, headers = 200, [(b"content-type", b"text/plain")]
        if scope["path"].startswith("/to/"):
            status = 307
            headers.append((b"location", scope["path"].removeprefix("/to/").encode() + b"/"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        content = f"{scope[PEER]}:{len(body)}".encode()
        await send({"type": "http.response.body", "body": content})


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals belong to the tests' own thread


@contextlib.contextmanager
def serving(app: Any, *, tls: Pair | None = None, knows_connections: bool = True) -> Generator[str, None, None]:
    """The origin of a server of `app` on a free port of this host."""
    with TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sees no TCP in a socket made like this
        extra: dict[str, Any] = {}
        if tls is not None:
            certificate, key = tls.write(Path(folder))
            extra = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
        config = uvicorn.Config(
            app,
            http=SecureH11Protocol if knows_connections else "h11",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
            **extra,
        )
        server = _Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        deadline = time.monotonic() + 10
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.005)
        assert server.started
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://localhost:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def trusting() -> ssl.SSLContext:
    """A TLS context that trusts the tests' authority."""
    return ssl.create_default_context(cadata=AUTHORITY.pem.decode("ascii"))


__all__ = ["AUTHORITY", "ESTABLISHED", "LOCALHOST", "Application", "Message", "WhoAmI", "serving", "trusting"]
