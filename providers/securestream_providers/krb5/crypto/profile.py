"""What an encryption type has to do (RFC 3961 3), and the keys of one usage that it derives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol, TypeAlias

from securestream.errors import BadSignature
from securestream.options import Random
from securestream.wire.cursor import Buffer


class Mac(Protocol):
    """A keyed checksum that is being computed."""

    def update(self, data: Buffer, /) -> None:
        """Add octets."""
        ...

    def copy(self) -> Mac:
        """The same computation once more, to go on from here."""
        ...

    def finalize(self) -> bytes:
        """The checksum, untruncated."""
        ...


MacFactory: TypeAlias = Callable[[], Mac]
"""Starts a checksum under one key: the copy of a keyed template."""


class UsageKeys(ABC):
    """What one key encrypts with for one usage. It holds no state of a message: several threads may share it.

    Derived keys live in objects of `cryptography`, never in octets that a traceback would show.
    """

    @abstractmethod
    def encrypt(self, plaintext: Buffer, random: Random) -> bytes:
        """Encrypt and protect."""

    @abstractmethod
    def decrypt(self, ciphertext: Buffer) -> bytes:
        """Check and decrypt.

        Raises:
            BadSignature: too short, altered, or made with another key.
        """


class Profile(ABC):
    """One encryption type."""

    etype: ClassVar[int]
    name: ClassVar[str]
    """Its registered name, which salts some string-to-key functions."""
    key_size: ClassVar[int]
    seed_size: ClassVar[int]
    """Octets from which a key is made (`random_to_key`)."""
    checksum_types: ClassVar[tuple[int, ...]]
    """The keyed checksum types that belong to it, the mandatory one first."""
    checksum_size: ClassVar[int]
    """Octets of the mandatory checksum; what the Mac gives is cut to them."""
    iterations: ClassVar[int] = 0
    """The default count of its string-to-key; 0: it takes no parameters."""

    @abstractmethod
    def keys(self, key: bytes, usage: int) -> UsageKeys:
        """What encrypts for `usage`."""

    @abstractmethod
    def signing(self, key: bytes, usage: int) -> MacFactory:
        """Starts the mandatory checksum for `usage`."""

    @abstractmethod
    def prf(self, key: bytes, data: bytes) -> bytes:
        """The pseudo-random function."""

    @abstractmethod
    def string_to_key(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        """The key of a password."""

    def random_to_key(self, seed: bytes) -> bytes:
        """The key of `seed_size` random octets."""
        return seed

    def checksum(self, key: bytes, usage: int, data: Buffer, kind: int) -> bytes:
        """A checksum of one of the further types of `checksum_types`."""
        raise AssertionError(kind)  # the caller has looked at `checksum_types`


def altered() -> BadSignature:
    """The one refusal of every ciphertext and checksum that does not fit."""
    return BadSignature("the Kerberos message was altered, or was made with another key; check keytab and key version")


def too_short() -> BadSignature:
    """The refusal of octets that cannot be a ciphertext."""
    return BadSignature("the Kerberos ciphertext is too short to be one; it was cut off")


def usage_constant(usage: int, last: int) -> bytes:
    """The constant from which the keys of a usage are derived (RFC 3961 5.3)."""
    return usage.to_bytes(4, "big") + bytes((last,))


CHECKSUM_KEY = 0x99
ENCRYPTION_KEY = 0xAA
INTEGRITY_KEY = 0x55
