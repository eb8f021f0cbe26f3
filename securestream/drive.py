"""Performing the effects of a handshake: `Services` know who performs what, `respond` runs to the next token.

The I/O edge of "running a handshake". Cancellation is never thrown into a handshake: `respond` closes the machine.
"""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio import CapacityLimiter

from securestream.errors import LimitExceeded, MissingService, SecureStreamError, ServiceFailed, UsageError
from securestream.machine import HandshakeMachine, Step, clear_frames
from securestream.provider import Compute, Effect

R = TypeVar("R")

COMPUTE_THREADS = 2
"""Worker threads that expensive computations may occupy at once, apart from anyio's own pool."""

COMPUTE_QUEUE = 64
"""Computations that may wait for such a thread; one more is refused (SECURITY: before authentication)."""


class Performer:
    """Performs one type of effect, for asynchronous and for blocking callers.

    Subclasses implement one of the two or both. What raises `OSError` or `TimeoutError` is reported to the handshake
    as `ServiceFailed`; what raises a `HandshakeError` is thrown into it as it is.
    """

    async def perform(self, effect: Any) -> Any:
        """Perform `effect` and return its reply. By default the blocking form, in a worker thread."""
        return await anyio.to_thread.run_sync(self.perform_blocking, effect)

    def perform_blocking(self, effect: Any) -> Any:
        """Perform `effect` and return its reply, blocking the calling thread."""
        raise MissingService(effect.__class__)


class _Function(Performer):
    def __init__(self, function: Callable[[Any], Awaitable[Any]] | None, blocking: Callable[[Any], Any] | None) -> None:
        self._function = function
        self._blocking = blocking

    async def perform(self, effect: Any) -> Any:
        if self._function is None:
            return await super().perform(effect)
        return await self._function(effect)

    def perform_blocking(self, effect: Any) -> Any:
        if self._blocking is None:
            return super().perform_blocking(effect)
        return self._blocking(effect)


class Services:
    """Who performs which effect, with the state that must outlive a connection: replay cache, lock-out, nonce counts.

    One instance belongs to a program, or to a server; an effect that was not registered here is performed by what its
    type names (`Effect.performer`), made once for this instance; types that name the same share it. Without any,
    `default_services` is used, never a fresh one per call: a replay cache that is new for each connection is none.
    """

    def __init__(self) -> None:
        self._performers: dict[type[Effect[Any]], Performer] = {}
        self._made: dict[str, Performer] = {}
        self._lock = threading.Lock()

    def register(
        self,
        effect: type[Effect[R]],
        performer: Callable[[Any], Awaitable[R]] | None = None,
        *,
        blocking: Callable[[Any], R] | None = None,
    ) -> None:
        """Have `performer` perform effects of this type from now on.

        Args:
            effect: the type of the effect.
            performer: an async function from the effect to its reply.
            blocking: the same for blocking callers; used in a worker thread where `performer` is not given.

        Raises:
            UsageError: `blocking` is async: what it returns is no reply, and would count as a yes where one is asked.
        """
        if inspect.iscoroutinefunction(blocking):
            raise UsageError(
                f"blocking= takes a plain function, which is called in a worker thread: give an async one of "
                f"{effect.__qualname__} as the second argument"
            )
        self._performers[effect] = _Function(performer, blocking)

    def register_performer(self, effect: type[Effect[Any]], performer: Performer) -> None:
        """Have `performer` perform effects of this type from now on."""
        self._performers[effect] = performer

    def performer_of(self, effect: type[Effect[Any]]) -> Performer:
        """Who performs effects of this type.

        Raises:
            MissingService: nobody does.
        """
        performer = self._performers.get(effect)
        return self._make(effect) if performer is None else performer

    def _make(self, effect: type[Effect[Any]]) -> Performer:
        if effect.performer is None:
            raise MissingService(effect)
        module, _, name = effect.performer.partition(":")
        factory: Callable[[], Performer] = getattr(importlib.import_module(module), name)
        with self._lock:
            made = self._made.get(effect.performer)
            if made is None:
                made = self._made[effect.performer] = factory()
            return self._performers.setdefault(effect, made)


_default = Services()


def default_services() -> Services:
    """The process-wide `Services`."""
    return _default


