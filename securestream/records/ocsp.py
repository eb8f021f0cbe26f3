"""Judging a stapled OCSP response (RFC 6066 8, RFC 6960)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from securestream.errors import CertificateRejected, ErrorKind

SKEW = timedelta(minutes=5)
MAX_RESPONSE = 65536


def judge_response(der: bytes, leaf: x509.Certificate, issuer: x509.Certificate, now: datetime) -> None:
    """Accept a response that says, signed and current, that `leaf` is good.

    Args:
        der: the response.
        leaf: the verified certificate that it must be about.
        issuer: the authority that signed `leaf`.
        now: the present moment, aware UTC.

    Raises:
        CertificateRejected: it says that the certificate is revoked, or proves nothing.
    """
    try:
        response = ocsp.load_der_ocsp_response(der[: MAX_RESPONSE + 1])
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _unknown("the responder gave none")
        single = next((one for one in response.responses if _about(one, leaf, issuer)), None)
        if single is None:
            raise _unknown("it is about another certificate")
        if not any(_signed(response, key) for key in _signers(response, issuer, now)):
            raise _unknown("it is not signed by the certificate's authority")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unknown("it is damaged") from error
    following = single.next_update_utc
    if single.this_update_utc > now + SKEW or (following is not None and following < now - SKEW):
        raise _unknown("it is out of date")
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        raise CertificateRejected("the server's certificate is revoked (OCSP)", kind=ErrorKind.CERTIFICATE_REVOKED)
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise _unknown("it does not know the certificate")


def _unknown(why: str) -> CertificateRejected:
    return CertificateRejected(
        f"the stapled OCSP response cannot be used: {why}; have the server staple a current one",
        kind=ErrorKind.REVOCATION_UNKNOWN,
    )


def missing_response() -> CertificateRejected:
    """The error of a server that stapled nothing where that is required."""
    return CertificateRejected(
        "the server stapled no OCSP response, and one is required", kind=ErrorKind.REVOCATION_UNKNOWN
    )


def _about(single: ocsp.OCSPSingleResponse, leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    """RFC 6960 4.1.1: the hashes of the issuer's name and of its key's BIT STRING."""
    algorithm = single.hash_algorithm.name
    name = hashlib.new(algorithm, issuer.subject.public_bytes(), usedforsecurity=False).digest()
    key = hashlib.new(algorithm, _key_bits(issuer), usedforsecurity=False).digest()
    return (
        single.serial_number == leaf.serial_number and single.issuer_name_hash == name and single.issuer_key_hash == key
    )


def _key_bits(certificate: x509.Certificate) -> bytes:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    raise _unknown("its authority's key is of an unknown kind")


def _signers(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> Iterator[x509.Certificate]:
    """The issuer, and responders that it signed for this purpose (RFC 6960 4.2.2.2)."""
    yield issuer
    for responder in response.certificates[:4]:
        try:
            responder.verify_directly_issued_by(issuer)
            usage = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
            continue
        current = responder.not_valid_before_utc <= now <= responder.not_valid_after_utc
        if current and ExtendedKeyUsageOID.OCSP_SIGNING in usage:
            yield responder


def _signed(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key = signer.public_key()
    signed, signature = response.tbs_response_bytes, response.signature
    digest = response.signature_hash_algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(signature, signed, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(signature, signed, ec.ECDSA(digest))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
        else:
            return False
    except InvalidSignature:
        return False
    return True
