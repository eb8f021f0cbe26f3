"""n-fold: octets stretched or pressed to a length (RFC 3961 5.1)."""

from __future__ import annotations

from functools import lru_cache
from math import lcm


def nfold(octets: bytes, size: int) -> bytes:
    """Fold `octets` (at least one) to `size` octets.

    Copies of the input, each rotated 13 bits further to the right, are laid side by side until they fill a multiple of
    `size`, then added up in ones' complement.
    """
    bits = 8 * len(octets)
    number = int.from_bytes(octets, "big")
    total = lcm(len(octets), size)
    laid = bytearray()
    for copy in range(total // len(octets)):
        shift = 13 * copy % bits
        rotated = (number >> shift | number << (bits - shift)) & ((1 << bits) - 1)
        laid += rotated.to_bytes(len(octets), "big")
    limit = (1 << 8 * size) - 1
    added = sum(int.from_bytes(laid[at : at + size], "big") for at in range(0, total, size))
    while added > limit:
        added = (added & limit) + (added >> 8 * size)
    return added.to_bytes(size, "big")


folded = lru_cache(256)(nfold)
"""`nfold` of the public constants of key derivation, remembered."""
