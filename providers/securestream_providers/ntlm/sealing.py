"""One direction of an NTLM session: its keys, its RC4 stream, its sequence numbers, its signatures ([MS-NLMP] 3.4).

The order of operations on the one RC4 stream is the protocol: data first, then what is encrypted of its signature.
"""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Callable, Sequence
from typing import ClassVar, Final
from weakref import ref

from cryptography.hazmat.primitives.ciphers import CipherContext

from securestream.errors import BadSignature, ContextExpired, OutOfSequence
from securestream.provider import Buffer
from securestream_providers.ntlm.crypto import keyed_md5, md5, rc4

SIGNATURE_SIZE: Final = 16
VERSION: Final = b"\1\0\0\0"
DUMMY: Final = VERSION + bytes(12)
"""The signature where neither SIGN nor SEAL but ALWAYS_SIGN was agreed ([MS-NLMP] 3.4.4)."""

_LARGE: Final = 16384
"""From this size on octets are hashed and encrypted without being joined to anything."""
_HUGE: Final = 131072
"""From this size on they are encrypted into a reused buffer, since fresh memory costs more than copying out of it."""
_LARGEST_KEPT: Final = 2 << 20
_SKIP: Final = 1 << 20
_HEAD: Final = 16
"""Octets of a stream that can be gone back to; a signature spends no more than 12."""

_buffers: list[bytearray] = []
"""Free buffers of large messages: they belong to the process and not to a context. Taking one is atomic."""


def _borrow(size: int) -> bytearray:
    buffer = _buffers.pop() if _buffers else bytearray()
    return buffer if len(buffer) >= size else bytearray(size)


def _give_back(buffer: bytearray) -> None:
    if len(buffer) <= _LARGEST_KEPT and not _buffers:
        _buffers.append(buffer)


class _Ahead:
    """What a stream gives again from its start: the octets that are known ahead, then the cipher's own.

    It knows its stream weakly: one that is given up goes at once, with its key, and not when garbage is collected.
    """

    __slots__ = ("_cipher", "_octets", "_stream")

    def __init__(self, stream: Keystream, cipher: CipherContext, octets: bytes) -> None:
        self._stream = ref(stream)
        self._cipher = cipher
        self._octets = octets

    def update(self, octets: Buffer) -> bytes:
        """As the cipher's; a caller may still hold it when nothing is known ahead any more."""
        ahead = self._octets
        size = min(len(ahead), len(octets))
        self._octets = ahead[size:]
        if not self._octets and (stream := self._stream()) is not None:
            stream.update, stream.update_into = self._cipher.update, self._cipher.update_into
        first = int.from_bytes(octets[:size]) ^ int.from_bytes(ahead[:size])
        rest = octets[size:]
        return first.to_bytes(size) + self._cipher.update(rest) if rest else first.to_bytes(size)

    def update_into(self, octets: Buffer, target: Buffer) -> int:
        """As the cipher's."""
        memoryview(target)[: len(octets)] = self.update(octets)
        return len(octets)


class Keystream:
    """A live RC4 stream that knows its key and how many octets of it are spent.

    Args:
        key: 8 or 16 octets.
        used: octets to pass over at the start.
    """

    __slots__ = ("__weakref__", "_cipher", "_head", "_key", "update", "update_into", "used")
    update: Callable[[Buffer], bytes]
    update_into: Callable[[Buffer, Buffer], int]

    def __init__(self, key: bytes, used: int = 0) -> None:
        self._key = key
        self._start(key)
        while self.used < used:
            step = min(_SKIP, used - self.used)
            self.update(bytes(step))
            self.used += step

    def _start(self, key: bytes) -> None:
        cipher = self._cipher = rc4(key)
        self.update, self.update_into, self.used = cipher.update, cipher.update_into, 0
        self._head = b""

    def keep_start(self) -> None:
        """Have a near `reset` go back in this stream, for a fraction of what a new cipher costs."""
        if self.used == 0 and not self._head:
            self._head = self._cipher.update(bytes(_HEAD))
            self._go_back()

    def reset(self) -> None:
        """Begin the stream anew."""
        if self.used > len(self._head):
            self._start(self._key)
        else:
            self._go_back()

    def _go_back(self) -> None:
        ahead = _Ahead(self, self._cipher, self._head)
        self.update, self.update_into, self.used = ahead.update, ahead.update_into, 0

    def rekey(self, sequence: bytes) -> None:
        """Begin the stream of one datagram ([MS-NLMP] 3.4.3)."""
        self._start(md5(self._key + sequence))

    def crypt(self, octets: Buffer) -> bytes:
        """The next octets, encrypted or decrypted."""
        self.used += len(octets)
        return self.update(octets)


