"""aes128-cts-hmac-sha256-128 and aes256-cts-hmac-sha384-192 (RFC 8009): a checksum of IV and ciphertext."""

from __future__ import annotations

import hashlib
from typing import ClassVar

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC

from securestream_providers.krb5.crypto.cts import ZERO_BLOCK
from securestream_providers.krb5.crypto.profile import (
    CHECKSUM_KEY,
    ENCRYPTION_KEY,
    INTEGRITY_KEY,
    MacFactory,
    Profile,
    usage_constant,
)
from securestream_providers.krb5.crypto.simplified import CtsKeys
from securestream_providers.krb5.numbers import ChecksumType, EncryptionType


class AesSha2(Profile):
    """Both AES-SHA2 encryption types."""

    iterations = 32768
    hash: ClassVar[HashAlgorithm]
    prf_size: ClassVar[int]

    def derive(self, key: bytes, label: bytes, size: int, context: bytes = b"") -> bytes:
        """KDF-HMAC-SHA2 (RFC 8009 3), the counter mode of SP800-108 with one iteration: `size` octets."""
        data = b"".join((b"\0\0\0\1", label, b"\0", context, (8 * size).to_bytes(4, "big")))
        mac = HMAC(key, self.hash)
        mac.update(data)
        return mac.finalize()[:size]

    def keys(self, key: bytes, usage: int) -> CtsKeys:
        """What encrypts for `usage`."""
        encryption = self.derive(key, usage_constant(usage, ENCRYPTION_KEY), self.key_size)
        integrity = self.derive(key, usage_constant(usage, INTEGRITY_KEY), self.checksum_size)
        cipher = Cipher(AES(encryption), CBC(ZERO_BLOCK))
        return CtsKeys(cipher, HMAC(integrity, self.hash).copy, self.checksum_size, over_ciphertext=True)

    def signing(self, key: bytes, usage: int) -> MacFactory:
        """Starts the mandatory checksum for `usage`."""
        return HMAC(self.derive(key, usage_constant(usage, CHECKSUM_KEY), self.checksum_size), self.hash).copy

    def prf(self, key: bytes, data: bytes) -> bytes:
        """The pseudo-random function (RFC 8009 5): 32 or 48 octets."""
        return self.derive(key, b"prf", self.prf_size, data)

    def string_to_key(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        """The key of a password (RFC 8009 4)."""
        salted = self.name.encode() + b"\0" + salt
        stretched = hashlib.pbkdf2_hmac(self.hash.name, password, salted, iterations, self.key_size)
        return self.derive(stretched, b"kerberos", self.key_size)


class Aes128Sha256(AesSha2):
    """aes128-cts-hmac-sha256-128."""

    etype = EncryptionType.AES128_CTS_HMAC_SHA256_128
    name = "aes128-cts-hmac-sha256-128"
    key_size = seed_size = checksum_size = 16
    prf_size = 32
    checksum_types = (ChecksumType.HMAC_SHA256_128_AES128,)
    hash = SHA256()


class Aes256Sha384(AesSha2):
    """aes256-cts-hmac-sha384-192."""

    etype = EncryptionType.AES256_CTS_HMAC_SHA384_192
    name = "aes256-cts-hmac-sha384-192"
    key_size = seed_size = 32
    checksum_size = 24
    prf_size = 48
    checksum_types = (ChecksumType.HMAC_SHA384_192_AES256,)
    hash = SHA384()
