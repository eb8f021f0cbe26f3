"""How each kind of vector of Kerberos cryptography is recomputed: a check raises unless all of it is right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from securestream.errors import Unsupported
from securestream_providers.krb5.cfx_sealing import Sealer, Unsealer
from securestream_providers.krb5.crypto.aes_sha2 import AesSha2
from securestream_providers.krb5.crypto.cts import ZERO_BLOCK, cts_decrypt, cts_encrypt
from securestream_providers.krb5.crypto.nfold import nfold
from securestream_providers.krb5.crypto.simplified import AesSha1, CamelliaCmac, Des3
from securestream_providers.krb5.keys import Key, cf2, make_key, profile_of, string_to_key

Vector: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[Vector], None]

KEY_OF_CHECKSUM = {12: 16, 15: 17, 16: 18, 17: 25, 18: 26, 19: 19, 20: 20, -137: 23, -138: 23}


def octets(vector: Vector, name: str) -> bytes:
    return bytes.fromhex(vector[name])


def same(computed: object, expected: object) -> None:
    assert computed == expected


def key_of(vector: Vector) -> Key:
    return make_key(vector["enctype"], octets(vector, "key"))


@lru_cache(4096)
def password_key(etype: int, password: str, salt: bytes, parameters: bytes | None) -> bytes:
    """Remembered, since it is slow and most alterations are of other values."""
    text = salt.decode("utf-8", "surrogateescape")
    return string_to_key(etype, password, text, parameters, least=1).contents.reveal()


def derived(etype: int, key: bytes, constant: bytes, size: int) -> bytes:
    profile = profile_of(etype)
    if isinstance(profile, AesSha2):
        return profile.derive(key, constant, size)
    if isinstance(profile, AesSha1):
        return profile.derive(key, constant)[0]
    assert isinstance(profile, CamelliaCmac | Des3)
    return profile.derive(key, constant)


def check_nfold(v: Vector) -> None:
    same(nfold(octets(v, "input"), v["bits"] // 8), octets(v, "output"))


def check_des3_derivation(v: Vector) -> None:
    profile, key, constant = Des3(), octets(v, "key"), octets(v, "usage_constant")
    same(profile.derive_seed(key, constant), octets(v, "DR"))
    same(profile.derive(key, constant), octets(v, "DK"))


def check_derivation(v: Vector) -> None:
    expected = octets(v, "derived")
    same(derived(v["enctype"], octets(v, "key"), octets(v, "constant"), len(expected)), expected)
    if "usage" in v:
        last = {"Kc": 0x99, "Ke": 0xAA, "Ki": 0x55}.get(v.get("kind", ""), octets(v, "constant")[-1])
        same(octets(v, "constant"), v["usage"].to_bytes(4, "big") + bytes((last,)))


def check_string_to_key(v: Vector) -> None:
    salt, parameters = octets(v, "salt"), octets(v, "params") if v.get("params") else None
    password = octets(v, "password").decode()
    if "expect_error" in v:
        with pytest.raises(Unsupported):
            string_to_key(v["enctype"], password, salt.decode(), parameters)
        return
    if "iterations" in v and parameters is not None:
        same(int.from_bytes(parameters, "big"), v["iterations"])
    if "pbkdf2_output" in v:
        expected = octets(v, "pbkdf2_output")
        same(hashlib.pbkdf2_hmac("sha1", password.encode(), salt, v["iterations"], len(expected)), expected)
    same(password_key(v["enctype"], password, salt, parameters), octets(v, "key"))


def check_cts(v: Vector) -> None:
    plain, sealed, key, iv = (octets(v, name) for name in ("plaintext", "ciphertext", "key", "iv"))
    cipher = Cipher(AES(key), CBC(iv))
    update = cipher.encryptor().update
    first, state = cts_encrypt(update, ZERO_BLOCK, plain)
    same(first, sealed)
    same(cts_encrypt(update, state, plain)[0], sealed)  # whatever the cipher encrypted before
    last = (len(plain) - 1) % 16 + 1
    same(octets(v, "next_iv"), sealed[-16 - last : -last])
    same(cts_decrypt(cipher.decryptor().update, sealed), plain)


def check_encryption(v: Vector) -> None:
    """Both forms: with a cipher for the message, and with one that lives on."""
    key, usage, sealed, plain = key_of(v), v["usage"], octets(v, "ciphertext"), octets(v, "plaintext")
    found = key.decrypt(usage, sealed)
    padding = bytes(-len(plain) % 8) if v["enctype"] == 16 else b""
    same(found, plain + padding)
    live = v["enctype"] not in (16, 23)
    if live:
        same(Unsealer(key, usage).unseal(sealed), (plain, b""))
    if "confounder" not in v:
        return
    confounder = octets(v, "confounder")
    same(key.encrypt(usage, plain, lambda _: confounder), sealed)
    if live:
        same(Sealer(key, usage, lambda size: confounder * (size // 16)).seal(plain), sealed)
    if "ke" in v:
        size = len(octets(v, "mac"))
        same(octets(v, "aes_output") + octets(v, "mac"), sealed)
        for name, last, length in (("ke", 0xAA, len(octets(v, "key"))), ("ki", 0x55, size)):
            constant = usage.to_bytes(4, "big") + bytes((last,))
            same(derived(v["enctype"], octets(v, "key"), constant, length), octets(v, name))


def check_checksum(v: Vector) -> None:
    kind = v["cksumtype"]
    key = make_key(KEY_OF_CHECKSUM[kind], octets(v, "key"))
    same(key.checksum(v["usage"], octets(v, "data"), kind), octets(v, "checksum"))
    key.verify(v["usage"], octets(v, "data"), octets(v, "checksum"), kind)


def check_prf(v: Vector) -> None:
    same(key_of(v).prf(octets(v, "input")), octets(v, "output"))


def check_gss_prf(v: Vector) -> None:
    key, expected = key_of(v), octets(v, "output")
    found = b"".join(key.prf(count.to_bytes(4, "big") + octets(v, "input")) for count in range(8))
    same(found[: len(expected)], expected)


def check_cf2(v: Vector) -> None:
    etype = v["enctype"]
    keys = [octets(v, "k1"), octets(v, "k2")]
    same(password_key(etype, v["k1_password"], v["k1_salt"].encode(), None), keys[0])
    same(password_key(etype, v["k2_password"], v["k2_salt"].encode(), None), keys[1])
    made = cf2(make_key(etype, keys[0]), make_key(etype, keys[1]), octets(v, "pepper1"), octets(v, "pepper2"))
    same(made, make_key(etype, octets(v, "result")))


BY_OPERATION: dict[str, Check] = {
    "n-fold": check_nfold,
    "DR/DK": check_des3_derivation,
    "derive": check_derivation,
    "string-to-key": check_string_to_key,
    "cbc-cts-encrypt": check_cts,
    "encrypt": check_encryption,
    "decrypt": check_encryption,
    "checksum": check_checksum,
    "prf": check_prf,
    "gss_pseudo_random": check_gss_prf,
    "krb-fx-cf2": check_cf2,
}


def left_out(v: Vector) -> str | None:
    """Why a vector is not recomputed; `None`: it is."""
    if v["op"] == "mit_des_string_to_key":
        return "single DES is never used (RFC 6649)"
    if v["op"] == "mod-crc-32":
        return "the unkeyed modified CRC-32 is of use with single DES only"
    if v.get("enctype") == 24:
        return "rc4-hmac-exp, with keys of 40 bits, is not offered"
    if v.get("cksumtype") in (2, 7, 14):
        return "unkeyed checksum types are refused"
    return None
