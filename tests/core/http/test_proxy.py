"""`SecureTransport` through a proxy that authenticates CONNECT, to a server that authenticates, too."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx
import pytest

from securestream.errors import UsageError
from securestream.http.asgi import AuthenticationMiddleware
from securestream.http.httpx_transport import SecureTransport
from securestream.http.performing import authenticate_blocking, end_point_bindings, http_options
from securestream.http.schemes import ClientScheme, HttpRequest, Origin, ServerScheme
from securestream.http.server import Admitted, HttpConnection, HttpServer
from tests.core.http.live import LOCALHOST, WhoAmI, serving, trusting
from tests.core.http.peers import ALICE, BOB, WRONG, Realm, digest, ntlm

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def realm() -> Realm:
    return Realm()


@dataclass
class Proxy:
    """Connects for whom it has authenticated."""

    server: HttpServer
    realm: Realm
    port: int = 0
    peers: list[str] = field(default_factory=list[str])

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve_one, args=(listener.accept()[0],), daemon=True).start()

    def _serve_one(self, client: socket.socket) -> None:
        connection = HttpConnection()
        with client, suppress(OSError):
            while head := _head(client):
                method, target, _ = head[0].split(" ")
                assert method == "CONNECT"
                values = [line.partition(": ")[2] for line in head if line.lower().startswith("proxy-authorization:")]
                origin = Origin("http", "localhost", self.port)
                request = HttpRequest.received(method, target, origin, values, proxy=True)
                options, services = http_options(), self.realm.services
                outcome = authenticate_blocking(self.server, request, options, connection, services)
                fields = outcome.fields() if isinstance(outcome, Admitted) else outcome.fields
                lines = [f"{name}: {value}\r\n" for name, value in fields]
                if isinstance(outcome, Admitted):
                    self.peers.append(str(outcome.peer))
                    host, _, port = target.rpartition(":")
                    with socket.create_connection((host, int(port))) as server:
                        client.sendall(f"HTTP/1.1 200 OK\r\n{''.join(lines)}\r\n".encode())
                        _relay(client, server)
                    return
                client.sendall(f"HTTP/1.1 {outcome.status} X\r\n{''.join(lines)}Content-Length: 2\r\n\r\nno".encode())


def _head(client: socket.socket) -> list[str]:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = client.recv(1)
        if not octet:
            return []
        head += octet
    return head.decode().split("\r\n")


def _relay(one: socket.socket, other: socket.socket) -> None:
    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while octets := source.recv(65536):
                sink.sendall(octets)
            sink.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=copy, args=(other, one), daemon=True)
    back.start()
    copy(one, other)
    back.join(5)


@contextmanager
def proxying(realm: Realm, schemes: Sequence[ServerScheme]) -> Generator[Proxy, None, None]:
    proxy = Proxy(HttpServer(*schemes, proxy=True), realm)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@pytest.fixture(scope="module")
def proxy(realm: Realm) -> Generator[Proxy, None, None]:
    with proxying(realm, realm.offered()) as running:
        yield running


@pytest.fixture(scope="module")
def origin(realm: Realm) -> Generator[str, None, None]:
    bindings = end_point_bindings(LOCALHOST.der)
    app = AuthenticationMiddleware(WhoAmI(), realm.offered(), bindings=bindings, services=realm.services)
    with serving(app, tls=LOCALHOST) as url:
        yield url


def _client(origin: str, scheme: ClientScheme, realm: Realm, proxy: str, *answers: ClientScheme) -> httpx.AsyncClient:
    transport = SecureTransport(
        origin, scheme, verify=trusting(), services=realm.services, proxy=proxy, proxy_schemes=answers
    )
    return httpx.AsyncClient(transport=transport)


async def test_every_scheme_at_the_proxy_and_at_the_server_behind_it(origin: str, realm: Realm, proxy: Proxy) -> None:
    for at_proxy, name in ((realm.as_(ALICE), r"EXAMPLE.COM\alice"), (ntlm(BOB), "bob"), (digest(BOB), "bob")):
        for at_server, seen in ((realm.as_(ALICE), r"EXAMPLE.COM\alice"), (ntlm(BOB), "bob")):
            proxy.peers.clear()
            async with _client(origin, at_server, realm, proxy.url, at_proxy) as client:
                response = await client.post(f"{origin}/x", content=b"abc")
            assert (response.status_code, response.text) == (200, f"{seen}:3")
            assert proxy.peers == [name]


async def test_a_proxy_that_refuses(origin: str, realm: Realm, proxy: Proxy) -> None:
    for answers in ((ntlm(WRONG),), (digest(WRONG),), ()):
        async with _client(origin, ntlm(BOB), realm, proxy.url, *answers) as client:
            with pytest.raises(httpx.ProxyError, match="407"):
                await client.get(origin)


async def test_the_servers_credentials_do_not_answer_the_proxy(origin: str, realm: Realm) -> None:
    """The proxy asks as if it were the server, with 401: it gets nothing."""
    asked: list[str] = []

    class Posing(HttpServer):
        def refusal(self, request: HttpRequest, *others: object, **settings: object) -> object:  # type: ignore[override]  # a proxy that lies
            asked.append(repr(request.authorization))
            refused = super().refusal(request, *others, **settings)  # type: ignore[arg-type]  # passed on
            return type(refused)(401, tuple(type(one)("WWW-Authenticate", one.value) for one in refused.fields))

    with proxying(realm, realm.offered()) as lying:
        lying.server = Posing(*realm.offered(), proxy=True)
        async with _client(origin, ntlm(BOB), realm, lying.url, ntlm(BOB)) as client:
            with pytest.raises(httpx.ProxyError, match="401"):
                await client.get(origin)
    assert asked == ["None"]


def test_schemes_for_a_proxy_need_one() -> None:
    with pytest.raises(UsageError):
        SecureTransport("http://localhost", ntlm(BOB), proxy_schemes=[ntlm(BOB)])
