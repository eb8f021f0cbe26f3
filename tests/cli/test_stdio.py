"""Standard input and output as a byte stream."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from securestream.cli.stdio import StandardStream

pytestmark = pytest.mark.anyio


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    """Write end and read end of what stands for stdin, then those of stdout."""
    source, feed = os.pipe()
    result, sink = os.pipe()
    yield feed, source, sink, result
    for descriptor in (feed, source, sink, result):
        try:
            os.close(descriptor)
        except OSError:
            continue


async def test_what_is_piped_in_is_received_and_what_is_sent_is_written(pipes: tuple[int, int, int, int]) -> None:
    feed, source, sink, result = pipes
    async with StandardStream(source, sink) as stream:
        os.write(feed, b"hello")
        assert await stream.receive() == b"hello"
        await stream.send(b"world")
        assert os.read(result, 100) == b"world"
        os.close(feed)
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()


async def test_a_cancelled_receive_loses_nothing(pipes: tuple[int, int, int, int]) -> None:
    feed, source, sink, _ = pipes
    async with StandardStream(source, sink) as stream:
        with anyio.move_on_after(0.05) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        os.write(feed, b"late")
        assert await stream.receive() == b"late"


async def test_what_follows_a_cancelled_send_is_written_after_it(pipes: tuple[int, int, int, int]) -> None:
    _, source, sink, result = pipes
    large = bytes(1_000_000)
    scope = anyio.CancelScope()

    async with StandardStream(source, sink) as stream:

        async def send() -> None:
            with scope:
                await stream.send(large)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            with anyio.fail_after(10):
                await anyio.wait_readable(result)  # it has begun
            scope.cancel()
        assert scope.cancelled_caught
        received = bytearray()

        async def read() -> None:
            while len(received) < len(large) + 4:
                received.extend(await anyio.to_thread.run_sync(os.read, result, 65536))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await stream.send(b"next")
        assert received == large + b"next"


async def test_a_regular_file_can_stand_for_a_terminal() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"from a file")
        file.seek(0)
        async with StandardStream(file.fileno(), file.fileno()) as stream:
            assert await stream.receive() == b"from a file"


async def test_an_error_of_the_system_is_raised(pipes: tuple[int, int, int, int]) -> None:
    _, source, sink, result = pipes
    os.close(result)
    async with StandardStream(source, sink) as stream:
        with pytest.raises(BrokenPipeError):
            await stream.send(b"nobody reads this")
