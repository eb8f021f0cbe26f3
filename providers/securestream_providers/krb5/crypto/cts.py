"""CBC with ciphertext stealing as Kerberos has it (CBC-CS3 with a zero IV; RFC 3962 5)."""

from __future__ import annotations

from collections.abc import Callable

from securestream.wire.cursor import Buffer

BLOCK = 16
ZERO_BLOCK = bytes(BLOCK)


def cts_encrypt(update: Callable[[Buffer], bytes], state: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """Encrypt at least one block with a cipher that goes on from an earlier message, as a fresh one would.

    Args:
        update: CBC encryption.
        state: its chaining state: the last block that it gave. The first block of the plaintext is fed XORed with it,
            which leaves of the two a state of zero.
        plaintext: 16 octets or more.

    Returns:
        The ciphertext, and the state that is left.
    """
    size = len(plaintext)
    last = (size - 1) % BLOCK + 1
    first = (int.from_bytes(plaintext[:BLOCK], "big") ^ int.from_bytes(state, "big")).to_bytes(BLOCK, "big")
    sealed = update(b"".join((first, plaintext[BLOCK:], bytes(BLOCK - last))))
    final = sealed[-BLOCK:]
    return (sealed if size == BLOCK else b"".join((sealed[:-32], final, sealed[-32 : last - 32]))), final


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
