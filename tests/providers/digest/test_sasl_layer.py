"""DIGEST-MD5's layer: its vectors, and what it refuses."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securestream.errors import BadSignature, ContextExpired, OutOfSequence
from securestream.options import Protection, Role
from securestream.redaction import Secret
from securestream.services.verifiers import SASL_DIGEST_MD5, digest_verifier
from securestream_providers.digest.sasl_crypto import Cipher, Covered, encryptor, hash_a1, sealing_key, signing_key
from securestream_providers.digest.sasl_layer import DigestMd5Layer
from tests.listing import VECTORS
from tests.providers.digest.sasl_ends import converse

KEY = Secret(bytes(range(16)))
EVERY = [None, *Cipher]


def layers(cipher: Cipher | None, key: Secret[bytes] = KEY) -> tuple[DigestMd5Layer, DigestMd5Layer]:
    """A client's layer and the server's."""
    one, other = (
        DigestMd5Layer("DIGEST-MD5", role, key, cipher, peer_buffer=65536, own_buffer=65536)
        for role in (Role.INITIATOR, Role.ACCEPTOR)
    )
    return one, other


@pytest.mark.parametrize(
    ("file", "identifier"),
    [
        ("digest_http_sasl", "rfc2831-4-imap"),
        ("digest_md5_sasl_layers", "authzid-auth"),
        ("digest_md5_sasl_layers", "auth-int"),
        ("digest_md5_sasl_layers", "auth-conf-3des"),
        ("digest_md5_sasl_layers", "auth-conf-rc4"),
        ("digest_md5_sasl_layers", "auth-conf-rc4-40"),
    ],
)
def test_vector(shared: Path, record_property: Callable[[str, object], None], file: str, identifier: str) -> None:
    record_property(VECTORS, f"{file}.json")
    every = json.loads((shared / "vectors" / f"{file}.json").read_text())["vectors"]
    (vector,) = (one for one in every if one["id"] == identifier)
    nonce, cnonce = vector["nonce"], vector["cnonce"]
    verifier = digest_verifier(SASL_DIGEST_MD5, vector["username"], vector["realm"], vector["password"])
    key = hash_a1(verifier, nonce, cnonce, vector.get("authzid"))
    assert key.reveal().hex() == vector["H_A1"]
    covered = Covered(nonce, cnonce, int(vector["nc"], 16), vector["qop"], vector["digest_uri"])
    assert (covered.response(key), covered.proof(key)) == (vector["response"], vector["rspauth"])
    _layer_vector(vector, key)


def _layer_vector(vector: dict[str, Any], key: Secret[bytes]) -> None:
    cipher = next((one for one in Cipher if one.token == vector.get("cipher")), None)
    ends = dict(zip(("client", "server"), layers(cipher, key), strict=True))
    for name, role in (("c", Role.INITIATOR), ("s", Role.ACCEPTOR)):
        if f"ki{name}" in vector:
            assert signing_key(key, role).reveal().hex() == vector[f"ki{name}"]
        if cipher is not None:
            assert sealing_key(key, role, cipher).reveal().hex() == vector[f"kc{name}"]
    for message in vector.get("messages", ()):
        sender, receiver = ends[message["from_"]], ends["server" if message["from_"] == "client" else "client"]
        plain = bytes.fromhex(message["plaintext"])
        wrapped = sender.wrap(plain)
        assert wrapped.hex() == message["wrapped"]
        assert receiver.unwrap(wrapped).data == plain


@pytest.mark.parametrize("cipher", EVERY)
def test_messages_of_every_size(cipher: Cipher | None) -> None:
    one, other = layers(cipher)
    converse(one, other)
    assert one.protection is (Protection.SIGN if cipher is None else Protection.ENCRYPT_AND_SIGN)
    sealed = one.wrap(b"x" * 100)
    assert len(sealed) <= 100 + one.sizes.wrap_overhead
    assert (b"x" * 100 in sealed) is (cipher is None)
    assert other.unwrap(sealed) == (b"x" * 100, cipher is not None)


@pytest.mark.parametrize("cipher", EVERY)
def test_every_altered_octet_is_seen(cipher: Cipher | None) -> None:
    one, _ = layers(cipher)
    sealed = one.wrap(b"attack at dawn")
    for place in range(len(sealed)):
        altered = sealed[:place] + bytes((sealed[place] ^ 1,)) + sealed[place + 1 :]
        with pytest.raises((BadSignature, OutOfSequence)):
            layers(cipher)[1].unwrap(altered)
    for cut in range(len(sealed)):
        with pytest.raises((BadSignature, OutOfSequence)):
            layers(cipher)[1].unwrap(sealed[:cut])


@pytest.mark.parametrize("cipher", EVERY)
def test_order_and_direction(cipher: Cipher | None) -> None:
    one, other = layers(cipher)
    first, second = one.wrap(b"first"), one.wrap(b"second")
    with pytest.raises(OutOfSequence):
        other.unwrap(second)
    assert other.unwrap(first).data == b"first"
    with pytest.raises(OutOfSequence):
        other.unwrap(first)
    assert other.unwrap(second).data == b"second"
    mirror, _ = layers(cipher)
    with pytest.raises(BadSignature):
        mirror.unwrap(mirror.wrap(b"reflected"))


@pytest.mark.parametrize("cipher", [Cipher.DES, Cipher.TRIPLE_DES])
def test_padding_and_mac_fail_alike(cipher: Cipher) -> None:
    """Who alters the ciphertext cannot tell from the error which of the two he broke."""
    said: set[str] = set()
    for place in range(24):
        one, other = layers(cipher)
        sealed = bytearray(one.wrap(b"attack at"))
        sealed[place] ^= 0x80
        with pytest.raises(BadSignature) as caught:
            other.unwrap(sealed)
        said.add(str(caught.value))
    assert len(said) == 1


@pytest.mark.parametrize("padding", [b"", b"\0\0", b"\2\1", b"\3\3", b"\x0a\x0a"])
def test_a_peer_that_does_not_pad_is_refused(padding: bytes) -> None:
    """Even with its keys nobody sends what has two readings."""
    message = b"x" * (6 - len(padding)) + padding
    mac = hmac.digest(signing_key(KEY, Role.INITIATOR).reveal(), bytes(4) + message, "md5")[:10]
    sealed = encryptor(Cipher.DES, sealing_key(KEY, Role.INITIATOR, Cipher.DES))(message + mac)
    with pytest.raises(BadSignature):
        layers(Cipher.DES)[1].unwrap(sealed + b"\0\1" + bytes(4))


def test_discarded_and_used_up_layers() -> None:
    one, other = layers(Cipher.RC4)
    sealed = one.wrap(b"x")
    for layer in (one, other):
        layer.discard()
        layer.discard()
    for use in (lambda: one.wrap(b""), lambda: other.unwrap(sealed)):
        with pytest.raises(ContextExpired):
            use()
    spent, _ = layers(None)
    setattr(spent, "_sent", 1 << 32)  # noqa: B010  nobody sends that many in a test, nor sees the number
    with pytest.raises(ContextExpired, match="numbers"):
        spent.wrap(b"")
