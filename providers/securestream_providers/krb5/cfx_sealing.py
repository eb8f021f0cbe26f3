"""Sealing many messages with one key: the ciphertexts of RFC 3961 with live cipher contexts, for RFC 4121.

`Key.encrypt` makes a new cipher for each message, which costs more than encrypting a short one. A CBC context that
stays alive needs the zero IV of each message anew: fed its own last block of ciphertext, its chaining state becomes
``K0 = E(0)``, a constant; the confounder is then fed XORed with K0, which gives what a zero IV would have given. A
context that decrypts is fed one block of zeros first. The octets are those of `Key.encrypt` and `Key.decrypt`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from securestream.errors import ContextExpired, UsageError
from securestream.fork import discard_in_child
from securestream.options import Random
from securestream.wire.cursor import Buffer
from securestream_providers.krb5.crypto.cts import BLOCK, ZERO_BLOCK, cts_decrypt
from securestream_providers.krb5.crypto.profile import Mac, MacFactory, altered, too_short
from securestream_providers.krb5.crypto.simplified import CtsKeys
from securestream_providers.krb5.keys import Key, profile_of

Part: TypeAlias = tuple[Buffer, bool]
"""Octets of a message in parts, and whether they are encrypted or only signed."""

Signer: TypeAlias = Callable[..., bytes]
"""Gives the checksum over any number of buffers, laid side by side."""

LARGE: Final = 8192
"""From this size on octets are not joined to anything, and go through a reused buffer."""
_LARGEST_KEPT: Final = 2 << 20
_FIRST_POOL: Final = 8
_POOL: Final = 256
"""Confounders that are made at once, after the first few."""

_buffers: list[bytearray] = []
"""Free buffers of large messages: they belong to the process and not to a context. Taking one is atomic."""


def _borrow(size: int) -> bytearray:
    buffer = _buffers.pop() if _buffers else bytearray()
    return buffer if len(buffer) >= size else bytearray(size)


def _give_back(buffer: bytearray) -> None:
    if len(buffer) <= _LARGEST_KEPT and not _buffers:
        _buffers.append(buffer)


def make_signer(key: Key, usage: int) -> Signer:
    """Makes checksums of the key's mandatory type (RFC 4121 4.2.4); verify with `hmac.compare_digest`."""
    start, size = key.signing(usage), profile_of(key.etype).checksum_size

    def sign(*buffers: Buffer) -> bytes:
        mac = start()
        for buffer in buffers:
            mac.update(buffer)
        return mac.finalize()[:size]

    return sign


def _cts_keys(key: Key, usage: int) -> CtsKeys:
    keys = key.for_usage(usage)
    if not isinstance(keys, CtsKeys):
        raise UsageError(f"contexts under the encryption type {key.etype} have tokens of RFC 1964, not of RFC 4121")
    return keys


