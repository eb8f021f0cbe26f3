"""Cancellation and loss at each step of a handshake and of a conversation: nothing hangs, nothing stays open."""

from __future__ import annotations

import anyio
import pytest
from anyio.abc import ByteStream

from securestream.errors import SecureStreamError
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.tls import TlsStream
from securestream_providers.schannel import Schannel
from tests.streams.pairs import AUTHORITY, SERVER, Foreign, closing, negotiate_over, receive_exactly, tcp_pair
from tests.streams.toy import ALICE, Toy

pytestmark = pytest.mark.anyio


class Failing(Foreign):
    """Cancels a scope, or loses the connection, at the n-th operation."""

    def __init__(self, below: ByteStream, at: int, scope: anyio.CancelScope | None) -> None:
        super().__init__(below)
        self.left = at
        self.closed = False
        self.scope = scope

    async def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            if self.scope is None:
                raise anyio.BrokenResourceError
            self.scope.cancel()

    async def send(self, item: bytes) -> None:
        await self._count()
        await super().send(item)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await self._count()
        return await super().receive(max_bytes)

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


async def _wrap(kind: str, transport: ByteStream) -> ByteStream:
    if kind == "negotiate client":
        return await NegotiateStream.wrap_client(transport, package=Toy(legs=1), credential=ALICE)
    if kind == "negotiate server":
        return await NegotiateStream.wrap_server(transport, package=Toy(legs=1), credential=ALICE)
    if kind == "tls client":
        package = Schannel(trust=[AUTHORITY.pem])
        return await TlsStream.wrap_client(transport, package=package, target="server.example")
    return await TlsStream.wrap_server(transport, package=Schannel(), credential=SERVER.credential)


PEER = {
    "negotiate client": "negotiate server",
    "negotiate server": "negotiate client",
    "tls client": "tls server",
    "tls server": "tls client",
}


@pytest.mark.parametrize("kind", PEER)
@pytest.mark.parametrize("how", ["cancelled", "lost"])
@pytest.mark.parametrize("at", range(1, 6))
async def test_a_handshake_interrupted_at_any_operation_closes_both_ends(kind: str, how: str, at: int) -> None:
    one, other = await tcp_pair()
    scope = anyio.CancelScope()
    transport = Failing(one, at, scope if how == "cancelled" else None)
    outcomes: list[str] = []

    async def mine() -> None:
        with scope:
            try:
                stream = await _wrap(kind, transport)
            except SecureStreamError:
                outcomes.append("failed")
                assert transport.closed
            else:
                outcomes.append("completed")
                assert transport.left > 0 or how == "cancelled"
                await stream.aclose()
        if scope.cancelled_caught:
            outcomes.append("cancelled")
            assert transport.closed

    async def peer() -> None:
        try:
            stream = await _wrap(PEER[kind], other)
            async with closing(stream):
                await stream.receive()
        except (SecureStreamError, anyio.EndOfStream, anyio.BrokenResourceError):
            pass

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(mine)
            group.start_soon(peer)
    assert outcomes
    if transport.left > 0:
        assert outcomes == ["completed"]


@pytest.mark.parametrize("at", range(1, 5))
async def test_a_send_interrupted_at_any_of_its_parts_breaks_the_stream_and_nothing_else(at: int) -> None:
    client, server = await tcp_pair()
    scope = anyio.CancelScope()
    failing = Failing(client, 0, scope)
    one, other = await negotiate_over(failing, server)
    failing.left = at
    received: list[int] = []
    async with closing(one, other), anyio.create_task_group() as group:

        async def read() -> None:
            try:
                while True:
                    received.append(len(await other.receive()))
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

        group.start_soon(read)
        with scope:
            await one.send(bytes(1 << 20))  # four flushes
        assert scope.cancelled_caught
        with pytest.raises(anyio.BrokenResourceError):
            await one.send(b"x")
        await one.aclose()
    assert sum(received) < 1 << 20


async def test_cancelled_before_its_first_octet_a_send_leaves_the_stream_whole() -> None:
    one, other = await negotiate_over(*await tcp_pair())
    async with closing(one, other):
        for _ in range(5):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await one.send(b"never")
        await one.send(b"whole")
        assert await receive_exactly(other, 5) == b"whole"


async def test_who_cancels_a_handshake_while_handling_an_error_goes_on() -> None:
    """On trio its `Cancelled` has that error as its context: those frames are not the handshake's to clear."""
    client, server = await tcp_pair()
    ended = anyio.Event()
    scope = anyio.CancelScope()

    async def handshake() -> None:
        with scope:
            await NegotiateStream.wrap_server(server, package=Toy(legs=1), credential=ALICE)
        ended.set()

    async def cancels() -> str:
        kept = "kept"
        try:
            raise KeyError(kept)
        except KeyError:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await ended.wait()
        return kept

    async with closing(client, server), anyio.create_task_group() as group:
        group.start_soon(handshake)
        await anyio.wait_all_tasks_blocked()
        assert await cancels() == "kept"
