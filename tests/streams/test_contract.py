"""What anyio and trio expect of a byte stream, of our transport and of every secure stream."""

from __future__ import annotations

import anyio
import pytest
import trio
import trio.testing
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from tests.streams.pairs import EVERY, PairMaker, closing, receive_all, receive_exactly

pytestmark = pytest.mark.anyio

every_stream = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY.keys())


class _AsTrio(trio.abc.HalfCloseableStream):
    """Our stream in trio's words, so that trio's own contract can judge it."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with _translated():
            await self._stream.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError

    async def send_eof(self) -> None:
        with _translated():
            await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if isinstance(max_bytes, float):  # pyright: ignore[reportUnnecessaryIsInstance]  # trio gives one on purpose
            raise TypeError
        with _translated():
            try:
                return await self._stream.receive(65536 if max_bytes is None else max_bytes)
            except anyio.EndOfStream:
                return b""

    async def aclose(self) -> None:
        self._closed = True
        await self._stream.aclose()


class _translated:  # noqa: N801 - it reads as a word in a with statement
    _WORDS = (
        (anyio.ClosedResourceError, trio.ClosedResourceError),
        (anyio.BrokenResourceError, trio.BrokenResourceError),
        (anyio.BusyResourceError, trio.BusyResourceError),
    )

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for ours, theirs in self._WORDS:
            if isinstance(error, ours):
                raise theirs from error


@every_stream
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trios_contract_of_streams(make: PairMaker) -> None:
    async def maker() -> tuple[_AsTrio, _AsTrio]:
        one, other = await make()
        return _AsTrio(one), _AsTrio(other)

    with trio.fail_after(60):
        await trio.testing.check_two_way_stream(maker, None)


@every_stream
async def test_octets_arrive_in_order_in_both_directions(make: PairMaker) -> None:
    one, other = await make()
    data = bytes(range(256)) * 1500

    async def pour(stream: ByteStream) -> None:
        for offset in range(0, len(data), 7000):
            await stream.send(data[offset : offset + 7000])

    async with closing(one, other), anyio.create_task_group() as group:
        group.start_soon(pour, one)
        group.start_soon(pour, other)
        assert await receive_exactly(other, len(data)) == data
        assert await receive_exactly(one, len(data)) == data


@every_stream
async def test_a_large_send_is_split_and_a_small_receive_takes_no_more_than_asked(make: PairMaker) -> None:
    one, other = await make()
    data = bytes(range(256)) * 4096
    async with closing(one, other), anyio.create_task_group() as group:
        group.start_soon(one.send, data)
        first = await other.receive(1)
        second = await other.receive(10)
        assert len(first) == 1
        assert 1 <= len(second) <= 10
        rest = await receive_exactly(other, len(data) - 1 - len(second))
        assert first + second + rest == data


@every_stream
async def test_receive_asks_for_a_positive_number(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other):
        with pytest.raises(ValueError, match="positive"):
            await one.receive(0)


@every_stream
async def test_two_readers_are_one_too_many(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other), anyio.create_task_group() as group:
        group.start_soon(one.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await one.receive()
        group.cancel_scope.cancel()


@every_stream
async def test_closing_wakes_the_reader(make: PairMaker) -> None:
    one, other = await make()
    woken = anyio.Event()

    async def read() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await one.receive()
        woken.set()

    async with closing(one, other), anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await one.aclose()
        with anyio.fail_after(20):
            await woken.wait()


@every_stream
async def test_a_closed_stream_refuses_everything_and_closes_again(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other):
        await one.aclose()
        await one.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await one.send(b"x")
        with pytest.raises(anyio.ClosedResourceError):
            await one.send(b"")
        with pytest.raises(anyio.ClosedResourceError):
            await one.receive()


@every_stream
async def test_the_end_comes_after_the_data_and_again(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other):
        await one.send(b"the last words")
        await one.aclose()
        assert await receive_all(other) == b"the last words"
        with pytest.raises(anyio.EndOfStream):
            await other.receive()


@every_stream
async def test_one_direction_can_end_alone(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other):
        await one.send(b"question")
        await one.send_eof()
        await one.send_eof()
        assert await receive_all(other) == b"question"
        await other.send(b"answer")
        await other.aclose()
        assert await receive_all(one) == b"answer"


@every_stream
async def test_every_operation_is_a_checkpoint_that_can_be_cancelled(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other):
        for operation in (lambda: one.send(b""), lambda: one.send(b"lost"), lambda: one.receive()):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await operation()
            assert scope.cancelled_caught
        await one.send(b"after")  # cancelled before anything happened, the stream still works
        assert await receive_exactly(other, 5) == b"after"


@every_stream
async def test_a_peer_that_reads_nothing_holds_no_closing_up(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other), anyio.create_task_group() as group:

        async def pour() -> None:
            with pytest.raises((anyio.ClosedResourceError, anyio.BrokenResourceError)):
                await one.send(bytes(64 << 20))

        group.start_soon(pour)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10):
            await one.aclose()


@every_stream
async def test_cancelled_receives_lose_nothing(make: PairMaker) -> None:
    one, other = await make()
    data = bytes(range(256)) * 200
    got = bytearray()

    async def pour() -> None:
        for offset in range(0, len(data), 512):
            await one.send(data[offset : offset + 512])
            await checkpoint()

    async with closing(one, other), anyio.create_task_group() as group:
        group.start_soon(pour)
        patience, turns = 0.0003, 0
        with anyio.fail_after(60):
            while len(got) < len(data):
                turns += 1
                with anyio.move_on_after(patience * (turns % 2)) as scope:
                    got += await other.receive(1000)
                if turns % 2:  # on a slow machine nothing would come within so little
                    patience = 2 * patience if scope.cancelled_caught else 0.0003
    assert bytes(got) == data