class Half:
    """One direction without extended session security, and the base of the others.

    Args:
        stream: the RC4 stream; both directions share one here ([MS-NLMP] 3.4.5.3).
        sequence: number of the next message.
        datagram: each message has a stream of its own.
    """

    clear_sequence: ClassVar[bool] = False
    """Whether the sequence number stands in the signature as it is."""
    compared_from: ClassVar[int] = 8
    """Where what is compared of a signature begins: behind RandomPad, which Samba (4.17) does not send as zero. It
    covers nothing, and Samba does not look at it, either."""

    def __init__(self, stream: Keystream, *, sequence: int = 0, datagram: bool = False) -> None:
        self.stream = stream
        self.sequence = sequence
        self.datagram = datagram

    def begin(self, sequence: int | None) -> bytes:
        """The number of the message that begins, as 4 octets; datagrams begin their stream with it.

        Raises:
            ContextExpired: all numbers are spent.
        """
        number = self.sequence if sequence is None else sequence
        try:
            octets = number.to_bytes(4, "little")
        except OverflowError:
            raise ContextExpired("this NTLM context has spent its sequence numbers; authenticate again") from None
        if self.datagram:
            self.stream.rekey(octets)
        return octets

    def check(self, signature: Buffer, sequence: int | None) -> None:
        """Look at what can be judged of a signature before any octet of the stream is spent.

        Raises:
            BadSignature: it is no signature.
            OutOfSequence: it is not that of the message that is due.
        """
        if len(signature) != SIGNATURE_SIZE or signature[:4] != VERSION:
            raise BadSignature("the NTLM signature is malformed")
        due = self.sequence if sequence is None else sequence
        if self.clear_sequence and int.from_bytes(signature[12:], "little") != due:
            raise OutOfSequence(f"the NTLM message is not number {due}, which is due")

    def signature(self, chunks: Sequence[Buffer], sequence: bytes) -> bytes:
        """The signature of `chunks`, whose own encryption has been done before ([MS-NLMP] 3.4.4.1).

        The four octets for RandomPad are spent and sent as zero: that is what Windows, gss-ntlmssp and pyspnego do.
        """
        crc = 0
        for chunk in chunks:
            crc = zlib.crc32(chunk, crc)
        self.sequence += 1
        sealed = self.stream.crypt(bytes(4) + crc.to_bytes(4, "little") + sequence)
        return VERSION + bytes(4) + sealed[4:]

    def sign(self, chunks: Sequence[Buffer]) -> bytes:
        """The signature of a message that is not encrypted."""
        return self.signature(chunks, self.begin(None))

    def verify(self, chunks: Sequence[Buffer], signature: Buffer) -> None:
        """Check the signature of a message that is not encrypted.

        Raises:
            BadSignature: it does not fit.
            OutOfSequence: it is not that of the message that is due.
        """
        self.check(signature, None)
        self.compare(self.sign(chunks), signature)

    def compare(self, expected: bytes, signature: Buffer) -> None:
        """Compare two signatures in constant time.

        Raises:
            BadSignature: they differ.
        """
        start = self.compared_from
        if not hmac.compare_digest(expected[start:], signature[start:]):
            self.sequence -= 1  # a datagram that is refused does not count; a connection ends with it
            raise BadSignature("the NTLM message was altered on its way, or is not the peer's next one")

    def seal(self, data: Buffer) -> bytes:
        """A sealed token: the signature, then the ciphertext."""
        sequence = self.begin(None)
        sealed = self.stream.crypt(data)
        return self.signature((data,), sequence) + sealed

    def unseal(self, token: Buffer) -> bytes:
        """The plaintext of the peer's sealed token.

        Raises:
            BadSignature: it was altered.
            OutOfSequence: it is not the one that is due.
        """
        self.check(token[:SIGNATURE_SIZE], None)
        sequence = self.begin(None)
        data = self.stream.crypt(token[SIGNATURE_SIZE:])
        self.compare(self.signature((data,), sequence), token[:SIGNATURE_SIZE])
        return data


