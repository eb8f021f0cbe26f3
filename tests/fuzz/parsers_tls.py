"""What an unauthenticated TLS peer reaches: our reading of a ClientHello, and both engines in both roles."""

from __future__ import annotations

from collections.abc import Callable

from securestream.errors import HandshakeError, PeerGone, PeerRefused, UsageError
from securestream.records.base import RecordConnection
from securestream.records.client_hello import ClientHello, read_client_hello
from securestream.records.endpoints import ClientEndpoint, Engine, ServerEndpoint
from securestream.records.names import canonical_host
from tests.core.records.pairs import ENGINES, client_of, pair, server_of
from tests.fuzz.harness import Parser

REFUSALS = (HandshakeError, PeerRefused, PeerGone)


def _hello(client: ClientEndpoint) -> bytes:
    connection = client.connection("localhost")
    connection.start()
    return connection.data_to_send()


def _first_flight(engine: Engine) -> bytes:
    """ServerHello and Certificate of TLS 1.2: what a client takes whatever it has sent."""
    made = pair(client_of(engine, maximum_version="TLSv1.2"), server_of(engine))
    made.client.connection.start()
    made.server.take(made.client.connection.data_to_send())
    flight = made.server.connection.data_to_send()
    end = 0
    for _ in range(2):
        end += 5 + int.from_bytes(flight[end + 3 : end + 5], "big")
    return flight[:end]


def _drive(connection: RecordConnection, octets: bytes) -> None:
    """All of `octets`, in two reads; whatever is refused has its alert at hand."""
    connection.start()
    for part in (octets[:7], octets[7:]):
        connection.receive_data(part)
        while connection.next_event() is not None:
            pass
    connection.data_to_send()


def _accepting(server: ServerEndpoint) -> Callable[[bytes], None]:
    def parse(octets: bytes) -> None:
        hello = read_client_hello(octets) or ClientHello()
        _drive(server.connection(hello), octets)

    return parse


def _initiating(client: ClientEndpoint) -> Callable[[bytes], None]:
    return lambda octets: _drive(client.connection("localhost"), octets)


_HELLOS = (
    _hello(client_of("stdlib")),
    _hello(client_of("stdlib", alpn=("h2", "http/1.1"), maximum_version="TLSv1.2")),
    _hello(client_of("pyopenssl", alpn=("h2",))),
)


def _host(octets: bytes) -> str:
    return canonical_host(octets.decode("utf-8", "replace"))


PARSERS = [
    Parser("tls.client_hello", read_client_hello, _HELLOS, allowed=()),
    Parser("tls.host", _host, ("bücher.example".encode(), b"[::1]", b"localhost."), allowed=(UsageError,)),
    *(Parser(f"tls.server.{engine}", _accepting(server_of(engine)), _HELLOS, REFUSALS) for engine in ENGINES),
    *(
        Parser(
            f"tls.client.{engine}",
            _initiating(client_of(engine, maximum_version="TLSv1.2")),
            (_first_flight(engine),),
            REFUSALS,
        )
        for engine in ENGINES
    ),
]