class Sealer:
    """Encrypts the messages of one direction of a context. One thread at a time; of no use in a forked child.

    Args:
        key: of an AES or Camellia encryption type.
        usage: its key usage (RFC 4121 2).
        random: gives confounders, many at a time.

    Raises:
        UsageError: the key's type has other tokens.
    """

    __slots__ = (
        *("__weakref__", "_k0", "_last", "_mac", "_mac_size", "_over_ciphertext", "_pool_size", "_random"),
        *("_take", "_update", "_update_into"),
    )

    def __init__(self, key: Key, usage: int, random: Random) -> None:
        keys = _cts_keys(key, usage)
        encryptor = keys.cipher.encryptor()
        self._update: Callable[[Buffer], bytes] = encryptor.update
        self._update_into: Callable[[Buffer, Buffer], int] = encryptor.update_into
        self._mac = _template(keys)
        self._mac_size = keys.mac_size
        self._over_ciphertext = keys.over_ciphertext
        self._random = random
        self._k0 = self._last = encryptor.update(ZERO_BLOCK)
        self._take: Callable[[], tuple[bytes, bytes]] = list[tuple[bytes, bytes]]().pop
        self._pool_size = _FIRST_POOL
        discard_in_child(self)

    @property
    def overhead(self) -> int:
        """How much longer the ciphertext is than what is encrypted."""
        return BLOCK + self._mac_size

    def discard(self) -> None:
        """Forget key and confounders; every later use raises `ContextExpired`."""
        self._update = self._update_into = self._mac = self._random = _gone
        self._take = _gone
        self._k0 = self._last = b""

    def seal(self, data: Buffer, trailer: bytes = b"", prefix: bytes = b"") -> bytes:
        """`prefix`, then the ciphertext of `data` and `trailer`.

        Args:
            data: what is encrypted first.
            trailer: what is encrypted behind it: RFC 4121's copy of the header.
            prefix: stands in clear in front and is not covered: the header.
        """
        size = len(data) + len(trailer)
        if size >= LARGE:
            return self._seal_large(data, trailer, prefix)
        try:
            confounder, masked = self._take()
        except IndexError:
            confounder, masked = self._refill()
        octets = data + trailer if type(data) is bytes else b"".join((data, trailer))
        mac = self._mac()
        last = (size - 1) % BLOCK + 1
        sealed = self._update(b"".join((self._last, masked, octets, _PADDING[last])))
        self._last = final = sealed[-BLOCK:]
        if size <= BLOCK or self._over_ciphertext:
            stolen = b"".join((sealed[BLOCK:-32], final, sealed[-32 : last - 32])) if size else final
            mac.update(stolen if self._over_ciphertext else confounder + octets)
            return b"".join((prefix, stolen, mac.finalize()[: self._mac_size]))
        mac.update(confounder + octets)
        return b"".join((prefix, sealed[BLOCK:-32], final, sealed[-32 : last - 32], mac.finalize()[: self._mac_size]))

    def _seal_large(self, data: Buffer, trailer: bytes, prefix: bytes) -> bytes:
        confounder, masked = self._confounder()
        mac = self._mac()
        if not self._over_ciphertext:
            mac.update(confounder)
            mac.update(data)
            mac.update(trailer)
        size = len(data) + len(trailer)
        last = (size - 1) % BLOCK + 1
        buffer = _borrow(size + 5 * BLOCK)
        with memoryview(buffer) as view:
            done = self._update_into(self._last + masked, view)
            done += self._update_into(data, view[done:])
            done += self._update_into(trailer + _PADDING[last], view[done:])
            self._last = final = bytes(view[done - BLOCK : done])
            swapped = final + bytes(view[done - 32 : done - 32 + last])
            sealed = view[BLOCK : done - 32]
            if self._over_ciphertext:
                mac.update(sealed)
                mac.update(swapped)
            token = b"".join((prefix, sealed, swapped, mac.finalize()[: self._mac_size]))
            sealed.release()
        _give_back(buffer)
        return token

    def seal_parts(self, parts: Sequence[Part], trailer: bytes) -> tuple[bytes, list[bytes], bytes]:
        """Encrypt some parts of a message in their places, and sign the others with them ([MS-KILE] 3.4.5.4).

        Args:
            parts: in order; none but those that are covered.
            trailer: encrypted behind them, 16 octets or more.

        Returns:
            The block in front (the confounder), the encrypted parts, each as long as before, and what is behind: the
            trailer and the checksum.
        """
        confounder, masked = self._confounder()
        octets = b"".join((*(data for data, encrypted in parts if encrypted), trailer))
        last = (len(octets) - 1) % BLOCK + 1
        sealed = self._update(b"".join((self._last, masked, octets, _PADDING[last])))
        self._last = sealed[-BLOCK:]
        stream = b"".join((sealed[BLOCK:-32], self._last, sealed[-32 : last - 32]))
        front, pieces, behind = _split(stream, parts)
        covered = _covered(parts, pieces) if self._over_ciphertext else [data for data, _ in parts]
        ends = (front, behind) if self._over_ciphertext else (confounder, trailer)
        mac = self._mac()
        _feed(mac, ends[0], *covered, ends[1])
        return front, pieces, behind + mac.finalize()[: self._mac_size]

    def _confounder(self) -> tuple[bytes, bytes]:
        try:
            return self._take()
        except IndexError:
            return self._refill()

    def _refill(self) -> tuple[bytes, bytes]:
        """Draw confounders; each goes with its sum with K0. Gives the first pair."""
        size = BLOCK * self._pool_size
        drawn = self._random(size)
        mask = int.from_bytes(self._k0 * self._pool_size, "big")
        masked = (int.from_bytes(drawn, "big") ^ mask).to_bytes(size, "big")
        pairs = [(drawn[at : at + BLOCK], masked[at : at + BLOCK]) for at in range(0, size, BLOCK)]
        pairs.reverse()
        self._take = pairs.pop
        self._pool_size = _POOL
        return self._take()


