"""A foreign web server as a child process, with a folder of its own, on free ports of 127.0.0.1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.ports import free_port

REALM: Final = "the realm of this server"
BODY: Final = b"what only the authenticated read\n"
PATIENCE: Final = 60.0


class WebServer(ABC):
    """Runs within ``with``; `_folder` is there before, for its configuration, and gone afterwards."""

    def __init__(self) -> None:
        self.port = free_port()
        self._temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._folder = Path(self._temporary.name)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The program and its arguments; it stays in the foreground."""

    def _environment(self) -> Mapping[str, str] | None:
        """Of the program; `None` for that of the tests."""
        return None

    @property
    def errors(self) -> str:
        """What its log says."""
        path = self._folder / "errors"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        self._process = process = subprocess.Popen(
            self._command(),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    assert process.stderr is not None
                    said = "" if process.poll() is None else process.stderr.read().decode()
                    raise OSError(f"{self._command()[0]} does not start: {said} {self.errors}") from None
                time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(PATIENCE)
            if self._process.stderr is not None:
                self._process.stderr.close()
        self._temporary.cleanup()
