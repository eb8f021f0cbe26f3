"""Transcripts of handshakes in files: one JSON object a line, for their owner alone (SECURITY: files)."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from securestream.errors import UsageError
from securestream.recording import Entry, Recorder

LARGEST = 64 << 20
"""Octets of a transcript that `load` reads at most."""

_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag, and links there need a privilege
_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)  # a pipe is refused, not waited for


class RecordingFile:
    """A new file into which a handshake is taken down while it runs::

        with RecordingFile("handshake.jsonl") as recording:
            options = recording.recorder.options(options)
            machine = HandshakeMachine(recording.recorder.record(package.initiate(credential, target, options)))

    The file holds tokens, random draws and replies, some of which are secret. It is made readable for its owner only.

    Args:
        path: where; nothing may be there yet, not even a link that leads nowhere.

    Raises:
        FileExistsError: something is there.
        OSError: the file cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="ascii", newline="\n")
        self.recorder = Recorder(self._write)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Bring everything to the disk and close the file. Idempotent."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _write(self, entry: Entry) -> None:
        if self._file.closed:
            raise UsageError("the recording is closed, but the handshake goes on: keep it open until the end")
        self._file.write(entry.to_line() + "\n")
        self._file.flush()


def load(path: str | Path) -> list[Entry]:
    """The transcript in a file.

    Raises:
        MalformedMessage: it is none.
        UsageError: it is no regular file, or is larger than `LARGEST`.
        OSError: it is a link, or cannot be read.
    """
    with os.fdopen(
        os.open(path, os.O_RDONLY | _NOFOLLOW | _CLOEXEC | _NONBLOCK), encoding="ascii", errors="replace"
    ) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise UsageError(f"a transcript is a regular file of at most {LARGEST} octets")
        return [Entry.from_line(line) for line in file.read(LARGEST).splitlines()]
