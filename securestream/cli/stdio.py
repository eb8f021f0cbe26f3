"""Standard input and output as an anyio byte stream, whatever they are: terminals, pipes or files, on any system."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
from anyio.abc import ByteStream

CHUNK = 65536


class StandardStream(ByteStream):
    """Receives what stands on standard input and sends to standard output.

    A thread of its own does the reading and one the writing: files cannot be polled, and a thread that waits for a
    terminal must not keep the program from ending, as anyio's worker threads would.

    Args:
        source: file descriptor to read.
        sink: file descriptor to write.
    """

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self._source, self._sink = source, sink
        self._reader: _Caller | None = None
        self._writer: _Caller | None = None
        self._ended = False

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        """What was typed or piped in next; `anyio.EndOfStream` at its end."""
        if self._ended:
            await anyio.lowlevel.checkpoint()
            raise anyio.EndOfStream
        if self._reader is None:
            self._reader = _Caller("stdin")
        data: bytes = await self._reader.call(lambda: os.read(self._source, max_bytes), resume=True)
        if not data:
            self._ended = True
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Write all of `item`."""
        if self._writer is None:
            self._writer = _Caller("stdout")
        await self._writer.call(lambda: self._write(item))

    def _write(self, item: bytes) -> None:
        view = memoryview(item)
        while view:
            view = view[os.write(self._sink, view) :]

    async def send_eof(self) -> None:
        """Nothing more will be written; standard output itself stays open, since it is not ours."""
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """End the threads that wait for nothing."""
        for caller in (self._reader, self._writer):
            if caller is not None:
                caller.end()
        await anyio.lowlevel.checkpoint()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """None."""
        return {}


class _Caller:
    """One daemon thread that makes blocking calls, one after another."""

    def __init__(self, name: str) -> None:
        self._token = anyio.lowlevel.current_token()
        self._wake = threading.Semaphore(0)
        self._work: Callable[[], Any] | None = None
        self._done = anyio.Event()
        self._result: Any = None
        self._error: OSError | None = None
        self._idle = True
        threading.Thread(target=self._run, name=f"securestream {name}", daemon=True).start()

    async def call(self, work: Callable[[], Any], *, resume: bool = False) -> Any:
        """The result of `work`. Cancelled, the call goes on; the next caller waits for it.

        Args:
            work: what to do.
            resume: whether the result of a call that was cancelled is wanted in place of a new one.
        """
        if not self._idle:
            result = await self._finish()
            if resume:
                return result
        self._idle = False
        self._done = anyio.Event()
        self._work = work
        self._wake.release()
        return await self._finish()

    async def _finish(self) -> Any:
        await self._done.wait()
        self._idle = True
        if self._error is not None:
            raise self._error
        return self._result

    def end(self) -> None:
        """Let an idle thread end; one that waits ends with the program."""
        if self._idle:
            self._work = None
            self._wake.release()

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            work = self._work
            if work is None:
                return
            try:
                self._result, self._error = work(), None
            except OSError as error:
                self._error = error
            try:
                anyio.from_thread.run_sync(self._done.set, token=self._token)
            except Exception:  # the event loop ended while this thread waited: nobody wants the result any more
                return
