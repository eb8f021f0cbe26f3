"""CBC with ciphertext stealing as Kerberos has it (CBC-CS3 with a zero IV; RFC 3962 5)."""

from __future__ import annotations

from collections.abc import Callable

from securestream.wire.cursor import Buffer

BLOCK = 16
ZERO_BLOCK = bytes(BLOCK)


def cts_encrypt(update: Callable[[Buffer], bytes], plaintext: bytes) -> bytes:
    """Encrypt at least one block.

    Args:
        update: CBC encryption whose chaining state is zero.
        plaintext: 16 octets or more.
    """
    size = len(plaintext)
    if size == BLOCK:
        return update(plaintext)
    last = (size - 1) % BLOCK + 1
    sealed = update(plaintext + bytes(BLOCK - last))
    return sealed[:-32] + sealed[-16:] + sealed[-32:-16][:last]


def cts_decrypt(update: Callable[[Buffer], bytes], ciphertext: bytes) -> bytes:
    """Decrypt at least one block.

    Args:
        update: CBC decryption in any chaining state: what is fed before each part brings that to zero.
        ciphertext: 16 octets or more.
    """
    size = len(ciphertext)
    if size == BLOCK:
        return update(ZERO_BLOCK + ciphertext)[BLOCK:]
    last = (size - 1) % BLOCK + 1
    swapped = ciphertext[-BLOCK - last : -last]
    stolen = ciphertext[-last:]
    if last < BLOCK:
        stolen += update(ZERO_BLOCK + swapped)[BLOCK + last :]
    return update(b"".join((ZERO_BLOCK, ciphertext[: -BLOCK - last], stolen, swapped)))[BLOCK : BLOCK + size]
