"""What all secure streams share: the only locks, the states, closing and cancellation.

    OPEN -> BROKEN -> CLOSED

Sealing and sending are one critical section, so records leave in the order of their sequence numbers. A send that was
cancelled or failed half-way has put the peer's sequence out of step: the stream is BROKEN. Receiving awaits one thing,
the transport; what that returns is unsealed before anything else is awaited, so a cancellation loses nothing, and
receiving never waits to send.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final
from weakref import WeakSet

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from securestream.errors import ContextError, FramingError, PeerRefused, SecureStreamError
from securestream.provider import Buffer
from securestream.streams.attributes import attributes_of
from securestream.streams.transport import READ_SIZE, TcpStream

FLUSH_SIZE = 262144
"""Octets of plaintext sealed and sent by one system call."""

FAREWELL_SECONDS = 0.05
"""What the last octets of a closing stream may take on a transport that cannot send without waiting."""

_LARGE = 16384
"""A part of this size is worth a call of `receive` of its own."""

ENDS = (anyio.EndOfStream, anyio.BrokenResourceError, ContextError, FramingError, PeerRefused)
"""How a stream ends for whoever uses it; `SealedStream.has_raised` knows them."""


class StreamState(Enum):
    """Where a stream stands."""

    OPEN = "open"
    BROKEN = "broken"
    """A send was cut short, or the peer's octets were refused. It can only be closed."""
    CLOSED = "closed"


_OPEN: Final = StreamState.OPEN  # asked several times for each message, and members of an Enum are found slowly


