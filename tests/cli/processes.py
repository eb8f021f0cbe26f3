"""The command as a user runs it: a process of its own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Self

from securestream.cli.passwords import VARIABLE

PATIENCE = 120.0
PASSWORD = "correct horse battery staple"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without a password."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE} | dict(extra or {})


def run(
    *arguments: str,
    stdin: bytes = b"",
    password: str | None = None,
    timeout: float = PATIENCE,
    environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run one command to its end."""
    secret = {} if password is None else {VARIABLE: password}
    return subprocess.run(
        [sys.executable, "-m", "securestream", *arguments],
        input=stdin,
        capture_output=True,
        env=environment({**secret, **(environ or {})}),
        timeout=timeout,
        check=False,
    )


class Running:
    """A command that runs until it is told to end, which it must do cleanly.

    Args:
        arguments: of the command.
        environ: further variables.
        listens: whether the first line says where it listens.
    """

    def __init__(self, *arguments: str, environ: Mapping[str, str] | None = None, listens: bool = True) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "securestream", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(environ),
        )
        self.out: queue.Queue[str] = queue.Queue()
        self.err: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()
        self.address = ""
        if listens:
            self.address = self.line().removeprefix("listening on ") if "--log-json" not in arguments else self._json()

    def _json(self) -> str:
        event = self.event()
        while event["event"] != "listening":  # a warning comes before
            event = self.event()
        return f"{event['host']}:{event['port']}"

    @staticmethod
    def _read(pipe: IO[bytes], lines: queue.Queue[str]) -> None:
        for line in pipe:
            lines.put(line.decode().rstrip("\n"))

    def line(self) -> str:
        """The next line on standard output."""
        return self._get(self.out)

    def error(self) -> str:
        """The next line on standard error."""
        return self._get(self.err)

    def event(self) -> dict[str, Any]:
        """The next line on standard output, as JSON."""
        event: dict[str, Any] = json.loads(self.line())
        return event

    def _get(self, lines: queue.Queue[str]) -> str:
        try:
            return lines.get(timeout=PATIENCE)
        except queue.Empty:
            self.process.kill()
            raise AssertionError(f"no line came; standard error: {list(self.err.queue)}") from None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.address.rpartition(":")[2])

    def write(self, text: str) -> None:
        """Give the command something on its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end_input(self) -> int:
        """Close its standard input and wait; the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE)

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit status."""
        self.process.send_signal(by)
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def everything(self) -> str:
        """All that was printed and not yet taken."""
        return "\n".join([*self.out.queue, *self.err.queue])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
