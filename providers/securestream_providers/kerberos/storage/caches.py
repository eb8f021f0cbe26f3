"""Credential caches in files and folders: read, written whole under MIT's lock, removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from securestream.errors import MalformedMessage, NoCredentials, UsageError
from securestream.files import UnsafeFile, private_folder, read_private, write_private
from securestream_providers.kerberos.storage.locks import exclusive, shared
from securestream_providers.krb5.ccache import LARGEST_CACHE, read_ccache, write_ccache
from securestream_providers.krb5.tickets import TicketCache

_PRIMARY: Final = "primary"
_TICKETS: Final = "tkt"


def file_of(name: str) -> Path:
    """The file of a cache ``FILE:`` or ``DIR:``; of a folder, that of its primary cache.

    Raises:
        NoCredentials: the folder is unsafe, or does not say well which cache is the primary one.
    """
    kind, _, rest = name.partition(":")
    if kind == "FILE":
        return Path(rest)
    if rest.startswith(":"):
        file = Path(rest[1:])
        if not file.name.startswith(_TICKETS):
            raise UsageError(f"{name!r}: the name of a cache in a folder begins with {_TICKETS}")
        return file
    folder = Path(rest)
    return folder / _primary_of(folder)


def _primary_of(folder: Path) -> str:
    if not folder.exists():
        return _TICKETS
    try:
        private_folder(folder)
        text = read_private(folder / _PRIMARY, largest=4096).decode("utf-8", "replace")
    except FileNotFoundError:
        return _TICKETS
    except UnsafeFile as error:
        raise NoCredentials(f"the credential cache is not used: {error}") from None
    name = text.removesuffix("\n")
    if not name.startswith(_TICKETS) or "/" in name or "\n" in name or "\0" in name:
        raise NoCredentials(f"{folder / _PRIMARY} names no cache of its folder: remove it, or run kswitch")
    return name


def load_cache(name: str) -> TicketCache | None:
    """The content of a cache ``FILE:`` or ``DIR:``; `None` where there is none yet.

    Raises:
        NoCredentials: it cannot be read, is unsafe, or damaged; the message says which.
    """
    return _load(file_of(name))


def _load(path: Path) -> TicketCache | None:
    try:
        with shared(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            octets = file.read(LARGEST_CACHE + 1)
    except FileNotFoundError:
        return None
    except UnsafeFile as error:
        raise NoCredentials(f"the credential cache is not used: {error}") from None
    except OSError as error:
        raise NoCredentials(f"the credential cache {path} cannot be read: {error.strerror or error}") from error
    return _parsed(path, octets) if octets else None  # made empty by who will fill it


def _parsed(path: Path, octets: bytes) -> TicketCache:
    try:
        return read_ccache(octets)
    except MalformedMessage as error:
        raise NoCredentials(f"the credential cache {path} is damaged: {error}; run kdestroy and kinit") from None


def update_cache(name: str, change: Callable[[TicketCache | None], TicketCache | None]) -> None:
    """Replace the content of a cache by what `change` makes of it (`None`: leave it), in one step and under its lock.

    A damaged cache is left as it is.

    Raises:
        NoCredentials: what is there is unsafe, or damaged.
        OSError: it cannot be written.
    """
    if name.startswith("DIR:"):
        _prepare_folder(name)
    path = file_of(name)
    try:
        _update(path, change)
    except UnsafeFile as error:
        raise NoCredentials(f"the credential cache is not written: {error}") from None


def _update(path: Path, change: Callable[[TicketCache | None], TicketCache | None]) -> None:
    while True:
        with exclusive(path) as ours:
            if ours:
                octets = read_private(path, largest=LARGEST_CACHE)
                changed = change(_parsed(path, octets) if octets else None)
                if changed is not None:
                    write_private(path, write_ccache(changed))
                return
        changed = change(None)
        if changed is None:
            return
        with contextlib.suppress(FileExistsError):  # made by another meanwhile: begin again
            write_private(path, write_ccache(changed), replace=False)
            return


def store_cache(name: str, cache: TicketCache) -> None:
    """Make `cache` the whole content of a cache ``FILE:`` or ``DIR:``, whatever was there, as kinit does.

    Raises:
        NoCredentials: what is there is unsafe.
        OSError: it cannot be written.
    """
    if name.startswith("DIR:"):
        _prepare_folder(name)
    path = file_of(name)
    try:
        with exclusive(path):
            write_private(path, write_ccache(cache))
    except UnsafeFile as error:
        raise NoCredentials(f"the credential cache is not written: {error}") from None


def _prepare_folder(name: str) -> None:
    """Make the folder, and the file in it that says which cache is the primary one."""
    rest = name.removeprefix("DIR:")
    folder = Path(rest[1:]).parent if rest.startswith(":") else Path(rest)
    try:
        private_folder(folder)
    except UnsafeFile as error:
        raise NoCredentials(f"the credential cache is not written: {error}") from None
    with contextlib.suppress(FileExistsError):
        write_private(folder / _PRIMARY, f"{_TICKETS}\n".encode(), replace=False)


def caches_of(name: str) -> tuple[str, ...]:
    """The names of all caches of the collection that `name` belongs to: a folder's, or the cache itself."""
    kind, _, rest = name.partition(":")
    if kind != "DIR" or rest.startswith(":"):
        return (name,)
    folder = Path(rest)
    if not folder.is_dir():
        return ()
    return tuple(f"DIR::{file}" for file in sorted(folder.iterdir()) if file.name.startswith(_TICKETS))


def destroy_cache(name: str) -> bool:
    """Overwrite a cache with zeros, and remove it. False where there is none.

    Raises:
        UnsafeFile: it is a link, somebody else's, or open to others.
        OSError: it cannot be removed.
    """
    path = file_of(name)
    with exclusive(path) as ours:
        if not ours:
            return False
        with open(path, "r+b") as file:
            left = os.fstat(file.fileno()).st_size
            while left > 0:
                left -= file.write(bytes(min(left, 1 << 16)))
            file.flush()
            os.fsync(file.fileno())
        os.unlink(path)
    return True
