"""Decrypting messages: what was in the ciphertext, without the zeros that DES3 adds (RFC 3961 6.3)."""

from __future__ import annotations

from typing import TypeVar

from securestream.wire import der
from securestream.wire.cursor import Buffer
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.numbers import EncryptionType

M = TypeVar("M", bound=der.Message)


def unpadded(etype: int, octets: bytes) -> bytes:
    """The DER element at the start of what was decrypted; with any other type than DES3, all of it."""
    if etype != EncryptionType.DES3_CBC_SHA1_KD:
        return octets
    size = der.element_size(octets, len(octets))
    return octets if size is None else octets[:size]


def decrypt_message(kind: type[M], key: Key, usage: int, ciphertext: Buffer) -> M:
    """Check, decrypt and decode.

    Raises:
        BadSignature: the ciphertext was altered, or made with another key.
        MalformedMessage: what was decrypted is another message.
    """
    return kind.decode(unpadded(key.etype, key.decrypt(usage, ciphertext)))
