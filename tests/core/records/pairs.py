"""Two record connections that hand their octets to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from securestream.credentials import Certificate
from securestream.errors import SecureStreamError
from securestream.records.base import PlainData, RecordConnection, RecordEvent
from securestream.records.client_hello import ClientHello
from securestream.records.endpoints import ClientEndpoint, Engine, ServerEndpoint, client_endpoint, server_endpoint
from securestream.records.settings import TlsSettings
from tests.certificates import authority

ENGINES: tuple[Engine, ...] = ("stdlib", "pyopenssl")

CA = authority()
LEAF = CA.leaf(["localhost", "127.0.0.1"])
CLIENT = CA.leaf(["client.example"], usage=["client"])

Wire = Callable[[bytes], list[bytes]]


def whole(data: bytes) -> list[bytes]:
    return [data]


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@dataclass
class End:
    """One end, what happened to it, and the alert it left."""

    connection: RecordConnection
    events: list[RecordEvent] = field(default_factory=list[RecordEvent])
    error: SecureStreamError | None = None

    def take(self, data: bytes, wire: Wire = whole) -> None:
        for part in wire(data):
            self.connection.receive_data(part)
            self.run()

    def run(self) -> None:
        try:
            while self.error is None and (event := self.connection.next_event()) is not None:
                self.events.append(event)
        except SecureStreamError as error:
            self.error = error

    @property
    def plain(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, PlainData))


@dataclass
class Pair:
    """A client and a server."""

    client: End
    server: End

    def run(self, wire: Wire = whole) -> Pair:
        """Carry octets both ways until nobody has any."""
        self.client.run()
        self.server.run()
        while True:
            out = self.client.connection.data_to_send()
            back = self.server.connection.data_to_send()
            if not out and not back:
                return self
            if out:
                self.server.take(out, wire)
            if back:
                self.client.take(back, wire)


def client_of(engine: Engine, credential: Certificate | None = None, **settings: object) -> ClientEndpoint:
    made = TlsSettings(**{"trust": CA.pem, **settings})  # type: ignore[arg-type]  # keywords as the test gives them
    return client_endpoint(engine, made, credential)


def server_of(engine: Engine, *credentials: Certificate, **settings: object) -> ServerEndpoint:
    made = TlsSettings(**{"trust": CA.pem, **settings})  # type: ignore[arg-type]  # keywords as the test gives them
    return server_endpoint(engine, made, credentials or (LEAF.credential,))


def pair(client: ClientEndpoint | Engine, server: ServerEndpoint | Engine, host: str | None = "localhost") -> Pair:
    """A pair, not yet run."""
    initiator = client_of(client) if isinstance(client, str) else client
    acceptor = server_of(server) if isinstance(server, str) else server
    return Pair(End(initiator.connection(host)), End(acceptor.connection(ClientHello(host))))
