"""Our ends of the interoperability tests of TLS: blocking sockets, on either record engine."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pytest

from securestream.blocking import SecureSocket
from securestream.credentials import Credential
from securestream.errors import PeerRefused
from securestream.principal import Principal
from securestream.provider import Established, SecurityContext
from securestream.records.base import TlsSession
from securestream.records.endpoints import Engine
from securestream.records.settings import Version
from securestream_providers.schannel import Schannel
from tests.certificates import authority

CA = authority("interop authority")
OTHER = authority("another authority")
LEAF = CA.leaf(["localhost"])
CLIENT = CA.leaf(["client.example"], usage=["client"], common_name="client")

ENGINES: tuple[Engine, ...] = ("stdlib", "pyopenssl")
VERSIONS: tuple[Version, ...] = ("TLSv1.2", "TLSv1.3")
engines = pytest.mark.parametrize("engine", ENGINES)
versions = pytest.mark.parametrize("version", VERSIONS)

SIZES = (0, 1, 16384, 16385, 3_000_000)
TIMEOUT = 20.0


@dataclass
class Outcome:
    """How one connection went at our server."""

    peer: Principal | None = None
    session: TlsSession | None = None
    total: int = 0
    closed: bool = False
    error: Exception | None = None


def _session(established: Established) -> TlsSession:
    assert not isinstance(established.result, SecurityContext)
    return established.result.session


def alert_of(error: BaseException | None) -> str:
    """The alert by which the peer refused us, and what kind of error we make of it."""
    assert isinstance(error, PeerRefused), error
    return f"alert {error.code}, {error.kind.name}"


class OurServer:
    """Echoes on a free port of 127.0.0.1, one connection after the other; says how each went."""

    def __init__(self, package: Schannel, credential: Credential | None = None, *, timeout: float = TIMEOUT) -> None:
        self._package = package
        self._credential = LEAF.credential if credential is None else credential
        self._timeout = timeout
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._outcomes: queue.Queue[Outcome] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(TIMEOUT)

    def outcome(self) -> Outcome:
        """How the next connection went, once it has ended."""
        return self._outcomes.get(timeout=TIMEOUT)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._outcomes.put(self._serve_one(connection))

    def _serve_one(self, connection: socket.socket) -> Outcome:
        outcome = Outcome()

        def admit(established: Established) -> None:
            outcome.session = _session(established)

        try:
            connection.settimeout(self._timeout)
            with SecureSocket.wrap_server(
                connection, package=self._package, credential=self._credential, admit=admit, handshake_timeout=TIMEOUT
            ) as stream:
                outcome.peer = stream.peer
                while data := stream.recv(1 << 18):
                    outcome.total += len(data)
                    stream.sendall(data)
                outcome.closed = True
        except Exception as error:  # whatever it is, the test looks at it
            outcome.error = error
        return outcome


@dataclass
class Connected:
    """Our client."""

    stream: SecureSocket
    session: TlsSession

    def bounce(self, data: bytes) -> bytes:
        """Send `data` and receive as much."""
        writer = threading.Thread(target=self.stream.sendall, args=(data,), daemon=True)
        writer.start()
        received = bytearray()
        while len(received) < len(data) and (part := self.stream.recv(1 << 18)):
            received += part
        writer.join(TIMEOUT)
        return bytes(received)


@contextmanager
def call(
    port: int, package: Schannel, *, target: str = "localhost", credential: Credential | None = None
) -> Generator[Connected]:
    """Our client, connected for the time of a block."""
    seen: list[TlsSession] = []
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain:
        stream = SecureSocket.wrap_client(
            plain,
            package=package,
            target=target,
            credential=credential,
            admit=lambda established: seen.append(_session(established)),
            handshake_timeout=TIMEOUT,
        )
        try:
            yield Connected(stream, seen[0])
        finally:
            stream.close()
