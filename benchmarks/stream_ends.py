"""How each contender connects, listens, sends and receives; all with the settings that its documentation shows."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import anyio
import anyio.abc

from benchmarks import pairs
from benchmarks.ends import Job, announce, work, work_blocking

KERBEROS = "BENCHMARK_KERBEROS"
"""Variable: the cache, the keytab and the service of Kerberos' ends; without it they take no part."""

READ = 65536
LARGE_READ = 262144


def _contexts(job: Job) -> ssl.SSLContext:
    return pairs.client_context(job.pem) if job.client else pairs.server_context(job.pem)


# --- blocking


def blocking_socket(job: Job) -> socket.socket:
    """The end's connected socket."""
    if job.client:
        raw = socket.create_connection(("127.0.0.1", job.port))
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            announce(listener.getsockname()[1])
            raw = listener.accept()[0]
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def blocking_tcp(job: Job) -> NoReturn:
    """Blocking sockets, 256 KiB reads into one buffer."""
    raw = blocking_socket(job)
    buffer = bytearray(LARGE_READ)
    work_blocking(job, raw.sendall, lambda: raw.recv_into(buffer))


def blocking_ssl(job: Job) -> NoReturn:
    """`ssl` over blocking sockets."""
    context = _contexts(job)
    raw = blocking_socket(job)
    tls = context.wrap_socket(raw, server_side=not job.client, server_hostname=pairs.HOST if job.client else None)
    buffer = bytearray(LARGE_READ)
    work_blocking(job, tls.sendall, lambda: tls.recv_into(buffer))


# --- asyncio


async def _asyncio(job: Job, context: ssl.SSLContext | None) -> None:
    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        await work(job, send, partial(reader.read, READ))

    if job.client:
        name = pairs.HOST if context else None
        await run(*await asyncio.open_connection("127.0.0.1", job.port, ssl=context, server_hostname=name))
        return
    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=context)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def asyncio_tcp(job: Job) -> None:
    """asyncio's streams."""
    asyncio.run(_asyncio(job, None))


def asyncio_tls(job: Job) -> None:
    """asyncio's streams with TLS."""
    asyncio.run(_asyncio(job, _contexts(job)))


# --- anyio


async def _anyio_tcp(job: Job) -> anyio.abc.SocketStream:
    if job.client:
        return await anyio.connect_tcp("127.0.0.1", job.port)
    multi = await anyio.create_tcp_listener(local_host="127.0.0.1")
    announce(multi.extra(anyio.abc.SocketAttribute.local_port))
    send, receive = anyio.create_memory_object_stream[Any](1)
    async with anyio.create_task_group() as group:

        async def accepted(stream: anyio.abc.SocketStream) -> None:
            await send.send(stream)
            await anyio.sleep_forever()

        group.start_soon(multi.serve, accepted)
        stream: anyio.abc.SocketStream = await receive.receive()
        await _on_accepted(job, stream)
    raise AssertionError("unreachable")


_continuation: Callable[[Job, anyio.abc.SocketStream], Any] | None = None


async def _on_accepted(job: Job, stream: anyio.abc.SocketStream) -> None:
    assert _continuation is not None
    await _continuation(job, stream)


def _run_anyio(job: Job, use: Callable[[Job, anyio.abc.SocketStream], Any], backend: str) -> None:
    global _continuation  # the listener's task group ends with the process
    _continuation = use

    async def main() -> None:
        await use(job, await _anyio_tcp(job))

    anyio.run(main, backend=backend)


def anyio_tcp(job: Job, read: int, backend: str = "asyncio") -> None:
    """anyio's TCP stream."""

    async def use(job: Job, stream: anyio.abc.SocketStream) -> None:
        await work(job, stream.send, partial(stream.receive, read))

    _run_anyio(job, use, backend)


def anyio_tls(job: Job, backend: str = "asyncio") -> None:
    """anyio's TLSStream."""
    from anyio.streams.tls import TLSStream

    context = _contexts(job)

    async def use(job: Job, stream: anyio.abc.SocketStream) -> None:
        name = pairs.HOST if job.client else None
        tls = await TLSStream.wrap(stream, server_side=not job.client, hostname=name, ssl_context=context)
        await work(job, tls.send, partial(tls.receive, READ))

    _run_anyio(job, use, backend)


# --- trio


