"""What pubKeyAuth proves: the key as it stands in the certificate, its two forms, two roles that are never the same."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from securestream.errors import BadBindings, CertificateRejected, InvalidToken
from securestream.options import Role
from securestream_providers.credssp import binding
from tests.certificates import Key
from tests.providers.credssp.ends import CA, SERVER

NONCE = bytes(range(32))
KEY = bytes.fromhex("4558414d504c452d5375626a6563745075626c69634b6579")
HASHES = {
    Role.INITIATOR: "7859f2f1dd32dd5a865c7ee96b3541b219d13a137c4e1ab64595e6e156540aa1",
    Role.ACCEPTOR: "b25dac83e373f928fbdf29613e3370e182d826d4dfa35375d02c720879fb4251",
}
"""Computed from the magic strings of [MS-CSSP] 3.1.5, which end with their NUL, for `NONCE` and `KEY`."""


def test_an_rsa_key_is_its_rsa_public_key() -> None:
    key = rsa.generate_private_key(65537, 2048)
    expected = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert binding.public_key(CA.leaf(key=key).der) == expected


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_a_key_on_a_curve_is_its_point(curve: ec.EllipticCurve) -> None:
    key: Key = ec.generate_private_key(curve)
    expected = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert binding.public_key(CA.leaf(key=key).der) == expected


@pytest.mark.parametrize("cut", [0, 1, 4, 40, 100, 200, 300])
def test_a_certificate_that_is_cut_is_rejected(cut: int) -> None:
    with pytest.raises(CertificateRejected):
        binding.public_key(SERVER.der[:cut])


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("version", [5, 6])
def test_hashes_since_version_5(role: Role, version: int) -> None:
    assert binding.plaintext(role, version, KEY, NONCE).hex() == HASHES[role]


def test_the_magic_strings_end_with_nul() -> None:
    magic = b"CredSSP Client-To-Server Binding Hash\0"
    assert len(magic) == 38
    assert binding.plaintext(Role.INITIATOR, 6, KEY, NONCE) == hashlib.sha256(magic + NONCE + KEY).digest()


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("nonce", [None, NONCE], ids=["without a nonce", "with a nonce"])
def test_the_key_itself_before_version_5_whatever_the_nonce(version: int, nonce: bytes | None) -> None:
    assert binding.plaintext(Role.INITIATOR, version, KEY, nonce) == KEY
    assert binding.plaintext(Role.ACCEPTOR, version, KEY, nonce) == b"F" + KEY[1:]


def test_the_first_octet_wraps_around() -> None:
    assert binding.plaintext(Role.ACCEPTOR, 4, b"\xff\x01", None) == b"\x00\x01"


@pytest.mark.parametrize("nonce", [None, b"", bytes(31), bytes(33)])
def test_version_5_needs_a_nonce_of_32_octets(nonce: bytes | None) -> None:
    with pytest.raises(InvalidToken, match="nonce"):
        binding.plaintext(Role.INITIATOR, 5, KEY, nonce)


@pytest.mark.parametrize("version", [2, 4, 5, 6])
@pytest.mark.parametrize("role", Role)
def test_the_proof_of_one_role_is_none_of_the_other(role: Role, version: int) -> None:
    proof = binding.plaintext(role, version, KEY, NONCE)
    binding.check(proof, role, version, KEY, NONCE)
    with pytest.raises(BadBindings):
        binding.check(proof, role.other, version, KEY, NONCE)


@pytest.mark.parametrize("role", Role)
def test_the_form_of_one_version_is_none_of_another(role: Role) -> None:
    for sent, due in ((4, 5), (5, 4)):
        with pytest.raises(BadBindings):
            binding.check(binding.plaintext(role, sent, KEY, NONCE), role, due, KEY, NONCE)


def test_another_key_or_nonce_is_refused() -> None:
    proof = binding.plaintext(Role.ACCEPTOR, 6, KEY, NONCE)
    for key, nonce in ((KEY[:-1], NONCE), (KEY, bytes(32))):
        with pytest.raises(BadBindings):
            binding.check(proof, Role.ACCEPTOR, 6, key, nonce)
