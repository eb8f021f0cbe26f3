"""Two byte streams in memory, each the other's peer."""

from __future__ import annotations

import anyio
from anyio.abc import ByteStream


class MemoryStream(ByteStream):
    """One end. A stream without half-close ends only by `aclose`."""

    def __init__(self, *, half_close: bool = True) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[bytes](100)
        self._peer: MemoryStream = self
        self._half_close = half_close
        self.broken = False

    @classmethod
    def pair(cls, *, half_close: bool = True) -> tuple[MemoryStream, MemoryStream]:
        """Two ends."""
        one, two = cls(half_close=half_close), cls(half_close=half_close)
        one._peer, two._peer = two, one
        return one, two

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self.broken:
            raise anyio.BrokenResourceError
        return await self._receive.receive()

    async def send(self, item: bytes) -> None:
        await self._peer._send.send(item)

    async def send_eof(self) -> None:
        if not self._half_close:
            raise NotImplementedError
        await self._peer._send.aclose()

    async def aclose(self) -> None:
        await self._peer._send.aclose()
        await self._receive.aclose()

    def close_everything(self) -> None:
        """For the end of a test."""
        for end in (self, self._peer):
            end._send.close()
            end._receive.close()
