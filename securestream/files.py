"""Files with secrets: written so that nobody else reads them, refused where somebody else could have written them.

SECURITY, rule 3. Nothing here is POSIX-only: where the system has no owners and modes (Windows), its access control
lists are trusted, and only links are refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from securestream.errors import UsageError

LARGEST = 64 << 20
"""Octets of a secret file that `read_private` takes unless told otherwise."""

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_COMMON = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0) | _NOFOLLOW
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_HAS_OWNERS = hasattr(os, "geteuid")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class UnsafeFile(UsageError):
    """A file that should be secret is a link, belongs to somebody else, or is open to others. Nothing of it is used."""


def write_private(path: str | Path, data: bytes, *, replace: bool = True) -> None:
    """Write a file that only its owner can read, whole or not at all.

    The octets go to a temporary file beside it, reach the disk, and take the name in one step: no reader sees half a
    file, and a link standing at `path` is replaced, never followed.

    Args:
        path: the file; its folder exists.
        data: all its octets.
        replace: False leaves a file that is already there.

    Raises:
        FileExistsError: `replace` is False and there is something at `path`.
        OSError: the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:200]}.{os.urandom(8).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _COMMON, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        elif _HAS_OWNERS:
            os.link(temporary, path, follow_symlinks=False)  # fails if the name is taken, and then is whole at once
            os.unlink(temporary)
        else:
            os.rename(temporary, path)  # fails on Windows if the name is taken
    except BaseException:  # whatever it was, no copy of a secret stays behind
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def create_private(path: str | Path) -> bool:
    """Make sure that there is a file at `path` that only its owner can use, an empty one if need be.

    Returns:
        Whether it was created.

    Raises:
        UnsafeFile: what is there already is a link, somebody else's, or open to others.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _COMMON, 0o600))
    except FileExistsError:
        os.close(open_private(path))
        return False
    return True


def open_private(path: str | Path, *, group_reads: bool = False, writable: bool = False) -> int:
    """Open a secret file for reading, after its checks; the checks look at what was opened, not at the name.

    Args:
        path: the file.
        group_reads: let the file be readable by its group, as keytabs of services are.
        writable: open it for writing, too, as locks need it.

    Returns:
        A descriptor, the caller's to close.

    Raises:
        UnsafeFile: it is a link or no plain file, belongs to somebody else, or others may use it.
        FileNotFoundError: there is none.
    """
    try:
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | _COMMON | _NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError:
        if Path(path).is_symlink():
            raise _is_link(path) from None
        raise
    try:
        _check(path, os.fstat(descriptor), group_reads=group_reads)
        if not _NOFOLLOW:
            _check_no_link(path, descriptor)
    except BaseException:  # the descriptor is nobody's if a check refuses
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: str | Path, *, largest: int = LARGEST, group_reads: bool = False) -> bytes:
    """The octets of a secret file, after the checks of `open_private`.

    Raises:
        UnsafeFile: as `open_private`; or it has more than `largest` octets.
        FileNotFoundError: there is none.
    """
    with open(open_private(path, group_reads=group_reads), "rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise UnsafeFile(f"{path} has more than {largest} octets: is it the right file?")
    return data


def private_folder(path: str | Path) -> None:
    """Make sure that there is a folder at `path` that only its owner can enter; its parents exist.

    Raises:
        UnsafeFile: what is there already is no folder, somebody else's, or open to others.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeFile(f"{path} is no folder: name another, or remove what is there")
    _check_owner(path, found)
    if _HAS_OWNERS and found.st_mode & _OTHERS:
        raise UnsafeFile(f"{path} is open to others: run chmod 700 {path}")


def check_folder(path: str | Path) -> None:
    """Refuse a folder in which others could exchange a file of ours for theirs.

    Raises:
        UnsafeFile: everybody may write there, and it is not sticky as ``/tmp`` is.
    """
    found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeFile(f"{path} is no folder")
    if _HAS_OWNERS and found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise UnsafeFile(f"everybody may write in {path}: run chmod o-w {path}, or keep secrets elsewhere")


def from_environment(name: str) -> str | None:
    """An environment variable that names a secret file; ignored where the program runs with another's rights.

    A program that is set-uid or set-gid is not told by its caller which keys to use.
    """
    if _HAS_OWNERS and (os.getuid() != os.geteuid() or os.getgid() != os.getegid()):
        return None
    return os.environ.get(name)


def _check(path: str | Path, found: os.stat_result, *, group_reads: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeFile(f"{path} is no plain file: name another, or remove what is there")
    _check_owner(path, found)
    forbidden = _OTHERS & ~stat.S_IRGRP if group_reads else _OTHERS
    if _HAS_OWNERS and found.st_mode & forbidden:
        mode = 640 if group_reads else 600
        raise UnsafeFile(
            f"{path} is open to others, so its secrets may be known: change them, and run chmod {mode} {path}"
        )


def _check_owner(path: str | Path, found: os.stat_result) -> None:
    """Root may read and write everything anyway, so what belongs to root is trusted."""
    if _HAS_OWNERS and found.st_uid not in (os.geteuid(), 0):
        raise UnsafeFile(
            f"{path} belongs to user {found.st_uid}, not to you: run chown {os.geteuid()} {path} if it is yours"
        )


def _check_no_link(path: str | Path, descriptor: int) -> None:
    """Where the system cannot refuse links while opening: what has the name must be what was opened, and no link."""
    named = os.lstat(path)
    if stat.S_ISLNK(named.st_mode) or not os.path.samestat(named, os.fstat(descriptor)):
        raise _is_link(path)


def _is_link(path: str | Path) -> UnsafeFile:
    return UnsafeFile(f"{path} is a link, and could lead to somebody else's file: name the file itself")


def _sync_folder(folder: Path) -> None:
    """Let the new name reach the disk, where folders can be opened at all."""
    if _HAS_OWNERS:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
