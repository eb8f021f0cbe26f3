"""Where a client's long-term keys come from: a password, or a keytab."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

from securestream.errors import NoCredentials
from securestream.provider import Compute, Effect
from securestream.redaction import Redacted, Secret
from securestream_providers.krb5.keys import Key, string_to_key
from securestream_providers.krb5.preauth import KeyRecipe
from securestream_providers.krb5.tickets import KeytabEntry


class LongTermKeys(Protocol):
    """A client's long-term keys, by encryption type."""

    def has(self, etype: int) -> bool:
        """Whether there is, or can be made, a key of that type."""
        ...

    def key(self, recipe: KeyRecipe) -> Generator[Effect[Any], Any, Key]:
        """The key that a KDC's recipe asks for."""
        ...


@dataclass(frozen=True, repr=False)
class PasswordKeys(Redacted):
    """Keys made of a password."""

    password: Secret[str]

    def has(self, etype: int) -> bool:
        """A password makes keys of every type."""
        return True

    def key(self, recipe: KeyRecipe) -> Generator[Effect[Any], Any, Key]:
        """Compute it: the slow part of a logon.

        Raises:
            Unsupported: the KDC's parameters are beyond the limits.
        """
        password = self.password
        return (
            yield from Compute(lambda: string_to_key(recipe.etype, password.reveal(), recipe.salt, recipe.parameters))
        )


@dataclass(frozen=True, repr=False)
class KeytabKeys(Redacted):
    """Keys of a keytab, of one principal; of each type the one of the newest version."""

    entries: tuple[KeytabEntry, ...]

    def has(self, etype: int) -> bool:
        """Whether the keytab has one."""
        return any(entry.key.etype == etype for entry in self.entries)

    def key(self, recipe: KeyRecipe) -> Generator[Effect[Any], Any, Key]:
        """Look it up; salts and parameters do not matter.

        Raises:
            NoCredentials: the keytab has no key of that type.
        """
        yield from ()
        found = [entry for entry in self.entries if entry.key.etype == recipe.etype]
        if not found:
            raise NoCredentials(f"the keytab has no key of the encryption type {recipe.etype}; add one (ktadd)")
        return max(found, key=lambda entry: (entry.kvno, entry.timestamp)).key
