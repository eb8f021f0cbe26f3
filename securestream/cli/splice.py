"""Joining two byte streams: what one receives, the other sends, and an end of one side is passed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import anyio
from anyio.abc import ByteStream

from securestream.errors import UsageError

CHUNK = 262144


async def splice(near: ByteStream, far: ByteStream, *, until_far_ends: bool = False) -> None:
    """Copy both ways until both sides have ended, then return; neither stream is closed.

    An end of one side is passed on as a half-close where the other's protocol has one; where it has none, the opposite
    direction goes on until its own end.

    Args:
        near: one side.
        far: the other.
        until_far_ends: whether the end of `far` ends everything, as for a terminal that would wait for more input.

    Raises:
        BrokenResourceError, ContextError, FramingError: whatever breaks either stream ends both directions.
    """

    async def copy(source: ByteStream, sink: ByteStream, then: Callable[[], None] | None) -> None:
        while True:
            try:
                data = await source.receive(CHUNK)
            except anyio.EndOfStream:
                break
            await sink.send(data)
        await half_close(sink)
        if then is not None:
            then()

    failures: list[BaseException] = []
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(copy, near, far, None)
            tasks.start_soon(copy, far, near, tasks.cancel_scope.cancel if until_far_ends else None)
    except BaseExceptionGroup as group:
        # Both directions of one connection fail of one cause; the first is told.
        failures = leaves(group)
    if failures:
        raise failures[0]


async def half_close(stream: ByteStream) -> None:
    """Tell the peer of `stream` that nothing more will come, where its protocol can say so."""
    try:
        await stream.send_eof()
    except (NotImplementedError, UsageError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        # There is no such thing here, or nobody is left to be told.
        return


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions of a group, however nested; a lone one by itself."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [leaf for inner in group.exceptions for leaf in leaves(inner)]
    return [error]
