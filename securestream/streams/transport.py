"""TCP without detours: an anyio byte stream and a listener over non-blocking sockets.

Each operation checks for cancellation, tries its system call at once, and only then waits. Octets that were taken from
the socket are never lost: when a cancellation reaches the task at that moment, the next `TcpStream.receive` has them.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute, TaskGroup
from anyio.lowlevel import RunVar, checkpoint

from securestream.provider import Buffer
from securestream.streams._readiness import readiness_of

T = TypeVar("T")

READ_SIZE = 262144
"""Octets read at once; one buffer of this size belongs to each event loop."""

_PAUSE = 0.1
"""Seconds that an accept loop rests when the system has no descriptors or memory left."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# accept(2): errors of the new connection, not of the listener; not every system has them all
_PASSING_NAMES = (
    *("ECONNABORTED", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN"),
    *("ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH", "EPERM"),
)
_PASSING = frozenset(getattr(errno, name) for name in _PASSING_NAMES if hasattr(errno, name))

_log = logging.getLogger(__name__)
_buffers: RunVar[memoryview] = RunVar("securestream.read_buffer")


def loop_buffer() -> memoryview:
    """The running event loop's read buffer, `READ_SIZE` octets. What is in it is valid until the next await."""
    buffer = _buffers.get(None)
    if buffer is None:
        buffer = memoryview(bytearray(READ_SIZE))
        _buffers.set(buffer)
    return buffer


class TcpStream(ByteStream):
    """A connected TCP socket (or any other stream socket) as an `anyio.abc.ByteStream`.

    Args:
        raw: a connected stream socket; the stream owns it from now on.
        peer: the peer's address as the system told it; asked for if not given, and not known after a reset.
    """

    def __init__(self, raw: socket.socket, peer: Any = None) -> None:
        raw.setblocking(False)
        if raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = raw
        self._peer = _peer_address(raw) if peer is None else peer
        self._ready = readiness_of(raw)
        self._buffer = loop_buffer()
        self._unread = b""
        self._drained = False
        self._reading = False
        self._writing = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<TcpStream {'closed' if self._closed else 'open'}>"

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """anyio's `SocketAttribute`; the peer's address is known for as long as the stream lives."""
        attributes = _socket_attributes(self._socket)
        peer = self._peer
        if peer is not None:
            attributes[SocketAttribute.remote_address] = lambda: _address(peer)
            if self._socket.family in (socket.AF_INET, socket.AF_INET6):
                attributes[SocketAttribute.remote_port] = lambda: peer[1]
        return attributes

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next octets, as many as are there.

        Args:
            max_bytes: at most so many octets.

        Raises:
            anyio.EndOfStream: the peer ended its side.
            anyio.BusyResourceError: another task is receiving.
            anyio.BrokenResourceError: the connection was lost.
            anyio.ClosedResourceError: the stream is or was closed meanwhile.

        Cancellation loses nothing.
        """
        if max_bytes < 1:
            raise ValueError("max_bytes must be positive")
        data = await self._read(lambda: self._try_receive(max_bytes), self._keep)
        if not data:
            raise anyio.EndOfStream
        return data

    def receive_with(self, take: Callable[[memoryview], object]) -> Awaitable[object]:
        """Read once and call `take` with what came, in the same turn of the event loop; with nothing at the end.

        For streams on top that need no copy: the view is valid during the call only. Raises as `receive`. Cancellation
        loses nothing: what was read was taken.
        """

        def attempt() -> bool | None:
            if self._unread:
                data, self._unread = self._unread, b""
                take(memoryview(data))
                return True
            if self._closed:
                raise anyio.ClosedResourceError
            try:
                count = self._socket.recv_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return None
            self._drained = count < READ_SIZE
            take(self._buffer[:count])
            return True

        return self._read(attempt, _nothing)

    async def _read(self, attempt: Callable[[], T | None], keep: Callable[[T], None]) -> T:
        if self._reading:
            raise anyio.BusyResourceError("reading from")
        self._reading = True
        try:
            if self._drained and not self._unread and not self._closed:
                return await self._ready.until_readable(attempt, keep)
            result = attempt()  # cancelled before, this reads nonetheless, and keeps it: the checkpoint comes behind
            if result is None:
                return await self._ready.until_readable(attempt, keep)
            try:
                await self._ready.pause()
            except BaseException:  # cancelled, perhaps by asyncio itself, which no shield holds back
                keep(result)
                raise
            return result
        except anyio.ClosedResourceError:
            await self._leave()
            raise
        except OSError as error:
            await self._leave()
            raise self._lost(error) from error
        finally:
            self._reading = False

    def _try_receive(self, max_bytes: int) -> bytes | None:
        if self._unread and not self._closed:
            data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
            return data
        count = self._try_read(max_bytes)
        return None if count is None else bytes(self._buffer[:count])

    def _try_read(self, max_bytes: int) -> int | None:
        if self._closed:
            raise anyio.ClosedResourceError
        size = min(max_bytes, READ_SIZE)
        try:
            count = self._socket.recv_into(self._buffer, size)
        except (BlockingIOError, InterruptedError):
            return None
        self._drained = count < size  # the next read waits at once: trying would most likely cost a call for nothing
        return count

    def _keep(self, data: bytes) -> None:
        self._unread = data + self._unread

    async def send(self, item: Buffer) -> None:
        """Send all octets of `item`.

        Raises:
            anyio.BusyResourceError: another task is sending.
            anyio.BrokenResourceError: the connection was lost.
            anyio.ClosedResourceError: the stream is or was closed meanwhile.

        Cancelled before the first system call, nothing was sent; cancelled later, some octets were.
        """
        if self._writing:
            raise anyio.BusyResourceError("writing to")
        await self._ready.enter()
        await self.send_entered(item)

    def enter(self) -> Awaitable[None]:
        """Raise a pending cancellation, without giving way to other tasks."""
        return self._ready.enter()

    async def send_entered(self, item: Buffer) -> None:
        """`send` for streams on top that have awaited `enter` in this turn, before they sealed."""
        if (rest := self.send_now(item)) is not None:
            await rest

    def send_now(self, item: Buffer) -> Awaitable[None] | None:
        """Begin `send_entered`.

        Returns:
            What is to be awaited for its end, or for its error; `None` if all was sent.

        Raises:
            anyio.BusyResourceError: another task is sending.
        """
        if self._writing:
            raise anyio.BusyResourceError("writing to")
        try:
            sent = self._socket.send(item)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            return self._fail(anyio.ClosedResourceError() if self._closed else error)
        if sent == len(item) and self._ready.may_go_on():
            return None
        return self._send_rest(memoryview(item)[sent:])

    async def _send_rest(self, rest: memoryview) -> None:
        def attempt() -> bool | None:
            nonlocal rest
            rest = rest[self.try_send(rest) :]
            return None if rest else True

        self._writing = True
        try:
            await (self._ready.until_writable(attempt) if rest else self._ready.give_way())
        except (OSError, anyio.ClosedResourceError) as error:
            await self._fail(error)
        finally:
            self._writing = False

    async def _fail(self, error: Exception) -> None:
        await self._leave()
        if isinstance(error, OSError):
            raise self._lost(error) from error
        raise error

    async def _leave(self) -> None:
        """End an operation that did not wait."""
        if not self._ready.may_go_on():
            await self._ready.give_way()

    def try_send(self, data: Buffer) -> int:
        """Give the system what it takes of `data` without waiting; returns how many octets it took.

        Raises:
            OSError: the connection was lost.
            anyio.ClosedResourceError: the stream is closed.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    async def send_eof(self) -> None:
        """End this side of the stream; the peer can still send."""
        if self._closed:
            raise anyio.ClosedResourceError
        if self._writing:
            raise anyio.BusyResourceError("writing to")
        await checkpoint()
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # the peer is gone: it has no use for an end
                raise self._lost(error) from error

    async def aclose(self) -> None:
        """Close the socket at once; whoever waits on the stream gets `anyio.ClosedResourceError`."""
        self.close()
        await checkpoint()

    def close(self) -> None:
        """`aclose` without a checkpoint."""
        if not self._closed:
            self._closed = True
            self._ready.close()
            self._socket.close()

    def shut_down(self) -> None:
        """End this side and throw away what the peer sent, so that closing does not reset the connection.

        Raises:
            OSError: the connection is lost already.
        """
        self._socket.shutdown(socket.SHUT_WR)
        try:
            for _ in range(4):  # a peer that sends without end is reset after all
                if not self._socket.recv_into(self._buffer):
                    return
        except (BlockingIOError, InterruptedError):
            return

    def _lost(self, error: OSError) -> Exception:
        return anyio.ClosedResourceError() if self._closed else anyio.BrokenResourceError()


class TcpListener(Listener[TcpStream]):
    """A listening socket whose accept loop survives what happens to single connections and to the system.

    Args:
        raw: a listening stream socket; the listener owns it from now on.
    """

    def __init__(self, raw: socket.socket) -> None:
        raw.setblocking(False)
        self._socket = raw
        self._ready = readiness_of(raw)
        self._closed = False

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """anyio's `SocketAttribute`."""
        return _socket_attributes(self._socket)

    async def accept(self) -> TcpStream:
        """The next connection.

        When the system is out of descriptors or memory, the listener pauses and goes on; connections that were
        aborted before they could be accepted are passed over.

        Raises:
            anyio.ClosedResourceError: the listener is or was closed meanwhile.

        Cancelled in the very turn in which a connection came, that connection is closed.
        """
        await checkpoint()
        while True:
            try:
                accepted = self._try_accept()
                if accepted is None:
                    accepted = await self._ready.until_readable(self._try_accept, _close_accepted)
                return _adopt(*accepted)
            except OSError as error:
                if self._closed:
                    raise anyio.ClosedResourceError from error
                if error.errno in _EXHAUSTED:
                    _log.warning("cannot accept connections for the moment: %s", error.strerror)
                elif error.errno not in _PASSING:
                    raise
                await anyio.sleep(_PAUSE)

    def _try_accept(self) -> tuple[socket.socket, Any] | None:
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            return self._socket.accept()
        except (BlockingIOError, InterruptedError):
            return None

    async def serve(self, handler: Callable[[TcpStream], Any], task_group: TaskGroup | None = None) -> None:
        """Accept connections and run `handler` for each, until cancelled or closed."""
        if task_group is None:
            async with anyio.create_task_group() as own:
                await self.serve(handler, own)
            return
        while True:
            stream = await self.accept()
            task_group.start_soon(handler, stream)

    async def aclose(self) -> None:
        """Stop listening; whoever waits in `accept` gets `anyio.ClosedResourceError`."""
        self.close()
        await checkpoint()

    def close(self) -> None:
        """`aclose` without a checkpoint."""
        if not self._closed:
            self._closed = True
            self._ready.close()
            self._socket.close()


def _adopt(raw: socket.socket, peer: Any) -> TcpStream:
    try:
        return TcpStream(raw, peer)
    except BaseException:
        raw.close()
        raise


def _nothing(_: object) -> None:
    return None


def _close_accepted(accepted: tuple[socket.socket, Any]) -> None:
    accepted[0].close()


def _peer_address(raw: socket.socket) -> Any:
    """The peer's address, asked for while it is known: the system forgets it when the connection is reset."""
    try:
        return raw.getpeername()
    except OSError:
        return None


def _socket_attributes(raw: socket.socket) -> dict[Any, Callable[[], Any]]:
    attributes: dict[Any, Callable[[], Any]] = {
        SocketAttribute.family: lambda: raw.family,
        SocketAttribute.local_address: lambda: _address(raw.getsockname()),
        SocketAttribute.raw_socket: lambda: raw,
    }
    if raw.family in (socket.AF_INET, socket.AF_INET6):
        attributes[SocketAttribute.local_port] = lambda: raw.getsockname()[1]
    return attributes


def _address(address: Any) -> Any:
    """An address as anyio shows it: host and port alone."""
    return (address[0], address[1]) if isinstance(address, tuple) else address


async def listen_tcp(
    host: str | None, port: int, *, backlog: int = 1024, reuse_port: bool = False
) -> list[TcpListener]:
    """Listen on every address that `host` has.

    Args:
        host: a name or an address; `None` for all interfaces.
        port: the port; 0 lets the system choose one, the same for every address.
        backlog: connections that the system holds ready.
        reuse_port: let several processes listen on one port (SO_REUSEPORT), where the system can.

    Raises:
        OSError: the address cannot be bound.
    """
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            raw = socket.socket(family, kind, protocol)
            sockets.append(raw)
            _prepare(raw, reuse_port=reuse_port)
            bound_port = sockets[0].getsockname()[1] if len(sockets) > 1 and port == 0 else port
            raw.bind((address[0], bound_port, *address[2:]))
            raw.listen(backlog)
        return [TcpListener(raw) for raw in sockets]
    except BaseException:
        for raw in sockets:
            raw.close()
        raise


def _prepare(raw: socket.socket, *, reuse_port: bool) -> None:
    exclusive: int | None = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    if exclusive is not None:  # Windows: SO_REUSEADDR would let another program steal the port
        raw.setsockopt(socket.SOL_SOCKET, exclusive, 1)
    else:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port and hasattr(socket, "SO_REUSEPORT"):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if raw.family == socket.AF_INET6:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
