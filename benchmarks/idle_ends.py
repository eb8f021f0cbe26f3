"""The two processes of the memory measurement: connections that only are there."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import Callable
from functools import partial
from threading import Timer
from typing import Any

import anyio
import anyio.abc

from benchmarks import pairs
from benchmarks.ends import Job, announce, finish, resident, wait_for_parent

WARM = 20
"""Connections made before the first look at the memory: modules, arenas and caches are not the connections'."""


class _Counter:
    """Looks at the memory when the warm ones are there, and when all are."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._count = 0
        self._before = 0

    def connected(self) -> None:
        """One more is there."""
        self._count += 1
        if self._count == WARM:
            gc.collect()
            self._before = resident()
        if self._count == WARM + self._job.connections:
            Timer(0.5, self._done).start()

    def _done(self) -> None:
        gc.collect()
        finish(octets=(resident() - self._before) / self._job.connections)


def client(job: Job) -> None:
    """Blocking TLS connections, made one after the other and held."""
    context = pairs.client_context(job.pem)
    held: list[ssl.SSLSocket] = []
    for _ in range(WARM + job.connections):
        raw = socket.create_connection(("127.0.0.1", job.port))
        held.append(context.wrap_socket(raw, server_hostname=pairs.HOST))
    wait_for_parent()


def bare(job: Job) -> None:
    """The floor: an SSLObject with its two buffers, fed by hand."""
    context = pairs.server_context(job.pem)
    counter = _Counter(job)
    held: list[Any] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        announce(listener.getsockname()[1])
        for _ in range(WARM + job.connections):
            raw = listener.accept()[0]
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_side=True)
            while True:
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    incoming.write(raw.recv(65536))
                else:
                    break
            raw.sendall(outgoing.read())
            held.append((raw, tls, incoming, outgoing))
            counter.connected()
    wait_for_parent()


def asyncio_server(job: Job) -> None:
    """asyncio's streams."""
    counter = _Counter(job)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counter.connected()
        await reader.read(65536)

    async def main() -> None:
        server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=pairs.server_context(job.pem), backlog=1024)
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def anyio_server(job: Job) -> None:
    """anyio's TLSStream."""
    from anyio.streams.tls import TLSListener

    counter = _Counter(job)

    async def run(stream: Any) -> None:
        counter.connected()
        await stream.receive()

    async def main() -> None:
        below = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1024)
        announce(below.extra(anyio.abc.SocketAttribute.local_port))
        await TLSListener(below, pairs.server_context(job.pem)).serve(run)

    anyio.run(main)


def trio_server(job: Job) -> None:
    """trio's SSLStream."""
    import trio

    counter = _Counter(job)

    async def run(stream: Any) -> None:
        await stream.do_handshake()
        counter.connected()
        await stream.receive_some(65536)

    async def main() -> None:
        (listener,) = await trio.open_ssl_over_tcp_listeners(
            0, pairs.server_context(job.pem), host="127.0.0.1", backlog=1024
        )
        below: Any = listener.transport_listener
        announce(below.socket.getsockname()[1])
        await trio.serve_listeners(run, [listener])

    trio.run(main)


def our_server(job: Job, backend: str) -> None:
    """Our listener with Schannel."""
    import securestream
    from securestream.credentials import Certificate
    from securestream_providers.schannel import Schannel

    counter = _Counter(job)

    async def run(stream: Any) -> None:
        counter.connected()
        await stream.receive()

    async def main() -> None:
        package = Schannel(minimum_version="TLSv1.3")
        listener = await securestream.listen("127.0.0.1", 0, package=package, credential=Certificate(job.pem))
        announce(listener.extra(anyio.abc.SocketAttribute.local_port))
        await listener.serve(run)

    anyio.run(main, backend=backend)


SERVERS: dict[str, Callable[[Job], None]] = {
    "SSLObject and its buffers alone": bare,
    "asyncio TLS": asyncio_server,
    "anyio TLSStream": anyio_server,
    "trio SSLStream": trio_server,
    "our TlsStream, asyncio": partial(our_server, backend="asyncio"),
    "our TlsStream, trio": partial(our_server, backend="trio"),
}


def run(kind: str, job: Job) -> None:
    """Run one end."""
    if job.client:
        client(job)
    else:
        SERVERS[kind](job)
