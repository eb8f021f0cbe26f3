"""The arithmetic of SASL DIGEST-MD5: H(A1), responses, the keys of the layer and its ciphers (RFC 2831 2.1.2-2.4).

Unlike HTTP's -sess algorithms, A1 begins with the sixteen raw octets of H(user:realm:password).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher as Engine
from cryptography.hazmat.primitives.ciphers.modes import CBC

from securestream.options import Role
from securestream.redaction import Secret

_SIGNING: Final = {
    Role.INITIATOR: b"Digest session key to client-to-server signing key magic constant",
    Role.ACCEPTOR: b"Digest session key to server-to-client signing key magic constant",
}
"""By who sends; without the NUL behind them that NTLM's have."""
_SEALING: Final = {
    Role.INITIATOR: b"Digest H(A1) to client-to-server sealing key magic constant",
    Role.ACCEPTOR: b"Digest H(A1) to server-to-client sealing key magic constant",
}
_ZEROS: Final = b":" + b"0" * 32

Transform = Callable[[bytes], bytes]
"""What one direction's cipher makes of the next octets; its state goes on from message to message."""


class Cipher(Enum):
    """A ``cipher-value`` (2.1.1). Members stand in the order of their strength, weakest first."""

    RC4_40 = ("rc4-40", 5, 1)
    DES = ("des", 16, 8)
    RC4_56 = ("rc4-56", 7, 1)
    RC4 = ("rc4", 16, 1)
    TRIPLE_DES = ("3des", 16, 8)

    def __init__(self, token: str, key_octets: int, block: int) -> None:
        self.token: str = token
        """As it stands in a message."""
        self.key_octets: int = key_octets
        """How many octets of H(A1) the key is made of (2.4, n)."""
        self.block: int = block
        """Octets of a block; 1 for a stream."""


def hash_a1(verifier: bytes, nonce: str, cnonce: str, authzid: str | None) -> Secret[bytes]:
    """H(A1), sixteen octets, from H(user:realm:password)."""
    parts = [verifier, nonce.encode("latin-1"), cnonce.encode("latin-1")]
    if authzid is not None:
        parts.append(authzid.encode())
    return Secret(_md5(b":".join(parts)))


class Covered(NamedTuple):
    """What both digests cover beside H(A1)."""

    nonce: str
    cnonce: str
    nc: int
    qop: str
    uri: str

    def response(self, key: Secret[bytes]) -> str:
        """``response-value`` (2.1.2.1), hexadecimal, from H(A1)."""
        return self._keyed(key, b"AUTHENTICATE:")

    def proof(self, key: Secret[bytes]) -> str:
        """``rspauth`` (2.1.3), hexadecimal, from H(A1)."""
        return self._keyed(key, b":")

    def _keyed(self, key: Secret[bytes], method: bytes) -> str:
        a2 = method + self.uri.encode("latin-1") + (b"" if self.qop == "auth" else _ZEROS)
        middle = f"{self.nonce}:{self.nc:08x}:{self.cnonce}:{self.qop}".encode("latin-1")
        return _md5(b":".join((_hex(key.reveal()), middle, _hex(_md5(a2))))).hex()


def signing_key(key: Secret[bytes], sender: Role) -> Secret[bytes]:
    """Kic or Kis (2.3), from H(A1)."""
    return Secret(_md5(key.reveal() + _SIGNING[sender]))


def sealing_key(key: Secret[bytes], sender: Role, cipher: Cipher) -> Secret[bytes]:
    """Kcc or Kcs (2.4), from H(A1)."""
    return Secret(_md5(key.reveal()[: cipher.key_octets] + _SEALING[sender]))


def encryptor(cipher: Cipher, key: Secret[bytes]) -> Transform:
    """The cipher of one direction, from Kcc or Kcs, for who sends."""
    return _engine(cipher, key).encryptor().update


def decryptor(cipher: Cipher, key: Secret[bytes]) -> Transform:
    """As `encryptor`, for who receives."""
    return _engine(cipher, key).decryptor().update


def _engine(cipher: Cipher, key: Secret[bytes]) -> Engine[CBC] | Engine[None]:
    octets = key.reveal()
    if cipher.block == 1:
        return Engine(ARC4(octets), mode=None)
    first = _spread(octets[:7])
    second = _spread(octets[7:14]) if cipher is Cipher.TRIPLE_DES else first
    return Engine(TripleDES(first + second + first), CBC(octets[8:]))  # one key three times is DES


def _spread(key: bytes) -> bytes:
    """Seven octets as a DES key of eight, whose lowest bits are parity and unused."""
    bits = int.from_bytes(key, "big")
    return bytes((bits >> shift & 0x7F) << 1 for shift in range(49, -1, -7))


def _md5(octets: bytes) -> bytes:
    return hashlib.md5(octets, usedforsecurity=False).digest()


def _hex(octets: bytes) -> bytes:
    return octets.hex().encode()