class ExtendedHalf(Half):
    """One direction with extended session security ([MS-NLMP] 3.4.4.2).

    Args:
        stream: the RC4 stream of this direction.
        signing_key: 16 octets.
        exchanged: whether keys were exchanged: the checksum is then encrypted, too.
        sequence: number of the next message.
        datagram: each message has a stream of its own.
    """

    clear_sequence = True
    compared_from = 0

    def __init__(
        self,
        stream: Keystream,
        signing_key: bytes,
        *,
        exchanged: bool,
        sequence: int = 0,
        datagram: bool = False,
    ) -> None:
        super().__init__(stream, sequence=sequence, datagram=datagram)
        self._mac = keyed_md5(signing_key)
        self._exchanged = exchanged

    def signature(self, chunks: Sequence[Buffer], sequence: bytes) -> bytes:
        """The signature of `chunks`, whose own encryption has been done before."""
        mac = self._mac()
        mac.update(sequence)
        for chunk in chunks:
            mac.update(chunk)
        checksum = mac.finalize()[:8]
        self.sequence += 1
        return VERSION + (self.stream.crypt(checksum) if self._exchanged else checksum) + sequence


class ExchangedHalf(ExtendedHalf):
    """`ExtendedHalf` as nearly every session has it: connection-oriented with exchanged keys; the hot path.

    Small messages are sealed in one function without a call to the others. Large ones are not joined to anything, and
    encrypted into a buffer that is already there.
    """

    def __init__(self, stream: Keystream, signing_key: bytes, *, sequence: int = 0) -> None:
        super().__init__(stream, signing_key, exchanged=True, sequence=sequence)

    def seal(self, data: Buffer) -> bytes:
        """A sealed token: the signature, then the ciphertext."""
        size = len(data)
        if size >= _LARGE:
            return self._seal_large(data)
        number = self.sequence
        if number > 0xFFFFFFFF:
            self.begin(None)
        sequence = number.to_bytes(4, "little")
        if type(data) is not bytes:
            data = bytes(data)
        mac = self._mac()
        mac.update(sequence + data)
        stream = self.stream
        encrypt = stream.update
        sealed = encrypt(data)
        token = VERSION + encrypt(mac.finalize()[:8]) + sequence + sealed
        stream.used += size + 8
        self.sequence = number + 1
        return token

    def unseal(self, token: Buffer) -> bytes:
        """The plaintext of the peer's sealed token.

        Raises:
            BadSignature: it was altered.
            OutOfSequence: it is not the one that is due.
        """
        size = len(token) - SIGNATURE_SIZE
        if size >= _LARGE:
            return self._unseal_large(token)
        if type(token) is not bytes:
            token = bytes(token)
        number = self.sequence
        if number > 0xFFFFFFFF:
            self.begin(None)
        sequence = number.to_bytes(4, "little")
        if not (token.startswith(VERSION) and token.startswith(sequence, 12)):
            self.check(token[:SIGNATURE_SIZE], None)
        stream = self.stream
        crypt = stream.update
        data = crypt(token[16:])
        mac = self._mac()
        mac.update(sequence + data)
        stream.used += size + 8
        if not hmac.compare_digest(crypt(mac.finalize()[:8]), token[4:12]):
            raise BadSignature("the NTLM message was altered on its way, or is not the peer's next one")
        self.sequence = number + 1
        return data

    def _seal_large(self, data: Buffer) -> bytes:
        sequence = self.begin(None)
        size = len(data)
        mac = self._mac()
        mac.update(sequence)
        mac.update(data)
        self.sequence += 1
        if size < _HUGE:
            sealed = self.stream.crypt(data)
            return b"".join((VERSION, self.stream.crypt(mac.finalize()[:8]), sequence, sealed))
        buffer = _borrow(size + SIGNATURE_SIZE)
        with memoryview(buffer) as view:
            self.stream.update_into(data, view[SIGNATURE_SIZE:])
            self.stream.used += size
            view[:SIGNATURE_SIZE] = VERSION + self.stream.crypt(mac.finalize()[:8]) + sequence
            token = bytes(view[: size + SIGNATURE_SIZE])
        _give_back(buffer)
        return token

    def _unseal_large(self, token: Buffer) -> bytes:
        source = memoryview(token)
        signature = bytes(source[:SIGNATURE_SIZE])
        self.check(signature, None)
        sequence = self.begin(None)
        data = self.stream.crypt(source[SIGNATURE_SIZE:])
        mac = self._mac()
        mac.update(sequence)
        mac.update(data)
        self.sequence += 1
        self.compare(VERSION + self.stream.crypt(mac.finalize()[:8]) + sequence, signature)
        return data


class DummyHalf(Half):
    """One direction where neither signing nor sealing was agreed but ALWAYS_SIGN was: `DUMMY` proves nothing."""

    def signature(self, chunks: Sequence[Buffer], sequence: bytes) -> bytes:
        """The dummy signature."""
        self.sequence += 1
        return DUMMY
