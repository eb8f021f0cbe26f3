"""Channel bindings: the GSS structure, the hash of a certificate, and where a kind is not defined."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from securestream.channel_bindings import (
    ChannelBindings,
    is_unbound,
    tls_exporter,
    tls_server_end_point,
    tls_unique,
)
from securestream.errors import ErrorKind, Unsupported
from tests.core.handshakes import NOW
from tests.listing import VECTORS

RSA = rsa.generate_private_key(65537, 2048)
SHA256_RSA = bytes.fromhex("06092a864886f70d01010b")  # RFC 8017 A.2.4, as DER
SHA1_RSA = bytes.fromhex("06092a864886f70d010105")
MD5_RSA = bytes.fromhex("06092a864886f70d010104")


def certificate(key: Any, algorithm: Any, **signing: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1))
    return builder.sign(key, algorithm, **signing).public_bytes(Encoding.DER)


def bound(der: bytes) -> bytes:
    prefix, _, value = tls_server_end_point(der).application_data.partition(b":")
    assert prefix == b"tls-server-end-point"
    return value


def test_vectors(shared: Path, record_property: Callable[[str, object], None]) -> None:
    vectors = json.loads((shared / "vectors" / "channel_bindings.json").read_text())["vectors"]
    assert len(vectors) == 7
    for vector in vectors:
        record_property(VECTORS, "channel_bindings.json")
        if "certificate_der_b64" in vector:
            bindings = tls_server_end_point(base64.b64decode(vector["certificate_der_b64"]))
            assert bindings.application_data.hex() == vector["application_data"], vector["id"]
            assert bindings.md5().hex() == vector["gss_md5"], vector["id"]
            continue
        bindings = ChannelBindings(
            bytes.fromhex(vector.get("application_data", "")),
            vector.get("initiator_addrtype", 0),
            bytes.fromhex(vector.get("initiator_address", "")),
            vector.get("acceptor_addrtype", 0),
            bytes.fromhex(vector.get("acceptor_address", "")),
        )
        assert bindings.gss_structure().hex() == vector["gss_channel_bindings"], vector["id"]
        assert bindings.md5().hex() == vector["md5"], vector["id"]


def test_the_structure_of_rfc_4121_is_little_endian_with_lengths_before_each_part() -> None:
    bindings = ChannelBindings(b"data", 2, b"\x7f\0\0\1", 2, b"\x0a\0\0\1")
    assert bindings.gss_structure().hex() == "02000000040000007f00000102000000040000000a0000010400000064617461"
    assert bindings.md5() == hashlib.md5(bindings.gss_structure()).digest()


def test_every_part_counts() -> None:
    different = [
        ChannelBindings(),
        ChannelBindings(application_data=b"a"),
        ChannelBindings(initiator_type=1),
        ChannelBindings(initiator_address=b"a"),
        ChannelBindings(acceptor_type=1),
        ChannelBindings(acceptor_address=b"a"),
    ]
    assert len({bindings.md5() for bindings in different}) == 6


def test_all_zero_octets_say_that_there_are_none() -> None:
    assert is_unbound(bytes(16))
    assert not is_unbound(ChannelBindings().md5())
    assert not is_unbound(b"")


class TestServerEndPoint:
    """RFC 5929 4.1: the hash is that of the certificate's signature, and SHA-256 in place of MD5 and SHA-1."""

    @pytest.mark.parametrize("name", ["sha224", "sha256", "sha384", "sha512"])
    def test_the_hash_of_the_signature(self, name: str) -> None:
        der = certificate(RSA, getattr(hashes, name.upper())())
        assert bound(der) == hashlib.new(name, der).digest()

    @pytest.mark.parametrize("old", [MD5_RSA, SHA1_RSA])
    def test_sha_256_stands_for_md5_and_sha_1(self, old: bytes) -> None:
        der = certificate(RSA, hashes.SHA256()).replace(SHA256_RSA, old)
        assert x509.load_der_x509_certificate(der).signature_hash_algorithm is not None
        assert bound(der) == hashlib.sha256(der).digest()

    @pytest.mark.parametrize("name", ["sha256", "sha384"])
    def test_rsa_pss_has_the_hash_of_its_parameters(self, name: str) -> None:
        algorithm = getattr(hashes, name.upper())()
        pss = padding.PSS(mgf=padding.MGF1(algorithm), salt_length=padding.PSS.DIGEST_LENGTH)
        der = certificate(RSA, algorithm, rsa_padding=pss)
        assert bound(der) == hashlib.new(name, der).digest()

    @pytest.mark.parametrize("name", ["sha256", "sha384", "sha3_256"])
    def test_ecdsa(self, name: str) -> None:
        der = certificate(ec.generate_private_key(ec.SECP256R1()), getattr(hashes, name.upper())())
        assert bound(der) == hashlib.new(name, der).digest()

    @pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()])
    def test_it_is_undefined_without_a_hash(self, key: object) -> None:
        with pytest.raises(Unsupported, match="Ed25519") as caught:
            tls_server_end_point(certificate(key, None))
        assert caught.value.kind is ErrorKind.UNSUPPORTED

    @pytest.mark.parametrize("octets", [b"", b"\x30\x03\x02\x01\x01", bytes(100)])
    def test_octets_that_are_no_certificate(self, octets: bytes) -> None:
        with pytest.raises(Unsupported):
            tls_server_end_point(octets)


def test_the_exporter_takes_32_octets() -> None:
    """RFC 9266 2."""
    assert tls_exporter(bytes(32)).application_data == b"tls-exporter:" + bytes(32)
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(Unsupported):
            tls_exporter(wrong)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.1", "TLSv1.2"])
def test_tls_unique_below_1_3(version: str) -> None:
    assert tls_unique(b"finished", version).application_data == b"tls-unique:finished"


@pytest.mark.parametrize("version", ["TLSv1.3", "TLSv1.4", "DTLSv1.2", "SSLv3", "", "unknown"])
def test_tls_unique_never_under_tls_1_3_nor_what_is_not_known(version: str) -> None:
    """RFC 9266 1; Python's ``ssl`` gives a value there all the same."""
    with pytest.raises(Unsupported, match="tls-exporter"):
        tls_unique(b"finished", version)


def test_keying_material_is_not_shown() -> None:
    assert repr(tls_exporter(b"k" * 32)) == "ChannelBindings(tls-exporter)"
    assert repr(ChannelBindings(b"secret")) == "ChannelBindings(<6 octets>)"