class Unsealer:
    """Checks and decrypts the messages of one direction of a context. One thread at a time.

    A message that is refused changes nothing: the next one is judged by itself.

    Args:
        key: of an AES or Camellia encryption type.
        usage: its key usage (RFC 4121 2).

    Raises:
        UsageError: the key's type has other tokens.
    """

    __slots__ = ("__weakref__", "_mac", "_mac_size", "_over_ciphertext", "_update", "_update_into")

    def __init__(self, key: Key, usage: int) -> None:
        keys = _cts_keys(key, usage)
        decryptor = keys.cipher.decryptor()
        self._update: Callable[[Buffer], bytes] = decryptor.update
        self._update_into: Callable[[Buffer, Buffer], int] = decryptor.update_into
        self._mac = _template(keys)
        self._mac_size = keys.mac_size
        self._over_ciphertext = keys.over_ciphertext
        discard_in_child(self)

    @property
    def overhead(self) -> int:
        """How much longer the ciphertext is than what was encrypted."""
        return BLOCK + self._mac_size

    def discard(self) -> None:
        """Forget the key; every later use raises `ContextExpired`."""
        self._update = self._update_into = self._mac = _gone

    def unseal(self, token: Buffer, start: int = 0, trailer: int = 0) -> tuple[bytes, bytes]:
        """The plaintext of a ciphertext.

        Args:
            token: what the peer sent.
            start: where in it the ciphertext begins; it goes to the end.
            trailer: how many of the last octets are given apart.

        Returns:
            The plaintext, and its last `trailer` octets, which the first does not have.

        Raises:
            BadSignature: too short, altered, or made with another key.
        """
        end = len(token) - self._mac_size
        size = end - start
        if size < BLOCK + trailer:
            raise too_short()
        if size >= LARGE:
            return self._unseal_large(token, start, trailer)
        if type(token) is not bytes:
            token = bytes(token)
        checksum = token[end:]
        mac = self._mac()
        if self._over_ciphertext:
            mac.update(token[start:end])
            if not hmac.compare_digest(mac.finalize()[: self._mac_size], checksum):
                raise altered()
        last = (size - 1) % BLOCK + 1
        cut = end - last
        if size == BLOCK:
            plain = self._update(ZERO_BLOCK + token[start:end])
        else:
            swapped, stolen = token[cut - BLOCK : cut], token[cut:end]
            if last != BLOCK:
                stolen += self._update(ZERO_BLOCK + swapped)[BLOCK + last :]
            plain = self._update(b"".join((ZERO_BLOCK, token[start : cut - BLOCK], stolen, swapped)))
        size += BLOCK
        if not self._over_ciphertext:
            mac.update(plain[BLOCK:size])
            if not hmac.compare_digest(mac.finalize()[: self._mac_size], checksum):
                del plain  # most of it may be genuine
                raise altered()
        size -= trailer
        return plain[32:size], plain[size : size + trailer]

    def _unseal_large(self, token: Buffer, start: int, trailer: int) -> tuple[bytes, bytes]:
        buffer = _borrow(len(token) + 3 * BLOCK)
        with memoryview(token) as source, memoryview(buffer) as view:
            found = self._decrypt_into(source, start, trailer, view)
        _give_back(buffer)
        del buffer, view  # most of what it holds may be genuine
        if found is None:
            raise altered()
        return found

    def _decrypt_into(
        self, token: memoryview, start: int, trailer: int, view: memoryview
    ) -> tuple[bytes, bytes] | None:
        end = len(token) - self._mac_size
        size = end - start
        mac = self._mac()
        if self._over_ciphertext:
            mac.update(token[start:end])
            if not hmac.compare_digest(mac.finalize()[: self._mac_size], token[end:]):
                return None
        last = (size - 1) % BLOCK + 1
        cut = end - last
        swapped, stolen = bytes(token[cut - BLOCK : cut]), bytes(token[cut:end])
        if last != BLOCK:
            stolen += self._update(ZERO_BLOCK + swapped)[BLOCK + last :]
        self._update(ZERO_BLOCK)
        done = self._update_into(token[start : cut - BLOCK], view)
        self._update_into(stolen + swapped, view[done:])
        if not self._over_ciphertext:
            mac.update(view[:size])
            if not hmac.compare_digest(mac.finalize()[: self._mac_size], token[end:]):
                return None
        return bytes(view[BLOCK : size - trailer]), bytes(view[size - trailer : size])

    def unseal_parts(self, front: Buffer, parts: Sequence[Part], behind: Buffer) -> tuple[list[bytes], bytes]:
        """Check a message in parts and decrypt those that are encrypted; the reverse of `Sealer.seal_parts`.

        Args:
            front: the encrypted confounder, 16 octets.
            parts: in order; none but those that are covered.
            behind: the encrypted trailer, 16 octets or more, and the checksum.

        Returns:
            The decrypted parts, and the trailer.

        Raises:
            BadSignature: too short, altered, or made with another key.
        """
        end = len(behind) - self._mac_size
        if end < BLOCK or len(front) != BLOCK:
            raise too_short()
        sealed = b"".join((front, *(data for data, encrypted in parts if encrypted), behind[:end]))
        plain = cts_decrypt(self._update, sealed)
        first, pieces, trailer = _split(plain, parts)
        covered = [data for data, _ in parts] if self._over_ciphertext else _covered(parts, pieces)
        ends = (front, behind[:end]) if self._over_ciphertext else (first, trailer)
        mac = self._mac()
        _feed(mac, ends[0], *covered, ends[1])
        if not hmac.compare_digest(mac.finalize()[: self._mac_size], behind[end:]):
            del plain, first, pieces, trailer, covered, ends  # most of them may be genuine
            raise altered()
        return pieces, trailer


