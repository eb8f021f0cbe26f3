"""The security layer of SASL DIGEST-MD5: auth-int and auth-conf (RFC 2831 2.3 and 2.4)."""

from __future__ import annotations

import hmac
from typing import Final

from securestream.errors import BadSignature, ContextExpired, OutOfSequence, QualityNotMet, UsageError
from securestream.options import ContextFlags, Protection, Role, required_flags
from securestream.provider import Buffer, ContextSizes, Unwrapped
from securestream.redaction import Secret
from securestream.sasl.mechanism import SaslLayer
from securestream_providers.digest.sasl_crypto import Cipher, decryptor, encryptor, sealing_key, signing_key

_MAC: Final = 10
_TYPE: Final = b"\0\1"
_TAIL: Final = 6
"""The message's type and its number, which are sent in clear."""
_LAST: Final = 0xFFFFFFFF


class DigestMd5Layer(SaslLayer):
    """Integrity, or integrity and confidentiality, under H(A1).

    Args:
        mechanism: the name of the mechanism.
        role: this end's role.
        key: H(A1).
        cipher: what encrypts; `None` for integrity alone.
        authzid: the authorisation identity, as the client asked for it.
        peer_buffer: octets of the longest buffer that the peer takes.
        own_buffer: octets of the longest buffer that this end takes.

    Raises:
        QualityNotMet: the peer's buffer holds nothing once it is protected.
    """

    def __init__(
        self,
        mechanism: str,
        role: Role,
        key: Secret[bytes],
        cipher: Cipher | None,
        *,
        authzid: str = "",
        peer_buffer: int,
        own_buffer: int,
    ) -> None:
        self._block = 1 if cipher is None else cipher.block
        overhead = _MAC + _TAIL + (self._block if self._block > 1 else 0)
        if peer_buffer <= overhead:
            raise QualityNotMet(
                f"the peer takes buffers of {peer_buffer} octets, which hold nothing once they are protected"
            )
        protection = Protection.SIGN if cipher is None else Protection.ENCRYPT_AND_SIGN
        super().__init__(
            mechanism,
            role,
            ContextFlags.MUTUAL | required_flags(protection),
            authzid=authzid,
            max_plaintext=peer_buffer - overhead,
            max_sealed=own_buffer,
            cipher=None if cipher is None else cipher.token,
        )
        self._overhead = overhead
        self._own: Secret[bytes] | None = signing_key(key, role)
        self._peer: Secret[bytes] | None = signing_key(key, role.other)
        self._encrypt = None if cipher is None else encryptor(cipher, sealing_key(key, role, cipher))
        self._decrypt = None if cipher is None else decryptor(cipher, sealing_key(key, role.other, cipher))
        self._sealed = cipher is not None
        self._sent = self._received = 0

    @property
    def sizes(self) -> ContextSizes:
        """What a buffer costs: the MAC block of 16 octets, and for des and 3des up to 8 octets of padding."""
        return ContextSizes(signature=0, wrap_overhead=self._overhead, block=self._block, max_token=0)

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        """Protect `data` as one buffer, at the level that was negotiated.

        Args:
            data: at most `max_plaintext` octets.
            encrypt: ignored.

        Raises:
            ContextExpired: the layer has ended, or all its 2**32 numbers are used.
            UsageError: `data` is too long for the peer's buffer.
        """
        key = self._own
        if key is None:
            raise self.expired()
        if len(data) > self.max_plaintext:
            raise UsageError(f"the peer takes at most {self.max_plaintext} octets in one buffer, not {len(data)}")
        number = _number(self._sent)
        self._sent += 1
        plain = bytes(data)
        sealed = plain + self._padding(len(plain)) + hmac.digest(key.reveal(), number + plain, "md5")[:_MAC]
        if self._encrypt is not None:
            sealed = self._encrypt(sealed)
        return sealed + _TYPE + number

    def unwrap(self, token: Buffer) -> Unwrapped:
        """Check and open the peer's next buffer.

        Raises:
            BadSignature: it is malformed or altered, or was made by this end.
            OutOfSequence: it is not the next one.
            ContextExpired: the layer has ended, or all its 2**32 numbers are used.
        """
        key = self._peer
        if key is None:
            raise self.expired()
        octets = bytes(token)
        sealed, tail = octets[:-_TAIL], octets[-_TAIL:]
        if len(sealed) < _MAC + (self._block > 1) or len(sealed) % self._block or tail[:2] != _TYPE:
            raise BadSignature("a buffer of DIGEST-MD5's layer is malformed; close the connection")
        number = _number(self._received)
        if tail[2:] != number:
            raise OutOfSequence("a buffer of DIGEST-MD5's layer is repeated, missing or out of order")
        opened = sealed if self._decrypt is None else self._decrypt(sealed)
        padding = self._padding_of(opened)
        plain = opened[: len(opened) - _MAC - max(padding, 0)]
        due = hmac.digest(key.reveal(), number + plain, "md5")[:_MAC]
        fits = hmac.compare_digest(due, opened[-_MAC:])
        if not fits or padding < 0:  # one verdict on both, once both were looked at
            raise BadSignature("a buffer of DIGEST-MD5's layer was altered; close the connection")
        self._received += 1
        return Unwrapped(plain, self._sealed)

    def _padding(self, length: int) -> bytes:
        """What fills the last block: at least one octet, each telling how many (2.4)."""
        if self._block == 1:
            return b""
        missing = self._block - (length + _MAC) % self._block
        return bytes((missing,)) * missing

    def _padding_of(self, opened: bytes) -> int:
        """How many octets of padding stand before the MAC; -1 where they are none."""
        if self._block == 1:
            return 0
        count = opened[-_MAC - 1]
        if not 1 <= count <= self._block or len(opened) < _MAC + count:
            return -1
        return count if opened[-_MAC - count : -_MAC] == bytes((count,)) * count else -1

    def discard(self) -> None:
        """Drop the keys. Idempotent."""
        self._own = self._peer = self._encrypt = self._decrypt = None


def _number(count: int) -> bytes:
    if count > _LAST:
        raise ContextExpired("all numbers of this layer are used; authenticate again")
    return count.to_bytes(4, "big")
