"""A man in the middle: passes octets between a client and a server, and alters one when told to."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

import anyio
import anyio.abc

HEADER = 4
"""Octets of a data frame's header, which .NET sends apart ([MS-NNS] 2.2.2)."""


class Relay:
    """A relay on a port of its own; `alter` flips a bit in the last octet of the next message in that direction."""

    def __init__(self) -> None:
        self.port = 0
        self.alter: Literal["to server", "to client"] | None = None

    async def _pass(
        self, source: anyio.abc.ByteStream, sink: anyio.abc.ByteStream, way: Literal["to server", "to client"]
    ) -> None:
        try:
            async for data in source:
                piece = data
                if self.alter == way and len(data) > HEADER:
                    self.alter = None
                    piece = data[:-1] + bytes([data[-1] ^ 1])
                await sink.send(piece)
            await sink.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass  # one end has gone; the other is closed with the relay

    async def serve(self, client: anyio.abc.ByteStream, server_port: int) -> None:
        """Relay one connection."""
        server = await anyio.connect_tcp("127.0.0.1", server_port)
        async with client, server, anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass, client, server, "to server")
            tasks.start_soon(self._pass, server, client, "to client")


@asynccontextmanager
async def relaying(server_port: int) -> AsyncGenerator[Relay]:
    """A relay before `server_port` of 127.0.0.1."""
    relay = Relay()

    async def serve(client: anyio.abc.ByteStream) -> None:
        await relay.serve(client, server_port)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        relay.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, serve)
        yield relay
        tasks.cancel_scope.cancel()
