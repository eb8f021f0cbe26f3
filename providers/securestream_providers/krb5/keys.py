"""Keys of Kerberos and what is done with them (RFC 3961)."""

from __future__ import annotations

from dataclasses import dataclass

from securestream.options import Random
from securestream.redaction import Redacted, Secret
from securestream.wire.cursor import Buffer


@dataclass(frozen=True, repr=False)
class Key(Redacted):
    """A protocol key: its encryption type and its octets. `repr` shows the type only.

    Args:
        etype: an `EncryptionType`; others can be held and do nothing.
        contents: the key's octets.
    """

    etype: int
    contents: Secret[bytes]

    @property
    def checksum_type(self) -> int:
        """The mandatory (keyed) checksum type of the encryption type."""
        raise NotImplementedError

    def encrypt(self, usage: int, plaintext: Buffer, random: Random) -> bytes:
        """Encrypt and protect `plaintext` (RFC 3961 5.3); `random` gives the confounder."""
        raise NotImplementedError

    def decrypt(self, usage: int, ciphertext: Buffer) -> bytes:
        """Check and decrypt; padding of DES3 is left on.

        Raises:
            BadSignature: too short, altered, or made with another key.
        """
        raise NotImplementedError

    def checksum(self, usage: int, data: Buffer, kind: int | None = None) -> bytes:
        """The checksum of `data`, of the mandatory type unless `kind` names another of this key's (RFC 3961 5.4)."""
        raise NotImplementedError

    def verify(self, usage: int, data: Buffer, checksum: Buffer, kind: int | None = None) -> None:
        """Check a checksum in constant time.

        Raises:
            BadSignature: it is wrong, or `kind` is no keyed checksum that belongs to this key's type.
        """
        raise NotImplementedError

    def prf(self, data: Buffer) -> bytes:
        """The pseudo-random function of the encryption type (RFC 3961 3)."""
        raise NotImplementedError


def make_key(etype: int, octets: Buffer) -> Key:
    """A key of its octets.

    Raises:
        MalformedMessage: the length does not fit a known `etype`.
    """
    raise NotImplementedError


def random_key(etype: int, random: Random) -> Key:
    """A fresh random key.

    Raises:
        Unsupported: an unknown encryption type.
    """
    raise NotImplementedError


def string_to_key(etype: int, password: str, salt: str, parameters: bytes | None = None) -> Key:
    """The key of a password (expensive: run it in a `Compute`).

    Args:
        parameters: the s2kparams of ETYPE-INFO2, or `None` for the default.

    Raises:
        Unsupported: an unknown encryption type, or parameters over or under the limits.
    """
    raise NotImplementedError


def prf_plus(key: Key, pepper: bytes, length: int) -> bytes:
    """PRF+ of RFC 6113 5.1."""
    raise NotImplementedError


def cf2(one: Key, other: Key, pepper1: bytes, pepper2: bytes) -> Key:
    """KRB-FX-CF2 (RFC 6113 5.1); the result has the type of `one`."""
    raise NotImplementedError
