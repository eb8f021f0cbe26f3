"""Waiting until a socket is ready: the loop's own reader kept registered on asyncio, anyio's primitives elsewhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import anyio
from anyio.abc import AsyncBackend
from anyio.lowlevel import current_token

T = TypeVar("T")

_IDLE_CALLS = 2
"""How often the loop may report an unwanted readiness before its reader is taken out."""

_OPERATIONS = 4
"""Operations between two turns of the loop. No cancellation can arise between them, and a turn costs as much as one."""


class Readiness(Protocol):
    """Runs an attempt at a system call whenever a socket is ready for it, until it gives a result.

    An attempt returns `None` when it would block. Once it has given a result, that result is returned or, if the task
    was cancelled at that moment, handed to `keep`: nothing that was taken from the socket is lost.
    """

    def enter(self) -> Awaitable[None]:
        """Begin a send: raise a pending cancellation, without giving way to other tasks."""
        ...

    def may_go_on(self) -> bool:
        """Count an operation that did not wait: whether it may end without `give_way`."""
        ...

    def give_way(self) -> Awaitable[None]:
        """Give way to other tasks, shielded from cancellation."""
        ...

    async def pause(self) -> None:
        """End a read that did not wait: a full checkpoint, since whatever was read is kept."""
        ...

    async def until_readable(self, attempt: Callable[[], T | None], keep: Callable[[T], None]) -> T:
        """Wait for octets, or for a connection to accept."""
        ...

    async def until_writable(self, attempt: Callable[[], T | None]) -> T:
        """Wait for room, or for a connection attempt to end."""
        ...

    def close(self) -> None:
        """Wake whoever waits, with `ClosedResourceError`; to be called before the socket is closed."""
        ...


class _Portable:
    """By `anyio.wait_readable`: trio, and event loops of asyncio that watch no sockets (Windows' Proactor)."""

    __slots__ = ("_socket", "_wait_readable", "_wait_writable", "enter", "give_way", "pause")

    def __init__(self, backend: type[AsyncBackend], raw: socket.socket) -> None:
        self._socket = raw
        self.enter = backend.checkpoint_if_cancelled
        self.give_way = backend.cancel_shielded_checkpoint
        self.pause = backend.checkpoint
        self._wait_readable = backend.wait_readable
        self._wait_writable = backend.wait_writable

    def may_go_on(self) -> bool:
        return False

    async def until_readable(self, attempt: Callable[[], T | None], keep: Callable[[T], None]) -> T:
        while True:
            await self._wait_readable(self._socket)
            result = attempt()
            if result is not None:
                return result

    async def until_writable(self, attempt: Callable[[], T | None]) -> T:
        while True:
            await self._wait_writable(self._socket)
            result = attempt()
            if result is not None:
                return result

    def close(self) -> None:
        anyio.notify_closing(self._socket)


class _Asyncio:
    """By the loop's readers. The attempt runs in the loop's callback, so that one wake-up costs one system call.

    The reader stays registered between two waits; it is taken out when the loop reports octets that nobody wants.
    An operation that comes soon after one that waited does not give way: the loop has just had its turn.
    """

    __slots__ = (
        *("_attempt_read", "_attempt_write", "_fd", "_idle", "_loop", "_reader", "_registered", "_since", "_writer"),
        *("enter", "give_way"),
    )

    def __init__(self, backend: type[AsyncBackend], loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self.enter = backend.checkpoint_if_cancelled
        self.give_way = backend.cancel_shielded_checkpoint
        self._since = 0
        self._loop = loop
        self._fd = fd
        self._registered = False
        self._idle = 0
        self._reader: asyncio.Future[Any] | None = None
        self._writer: asyncio.Future[Any] | None = None
        self._attempt_read: Callable[[], Any] | None = None
        self._attempt_write: Callable[[], Any] | None = None

    def may_go_on(self) -> bool:
        self._since += 1
        if self._since < _OPERATIONS:
            return True
        self._since = 0
        return False

    async def pause(self) -> None:
        self._since = 0
        await asyncio.sleep(0)  # a third of the price of anyio's shielded checkpoint

    async def until_readable(self, attempt: Callable[[], T | None], keep: Callable[[T], None]) -> T:
        if self._reader is not None:
            raise anyio.BusyResourceError("reading from")
        future: asyncio.Future[T] = self._loop.create_future()
        self._reader, self._attempt_read, self._idle = future, attempt, 0
        self._since = 0
        if not self._registered:
            self._loop.add_reader(self._fd, self._on_readable)
            self._registered = True
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                keep(future.result())
            raise
        finally:
            self._reader = self._attempt_read = None

    def _on_readable(self) -> None:
        future, attempt = self._reader, self._attempt_read
        if future is None or attempt is None or future.done():
            self._idle += 1
            if self._idle >= _IDLE_CALLS and self._registered:
                self._loop.remove_reader(self._fd)
                self._registered = False
            return
        try:  # as _settle, which would be one call more for each message
            result = attempt()
        except Exception as error:  # whatever the system call raised is the waiting task's
            future.set_exception(error)
        else:
            if result is not None:
                future.set_result(result)

    async def until_writable(self, attempt: Callable[[], T | None]) -> T:
        if self._writer is not None:
            raise anyio.BusyResourceError("writing to")
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer, self._attempt_write, self._since = future, attempt, 0
        self._loop.add_writer(self._fd, self._on_writable)
        try:
            return await future
        finally:
            self._writer = self._attempt_write = None
            if self._fd >= 0:
                self._loop.remove_writer(self._fd)

    def _on_writable(self) -> None:
        future, attempt = self._writer, self._attempt_write
        if future is not None and attempt is not None and not future.done():
            _settle(future, attempt)

    def close(self) -> None:
        if self._registered:
            self._loop.remove_reader(self._fd)
            self._registered = False
        if self._writer is not None:
            self._loop.remove_writer(self._fd)
        self._fd = -1
        for future in (self._reader, self._writer):
            if future is not None and not future.done():
                future.set_exception(anyio.ClosedResourceError())


def _settle(future: asyncio.Future[Any], attempt: Callable[[], Any]) -> None:
    try:
        result = attempt()
    except Exception as error:  # whatever the system call raised is the waiting task's
        future.set_exception(error)
    else:
        if result is not None:
            future.set_result(result)


def readiness_of(raw: socket.socket) -> Readiness:
    """How to wait for `raw` under the running event loop."""
    token = current_token()
    loop = token.native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        try:
            loop.remove_reader(raw.fileno())
        except NotImplementedError:
            return _Portable(token.backend_class, raw)
        return _Asyncio(token.backend_class, loop, raw.fileno())
    return _Portable(token.backend_class, raw)