class _SendLock:
    """Serves waiting tasks in their order; free, it is taken without a checkpoint."""

    __slots__ = ("_waiting", "held")

    def __init__(self) -> None:
        self.held = False
        self._waiting: deque[anyio.Event] | None = None

    async def acquire(self) -> None:
        if not self.held:
            self.held = True
            return
        turn = anyio.Event()
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:  # cancelled: the lock goes on to the next, if it was given to us at all
            if turn.is_set():
                self.release()
            else:
                self._waiting.remove(turn)
            raise

    def release(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self.held = False


class SealedStream(ByteStream):
    """Base of the secure streams. Subclasses say how octets are sealed and unsealed; they perform no I/O for it.

    Args:
        transport: the stream below; owned from now on.
        package: name of the security package.
    """

    _flush_size = FLUSH_SIZE

    def __init__(self, transport: ByteStream, package: str) -> None:
        self._transport = transport
        self._package = package
        self._state = _OPEN
        self._send_lock = _SendLock()
        self._receiving = False
        self._eof_sent = False
        self._cut_short = False
        self._plain: deque[bytes | memoryview] | None = None
        self._ending: Exception | None = None
        self._raised: WeakSet[BaseException] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._package} {self._state.value}>"

    # --- what subclasses say ---

    @abstractmethod
    def _seal(self, data: memoryview) -> bytes:
        """`data`, at most `_flush_size` octets, as it goes on the wire."""

    @abstractmethod
    def _unseal(self, data: Buffer) -> None:
        """Take in what the transport gave: `_deliver` the plaintext, or `_end` the stream."""

    @abstractmethod
    def _unseal_end(self) -> None:
        """The transport ended: `_end` the stream, or raise `BrokenResourceError` if that was not proper."""

    def _farewell(self) -> bytes:
        """The last octets for the peer before the transport is closed."""
        return b""

    @abstractmethod
    def _discard(self) -> None:
        """Drop keys and buffers."""

    @abstractmethod
    def _own_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of this stream."""

    # --- what they use ---

    def _deliver(self, plain: bytes) -> None:
        if plain:
            if self._plain is None:
                self._plain = deque()
            self._plain.append(plain)

    def _end(self, error: Exception) -> None:
        """What `receive` raises once the plaintext before it was delivered."""
        if self._ending is None:
            self._ending = error

    def _check_open(self) -> None:
        if self._state is not _OPEN:
            raise anyio.ClosedResourceError if self._state is StreamState.CLOSED else anyio.BrokenResourceError

    # --- the stream ---

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """`SecurityAttribute` of this stream beside the attributes of its transport."""
        return {**attributes_of(self._transport), **self._own_attributes()}

    def has_raised(self, error: BaseException) -> bool:
        """Whether `error` came out of this stream, or out of a secure stream over it: the end of a connection, not a
        mistake of the program.
        """
        return self._raised is not None and error in self._raised

    def remember(self, error: BaseException) -> None:
        """Have `has_raised` know `error`, here and in the secure streams below."""
        if self._raised is None:
            self._raised = WeakSet()
        self._raised.add(error)
        if isinstance(self._transport, SealedStream):
            self._transport.remember(error)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next octets of plaintext.

        Args:
            max_bytes: at most so many octets.

        Raises:
            anyio.EndOfStream: the peer ended its side properly.
            anyio.BrokenResourceError: the connection was lost or cut off, or a send was cut short before.
            anyio.BusyResourceError: another task is receiving.
            anyio.ClosedResourceError: the stream is or was closed meanwhile.
            ContextError: the peer's data was altered, replayed, or not protected as required. The stream is broken.
            FramingError: what came is no frame. The stream is broken.

        Cancellation loses nothing.
        """
        if max_bytes < 1:
            raise ValueError("max_bytes must be positive")
        if self._receiving:
            raise anyio.BusyResourceError("reading from")
        self._receiving = True
        try:
            if self._plain or self._ending is not None or self._state is not _OPEN:
                await checkpoint()
            self._check_open()
            while not self._plain:
                if self._ending is not None:
                    self._raise_ending(self._ending)
                await self._fill()
                self._check_open()
            return self._take(max_bytes)
        except ENDS as error:
            self.remember(error)
            raise
        finally:
            self._receiving = False

    async def _fill(self) -> None:
        """Read once and unseal all that came."""
        transport = self._transport
        try:
            if isinstance(transport, TcpStream):
                await transport.receive_with(self._take_octets)
                return
            data = await transport.receive(READ_SIZE)
        except anyio.EndOfStream:
            data = b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._break()
            self._check_closed()
            raise
        self._take_octets(data)

    def _take_octets(self, data: Buffer) -> None:
        if data:
            self._take_in(self._unseal, data)
        else:
            self._take_in(self._unseal_end)

    def _take_in(self, unseal: Callable[..., None], *data: Buffer) -> None:
        """Unseal; a refusal comes after what was unsealed before it."""
        try:
            unseal(*data)
        except (SecureStreamError, anyio.BrokenResourceError) as error:
            self._end(error)
        except BaseException:
            self._break()
            raise

    def _raise_ending(self, ending: Exception) -> None:
        if isinstance(ending, anyio.EndOfStream):
            raise anyio.EndOfStream
        self._break()
        raise ending

    def _take(self, max_bytes: int) -> bytes:
        """Up to `max_bytes` of the plaintext at hand; only small parts are joined, large ones are given as they are."""
        plain = self._plain
        assert plain is not None  # noqa: S101 - the callers have looked
        first = plain.popleft()
        if len(first) > max_bytes:
            view = memoryview(first)
            plain.appendleft(view[max_bytes:])
            return bytes(view[:max_bytes])
        if not plain or len(first) >= _LARGE or len(first) + len(plain[0]) > max_bytes:
            if not plain:
                self._plain = None
            return bytes(first)
        parts = [first]
        room = max_bytes - len(first)
        while plain and len(plain[0]) <= min(room, _LARGE):
            part = plain.popleft()
            room -= len(part)
            parts.append(part)
        if not plain:
            self._plain = None
        return b"".join(parts)

    async def send(self, item: bytes) -> None:
        """Seal and send `item`; an empty one sends nothing.

        Concurrent senders are served in their order.

        Raises:
            anyio.BrokenResourceError: the connection was lost, or a send was cut short before.
            anyio.ClosedResourceError: the stream is or was closed meanwhile.
            ContextExpired: the security context has ended.

        Cancelled while it waits for its turn, nothing happened; cancelled later, the stream is broken.
        """
        try:
            if not item or self._state is not _OPEN:
                await checkpoint()
                self._check_open()
                return
            await self._send_lock.acquire()
            try:
                self._check_open()
                if self._eof_sent:
                    raise anyio.ClosedResourceError
                if isinstance(self._transport, TcpStream):
                    await self._transport.enter()
                else:
                    await checkpoint_if_cancelled()
                await self._send_all(memoryview(item))
            finally:
                self._send_lock.release()
        except ENDS as error:
            self.remember(error)
            raise

    async def _send_all(self, view: memoryview) -> None:
        try:
            size, transport = self._flush_size, self._transport
            if len(view) <= size:
                self._check_open()
                send = transport.send_entered if isinstance(transport, TcpStream) else transport.send
                await send(self._seal(view))
                return
            for offset in range(0, len(view), size):
                self._check_open()
                await transport.send(self._seal(view[offset : offset + size]))
        except BaseException:
            self._cut_short = True
            self._break()
            self._check_closed()
            raise

    async def _flush(self, octets: bytes) -> None:
        """Send octets of the protocol itself; the lock is held."""
        if not octets:
            return
        try:
            await self._transport.send(octets)
        except BaseException:
            self._cut_short = True
            self._break()
            self._check_closed()
            raise

    def _break(self) -> None:
        if self._state is _OPEN:
            self._state = StreamState.BROKEN

    def _check_closed(self) -> None:
        """A transport that failed because this stream was closed meanwhile is reported as that."""
        if self._state is StreamState.CLOSED:
            raise anyio.ClosedResourceError

    async def aclose(self) -> None:
        """Close the stream and its transport, drop the keys.

        Never waits for the peer: what is still owed to it (TLS: close_notify) is sent if the transport takes it at
        once. Whoever waits on the stream gets `anyio.ClosedResourceError`.
        """
        if self._state is StreamState.CLOSED:
            await checkpoint()
            return
        may_send = not self._send_lock.held and not self._cut_short
        self._state = StreamState.CLOSED
        try:
            if may_send:
                await send_farewell(self._transport, self._farewell())
        finally:
            self._drop()
            await self._transport.aclose()

    def _drop(self) -> None:
        self._discard()
        self._plain = self._ending = None


async def send_farewell(transport: ByteStream, octets: bytes, seconds: float = FAREWELL_SECONDS) -> None:
    """Send the last octets of a connection, shielded; a peer that takes them too slowly does without."""
    if not octets:
        return
    try:
        if isinstance(transport, TcpStream) and transport.try_send(octets) == len(octets):
            return
        if not isinstance(transport, TcpStream):
            with anyio.move_on_after(seconds, shield=True):
                await transport.send(octets)
    except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.BusyResourceError):
        return  # the peer is gone: nobody is left to tell
