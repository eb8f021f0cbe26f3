"""A foreign peer as a child process that speaks JSON lines on its standard streams."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Event = dict[str, Any]
TIMEOUT = 60.0


class PeerProcessError(Exception):
    """The peer ended, or said something else than was expected; the message holds all that it said."""


class JsonPeer:
    """Starts a program, collects the JSON objects it prints, and ends it by its process id.

    Blocking: an asynchronous test calls `expect` in a worker thread (`anyio.to_thread.run_sync`).
    """

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            text=True,
        )
        self.events: list[Event] = []
        self._errors: list[str] = []
        self._arrived: queue.Queue[Event | None] = queue.Queue()
        self._readers = [threading.Thread(target=reader, daemon=True) for reader in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            whole = line.startswith("{") and line.endswith("\n")  # and not cut off where the process was ended
            event: Event = json.loads(line) if whole else {"event": "output", "text": line.rstrip()}
            self.events.append(event)
            self._arrived.put(event)
        self._arrived.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def _said(self) -> str:
        return f"it said {self.events} and on standard error {''.join(self._errors)!r}"

    def expect(self, *names: str, timeout: float = TIMEOUT) -> Event:
        """The next event with one of `names`; others before it are passed over, but "failed" is not, unless named.

        Raises:
            PeerProcessError: the peer ended, failed, or took longer than `timeout` seconds.
        """
        while True:
            try:
                event = self._arrived.get(timeout=timeout)
            except queue.Empty:
                raise PeerProcessError(f"no {' or '.join(names)} within {timeout} s; {self._said()}") from None
            if event is None:
                self._arrived.put(None)
                self._readers[1].join(timeout)
                raise PeerProcessError(f"the peer ended before {' or '.join(names)}; {self._said()}")
            if event["event"] in names:
                return event
            if event["event"] == "failed":
                raise PeerProcessError(f"the peer failed instead of {' or '.join(names)}; {self._said()}")

    def tell(self, message: Mapping[str, object]) -> None:
        """Give the peer one JSON object on its standard input; one that has ended is noticed by `expect`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def ask(self, message: Mapping[str, object], *, timeout: float = TIMEOUT) -> Event:
        """`tell`, then the event "reply" or "refused" that answers it."""
        self.tell(message)
        return self.expect("reply", "refused", timeout=timeout)

    @property
    def pid(self) -> int:
        """The process's identifier."""
        return self._process.pid

    def close(self) -> None:
        """End the process and wait for it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
        for reader in self._readers:
            reader.join(5)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
