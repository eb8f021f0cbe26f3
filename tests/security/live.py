"""Listeners that strangers talk to, and clients that speak octet by octet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream

from securestream.framing.base import TokenKind
from securestream.framing.nns import NnsFraming
from securestream.streams._wrap import SecureStream
from securestream.streams.connect import listen
from securestream.streams.listeners import SecureListener
from securestream_providers.ntlm import Ntlm

PASSWORD = "correct horse battery staple"


class Loud(SecureListener):
    """Keeps the errors of its handshakes; a client may see the end of its connection before one is kept."""

    def __init__(self, *arguments: Any, **limits: Any) -> None:
        super().__init__(*arguments, **limits)
        self.errors: list[Exception] = []
        self._another = anyio.Event()

    async def handle_handshake_error(self, error: Exception, source: str) -> None:
        self.errors.append(error)
        self._another.set()
        self._another = anyio.Event()

    async def error(self, number: int = 0) -> Exception:
        """How the n-th of the handshakes failed that do."""
        with anyio.fail_after(20):
            while len(self.errors) <= number:
                await self._another.wait()
        return self.errors[number]


async def echo(stream: SecureStream) -> None:
    while True:
        await stream.send(await stream.receive())


@asynccontextmanager
async def serving(**arguments: Any) -> AsyncGenerator[Loud, None]:
    """A listener that serves an echo while the block runs; NTLM unless another package is given."""
    arguments.setdefault("package", Ntlm())
    listener = await listen("127.0.0.1", 0, listener=Loud, **arguments)
    assert isinstance(listener, Loud)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        yield listener
        group.cancel_scope.cancel()


async def dial(port: int, source: str = "127.0.0.1") -> ByteStream:
    """A plain connection from an address of this machine."""
    return await anyio.connect_tcp("127.0.0.1", port, local_host=source)


def frame(token: bytes, kind: TokenKind = TokenKind.IN_PROGRESS) -> bytes:
    """A handshake frame."""
    return NnsFraming().token(kind, token)


async def receive_frame(stream: ByteStream) -> bytes:
    """One whole handshake frame."""
    octets = await stream.receive(5)
    while len(octets) < 5 or len(octets) < 5 + int.from_bytes(octets[3:5], "big"):
        missing = 5 - len(octets) if len(octets) < 5 else 5 + int.from_bytes(octets[3:5], "big") - len(octets)
        octets += await stream.receive(missing)
    return octets


async def receive_rest(stream: ByteStream) -> bytes:
    """Everything up to the end of the connection, however it ends."""
    octets = b""
    try:
        while True:
            octets += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return octets
