"""Our TCP transport: never loses what it took, connects, listens."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from securestream.streams import _dial
from securestream.streams._dial import connect_tcp
from securestream.streams.transport import TcpStream, listen_tcp, loop_buffer
from tests.streams.pairs import closing, receive_exactly, tcp_pair

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancellation_loses_no_octets_that_were_taken() -> None:
    """asyncio can cancel a task in the turn in which its data has come: the next receive must have it."""
    one, other = await tcp_pair()
    async with closing(one, other):
        for number in range(50):
            task = asyncio.ensure_future(other.receive())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await one.send(bytes((number,)))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            task.cancel()
            try:
                got = await task
            except asyncio.CancelledError:
                got = await other.receive()
            assert got == bytes((number,))


async def test_a_cancelled_receive_leaves_its_octets_to_the_next() -> None:
    one, other = await tcp_pair()
    async with closing(one, other):
        for number in range(50):
            scope = anyio.CancelScope()
            got: list[bytes] = []

            async def read(scope: anyio.CancelScope, got: list[bytes]) -> None:
                with scope:
                    got.append(await other.receive())

            async with anyio.create_task_group() as group:
                group.start_soon(read, scope, got)
                await anyio.wait_all_tasks_blocked()
                await one.send(bytes((number,)))
                scope.cancel()
            assert (got or [await other.receive()]) == [bytes((number,))]


async def test_the_read_buffer_belongs_to_the_loop() -> None:
    one, other = await tcp_pair()
    async with closing(one, other):
        assert vars(one)["_buffer"] is vars(other)["_buffer"]
        assert vars(one)["_buffer"] is loop_buffer()


async def test_what_was_received_is_not_overwritten_by_the_next_read() -> None:
    one, other = await tcp_pair()
    async with closing(one, other):
        await one.send(b"first")
        first = await other.receive()
        await one.send(b"other")
        assert await other.receive() == b"other"
        assert first == b"first"


async def test_data_that_nobody_waits_for_stays_in_the_system() -> None:
    one, other = await tcp_pair()
    async with closing(one, other):
        await one.send(b"a")
        assert await other.receive() == b"a"
        with anyio.move_on_after(0.01):
            await other.receive()
        await one.send(b"bc")
        await anyio.sleep(0.05)  # the loop must not spin meanwhile, nor read ahead
        assert await receive_exactly(other, 2) == b"bc"


async def test_a_lost_connection_is_broken() -> None:
    listener = (await listen_tcp("127.0.0.1", 0))[0]
    async with listener:
        raw = socket.create_connection(("127.0.0.1", listener.extra(SocketAttribute.local_port)))
        async with await listener.accept() as stream:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raw.close()
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()


async def test_attributes_of_the_socket() -> None:
    listener = (await listen_tcp("127.0.0.1", 0))[0]
    port = listener.extra(SocketAttribute.local_port)
    async with listener, await connect_tcp("127.0.0.1", port) as client, await listener.accept() as server:
        assert client.extra(SocketAttribute.remote_address) == ("127.0.0.1", port)
        assert server.extra(SocketAttribute.local_port) == port
        assert server.extra(SocketAttribute.remote_port) == client.extra(SocketAttribute.local_port)
        assert client.extra(SocketAttribute.family) == socket.AF_INET
        assert isinstance(client.extra(SocketAttribute.raw_socket), socket.socket)


async def test_a_listener_as_anyio_knows_it() -> None:
    async def handler(stream: TcpStream) -> None:
        async with stream:
            await stream.send(await stream.receive())

    listener = (await listen_tcp("127.0.0.1", 0))[0]
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handler)
        async with await connect_tcp("127.0.0.1", listener.extra(SocketAttribute.local_port)) as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
        group.cancel_scope.cancel()


async def test_nobody_listens() -> None:
    with socket.socket() as raw:
        raw.bind(("127.0.0.1", 0))
        with pytest.raises(anyio.ConnectionFailed, match="cannot connect"):
            await connect_tcp("127.0.0.1", raw.getsockname()[1])


async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(anyio, "getaddrinfo", unknown)
    with pytest.raises(anyio.ConnectionFailed, match="cannot be resolved"):
        await connect_tcp("nowhere.invalid", 1)


async def test_the_next_address_is_tried_when_one_fails_or_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = (await listen_tcp("127.0.0.1", 0))[0]
    port = listener.extra(SocketAttribute.local_port)

    async def three(*_: object, **__: object) -> Any:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.3", "127.0.0.2", "127.0.0.1")
        ]

    original = vars(_dial)["_connect"]

    async def connect(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
        if address[0] == "127.0.0.3":
            raise OSError(errno.ENETUNREACH, "unreachable")
        if address[0] == "127.0.0.2":
            await anyio.sleep(60)
        raw: socket.socket = await original(family, kind, protocol, address)
        return raw

    monkeypatch.setattr(anyio, "getaddrinfo", three)
    monkeypatch.setattr(_dial, "_connect", connect)
    monkeypatch.setattr(_dial, "ATTEMPT_DELAY", 0.01)
    async with listener:
        with anyio.fail_after(20):
            async with await connect_tcp("three.example", port) as stream:
                assert stream.extra(SocketAttribute.remote_address)[0] == "127.0.0.1"