async def respond(
    machine: HandshakeMachine,
    token: Any = None,
    services: Services | None = None,
    *,
    answers: tuple[type[Effect[Any]], ...] = (),
) -> Step:
    """Step `machine` with the peer's token and perform its needs until it has a token to send, or is done.

    Args:
        machine: the handshake.
        token: the peer's token; `None` to begin; after a step with a need of `answers`, the reply to that.
        services: who performs effects; `None` for the process-wide ones.
        answers: effects that the caller answers itself, since they are the carrier's (HTTP's messages).

    Returns:
        A step without a need, or with one of `answers`.

    Raises:
        HandshakeError: the handshake failed; its ``token`` is owed to the peer.
        MissingService: nobody performs an effect.

    Cancellation closes the machine; nothing of a half-performed effect is kept.
    """
    services = _default if services is None else services
    reply: Any = token
    del token
    try:
        step = machine.step(reply)
        while step.need is not None and not isinstance(step.need, answers):
            try:
                reply = await services.performer_of(type(step.need)).perform(step.need)
            except Exception as error:  # thrown into the handshake, which may try elsewhere, or raised again below
                step = _failed(machine, step.need, error)
            except BaseException:  # cancellation
                machine.close()
                raise
            else:
                step = machine.step(reply)
        return step
    finally:
        del reply  # this frame is in the traceback of what is raised


def respond_blocking(
    machine: HandshakeMachine,
    token: Any = None,
    services: Services | None = None,
    *,
    answers: tuple[type[Effect[Any]], ...] = (),
) -> Step:
    """`respond` for callers without an event loop: effects are performed in the calling thread."""
    services = _default if services is None else services
    reply: Any = token
    del token
    try:
        step = machine.step(reply)
        while step.need is not None and not isinstance(step.need, answers):
            try:
                reply = services.performer_of(type(step.need)).perform_blocking(step.need)
            except Exception as error:  # as in respond
                step = _failed(machine, step.need, error)
            except BaseException:  # an interrupt
                machine.close()
                raise
            else:
                step = machine.step(reply)
        return step
    finally:
        del reply  # this frame is in the traceback of what is raised


def _failed(machine: HandshakeMachine, need: Effect[Any], error: Exception) -> Step:
    """Tell the handshake of a performer's failure; a bug of a performer is raised as the bug it is.

    What `Compute` runs is the handshake's own code: whatever it raises is the handshake's to catch.
    """
    if isinstance(need, Compute):
        return machine.fail(error)
    if isinstance(error, OSError):  # TimeoutError is one
        failure = ServiceFailed(f"{type(need).__name__} could not be performed: {error}", type(need))
        failure.__cause__ = error
        return machine.fail(failure)
    if isinstance(error, SecureStreamError):
        return machine.fail(error)
    machine.close()
    clear_frames(error)
    raise error


class _Pool:
    """The threads of one event loop, and how many tasks hold or await one."""

    def __init__(self, threads: int) -> None:
        self.limiter = CapacityLimiter(threads)
        self.admitted = 0


class BoundedThreads:
    """Worker threads apart from anyio's own, with a bounded queue: strangers cannot starve the program.

    The queue is counted here: the limiter's own statistics do not know of tasks that are still on their way to it.

    Args:
        name: of the pool; each event loop has its own.
        threads: how many functions run at once.
        queue: how many may wait; one more is refused.
    """

    def __init__(self, name: str, threads: int, queue: int) -> None:
        self._pool: anyio.lowlevel.RunVar[_Pool] = anyio.lowlevel.RunVar(f"securestream.{name}")
        self._threads = threads
        self._queue = queue

    async def run(self, function: Callable[[], R], *, abandon_on_cancel: bool = False) -> R:
        """Run `function` in one of the threads.

        Args:
            function: what to run.
            abandon_on_cancel: on cancellation, leave the function to itself, to its end, instead of waiting for it.

        Raises:
            LimitExceeded: too many wait already.
        """
        pool = self._pool.get(None)
        if pool is None:
            pool = _Pool(self._threads)
            self._pool.set(pool)
        if pool.admitted >= self._threads + self._queue:
            raise LimitExceeded("too many handshakes compute or look accounts up at once: try again later")
        pool.admitted += 1
        try:
            return await anyio.to_thread.run_sync(function, limiter=pool.limiter, abandon_on_cancel=abandon_on_cancel)
        finally:
            pool.admitted -= 1


class _ComputePerformer(Performer):
    """Runs `Compute` in threads of its own."""

    def __init__(self) -> None:
        self._threads = BoundedThreads("compute", COMPUTE_THREADS, COMPUTE_QUEUE)

    async def perform(self, effect: Compute[R]) -> R:
        return await self._threads.run(effect.function)

    def perform_blocking(self, effect: Compute[R]) -> R:
        return effect.function()


class _IgnoringPerformer(Performer):
    """Answers what only an outer handshake or a carrier answers otherwise, where there is none."""

    async def perform(self, effect: Any) -> None:
        return None

    def perform_blocking(self, effect: Any) -> None:
        return None


def compute_performer() -> Performer:
    """The default performer of `Compute`."""
    return _ComputePerformer()


def ignoring_performer() -> Performer:
    """The default performer of `VerifyKeys`, `Metadata` and `Admission`."""
    return _IgnoringPerformer()
