"""Reads and writes keytab files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio.to_thread

from securestream.credentials import Keytab, find_form
from securestream.drive import Performer
from securestream.errors import MalformedMessage, NoCredentials, UsageError
from securestream.files import UnsafeFile, read_private, write_private
from securestream_providers.kerberos.effects import LoadKeytab
from securestream_providers.kerberos.storage.locks import exclusive
from securestream_providers.kerberos.storage.names import keytab_path
from securestream_providers.kerberos.storage.watched import Watched
from securestream_providers.krb5.keytab import LARGEST_KEYTAB, merged, read_keytab, write_keytab
from securestream_providers.krb5.tickets import KeytabEntry


def load_keytab(path: str | Path) -> tuple[KeytabEntry, ...]:
    """The entries of a keytab file. Its group may be able to read it, nobody else.

    Raises:
        NoCredentials: there is none, it cannot be read, is unsafe, or damaged; the message says which.
    """
    try:
        return read_keytab(read_private(path, largest=LARGEST_KEYTAB, group_reads=True))
    except FileNotFoundError:
        raise NoCredentials(
            f"there is no keytab {path}: write one with ktadd on the KDC, or name another (KRB5_KTNAME)"
        ) from None
    except OSError as error:
        raise NoCredentials(f"the keytab {path} cannot be read: {os.strerror(error.errno or 0)}") from error
    except UnsafeFile as error:
        raise NoCredentials(f"the keytab is not used: {error}") from None
    except MalformedMessage as error:
        raise NoCredentials(f"the keytab {path} is damaged: {error}") from None


def add_to_keytab(path: str | Path, entries: Iterable[KeytabEntry]) -> None:
    """Write keys into a keytab file, which is made if there is none; a damaged file is left as it is.

    Raises:
        NoCredentials: what is there is unsafe, or damaged.
        OSError: it cannot be written.
    """
    path = Path(path)
    new = tuple(entries)
    while True:
        try:
            write_private(path, write_keytab(merged((), new)), replace=False)
            return
        except FileExistsError:
            pass
        with exclusive(path, group_reads=True) as ours:
            if ours:
                before = os.lstat(path)
                write_private(path, write_keytab(merged(load_keytab(path), new)))
                _open_to_group(path, before)
                return


def _open_to_group(path: Path, before: os.stat_result) -> None:
    """Let the group read a keytab that replaces one which it could read."""
    if hasattr(os, "chown") and before.st_mode & stat.S_IRGRP:
        os.chown(path, -1, before.st_gid, follow_symlinks=False)
        os.chmod(path, 0o640)


class KeytabPerformer(Performer):
    """Performs `LoadKeytab`; what was read is kept until the file changes."""

    def __init__(self) -> None:
        self._watched: Watched[tuple[KeytabEntry, ...]] = Watched()

    async def perform(self, effect: Any) -> tuple[KeytabEntry, ...]:
        """The entries; a file that did not change since is not read again."""
        credential = find_form(effect.credential, Keytab)
        if credential is None or credential.octets is None:
            found = self._watched.current(_path(credential, effect))
            if found is None:
                return await anyio.to_thread.run_sync(self.perform_blocking, effect)
            return found
        return self.perform_blocking(effect)

    def perform_blocking(self, effect: Any) -> tuple[KeytabEntry, ...]:
        """The entries.

        Raises:
            NoCredentials: as `load_keytab`.
        """
        load: LoadKeytab = effect
        credential = find_form(load.credential, Keytab)
        if credential is not None and credential.octets is not None:
            try:
                return read_keytab(credential.octets.reveal())
            except MalformedMessage as error:
                raise NoCredentials(f"the octets of the keytab are damaged: {error}") from None
        path = _path(credential, load)

        def read(watch: Any) -> tuple[KeytabEntry, ...]:
            watch(path)
            return load_keytab(path)

        return self._watched.load(path, read)


def _path(credential: Keytab | None, effect: LoadKeytab) -> str:
    try:
        return keytab_path(credential, effect.config, initiating=effect.initiating)
    except UsageError as error:
        raise NoCredentials(str(error)) from None
