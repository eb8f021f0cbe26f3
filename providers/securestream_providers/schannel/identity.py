"""Who a certificate stands for (SECURITY rules 7 and 11)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from securestream.errors import CertificateRejected, ErrorKind
from securestream.principal import NameType, Principal

PACKAGE = "Schannel"
UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")  # [MS-WCCE] 2.2.2.7.7.4 szOID_NT_PRINCIPAL_NAME
_UTF8_STRING = 0x0C
_DNS_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
"""RFC 1034 3.5, with underscores: no user principal name, no domain's user, no wildcard."""

Form: TypeAlias = Literal["upn", "dns", "email", "subject"]
"""A kind of name in a certificate that may become a principal."""


@dataclass(frozen=True)
class Mapping:
    """Which names of client certificates count.

    Args:
        forms: the kinds of names that count, the preferred one first. E-mail and subject are weak: their authorities
            seldom prove them, so they count only when they are named here.
        upn_issuers: the authorities whose user principal names count; they must have signed the certificate itself.
    """

    forms: tuple[Form, ...] = ("upn", "dns")
    upn_issuers: tuple[x509.Certificate, ...] = ()


def server_principal(certificate: bytes | None, host: str | None) -> Principal:
    """The server that was verified as `host`."""
    if certificate is None or host is None:
        return Principal("", PACKAGE, name_type=NameType.UNKNOWN)
    return Principal(host, PACKAGE, _issuer(_load(certificate)), NameType.HOST)


def client_principal(certificate: bytes, mapping: Mapping) -> Principal:
    """The client that a verified certificate stands for.

    Raises:
        CertificateRejected: it is not made for clients, or no name in it counts.
    """
    leaf = _load(certificate)
    _require_client_usage(leaf)
    names = _alternative_names(leaf)
    for form in mapping.forms:
        for name_type, name in _names(leaf, names, form, mapping.upn_issuers):
            return Principal(name, PACKAGE, _issuer(leaf), name_type)
    raise CertificateRejected(
        f"the client's certificate carries no name that counts here ({', '.join(mapping.forms)}): "
        "name the forms in `identities`, and for a UPN its authority in `upn_issuers`",
        kind=ErrorKind.CERTIFICATE_NAME,
    )


def _load(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(certificate)
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise CertificateRejected("the peer's certificate cannot be read") from error


def _issuer(leaf: x509.Certificate) -> str:
    return leaf.issuer.rfc4514_string()


def _require_client_usage(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        usage = None
    if usage is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise CertificateRejected(
            "the client's certificate is not made for clients: its extended key usage must hold clientAuth",
            kind=ErrorKind.CERTIFICATE_USAGE,
        )


def _alternative_names(leaf: x509.Certificate) -> Sequence[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []
    except ValueError as error:  # a name that cannot be read hides what else is there
        raise CertificateRejected(
            "the names in the client's certificate cannot be read", kind=ErrorKind.CERTIFICATE_NAME
        ) from error


def _names(
    leaf: x509.Certificate,
    names: Sequence[x509.GeneralName],
    form: Form,
    upn_issuers: Sequence[x509.Certificate],
) -> Iterator[tuple[NameType, str]]:
    if form == "subject":
        if subject := leaf.subject.rfc4514_string():
            yield NameType.SUBJECT, subject
        return
    for name in names:
        if form == "upn" and isinstance(name, x509.OtherName) and name.type_id == UPN:
            if any(_signed_by(leaf, issuer) for issuer in upn_issuers):
                yield from ((NameType.UPN, text) for text in _utf8_string(name.value))
        elif form == "dns" and isinstance(name, x509.DNSName) and _DNS_NAME.fullmatch(name.value):
            yield NameType.DNS, name.value.lower()
        elif form == "email" and isinstance(name, x509.RFC822Name) and _plain(name.value):
            yield NameType.EMAIL, name.value


def _plain(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _signed_by(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _utf8_string(der: bytes) -> Iterator[str]:
    """The text of a DER UTF8String shorter than 128 octets, or one with a length of one octet more (X.690 8.1.3)."""
    if len(der) < 3 or der[0] != _UTF8_STRING:
        return
    head = 2
    length = der[1]
    if length == 0x81:
        head, length = 3, der[2]
        if length < 0x80:
            return
    elif length > 0x80:
        return
    if head + length != len(der):
        return
    try:
        text = der[head:].decode("utf-8")
    except UnicodeDecodeError:
        return
    if text.isprintable() and text.count("@") == 1 and " " not in text:
        yield text
