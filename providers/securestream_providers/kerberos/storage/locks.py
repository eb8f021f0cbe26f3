"""Locks on files that MIT's tools honour: fcntl's, on the file itself."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from securestream.errors import ServiceFailed
from securestream.files import open_private

PATIENCE: Final = 5.0
"""Seconds to wait for a lock that somebody else holds."""

_PAUSE: Final = 0.01


@contextlib.contextmanager
def exclusive(path: str | Path, *, group_reads: bool = False) -> Generator[bool]:
    """Hold the write lock of a secret file that exists, after the checks of `open_private`.

    Yields:
        Whether the name still led to the locked file when the lock was got; if not, begin again.

    Raises:
        UnsafeFile: the file is a link, somebody else's, or open to others.
        ServiceFailed: somebody holds the lock for too long.
    """
    with _opened(path, group_reads=group_reads) as descriptor:
        yield descriptor is not None and _is_same(path, descriptor)


@contextlib.contextmanager
def shared(path: str | Path) -> Generator[int]:
    """Open a secret file and hold its read lock: the descriptor.

    Raises:
        UnsafeFile, ServiceFailed: as `exclusive`.
        FileNotFoundError: there is none.
    """
    descriptor = open_private(path)
    try:
        _lock(path, descriptor, writing=False)
        yield descriptor
    finally:
        os.close(descriptor)  # which ends the lock


@contextlib.contextmanager
def _opened(path: str | Path, *, group_reads: bool) -> Generator[int | None]:
    try:
        descriptor = open_private(path, group_reads=group_reads, writable=True)
    except FileNotFoundError:
        yield None
        return
    try:
        _lock(path, descriptor, writing=True)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_same(path: str | Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock(path: str | Path, descriptor: int, *, writing: bool) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _try_lock(descriptor, writing=writing):
        if time.monotonic() > deadline:
            raise ServiceFailed(f"{path} is locked by another program for {PATIENCE:.0f} seconds: try again later")
        time.sleep(_PAUSE)


def _try_lock(descriptor: int, *, writing: bool) -> bool:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: none of MIT's tools writes such files there, and ours replace them whole
        return True
    try:
        if sys.platform == "linux" and sys.maxsize > 1 << 32:
            # A lock of this open file, not of the process: threads exclude one another, too, and closing another
            # descriptor of the file does not end it. struct flock: type, whence, start, length, process.
            kind = fcntl.F_WRLCK if writing else fcntl.F_RDLCK
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
        else:
            fcntl.lockf(descriptor, (fcntl.LOCK_EX if writing else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
