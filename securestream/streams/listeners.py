"""The listener of secure streams: no client, slow, silent, hostile or many, keeps others from being served."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import anyio
from anyio.abc import Listener, SocketAttribute, TaskGroup

from securestream.errors import LimitExceeded, SecureStreamError, UsageError, kind_of, lies_at_this_end
from securestream.options import Role
from securestream.readable import printable
from securestream.services.failures import source_key
from securestream.streams._handshake import Settings, close_forcefully, source_of
from securestream.streams._sealed import SealedStream
from securestream.streams._wrap import SecureStream, wrap
from securestream.streams.attributes import attributes_of
from securestream.streams.transport import TcpListener, TcpStream

MAX_HANDSHAKES = 256
"""Handshakes that a listener runs at once by default."""

MAX_HANDSHAKES_PER_SOURCE = 32
"""Handshakes of one address that a listener runs at once by default."""

Handler: TypeAlias = Callable[[SecureStream], Awaitable[object]]
"""Serves one connection, which is authenticated already."""

_log = logging.getLogger(__name__)


class SecureListener(Listener[SecureStream]):
    """Accepts connections, authenticates them, and runs a handler for each. Made by `securestream.listen`.

    A client that fails its handshake, or whose connection breaks in its handler, is logged and forgotten; the listener
    serves on. Override `handle_handshake_error` to do more about the former.

    Args:
        listeners: the listening sockets; closed with this listener.
        settings: what each handshake takes.
        max_handshakes: handshakes at once; the slot is taken before a connection is accepted, so that more wait in
            the system's queue.
        max_handshakes_per_source: of them, how many may come from one address, or one /64 of IPv6; further ones are
            closed at once. Never more than half of what the other two limits allow: others must find a place.
        max_connections: authenticated connections at once, taken in the same way; `None` for no limit.
    """

    def __init__(
        self,
        listeners: Sequence[TcpListener],
        settings: Settings,
        *,
        max_handshakes: int = MAX_HANDSHAKES,
        max_handshakes_per_source: int = MAX_HANDSHAKES_PER_SOURCE,
        max_connections: int | None = None,
    ) -> None:
        if not listeners:
            raise UsageError("a listener needs a listening socket")
        if min(max_handshakes, max_handshakes_per_source, max_connections or 1) < 1:
            raise UsageError("the limits of a listener are positive")
        self._listeners = tuple(listeners)
        self._settings = settings
        self._handshakes = anyio.Semaphore(max_handshakes)
        self._connections = None if max_connections is None else anyio.Semaphore(max_connections)
        places = max_handshakes if max_connections is None else min(max_handshakes, max_connections)
        self._per_source = min(max_handshakes_per_source, max(1, places // 2))
        self._closed = False
        self._sources: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<SecureListener {self._settings.package.info.name}>"

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """anyio's `SocketAttribute` of the first socket."""
        return attributes_of(self._listeners[0])

    @property
    def port(self) -> int:
        """The port, the same on every address."""
        port: int = attributes_of(self._listeners[0])[SocketAttribute.local_port]()
        return port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every address and port that is listened on."""
        return [attributes_of(listener)[SocketAttribute.local_address]() for listener in self._listeners]

    async def serve(self, handler: Handler, task_group: TaskGroup | None = None) -> None:
        """Serve until cancelled; closing the listener ends it, once the handlers in its own group have ended.

        Args:
            handler: called with each authenticated stream, which is closed when it returns. `EndOfStream`,
                `BrokenResourceError`, `ContextError` and `FramingError` that its own stream raised may leave it, alone
                or in an exception group: they end that connection with a line in the log. Anything else that leaves it
                is a bug and leaves `serve`.
            task_group: where handlers run; by default in a group of this call's own.

        Raises:
            anyio.ClosedResourceError: the listener was closed before.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        if task_group is None:
            async with anyio.create_task_group() as own:
                await self.serve(handler, own)
            return
        async with anyio.create_task_group() as loops:
            for listener in self._listeners[1:]:
                loops.start_soon(self._accept_loop, listener, handler, task_group)
            await self._accept_loop(self._listeners[0], handler, task_group)

    async def _accept_loop(self, listener: TcpListener, handler: Handler, group: TaskGroup) -> None:
        while True:
            slots = _Slots(self._handshakes, self._connections)
            await slots.take()
            try:
                transport = await listener.accept()
            except anyio.ClosedResourceError:
                slots.give_all()
                if not self._closed:
                    raise
                return
            except BaseException:
                slots.give_all()
                raise
            group.start_soon(self._serve_one, transport, slots, handler)

    async def _serve_one(self, transport: TcpStream, slots: _Slots, handler: Handler) -> None:
        try:
            stream = await self._authenticate(transport)
            slots.give_handshake()
            if stream is not None:
                await self._handle(stream, handler)
        finally:
            slots.give_all()
            transport.close()

    async def _authenticate(self, transport: TcpStream) -> SecureStream | None:
        source = source_of(transport)
        key = source_key(source)
        self._sources[key] += 1
        try:
            if self._sources[key] > self._per_source:
                await close_forcefully(transport)
                raise LimitExceeded(f"{source} has {self._per_source} handshakes running already")
            return await wrap(transport, Role.ACCEPTOR, self._settings)
        except Exception as error:  # one client, however bad, never stops the server
            await self.handle_handshake_error(error, source)
            return None
        finally:
            self._sources[key] -= 1
            if not self._sources[key]:
                del self._sources[key]

    async def handle_handshake_error(self, error: Exception, source: str) -> None:
        """A handshake failed; its connection is closed. Logs one line, for a bug with its traceback; what is amiss at
        this end (no keytab, a store that fails) as a warning, all else as information.

        Override it to count, to ban, or to raise, which ends `serve`.

        Args:
            error: a `SecureStreamError`, an `OSError`, one of anyio's, or the bug that it is.
            source: the peer's address.
        """
        if isinstance(error, _EXPECTED):
            level = logging.WARNING if lies_at_this_end(error) else logging.INFO
            why = printable(str(error))  # it may hold names that the client chose
            _log.log(level, "handshake with %s failed (%s): %s", source or "a client", kind_of(error).sspi, why)
        else:
            _log.error("handshake with %s failed by a bug", source or "a client", exc_info=error)

    async def _handle(self, stream: SecureStream, handler: Handler) -> None:
        try:
            async with stream:
                await handler(stream)
        except Exception as error:  # what is not the connection's own is raised on
            rest = without_own(error, stream)
            if rest is not None:
                raise rest from None if rest is not error else error.__cause__
            _log.info("connection of %s ended: %s", stream, printable(_reason(error)))

    async def aclose(self) -> None:
        """Stop listening; connections that were accepted go on."""
        self._closed = True
        for listener in self._listeners:
            await listener.aclose()


