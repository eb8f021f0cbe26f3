"""The cryptography of NTLM ([MS-NLMP] 3.3, 3.4.5): MD4, RC4 and DES primitives, one-way functions, responses, keys.

None of these algorithms is strong; NTLM is what it is.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import MD5
from cryptography.hazmat.primitives.hmac import HMAC

from securestream.errors import UsageError
from securestream.options import Role
from securestream.services.nt_hash import md4 as md4
from securestream.services.nt_hash import nt_hash as nt_hash
from securestream_providers.ntlm.messages import Flag

_MD5: Final = MD5()  # noqa: S303  what NTLM is made of

# --- primitives ------------------------------------------------------------------------------------------------------


def rc4(key: bytes) -> CipherContext:
    """A live RC4 stream. `key` is 8 or 16 octets."""
    return Cipher(ARC4(key), mode=None).encryptor()


def hmac_md5(key: bytes, octets: bytes) -> bytes:
    """HMAC-MD5 (RFC 2104): 16 octets."""
    mac = HMAC(key, _MD5)  # `hmac.digest` asks OpenSSL for its MD5 each time, which costs as much again
    mac.update(octets)
    return mac.finalize()


def keyed_md5(key: bytes) -> Callable[[], HMAC]:
    """Makes HMAC-MD5 computations under one key: a third of the cost of starting from the key each time."""
    return HMAC(key, _MD5).copy


def md5(octets: bytes) -> bytes:
    """MD5 (RFC 1321): 16 octets."""
    return hashlib.md5(octets, usedforsecurity=False).digest()


def des(key: bytes, block: bytes) -> bytes:
    """DES of one 8-octet block with a key of 7 octets ([MS-NLMP] 6, DES)."""
    number = int.from_bytes(key, "big")
    spread = bytes((number >> shift & 0x7F) << 1 for shift in range(49, -1, -7))  # DES ignores the parity bits
    encryptor = Cipher(TripleDES(spread * 3), ECB()).encryptor()  # noqa: S305  NTLM encrypts one block
    return encryptor.update(block)


def desl(key: bytes, octets: bytes) -> bytes:
    """DESL: `octets` (8) under the three DES keys that the 16 of `key` give, 24 octets."""
    padded = key + bytes(5)
    return des(padded[:7], octets) + des(padded[7:14], octets) + des(padded[14:], octets)


# --- names and one-way functions -------------------------------------------------------------------------------------


def upper(text: str) -> str:
    """`text` in upper case as Windows has it: each character by itself, those whose upper case is longer unchanged."""
    if text.isascii():
        return text.upper()
    return "".join(u if len(u := c.upper()) == 1 else c for c in text)


def utf16(text: str) -> bytes:
    """UTF-16LE, lone surrogates kept."""
    return text.encode("utf-16-le", "surrogatepass")


def lm_hash(password: str, oem: str = "cp437") -> bytes | None:
    """LMOWFv1 ([MS-NLMP] 3.3.1): 16 octets; `None` where the password is longer than 14 characters or not OEM."""
    try:
        octets = upper(password).encode(oem)
    except UnicodeEncodeError:
        return None
    if len(octets) > 14:
        return None
    octets = octets.ljust(14, b"\0")
    return des(octets[:7], _LM_TEXT) + des(octets[7:], _LM_TEXT)


_LM_TEXT: Final = b"KGS!@#$%"


def ntowf_v2(hash_: bytes, user: str, domain: str) -> bytes:
    """NTOWFv2 = LMOWFv2 ([MS-NLMP] 3.3.2): the user is upper-cased, the domain stands as it is sent."""
    return hmac_md5(hash_, utf16(upper(user) + domain))


def checked_codec(oem: str) -> str:
    """`oem`, if Python has such a codec.

    Raises:
        UsageError: it has not.
    """
    try:
        return codecs.lookup(oem).name
    except LookupError:
        raise UsageError(f"Python has no codec {oem!r}: name an OEM code page such as cp850") from None


# --- responses -------------------------------------------------------------------------------------------------------


def ess_challenge(server_challenge: bytes, client_challenge: bytes) -> bytes:
    """What NTLMv1 with extended session security encrypts in place of the server's challenge ([MS-NLMP] 3.3.1)."""
    return md5(server_challenge + client_challenge)[:8]


