"""rc4-hmac (RFC 4757), with its errata as deployed. Weak: used where a caller names it."""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.hashes import MD5, Hash
from cryptography.hazmat.primitives.hmac import HMAC

from securestream.options import Random
from securestream.services.nt_hash import md4
from securestream.wire.cursor import Buffer
from securestream_providers.krb5.crypto.profile import Mac, MacFactory, Profile, UsageKeys, altered, too_short
from securestream_providers.krb5.numbers import ChecksumType, EncryptionType

_MD5: Final = MD5()  # noqa: S303  what rc4-hmac is made of
_CONFOUNDER: Final = 8
_CHECKSUM: Final = 16
_USAGES: Final = {3: 8, 23: 13}
"""Usages that RFC 4757 3 maps to others. It also maps 9 to 8; MIT krb5, Heimdal and Windows do not."""


def usage_octets(usage: int) -> bytes:
    """A key usage as RC4's keys are derived from it."""
    return _USAGES.get(usage, usage).to_bytes(4, "little")


def rc4(key: bytes, octets: Buffer) -> bytes:
    """RC4 with a key for one message."""
    return Cipher(ARC4(key), mode=None).encryptor().update(octets)


def hmac_md5(key: bytes, *octets: Buffer) -> bytes:
    """HMAC-MD5 (RFC 2104): 16 octets."""
    mac = HMAC(key, _MD5)
    for part in octets:
        mac.update(part)
    return mac.finalize()


class Rc4Keys(UsageKeys):
    """What one key encrypts with for one usage (RFC 4757 5)."""

    __slots__ = ("_mac",)

    def __init__(self, mac: MacFactory) -> None:
        self._mac = mac  # under K1, which is K2, too, where the key is not for export

    def encrypt(self, plaintext: Buffer, random: Random) -> bytes:
        """Encrypt and protect."""
        plain = random(_CONFOUNDER) + plaintext
        checksum = self._checksum(plain)
        return checksum + rc4(self._checksum(checksum), plain)

    def decrypt(self, ciphertext: Buffer) -> bytes:
        """Check and decrypt.

        Raises:
            BadSignature: too short, altered, or made with another key.
        """
        if len(ciphertext) < _CHECKSUM + _CONFOUNDER:
            raise too_short()
        checksum = ciphertext[:_CHECKSUM]
        plain = rc4(self._checksum(checksum), ciphertext[_CHECKSUM:])
        if not hmac.compare_digest(self._checksum(plain), checksum):
            del plain
            raise altered()
        return plain[_CONFOUNDER:]

    def _checksum(self, octets: Buffer) -> bytes:
        mac = self._mac()
        mac.update(octets)
        return mac.finalize()


class _Digested:
    """HMAC of the MD5 of what is fed (RFC 4757 4)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, outer: Mac, inner: Hash) -> None:
        self._outer = outer
        self._inner = inner

    def copy(self) -> _Digested:
        return _Digested(self._outer.copy(), self._inner.copy())

    def update(self, data: Buffer, /) -> None:
        self._inner.update(data)

    def finalize(self) -> bytes:
        self._outer.update(self._inner.finalize())
        return self._outer.finalize()


def _md5(octets: bytes) -> Hash:
    digest = Hash(_MD5)
    digest.update(octets)
    return digest


def hmac_md5_signing(key: bytes, usage: int) -> MacFactory:
    """Starts the checksum HMAC-MD5, type -138 (RFC 4757 4). Any octets may be its key ([MS-SFU] 2.2.1)."""
    template = HMAC(hmac_md5(key, b"signaturekey\0"), _MD5).copy
    start = _md5(usage_octets(usage)).copy
    return lambda: _Digested(template(), start())


class Rc4(Profile):
    """rc4-hmac."""

    etype = EncryptionType.RC4_HMAC
    name = "rc4-hmac"
    key_size = seed_size = 16
    checksum_types = (ChecksumType.HMAC_MD5, ChecksumType.MD5_HMAC)
    checksum_size = 16

    def keys(self, key: bytes, usage: int) -> Rc4Keys:
        """What encrypts for `usage`."""
        return Rc4Keys(HMAC(hmac_md5(key, usage_octets(usage)), _MD5).copy)

    def signing(self, key: bytes, usage: int) -> MacFactory:
        """Starts the mandatory checksum for `usage`."""
        return hmac_md5_signing(key, usage)

    def checksum(self, key: bytes, usage: int, data: Buffer, kind: int) -> bytes:
        """The checksum type -137, which uses the key as it is."""
        mac = _Digested(HMAC(key, _MD5), _md5(usage_octets(usage)))
        mac.update(data)
        return mac.finalize()

    def prf(self, key: bytes, data: bytes) -> bytes:
        """The pseudo-random function, HMAC-SHA1: 20 octets."""
        return hmac.digest(key, data, "sha1")

    def string_to_key(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        """The key of a password, its NT hash: salt plays no part (RFC 4757 2)."""
        return md4(password.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass"))