_PADDING: Final = [bytes(BLOCK - last) for last in range(BLOCK + 1)]
"""By the octets in the last block: what fills it up."""


def _template(keys: CtsKeys) -> MacFactory:
    """Starts the checksum of a message; what covers the ciphertext covers the IV before it (RFC 8009 5)."""
    if not keys.over_ciphertext:
        return keys.mac
    mac = keys.mac()
    mac.update(ZERO_BLOCK)
    return mac.copy


def _feed(mac: Mac, *covered: Buffer) -> None:
    for octets in covered:
        mac.update(octets)


def _split(stream: bytes, parts: Sequence[Part]) -> tuple[bytes, list[bytes], bytes]:
    """The confounder's block, the encrypted parts and the trailer of a stream."""
    at, pieces = BLOCK, list[bytes]()
    for data, encrypted in parts:
        if encrypted:
            pieces.append(stream[at : at + len(data)])
            at += len(data)
    return stream[:BLOCK], pieces, stream[at:]


def _covered(parts: Sequence[Part], pieces: Sequence[bytes]) -> list[Buffer]:
    """All parts in order, the encrypted ones in their other form."""
    other = list(reversed(pieces))
    return [other.pop() if encrypted else data for data, encrypted in parts]


def _gone(*_: object) -> Any:
    raise ContextExpired("this context is closed, or was inherited through a fork; authenticate again")
