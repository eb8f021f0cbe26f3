"""Damage and disorder after the handshake: the connection ends, and nothing altered is delivered."""

from __future__ import annotations

import anyio
import pytest

from securestream.errors import (
    BadSignature,
    ContextError,
    FramingError,
    NotEncrypted,
)
from securestream.streams.attributes import SecurityAttribute
from tests.streams.pairs import (
    Foreign,
    below,
    closing,
    negotiate_over,
    negotiate_pair,
    receive_exactly,
    tcp_pair,
    tls_over,
)
from tests.streams.toy import Toy

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("position", range(0, 4 + 17 + 4, 2))
async def test_a_damaged_frame_ends_the_connection(position: int) -> None:
    one, other = await negotiate_pair()
    async with closing(one, other):
        await one.send(b"before")
        sealed = one.extra(SecurityAttribute.context).wrap(b"data")
        frame = bytearray(len(sealed).to_bytes(4, "little") + sealed)
        frame[position] ^= 0x10
        await below(one).send(bytes(frame))
        await below(one).send_eof()
        assert await other.receive() == b"before"
        with pytest.raises((ContextError, FramingError, anyio.BrokenResourceError)):
            await other.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await other.send(b"x")


async def test_data_before_damage_in_one_read_is_delivered_first() -> None:
    one, other = await negotiate_pair()
    async with closing(one, other):
        context = one.extra(SecurityAttribute.context)
        good, bad = context.wrap(b"good"), bytearray(context.wrap(b"bad"))
        bad[-1] ^= 1
        frames = b"".join(len(sealed).to_bytes(4, "little") + bytes(sealed) for sealed in (good, bad))
        await below(one).send(frames)
        assert await other.receive() == b"good"
        with pytest.raises(BadSignature):
            await other.receive()


async def test_a_replayed_frame_ends_the_connection() -> None:
    client, server = await tcp_pair()
    watched = Foreign(client)
    one, other = await negotiate_over(watched, server)
    async with closing(one, other):
        await one.send(b"pay")
        await client.send(watched.sent[-1])
        assert await receive_exactly(other, 3) == b"pay"
        with pytest.raises(ContextError):
            await other.receive()


async def test_a_reflected_frame_ends_the_connection() -> None:
    client, server = await tcp_pair()
    watched = Foreign(client)
    one, other = await negotiate_over(watched, server)
    async with closing(one, other):
        await one.send(b"mine")
        await server.send(watched.sent[-1])
        with pytest.raises(ContextError):
            await one.receive()


async def test_data_in_clear_is_refused_where_encryption_was_agreed_on() -> None:
    one, other = await negotiate_pair()
    async with closing(one, other):
        signed = one.extra(SecurityAttribute.context).wrap(b"in clear", encrypt=False)
        await below(one).send(len(signed).to_bytes(4, "little") + signed)
        with pytest.raises(NotEncrypted):
            await other.receive()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_connection_cut_into_small_pieces_works(size: int) -> None:
    class Cut(Foreign):
        async def receive(self, max_bytes: int = 65536) -> bytes:
            return await self.below.receive(min(max_bytes, size))

    client, server = await tcp_pair()
    one, other = await negotiate_over(Cut(client), Cut(server), toy=Toy(legs=2))
    tls = await tls_over(*(Cut(stream) for stream in await tcp_pair()))
    for mine, theirs in ((one, other), tls):
        async with closing(mine, theirs):
            await mine.send(b"to and")
            assert await receive_exactly(theirs, 6) == b"to and"
            await theirs.send(b"fro")
            assert await receive_exactly(mine, 3) == b"fro"