def proof_v2(mac: Callable[[], HMAC], server_challenge: bytes, octets: bytes) -> tuple[bytes, bytes]:
    """The proof of an NTLMv2 or LMv2 response and its SessionBaseKey ([MS-NLMP] 3.3.2), 16 octets each.

    Args:
        mac: HMAC-MD5 under NTOWFv2.
        server_challenge: 8 octets.
        octets: what follows the proof in the response: the client's challenge structure, for LMv2 its 8 octets.
    """
    first = mac()
    first.update(server_challenge + octets)
    proof = first.finalize()
    second = mac()
    second.update(proof)
    return proof, second.finalize()


# --- session keys ----------------------------------------------------------------------------------------------------


def exchange_key(
    flags: int,
    session_base_key: bytes,
    *,
    version2: bool,
    server_challenge: bytes,
    lm_response: bytes,
    lm_session_key: bytes | None,
) -> bytes:
    """KXKEY ([MS-NLMP] 3.4.5.1): the key-exchange key, 16 octets.

    Args:
        flags: those of the session.
        session_base_key: 16 octets of the logon.
        version2: whether the response is NTLMv2 (or LMv2).
        server_challenge: 8 octets.
        lm_response: the LM field as sent.
        lm_session_key: the first 8 octets of LMOWFv1, which some flags of NTLMv1 need; `None` where it is not known.

    Raises:
        UsageError: the flags need the LM hash, and it is not known.
    """
    if version2:
        return session_base_key
    if flags & Flag.EXTENDED_SESSION_SECURITY:
        return hmac_md5(session_base_key, server_challenge + lm_response[:8])
    if not flags & (Flag.LM_KEY | Flag.REQUEST_NON_NT_SESSION_KEY):
        return session_base_key
    if lm_session_key is None:
        raise UsageError("LM session keys were negotiated and the LM hash is not known: switch them off")
    if flags & Flag.LM_KEY:
        padded = lm_session_key[7:8] + b"\xbd" * 6
        return des(lm_session_key[:7], lm_response[:8]) + des(padded, lm_response[:8])
    return lm_session_key[:8] + bytes(8)


_MAGIC: Final = "session key to {}-to-{} {} key magic constant\0"


def _magic(role: Role, use: str) -> bytes:
    ends = ("client", "server") if role is Role.INITIATOR else ("server", "client")
    return _MAGIC.format(*ends, use).encode()


_INITIATOR: Final = Role.INITIATOR  # members of an Enum are found slowly, and hash slowly
_SIGN_MAGIC: Final = _magic(Role.ACCEPTOR, "signing"), _magic(Role.INITIATOR, "signing")
_SEAL_MAGIC: Final = _magic(Role.ACCEPTOR, "sealing"), _magic(Role.INITIATOR, "sealing")
"""By whether the initiator sends."""


def signing_key(session_key: bytes, role: Role) -> bytes:
    """SIGNKEY with extended session security ([MS-NLMP] 3.4.5.2) for what `role` sends."""
    return md5(session_key + _SIGN_MAGIC[role is _INITIATOR])


def sealing_key(flags: int, session_key: bytes, role: Role) -> bytes:
    """SEALKEY ([MS-NLMP] 3.4.5.3) for what `role` sends; without extended session security both ends share one."""
    if flags & Flag.EXTENDED_SESSION_SECURITY:
        if not flags & Flag.BITS_128:
            session_key = session_key[:7] if flags & Flag.BITS_56 else session_key[:5]
        return md5(session_key + _SEAL_MAGIC[role is _INITIATOR])
    if flags & (Flag.LM_KEY | Flag.DATAGRAM):
        return session_key[:7] + b"\xa0" if flags & Flag.BITS_56 else session_key[:5] + b"\xe5\x38\xb0"
    return session_key


def key_bits(flags: int) -> int:
    """The strength of the sealing key that `flags` give: 128, 56 or 40 bits."""
    if flags & Flag.BITS_128:
        return 128
    return 56 if flags & Flag.BITS_56 else 40
