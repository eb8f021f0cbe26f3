"""Per-message tokens of RC4 (RFC 4757 7, with its errata) and DES3 (RFC 1964 1.2): for those who allow them by name.

RFC 4757 errs twice: the direction octets of a number are 00000000 from the initiator and FFFFFFFF from the acceptor,
and the checksum of a wrap token is salted with 13, that of a MIC with 15 (as [MS-KILE] 4.5, MIT krb5 and Heimdal).
"""

from __future__ import annotations

import hashlib
import hmac
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC

from securestream.errors import BadSignature, MalformedMessage, UsageError
from securestream.options import Role
from securestream.provider import Buffer, Cover, Part, Sealed, Unwrapped
from securestream.wire import der
from securestream_providers.krb5.cfx_sealing import make_signer
from securestream_providers.krb5.crypto.rc4 import hmac_md5, rc4
from securestream_providers.krb5.gss_token import KERBEROS
from securestream_providers.krb5.message_tokens import (
    MessageTokens,
    Seal,
    TokenSettings,
    Unseal,
    altered,
    covered,
    cut_like,
    reflected,
)
from securestream_providers.krb5.numbers import KeyUsage
from securestream_providers.krb5.sequence import Window

_OID: Final = der.oid_octets(KERBEROS)
_FRAME: Final = 0x60
_MIC: Final = b"\x01\x01"
_WRAP: Final = b"\x02\x01"
_FILLER: Final = b"\xff\xff"
_CLEAR: Final = b"\xff\xff"
_CONFOUNDER: Final = 8
_LONGEST: Final = 1 << 40
_NUMBER: Final = 8
_DIRECTIONS: Final = {Role.INITIATOR: bytes(4), Role.ACCEPTOR: b"\xff" * 4}


def _framed(token: bytes, outside: int = 0) -> bytes:
    """The frame of RFC 2743 3.1 around a token, whose length may count octets that stand elsewhere."""
    content = _OID + token
    size = len(content) + outside
    return der.element(_FRAME, bytes(size))[: -size or None] + content


def _opened(token: bytes) -> tuple[bytes, int]:
    """What follows the mechanism, and how many octets of it the frame counts: in DCE style not all."""
    try:
        size = der.element_size(token, _LONGEST) if token[:1] == b"\x60" else None
    except MalformedMessage:
        size = None
    if size is None:
        raise BadSignature("this is no token of RFC 1964")
    start = 2 if token[1] < 128 else 2 + (token[1] & 0x7F)
    if token[start : start + len(_OID)] != _OID:
        raise BadSignature("this is no token of Kerberos (RFC 1964)")
    start += len(_OID)
    return token[start:], size - start


