"""What the streams share whose data travels in frames, with no message for the end: ending, and giving back."""

from __future__ import annotations

from abc import abstractmethod

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint_if_cancelled

from securestream.errors import FramingError, UsageError
from securestream.framing.base import Framing
from securestream.provider import Buffer
from securestream.streams._sealed import SealedStream, StreamState


class FramedStream(SealedStream):
    """Base of the streams over a `Framing`. Their end is that of the transport, which nothing proves.

    Args:
        transport: the stream below; owned from now on.
        package: name of the security package.
        framing: the wire.
    """

    def __init__(self, transport: ByteStream, package: str, framing: Framing) -> None:
        super().__init__(transport, package)
        self._framing = framing

    @abstractmethod
    def _take_events(self) -> None:
        """Unseal every complete frame that is there."""

    def _unseal(self, data: Buffer) -> None:
        self._framing.receive_data(data)
        self._take_events()

    def _unseal_end(self) -> None:
        self._framing.receive_eof()
        try:
            self._take_events()
        except FramingError as error:
            raise anyio.BrokenResourceError from error
        self._end(anyio.EndOfStream())

    async def send_eof(self) -> None:
        """End this side of the stream; the peer can still send. The end itself is not protected: no message says it.

        Raises and is cancelled as `send`.
        """
        self._check_open()
        await self._send_lock.acquire()
        try:
            self._check_open()
            await checkpoint_if_cancelled()
            if not self._eof_sent:
                self._eof_sent = True
                await self._transport.send_eof()
        finally:
            self._send_lock.release()

    async def unwrap(self) -> tuple[ByteStream, bytes]:
        """Give the transport back, with the octets that were read from it and not yet taken. The keys are dropped.

        No message says so: both ends must have agreed on it in their own protocol.

        Raises:
            UsageError: plaintext is still unread.
            anyio.BusyResourceError: another task is receiving.
        """
        self._check_open()
        if self._receiving:
            raise anyio.BusyResourceError("reading from")
        if self._plain:
            raise UsageError("there is data to receive: read it before unwrapping")
        await self._send_lock.acquire()
        try:
            self._check_open()
            await checkpoint_if_cancelled()
            self._state = StreamState.CLOSED
            trailing = self._framing.trailing_data()
            self._drop()
            return self._transport, trailing
        finally:
            self._send_lock.release()
