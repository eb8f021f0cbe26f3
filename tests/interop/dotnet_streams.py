"""What tests of our streams with .NET's have in common: its levels by their names here, its events, an echo."""

from __future__ import annotations

import functools
import os

import anyio
import anyio.abc
import anyio.to_thread

import securestream as ss
from tests.interop.peers.process import Event, JsonPeer

SIZES = (0, 1, 64512, 64513, 3_000_000)
PROTECTION = {
    "none": ss.Protection.NONE,
    "sign": ss.Protection.SIGN,
    "encrypt and sign": ss.Protection.ENCRYPT_AND_SIGN,
}
DOTNET_LEVEL = {"none": "None", "sign": "Sign", "encrypt and sign": "EncryptAndSign"}


async def said(peer: JsonPeer, *names: str) -> Event:
    """The peer's next event of these."""
    return await anyio.to_thread.run_sync(functools.partial(peer.expect, *names))


async def echo(stream: anyio.abc.ByteStream, size: int) -> bytes:
    """Send `size` random octets and read as many back while they leave; those octets."""
    data = os.urandom(size)
    received = bytearray()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, data)
        while len(received) < size:
            received += await stream.receive()
    assert bytes(received) == data
    return data