class OldTokens(MessageTokens):
    """Tokens of RFC 1964's layout.

    Args:
        settings: key, role, numbers; of the numbers 32 bits count.
    """

    _sign_algorithm: bytes
    _seal_algorithm: bytes
    _checksum_size: int
    _block: int

    def __init__(self, settings: TokenSettings) -> None:
        self._key = settings.key
        self._random = settings.random
        self._dce = settings.dce
        self._own = _DIRECTIONS[settings.role]
        self._due = _DIRECTIONS[settings.role.other]
        self._sent = settings.sent
        self._window = settings.window
        self._size = 8 + _NUMBER + self._checksum_size
        self.signature = len(_framed(bytes(self._size)))
        self.wrap_overhead = 4 + len(_framed(bytes(self._size + _CONFOUNDER))) + self._block

    @abstractmethod
    def _checksum(self, salt: int, *octets: Buffer) -> bytes:
        """The checksum in a token; `salt` tells wrap from MIC where the algorithm does."""

    @abstractmethod
    def _crypt_number(self, octets: bytes, checksum: bytes, *, encrypt: bool) -> bytes:
        """Encrypt or decrypt a number and its direction."""

    @abstractmethod
    def _crypt(self, octets: bytes, number: bytes, *, encrypt: bool) -> bytes:
        """Encrypt or decrypt a confounder and data."""

    @abstractmethod
    def _number_octets(self, number: int) -> bytes:
        """Four octets."""

    @abstractmethod
    def _read_number(self, octets: bytes) -> int:
        """The number of four octets."""

    def take_number(self) -> int:
        """Take the number of the next message away, which ends the use of this object."""
        return self._next()

    @property
    def window(self) -> Window:
        """What was received."""
        return self._window

    def _next(self) -> int:
        number = self._sent
        self._sent = (number + 1) & 0xFFFFFFFF
        return number

    def sealing(self) -> Seal:
        """What makes sealed tokens."""
        return self.wrap

    def opening(self) -> Unseal:
        """What opens tokens of either kind."""
        return self.unwrap

    # --- making ------------------------------------------------------------------------------------------------------

    def wrap(self, data: Buffer) -> bytes:
        """A sealed token (RFC 1964 1.2.2)."""
        token, body = self._wrapped([(data, Cover.SEALED)], self._padding(len(data)), sealed=True)
        return _framed(token + body)

    def wrap_clear(self, data: Buffer) -> bytes:
        """A token that is signed only; it has confounder and padding all the same."""
        token, body = self._wrapped([(data, Cover.SEALED)], self._padding(len(data)), sealed=False)
        return _framed(token + body)

    def _padding(self, size: int) -> bytes:
        missing = self._block - size % self._block
        return bytes((missing,)) * missing

    def _wrapped(self, parts: Sequence[Part], padding: bytes, *, sealed: bool) -> tuple[bytes, bytes]:
        """The token up to its checksum, and confounder and data as they are sent."""
        header = b"".join((_WRAP, self._sign_algorithm, self._seal_algorithm if sealed else _CLEAR, _FILLER))
        number = self._number_octets(self._next())
        confounder = self._random(_CONFOUNDER)
        checksum = self._checksum(13, header, confounder, *covered(parts), padding)
        body = b"".join((confounder, *(data for data, cover in parts if cover is Cover.SEALED), padding))
        if sealed:
            body = self._crypt(body, number, encrypt=True)
        return header + self._crypt_number(number + self._own, checksum, encrypt=True) + checksum, body

    def sign(self, data: Sequence[Buffer]) -> bytes:
        """The MIC token of all of `data` (RFC 1964 1.2.1)."""
        header = b"".join((_MIC, self._sign_algorithm, _FILLER, _FILLER))
        checksum = self._checksum(15, header, *data)
        number = self._crypt_number(self._number_octets(self._next()) + self._own, checksum, encrypt=True)
        return _framed(header + number + checksum)

    def seal(self, parts: Sequence[Part]) -> Sealed:
        """Seal in parts, without padding: the signature is the token up to and with the confounder."""
        token, body = self._wrapped(parts, b"", sealed=True)
        outside = 0 if self._dce else len(body) - _CONFOUNDER  # what RFC 2743 counts, and DCE does not
        return Sealed(cut_like(parts, body[_CONFOUNDER:]), _framed(token + body[:_CONFOUNDER], outside))

    def signature_size(self, parts: Sequence[Part]) -> int:
        """Octets of the signature of `seal`."""
        outside = 0 if self._dce else sum(len(data) for data, cover in parts if cover is Cover.SEALED)
        return len(_framed(bytes(self._size + _CONFOUNDER), outside))

    # --- opening -----------------------------------------------------------------------------------------------------

    def unwrap(self, token: Buffer) -> Unwrapped:
        """Open either kind of token."""
        inner, counted = _opened(bytes(token))
        sealed = self._check_header(inner, _WRAP)
        if counted not in (len(inner), self._size + _CONFOUNDER):
            raise altered()
        number, body = self._number(inner), inner[self._size :]
        if sealed:
            body = self._crypt(body, number, encrypt=False)
        size = body[-1] if len(body) > _CONFOUNDER else 0
        self._compare(13, inner, body)
        if not 1 <= size <= self._block or len(body) < _CONFOUNDER + size:
            raise altered()
        self._window.take(self._read_number(number))
        return Unwrapped(body[_CONFOUNDER : len(body) - size], sealed)

    def verify(self, data: Sequence[Buffer], token: Buffer) -> None:
        """Check a MIC token."""
        inner, counted = _opened(bytes(token))
        self._check_header(inner, _MIC)
        if not len(inner) == counted == self._size:
            raise altered()
        number = self._number(inner)
        self._compare(15, inner, *data)
        self._window.take(self._read_number(number))

    def unseal(self, parts: Sequence[Part], token: Buffer) -> tuple[bytes, ...]:
        """Open what `seal` gave, or Windows."""
        inner, counted = _opened(bytes(token))
        whole = len(inner) + sum(len(data) for data, cover in parts if cover is Cover.SEALED)
        if not self._check_header(inner, _WRAP) or len(inner) != self._size + _CONFOUNDER:
            raise altered()
        if counted not in (len(inner), whole):
            raise altered()
        number = self._number(inner)
        body = inner[self._size :] + b"".join(data for data, cover in parts if cover is Cover.SEALED)
        opened = self._crypt(body, number, encrypt=False)
        pieces = cut_like(parts, opened[_CONFOUNDER:])
        signed = [data for data, (_, cover) in zip(pieces, parts, strict=True) if cover is not Cover.UNTOUCHED]
        self._compare(13, inner, opened[:_CONFOUNDER], *signed)
        self._window.take(self._read_number(number))
        return pieces

    def _check_header(self, inner: bytes, kind: bytes) -> bool:
        """Whether a wrap token is sealed."""
        if inner[:2] != kind or len(inner) < self._size:
            raise BadSignature("this is no token of the kind that is due (RFC 1964)")
        if inner[2:4] != self._sign_algorithm or inner[6:8] != _FILLER:
            raise altered()
        if inner[4:6] not in (_CLEAR, self._seal_algorithm) or (kind == _MIC and inner[4:6] != _CLEAR):
            raise altered()
        return inner[4:6] != _CLEAR

    def _number(self, inner: bytes) -> bytes:
        """The number, after its direction was checked: it came through a cipher, so that noise is an alteration."""
        plain = self._crypt_number(inner[8:16], inner[16 : self._size], encrypt=False)
        if plain[4:] == self._own:
            raise reflected()
        if plain[4:] != self._due:
            raise altered()
        return plain[:4]

    def _compare(self, salt: int, inner: bytes, *octets: Buffer) -> None:
        if not hmac.compare_digest(self._checksum(salt, inner[:8], *octets), inner[16 : self._size]):
            raise altered()


