"""MD4 and the NT hash: what account stores keep in place of a password. Pure computation, no I/O.

Python's `hashlib` has no MD4 where OpenSSL 3 runs without its legacy provider, so it is computed here.
"""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)  # RFC 1320 3.3
_COLUMNS = (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
_REVERSED = (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)
_WORDS = struct.Struct("<16I")


def md4(data: bytes) -> bytes:
    """MD4 of `data` (RFC 1320), 16 octets. Broken as a hash for anything but what NTLM makes of it."""
    length = len(data)
    padded = data + b"\x80" + bytes((55 - length) % 64) + struct.pack("<Q", (8 * length) & 0xFFFFFFFFFFFFFFFF)
    state = _START
    for offset in range(0, len(padded), 64):
        state = _block(state, _WORDS.unpack_from(padded, offset))
    return struct.pack("<4I", *state)


def _block(state: tuple[int, int, int, int], words: tuple[int, ...]) -> tuple[int, int, int, int]:
    """One compression (RFC 1320 3.4): three rounds of sixteen steps; the four words change places at each step."""
    a, b, c, d = state
    for step, word in enumerate(words):
        mixed = (a + ((b & c) | (~b & d)) + word) & _MASK
        shift = (3, 7, 11, 19)[step & 3]
        a, b, c, d = d, (mixed << shift | mixed >> 32 - shift) & _MASK, b, c
    for step, index in enumerate(_COLUMNS):
        mixed = (a + ((b & c) | (b & d) | (c & d)) + words[index] + 0x5A827999) & _MASK
        shift = (3, 5, 9, 13)[step & 3]
        a, b, c, d = d, (mixed << shift | mixed >> 32 - shift) & _MASK, b, c
    for step, index in enumerate(_REVERSED):
        mixed = (a + (b ^ c ^ d) + words[index] + 0x6ED9EBA1) & _MASK
        shift = (3, 9, 11, 15)[step & 3]
        a, b, c, d = d, (mixed << shift | mixed >> 32 - shift) & _MASK, b, c
    return (state[0] + a) & _MASK, (state[1] + b) & _MASK, (state[2] + c) & _MASK, (state[3] + d) & _MASK


def nt_hash(password: str) -> bytes:
    """The NT hash of a password: MD4 of its UTF-16LE ([MS-NLMP] 3.3.1, NTOWFv1), 16 octets.

    It logs in like the password itself: keep it as such. Lone surrogates are kept, as Windows keeps them.
    """
    return md4(password.encode("utf-16-le", "surrogatepass"))
