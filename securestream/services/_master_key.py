"""The key under which a store's secrets lie: in a file beside the store, or given by the caller (SECURITY 4)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from securestream.errors import UsageError
from securestream.files import read_private, write_private
from securestream.redaction import Secret
from securestream.services.accounts import CorruptStore

KEY_SIZE: Final = 32
"""Octets of a master key (AES-256)."""


class MasterKey:
    """The master key of one store.

    Args:
        store: the store's path; the key's is ``<store>.key``.
        given: 32 octets, or `None` for the file.

    Raises:
        UsageError: what was given has another length.
    """

    def __init__(self, store: str | Path, given: bytes | Secret[bytes] | None) -> None:
        self.path = Path(f"{store}.key")
        self._given = Secret(given) if isinstance(given, bytes) else given
        del given  # the frame is in the traceback of what is raised
        if self._given is not None and len(self._given.reveal()) != KEY_SIZE:
            raise UsageError(f"a master key is {KEY_SIZE} octets, not {len(self._given.reveal())}")

    def make(self) -> None:
        """Write a new key for a new store; one that a creation left behind which did not end stays."""
        if self._given is None:
            with contextlib.suppress(FileExistsError):
                write_private(self.path, os.urandom(KEY_SIZE).hex().encode() + b"\n", replace=False)

    def read(self) -> bytes:
        """The key.

        Raises:
            CorruptStore: its file is missing or holds no key.
            UnsafeFile: its file could be read or exchanged by others.
        """
        if self._given is not None:
            return self._given.reveal()
        key = b""
        try:
            key = bytes.fromhex(read_private(self.path, largest=1024).decode("ascii"))
        except FileNotFoundError:
            raise CorruptStore(f"{self.path}, the master key, is missing: restore it, or give the key") from None
        except ValueError:  # told of below
            pass
        if len(key) != KEY_SIZE:
            raise CorruptStore(f"{self.path} does not hold {2 * KEY_SIZE} hexadecimal digits: restore it")
        return key

    def is_of_another(self, store: str | Path) -> CorruptStore:
        """The exception where the key does not open the store."""
        return CorruptStore(f"the master key is not the one of {store}: restore {self.path}, or give the right key")