_EXPECTED = (SecureStreamError, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


class _Slots:
    """What one connection holds of its listener's limits."""

    def __init__(self, handshakes: anyio.Semaphore, connections: anyio.Semaphore | None) -> None:
        self._handshakes = handshakes
        self._connections = connections
        self._held: list[anyio.Semaphore] = []

    async def take(self) -> None:
        try:
            for semaphore in (self._connections, self._handshakes):
                if semaphore is not None:
                    await semaphore.acquire()
                    self._held.append(semaphore)
        except BaseException:
            self.give_all()
            raise

    def give_handshake(self) -> None:
        if self._handshakes in self._held:
            self._held.remove(self._handshakes)
            self._handshakes.release()

    def give_all(self) -> None:
        while self._held:
            self._held.pop().release()


def without_own(error: Exception, stream: SealedStream) -> Exception | None:
    """What of `error` is not the end of the stream's own connection; `None` if nothing is."""
    if stream.has_raised(error):
        return None
    group = _as_group(error)
    if group is None:
        return error
    found: Any = group.split(lambda one: stream.has_raised(one))  # a bound method is refused before Python 3.13
    return _as_group(found[1])


def _as_group(error: Any) -> ExceptionGroup[Exception] | None:
    return cast("ExceptionGroup[Exception]", error) if isinstance(error, ExceptionGroup) else None


def _reason(error: Exception) -> str:
    while (group := _as_group(error)) is not None:
        error = group.exceptions[0]
    return str(error) or type(error).__name__
