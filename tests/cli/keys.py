"""Private keys under a password."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from securestream.cli.demo.certificates import Pair


def seal_key(pair: Pair, password: str) -> None:
    """Put the key of `pair` under a password."""
    key = load_pem_private_key(pair.key.read_bytes(), None)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    pair.key.write_bytes(sealed)
