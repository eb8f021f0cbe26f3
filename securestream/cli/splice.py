"""Joining two byte streams: what one receives, the other sends, and an end of one side is passed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import anyio
from anyio.abc import ByteStream

from securestream.errors import UsageError

CHUNK = 262144


LINGER = 10.0
"""Seconds of silence after which a connection is ended whose one side has ended without the other being told."""


async def splice(near: ByteStream, far: ByteStream, *, until_far_ends: bool = False, linger: float = LINGER) -> None:
    """Copy both ways until both sides have ended, then return; neither stream is closed.

    An end of one side is passed on as a half-close. Where the other side's protocol has none (TLS 1.2), the opposite
    direction goes on until its own end, or until it was silent for `linger` seconds: nobody could tell otherwise that
    this side is gone.

    Args:
        near: one side.
        far: the other.
        until_far_ends: whether the end of `far` ends everything, as for a terminal that would wait for more input.
        linger: seconds.

    Raises:
        BrokenResourceError, ContextError, FramingError: whatever breaks either stream ends both directions.
    """
    pair = _Pair(linger)
    failures: list[BaseException] = []
    try:
        async with anyio.create_task_group() as tasks:
            end = tasks.cancel_scope.cancel
            tasks.start_soon(pair.copy, near, far, end, False)
            tasks.start_soon(pair.copy, far, near, end, until_far_ends)
    except BaseExceptionGroup as group:
        # Both directions of one connection fail of one cause; the first is told.
        failures = leaves(group)
    if failures:
        raise failures[0]


class _Pair:
    """The two directions of one splice."""

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._copying = 2
        self._moved = 0

    async def copy(self, source: ByteStream, sink: ByteStream, end: Callable[[], None], ends_all: bool) -> None:
        """Copy until `source` ends and tell `sink`."""
        while True:
            try:
                data = await source.receive(CHUNK)
            except anyio.EndOfStream:
                break
            self._moved += 1
            await sink.send(data)
        told = await half_close(sink)
        self._copying -= 1
        if ends_all or not self._copying:
            end()
        elif not told:
            await self._await_silence()
            end()

    async def _await_silence(self) -> None:
        moved = -1
        while moved != self._moved:
            moved = self._moved
            await anyio.sleep(self._linger)


async def half_close(stream: ByteStream) -> bool:
    """Tell the peer of `stream` that nothing more will come.

    Returns:
        False if its protocol cannot say so; True, too, if nobody is left to be told.
    """
    try:
        await stream.send_eof()
    except (NotImplementedError, UsageError):
        return False
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return True
    return True


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions of a group, however nested; a lone one by itself."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [leaf for inner in group.exceptions for leaf in leaves(inner)]
    return [error]
