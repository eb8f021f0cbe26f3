"""The simplified profile (RFC 3961 5.3), which checks the plaintext: AES-SHA1, DES3, Camellia."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, TypeVar, cast

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.hmac import HMAC

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import Camellia
except ImportError:  # cryptography 46
    from cryptography.hazmat.primitives.ciphers.algorithms import Camellia

from securestream.fork import discard_in_child
from securestream.options import Random
from securestream.wire.cursor import Buffer
from securestream_providers.krb5.crypto.cts import BLOCK, ZERO_BLOCK, cts_decrypt, cts_encrypt
from securestream_providers.krb5.crypto.nfold import folded, nfold
from securestream_providers.krb5.crypto.profile import (
    CHECKSUM_KEY,
    ENCRYPTION_KEY,
    INTEGRITY_KEY,
    MacFactory,
    Profile,
    UsageKeys,
    altered,
    too_short,
    usage_constant,
)
from securestream_providers.krb5.numbers import ChecksumType, EncryptionType

_SHA1: Final = SHA1()  # noqa: S303  HMAC and n-fold do not rest on its resistance to collisions
_DES_BLOCK: Final = 8
_DES_ZERO: Final = bytes(_DES_BLOCK)
_Mode = TypeVar("_Mode", CBC, ECB)


class CtsKeys(UsageKeys):
    """Keys of one usage of a CTS encryption type.

    A cipher stays alive from one message to the next, since making one costs more than a short message; a forked child
    makes its own. No message hangs on those before it: each has a fresh confounder, and a zero IV.

    Args:
        cipher: CBC under Ke with a zero IV.
        mac: starts the checksum under Ki.
        mac_size: octets kept of it.
        over_ciphertext: whether it covers the IV and the ciphertext (RFC 8009 5) and not the plaintext.
    """

    __slots__ = ("_decrypting", "_encrypting", "cipher", "mac", "mac_size", "over_ciphertext")

    def __init__(self, cipher: Cipher[CBC], mac: MacFactory, mac_size: int, *, over_ciphertext: bool = False) -> None:
        self.cipher = cipher
        self.mac = mac
        self.mac_size = mac_size
        self.over_ciphertext = over_ciphertext
        # ciphers that nobody uses; threads may share a key, and taking one out of a list is atomic
        self._encrypting: list[tuple[Callable[[Buffer], bytes], bytes]] = []
        self._decrypting: list[Callable[[Buffer], bytes]] = []

    def discard(self) -> None:
        """Forget the ciphers that are alive; the next message makes another."""
        self._encrypting.clear()
        self._decrypting.clear()

    def encrypt(self, plaintext: Buffer, random: Random) -> bytes:
        """Encrypt and protect."""
        plain = random(BLOCK) + plaintext
        try:
            update, state = self._encrypting.pop()
        except IndexError:
            discard_in_child(self)
            update, state = self.cipher.encryptor().update, ZERO_BLOCK
        sealed, state = cts_encrypt(update, state, plain)
        if not self._encrypting:
            self._encrypting.append((update, state))
        return sealed + self._checksum(sealed if self.over_ciphertext else plain)

    def decrypt(self, ciphertext: Buffer) -> bytes:
        """Check and decrypt.

        Raises:
            BadSignature: too short, altered, or made with another key.
        """
        size = len(ciphertext) - self.mac_size
        if size < BLOCK:
            raise too_short()
        sealed = bytes(ciphertext[:size])
        if self.over_ciphertext and not hmac.compare_digest(self._checksum(sealed), ciphertext[size:]):
            raise altered()
        try:
            update = self._decrypting.pop()
        except IndexError:
            discard_in_child(self)
            update = self.cipher.decryptor().update
        plain = cts_decrypt(update, sealed)
        if not self._decrypting:
            self._decrypting.append(update)
        if not self.over_ciphertext and not hmac.compare_digest(self._checksum(plain), ciphertext[size:]):
            del plain  # most of it may be genuine
            raise altered()
        return plain[BLOCK:]

    def _checksum(self, octets: bytes) -> bytes:
        mac = self.mac()
        if self.over_ciphertext:
            mac.update(ZERO_BLOCK)
        mac.update(octets)
        return mac.finalize()[: self.mac_size]


class BlockKeys(UsageKeys):
    """Keys of one usage of DES3: whole blocks, zero padding, which decryption leaves on (RFC 3961 6.3)."""

    __slots__ = ("_cipher", "_mac")

    def __init__(self, cipher: Cipher[CBC], mac: MacFactory) -> None:
        self._cipher = cipher
        self._mac = mac

    def encrypt(self, plaintext: Buffer, random: Random) -> bytes:
        """Encrypt and protect."""
        plain = random(_DES_BLOCK) + plaintext
        plain += bytes(-len(plain) % _DES_BLOCK)
        return self._cipher.encryptor().update(plain) + self._checksum(plain)

    def decrypt(self, ciphertext: Buffer) -> bytes:
        """Check and decrypt.

        Raises:
            BadSignature: of no possible length, altered, or made with another key.
        """
        size = len(ciphertext) - _SHA1.digest_size
        if size < _DES_BLOCK or size % _DES_BLOCK:
            raise too_short()
        plain = self._cipher.decryptor().update(ciphertext[:size])
        if not hmac.compare_digest(self._checksum(plain), ciphertext[size:]):
            del plain
            raise altered()
        return plain[_DES_BLOCK:]

    def _checksum(self, octets: bytes) -> bytes:
        mac = self._mac()
        mac.update(octets)
        return mac.finalize()


def derive_random(encrypt: Callable[[Buffer], bytes], block: int, constant: bytes, size: int) -> bytes:
    """DR (RFC 3961 5.1): `size` octets from a constant by encrypting it again and again.

    Args:
        encrypt: ECB under the base key.
        block: octets in a block.
        constant: folded to a block unless it is one.
    """
    state = constant if len(constant) == block else folded(constant, block)
    found = b""
    while len(found) < size:
        state = encrypt(state)
        found += state
    return found[:size]


class AesSha1(Profile):
    """aes128-cts-hmac-sha1-96 and aes256-cts-hmac-sha1-96 (RFC 3962)."""

    iterations = 4096
    checksum_size = 12

    def derive(self, key: bytes, *constants: bytes) -> list[bytes]:
        """DK (RFC 3961 5.1) of each constant."""
        encrypt = Cipher(AES(key), ECB()).encryptor().update  # noqa: S305  each call is its own message
        return [derive_random(encrypt, BLOCK, constant, self.key_size) for constant in constants]

    def keys(self, key: bytes, usage: int) -> CtsKeys:
        """What encrypts for `usage`."""
        constants = usage_constant(usage, ENCRYPTION_KEY), usage_constant(usage, INTEGRITY_KEY)
        encryption, integrity = self.derive(key, *constants)
        return CtsKeys(Cipher(AES(encryption), CBC(ZERO_BLOCK)), HMAC(integrity, _SHA1).copy, self.checksum_size)

    def signing(self, key: bytes, usage: int) -> MacFactory:
        """Starts the mandatory checksum for `usage`."""
        return HMAC(self.derive(key, usage_constant(usage, CHECKSUM_KEY))[0], _SHA1).copy

    def prf(self, key: bytes, data: bytes) -> bytes:
        """The pseudo-random function (RFC 3961 5.3, RFC 3962 6): 16 octets."""
        block = _sha1(data)[:BLOCK]
        return Cipher(AES(self.derive(key, b"prf")[0]), CBC(ZERO_BLOCK)).encryptor().update(block)

    def string_to_key(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        """The key of a password (RFC 3962 4)."""
        stretched = hashlib.pbkdf2_hmac("sha1", password, salt, iterations, self.key_size)
        return self.derive(stretched, b"kerberos")[0]


class Aes128Sha1(AesSha1):
    """aes128-cts-hmac-sha1-96."""

    etype = EncryptionType.AES128_CTS_HMAC_SHA1_96
    name = "aes128-cts-hmac-sha1-96"
    key_size = seed_size = 16
    checksum_types = (ChecksumType.HMAC_SHA1_96_AES128,)


class Aes256Sha1(AesSha1):
    """aes256-cts-hmac-sha1-96."""

    etype = EncryptionType.AES256_CTS_HMAC_SHA1_96
    name = "aes256-cts-hmac-sha1-96"
    key_size = seed_size = 32
    checksum_types = (ChecksumType.HMAC_SHA1_96_AES256,)


class Des3(Profile):
    """des3-cbc-sha1-kd (RFC 3961 6.3). Weak: used where a caller names it."""

    etype = EncryptionType.DES3_CBC_SHA1_KD
    name = "des3-cbc-sha1-kd"
    key_size = 24
    seed_size = 21
    checksum_types = (ChecksumType.HMAC_SHA1_DES3_KD,)
    checksum_size = 20

    def random_to_key(self, seed: bytes) -> bytes:
        """21 octets to three DES keys with parity, weak ones mended (RFC 3961 6.2, 6.3.1)."""
        return b"".join(_des_key(seed[at : at + 7]) for at in range(0, 21, 7))

    def derive_seed(self, key: bytes, constant: bytes) -> bytes:
        """DR (RFC 3961 5.1)."""
        encrypt = _des3(key, ECB()).encryptor().update  # noqa: S305  each call is its own message
        return derive_random(encrypt, _DES_BLOCK, constant, self.seed_size)

    def derive(self, key: bytes, constant: bytes) -> bytes:
        """DK (RFC 3961 5.1)."""
        return self.random_to_key(self.derive_seed(key, constant))

    def keys(self, key: bytes, usage: int) -> BlockKeys:
        """What encrypts for `usage`."""
        encryption = self.derive(key, usage_constant(usage, ENCRYPTION_KEY))
        integrity = self.derive(key, usage_constant(usage, INTEGRITY_KEY))
        return BlockKeys(_des3(encryption, CBC(_DES_ZERO)), HMAC(integrity, _SHA1).copy)

    def signing(self, key: bytes, usage: int) -> MacFactory:
        """Starts the mandatory checksum for `usage`."""
        return HMAC(self.derive(key, usage_constant(usage, CHECKSUM_KEY)), _SHA1).copy

    def prf(self, key: bytes, data: bytes) -> bytes:
        """The pseudo-random function (RFC 3961 5.3): 16 octets."""
        block = _sha1(data)[:16]
        return _des3(self.derive(key, b"prf"), CBC(_DES_ZERO)).encryptor().update(block)

    def string_to_key(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        """The key of a password (RFC 3961 6.3.1)."""
        if not password + salt:
            return self.derive(self.random_to_key(bytes(self.seed_size)), b"kerberos")
        return self.derive(self.random_to_key(nfold(password + salt, self.seed_size)), b"kerberos")


def _des3(key: bytes, mode: _Mode) -> Cipher[_Mode]:
    return Cipher(TripleDES(key), mode)


def _des_key(seed: bytes) -> bytes:
    """Seven octets and, as an eighth, the lowest bit of each; then odd parity (RFC 3961 6.2)."""
    last = sum((octet & 1) << place for place, octet in enumerate(seed, 1))
    key = bytes(octet & 0xFE | (~(octet >> 1).bit_count() & 1) for octet in (*seed, last))
    return key[:7] + bytes((key[7] ^ 0xF0,)) if key in _WEAK_DES_KEYS else key


_WEAK_DES_KEYS: Final = frozenset(
    bytes.fromhex(key)
    for key in (  # FIPS 74: the four weak and the twelve semi-weak keys
        *("0101010101010101", "FEFEFEFEFEFEFEFE", "E0E0E0E0F1F1F1F1", "1F1F1F1F0E0E0E0E"),
        *("011F011F010E010E", "1F011F010E010E01", "01E001E001F101F1", "E001E001F101F101"),
        *("01FE01FE01FE01FE", "FE01FE01FE01FE01", "1FE01FE00EF10EF1", "E01FE01FF10EF10E"),
        *("1FFE1FFE0EFE0EFE", "FE1FFE1FFE0EFE0E", "E0FEE0FEF1FEF1FE", "FEE0FEE0FEF1FEF1"),
    )
)


class CamelliaCmac(Profile):
    """camellia128-cts-cmac and camellia256-cts-cmac (RFC 6803)."""

    iterations = 32768
    checksum_size = 16

    def derive(self, key: bytes, constant: bytes) -> bytes:
        """KDF-FEEDBACK-CMAC (RFC 6803 3)."""
        template = CMAC(Camellia(key))
        found, block = b"", ZERO_BLOCK
        for count in range(1, self.key_size // BLOCK + 1):
            mac = template.copy()
            mac.update(
                b"".join((block, count.to_bytes(4, "big"), constant, b"\0", (8 * self.key_size).to_bytes(4, "big")))
            )
            block = mac.finalize()
            found += block
        return found

    def keys(self, key: bytes, usage: int) -> CtsKeys:
        """What encrypts for `usage`."""
        encryption = self.derive(key, usage_constant(usage, ENCRYPTION_KEY))
        integrity = self.derive(key, usage_constant(usage, INTEGRITY_KEY))
        return CtsKeys(Cipher(Camellia(encryption), CBC(ZERO_BLOCK)), _cmac(integrity), self.checksum_size)

    def signing(self, key: bytes, usage: int) -> MacFactory:
        """Starts the mandatory checksum for `usage`."""
        return _cmac(self.derive(key, usage_constant(usage, CHECKSUM_KEY)))

    def prf(self, key: bytes, data: bytes) -> bytes:
        """The pseudo-random function (RFC 6803 6): 16 octets."""
        mac = CMAC(Camellia(self.derive(key, b"prf")))
        mac.update(data)
        return mac.finalize()

    def string_to_key(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        """The key of a password (RFC 6803 4)."""
        salted = self.name.encode() + b"\0" + salt
        return self.derive(hashlib.pbkdf2_hmac("sha1", password, salted, iterations, self.key_size), b"kerberos")


def _cmac(key: bytes) -> MacFactory:
    return cast("MacFactory", CMAC(Camellia(key)).copy)  # its `update` takes every buffer, whatever its stub says


class Camellia128(CamelliaCmac):
    """camellia128-cts-cmac."""

    etype = EncryptionType.CAMELLIA128_CTS_CMAC
    name = "camellia128-cts-cmac"
    key_size = seed_size = 16
    checksum_types = (ChecksumType.CMAC_CAMELLIA128,)


class Camellia256(CamelliaCmac):
    """camellia256-cts-cmac."""

    etype = EncryptionType.CAMELLIA256_CTS_CMAC
    name = "camellia256-cts-cmac"
    key_size = seed_size = 32
    checksum_types = (ChecksumType.CMAC_CAMELLIA256,)


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()
