"""Joining two streams."""

from __future__ import annotations

import anyio
import pytest

from securestream.cli.splice import splice
from tests.cli.pairs import MemoryStream

pytestmark = pytest.mark.anyio


async def _all(stream: MemoryStream) -> bytes:
    got = b""
    while True:
        try:
            got += await stream.receive()
        except anyio.EndOfStream:
            return got


async def test_each_side_s_end_is_passed_on_and_the_other_direction_goes_on() -> None:
    left, near = MemoryStream.pair()
    right, far = MemoryStream.pair()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(splice, near, far)
            await left.send(b"question")
            await left.send_eof()
            assert await _all(right) == b"question"
            await right.send(b"answer after the end of the question")
            await right.send_eof()
            assert await _all(left) == b"answer after the end of the question"
    left.close_everything()
    right.close_everything()


async def test_where_there_is_no_half_close_the_answer_still_comes() -> None:
    left, near = MemoryStream.pair()
    right, far = MemoryStream.pair(half_close=False)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(splice, near, far)
            await left.send(b"question")
            await left.send_eof()
            assert await right.receive() == b"question"
            await right.send(b"answer")
            await right.aclose()
            assert await _all(left) == b"answer"
    left.close_everything()
    right.close_everything()


async def test_a_side_that_cannot_be_told_of_the_end_is_not_kept_for_ever() -> None:
    left, near = MemoryStream.pair()
    right, far = MemoryStream.pair(half_close=False)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: splice(near, far, linger=1))
            await left.send_eof()
            for _ in range(4):  # as long as something comes it is handed on
                await anyio.sleep(0.4)
                await right.send(b"more")
                assert await left.receive() == b"more"
    left.close_everything()
    right.close_everything()


async def test_the_far_end_can_end_everything() -> None:
    left, near = MemoryStream.pair()
    right, far = MemoryStream.pair()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: splice(near, far, until_far_ends=True))
            await right.send(b"bye")
            await right.aclose()
            assert await _all(left) == b"bye"
    left.close_everything()
    right.close_everything()


async def test_what_breaks_one_side_ends_both_and_is_told_once() -> None:
    _, near = MemoryStream.pair()
    right, far = MemoryStream.pair()
    near.broken = True
    with anyio.fail_after(20), pytest.raises(anyio.BrokenResourceError):
        await splice(near, far)
    near.close_everything()
    right.close_everything()