def _run_trio(job: Job, context: ssl.SSLContext | None) -> None:
    import trio

    async def use(stream: Any) -> None:
        if context is not None:
            name = pairs.HOST if job.client else None
            stream = trio.SSLStream(stream, context, server_hostname=name, server_side=not job.client)
            await stream.do_handshake()
        await work(job, stream.send_all, partial(stream.receive_some, READ))

    async def main() -> None:
        if job.client:
            await use(await trio.open_tcp_stream("127.0.0.1", job.port))
            return
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        announce(listener.socket.getsockname()[1])
        await trio.serve_listeners(use, [listener])

    trio.run(main)


def trio_tcp(job: Job) -> None:
    """trio's TCP stream."""
    _run_trio(job, None)


def trio_tls(job: Job) -> None:
    """trio's SSLStream."""
    _run_trio(job, _contexts(job))


# --- ours


def ours_tcp(job: Job, backend: str) -> None:
    """Our transport."""
    from securestream.streams._dial import connect_tcp
    from securestream.streams.transport import TcpStream, listen_tcp

    async def use(stream: Any) -> None:
        await work(job, stream.send, partial(stream.receive, LARGE_READ))

    async def main() -> None:
        if job.client:
            stream: Any = await connect_tcp("127.0.0.1", job.port)
        else:
            (listener,) = await listen_tcp("127.0.0.1", 0)
            announce(listener.extra(anyio.abc.SocketAttribute.local_port))
            accepted: TcpStream = await listener.accept()
            stream = accepted
        await use(stream)

    anyio.run(main, backend=backend)


def ours_stream(
    job: Job, backend: str, client: dict[str, Any], server: dict[str, Any], target: str = f"host/{pairs.HOST}"
) -> None:
    """A stream of ours; `client` and `server` are what the two ends are told."""
    import securestream

    async def use(stream: Any) -> None:
        await work(job, stream.send, stream.receive)

    async def main() -> None:
        if job.client:
            await use(await securestream.connect("127.0.0.1", job.port, target=target, **client))
            return
        listener = await securestream.listen("127.0.0.1", 0, **server)
        announce(listener.extra(anyio.abc.SocketAttribute.local_port))
        await listener.serve(use)

    anyio.run(main, backend=backend)


def ours_tls(job: Job, backend: str) -> None:
    """Our TlsStream over our transport."""
    from securestream.credentials import Certificate
    from securestream_providers.schannel import Schannel

    client = {"package": Schannel(trust=job.pem, minimum_version="TLSv1.3")}
    server = {"package": Schannel(minimum_version="TLSv1.3"), "credential": Certificate(job.pem)}
    ours_stream(job, backend, client, server)


def ours_ntlm(job: Job, backend: str) -> None:
    """Our NegotiateStream with NTLM, everything encrypted and signed."""
    from securestream.credentials import Accounts, Password

    package = pairs.ntlm_package()
    client = {"package": package, "credential": Password(pairs.USER, pairs.PASSWORD)}
    server = {"package": package, "credential": Accounts.memory(**{pairs.USER: pairs.PASSWORD})}
    ours_stream(job, backend, client, server)


def ours_kerberos(job: Job, backend: str) -> None:
    """Our NegotiateStream with Kerberos, aes256-sha1, everything encrypted and signed."""
    from securestream.credentials import CredentialCache, Keytab

    cache, keytab, service = os.environ[KERBEROS].split(os.pathsep)
    client = {"package": "kerberos", "credential": CredentialCache(f"FILE:{cache}")}
    server = {"package": "kerberos", "credential": Keytab(keytab)}
    ours_stream(job, backend, client, server, service)


STREAMS: dict[str, Callable[[Job], None]] = {
    "blocking TCP": blocking_tcp,
    "asyncio streams": asyncio_tcp,
    "anyio TCP, 64 KiB reads": partial(anyio_tcp, read=READ),
    "anyio TCP, 256 KiB reads": partial(anyio_tcp, read=LARGE_READ),
    "trio TCP": trio_tcp,
    "our TCP, asyncio": partial(ours_tcp, backend="asyncio"),
    "our TCP, trio": partial(ours_tcp, backend="trio"),
    "blocking ssl": blocking_ssl,
    "asyncio TLS": asyncio_tls,
    "anyio TLSStream": anyio_tls,
    "trio SSLStream": trio_tls,
    "our TlsStream, asyncio": partial(ours_tls, backend="asyncio"),
    "our TlsStream, trio": partial(ours_tls, backend="trio"),
    "our NTLM, asyncio": partial(ours_ntlm, backend="asyncio"),
    "our NTLM, trio": partial(ours_ntlm, backend="trio"),
    "our Kerberos, asyncio": partial(ours_kerberos, backend="asyncio"),
    "our Kerberos, trio": partial(ours_kerberos, backend="trio"),
}
