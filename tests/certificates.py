"""Certificates made while the tests run: authorities, leaves right and wrong, revocation lists."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from securestream.credentials import Certificate

Usage = Literal["server", "client"]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_DAY = timedelta(days=1)
_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@functools.cache
def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, and the certificates above it that it sends along."""

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        """The certificate, PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        """The certificate, DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def chain_pem(self) -> bytes:
        """The certificate and those above it, PEM."""
        return self.pem + b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)

    @property
    def key_pem(self) -> bytes:
        """The key, PEM, in clear."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def encrypted_key_pem(self, password: str) -> bytes:
        """The key, PEM, under a password."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))

    @property
    def credential(self) -> Certificate:
        """As a credential, from octets."""
        return Certificate(self.chain_pem, self.key_pem)

    def write(self, folder: Path, name: str = "leaf") -> tuple[Path, Path]:
        """Write ``NAME.pem`` and ``NAME.key``; give their paths."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.chain_pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        return certificate, key

    def write_pkcs12(self, path: Path, password: str = "") -> Path:
        """Write a PKCS#12 file, which .NET reads."""
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        path.write_bytes(
            pkcs12.serialize_key_and_certificates(b"leaf", self.key, self.certificate, self.chain or None, encryption)
        )
        return path


@dataclass(frozen=True)
class Authority(Pair):
    """A certificate authority, root or below one."""

    def leaf(
        self,
        names: Sequence[str] = ("localhost",),
        *,
        usage: Iterable[Usage] | None = ("server",),
        expired: bool = False,
        not_yet_valid: bool = False,
        lifetime: timedelta = 30 * _DAY,
        common_name: str = "leaf",
        upn: str | None = None,
        email: str | None = None,
        dns_ip: Sequence[str] = (),
        key: Key | None = None,
    ) -> Pair:
        """A certificate of an end.

        Args:
            names: DNS names; those that are IP addresses become addresses. Empty for none.
            usage: its extended key usage; `None` leaves the extension out.
            expired: its time is over.
            not_yet_valid: its time is to come.
            lifetime: how long it is valid from now.
            common_name: of its subject.
            upn: a user principal name.
            email: an e-mail address.
            dns_ip: addresses written as DNS names, which is wrong.
            key: its key; by default a new P-256 key.
        """
        key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
        now = datetime.now(UTC).replace(microsecond=0)
        begin, end = now - _DAY, now + lifetime
        if expired:
            begin, end = now - 30 * _DAY, now - _DAY
        if not_yet_valid:
            begin, end = now + _DAY, now + 30 * _DAY
        builder = self._builder(_name(common_name), key, begin, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([_USAGES[one] for one in usage]), critical=False)
        if alternatives := [*_general_names(names), *map(x509.DNSName, dns_ip), *_other_names(upn, email)]:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return Pair(builder.sign(self.key, hashes.SHA256()), key, self._above())

    def authority(self, name: str = "intermediate", *, path_length: int | None = None) -> Authority:
        """An authority below this one."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC).replace(microsecond=0)
        builder = _as_authority(self._builder(_name(name), key, now - _DAY, now + 30 * _DAY), path_length)
        return Authority(builder.sign(self.key, hashes.SHA256()), key, self._above())

    def crl(self, *revoked: Pair, expired: bool = False) -> bytes:
        """A revocation list, PEM."""
        now = datetime.now(UTC).replace(microsecond=0)
        updated, following = (now - 20 * _DAY, now - _DAY) if expired else (now - timedelta(hours=1), now + 30 * _DAY)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self.certificate.subject, last_update=updated, next_update=following
        )
        for pair in revoked:
            entry = x509.RevokedCertificateBuilder(
                serial_number=pair.certificate.serial_number, revocation_date=now - timedelta(hours=2)
            )
            builder = builder.add_revoked_certificate(entry.build())
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        builder = builder.add_extension(self._key_identifier(), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _above(self) -> tuple[x509.Certificate, ...]:
        """What a leaf sends along: the authorities without the root."""
        return (self.certificate, *self.chain) if self.certificate.issuer != self.certificate.subject else ()

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    def _builder(self, subject: x509.Name, key: Key, begin: datetime, end: datetime) -> x509.CertificateBuilder:
        builder = _builder(self.certificate.subject, subject, key, begin, end)
        return builder.add_extension(self._key_identifier(), critical=False)


def _builder(
    issuer: x509.Name, subject: x509.Name, key: Key, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        not_valid_after=end,
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _as_authority(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    return builder.add_extension(constraints, critical=True).add_extension(usage, critical=True)


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    made: list[x509.GeneralName] = []
    for name in names:
        try:
            made.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            made.append(x509.DNSName(name))
    return made


def _other_names(upn: str | None, email: str | None) -> list[x509.GeneralName]:
    made: list[x509.GeneralName] = []
    if upn is not None:
        text = upn.encode()
        made.append(x509.OtherName(UPN, bytes((0x0C, len(text))) + text))
    if email is not None:
        made.append(x509.RFC822Name(email))
    return made


def authority(name: str = "test authority", *, path_length: int | None = None, rsa_key: bool = False) -> Authority:
    """A root authority."""
    key: Key = _rsa() if rsa_key else ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC).replace(microsecond=0)
    builder = _builder(_name(name), _name(name), key, now - 365 * _DAY, now + 365 * _DAY)
    return Authority(_as_authority(builder, path_length).sign(key, hashes.SHA256()), key)