class Rc4Tokens(OldTokens):
    """Tokens of RFC 4757 7."""

    _sign_algorithm = b"\x11\x00"
    _seal_algorithm = b"\x10\x00"
    _checksum_size = 8
    _block = 1

    def __init__(self, settings: TokenSettings) -> None:
        super().__init__(settings)
        key = self._key.contents.reveal()
        self._signing = hmac_md5(key, b"signaturekey\0")
        self._numbering = hmac_md5(key, bytes(4))
        self._sealing = hmac_md5(bytes(octet ^ 0xF0 for octet in key), bytes(4))

    def discard(self) -> None:
        """Drop the keys."""
        self._signing = self._numbering = self._sealing = b""

    def _checksum(self, salt: int, *octets: Buffer) -> bytes:
        digest = hashlib.md5(salt.to_bytes(4, "little"), usedforsecurity=False)
        for part in octets:
            digest.update(part)
        return hmac_md5(self._signing, digest.digest())[:8]

    def _crypt_number(self, octets: bytes, checksum: bytes, *, encrypt: bool) -> bytes:
        return rc4(hmac_md5(self._numbering, checksum), octets)

    def _crypt(self, octets: bytes, number: bytes, *, encrypt: bool) -> bytes:
        return rc4(hmac_md5(self._sealing, number), octets)

    def _number_octets(self, number: int) -> bytes:
        return number.to_bytes(4, "big")

    def _read_number(self, octets: bytes) -> int:
        return int.from_bytes(octets, "big")


class Des3Tokens(OldTokens):
    """Tokens of RFC 1964 with DES3, as MIT krb5 defines them: raw CBC, and HMAC-SHA1 under the key of usage 23."""

    _sign_algorithm = b"\x04\x00"
    _seal_algorithm = b"\x02\x00"
    _checksum_size = 20
    _block = 8

    def __init__(self, settings: TokenSettings) -> None:
        super().__init__(settings)
        self._signer = make_signer(self._key, KeyUsage.ACCEPTOR_SIGN)

    def discard(self) -> None:
        """Drop the keys."""
        del self._key, self._signer

    def _checksum(self, salt: int, *octets: Buffer) -> bytes:
        return self._signer(*octets)

    def _crypt_number(self, octets: bytes, checksum: bytes, *, encrypt: bool) -> bytes:
        return self._cbc(octets, checksum[:8], encrypt=encrypt)

    def _crypt(self, octets: bytes, number: bytes, *, encrypt: bool) -> bytes:
        return self._cbc(octets, bytes(8), encrypt=encrypt)

    def _cbc(self, octets: bytes, vector: bytes, *, encrypt: bool) -> bytes:
        if len(octets) % 8:
            raise altered()
        cipher = Cipher(TripleDES(self._key.contents.reveal()), CBC(vector))
        return (cipher.encryptor() if encrypt else cipher.decryptor()).update(octets)

    def _number_octets(self, number: int) -> bytes:
        return number.to_bytes(4, "little")

    def _read_number(self, octets: bytes) -> int:
        return int.from_bytes(octets, "little")

    def seal(self, parts: Sequence[Part]) -> Sealed:
        """Seal in parts, of whole blocks of 8 octets in all."""
        if sum(len(data) for data, cover in parts if cover is Cover.SEALED) % 8:
            raise UsageError("parts sealed with DES3 have a multiple of 8 octets together; pad them")
        return super().seal(parts)


def read_header(token: bytes) -> str:
    """One line on a token of RFC 1964, for those who look at the wire.

    Raises:
        MalformedMessage: it is none.
    """
    try:
        inner, _ = _opened(token)
    except BadSignature:
        inner = b""
    if inner[:2] == _MIC:
        return f"Kerberos MIC token of RFC 1964 ({len(token)} octets)"
    if inner[:2] == _WRAP:
        how = "in clear" if inner[4:6] == _CLEAR else "sealed"
        return f"Kerberos wrap token of RFC 1964 ({len(token)} octets): {how}"
    raise MalformedMessage("no token of RFC 1964")
