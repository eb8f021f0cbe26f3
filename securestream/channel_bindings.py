"""Channel bindings: what ties an authentication to the channel that it runs in (RFC 5056, RFC 5929, RFC 9266)."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from securestream.errors import Unsupported

TLS_EXPORTER_LABEL = "EXPORTER-Channel-Binding"  # RFC 9266 2
TLS_EXPORTER_LENGTH = 32
_UNBOUND = bytes(16)


@dataclass(frozen=True)
class ChannelBindings:
    """The GSS-API channel bindings structure (RFC 2744 3.11).

    Args:
        application_data: what names the channel, for TLS a unique prefix with its value (RFC 5929).
        initiator_type: address family of the initiator (RFC 2744 3.11); 0 for TLS.
        initiator_address: octets of that address.
        acceptor_type: address family of the acceptor.
        acceptor_address: octets of that address.
    """

    application_data: bytes = b""
    initiator_type: int = 0
    initiator_address: bytes = b""
    acceptor_type: int = 0
    acceptor_address: bytes = b""

    def __repr__(self) -> str:
        prefix, colon, _ = self.application_data.partition(b":")
        name = prefix.decode("ascii", "replace") if colon else f"<{len(self.application_data)} octets>"
        return f"ChannelBindings({name})"

    def gss_structure(self) -> bytes:
        """The structure as RFC 4121 4.1.1.2 lays it out for hashing: little-endian lengths before each part."""
        return b"".join(
            (
                struct.pack("<II", self.initiator_type, len(self.initiator_address)),
                self.initiator_address,
                struct.pack("<II", self.acceptor_type, len(self.acceptor_address)),
                self.acceptor_address,
                struct.pack("<I", len(self.application_data)),
                self.application_data,
            )
        )

    def md5(self) -> bytes:
        """The 16 octets that Kerberos (RFC 4121 4.1.1.2) and NTLM ([MS-NLMP] 2.2.2.1, MsvAvChannelBindings) carry."""
        return hashlib.md5(self.gss_structure(), usedforsecurity=False).digest()


def is_unbound(digest: bytes) -> bool:
    """Whether `digest` is the all-zero value by which a peer says that it has no bindings (RFC 4121 4.1.1.2)."""
    return digest == _UNBOUND


def tls_server_end_point(certificate: bytes) -> ChannelBindings:
    """The tls-server-end-point bindings of a server certificate (RFC 5929 4.1).

    The hash is that of the certificate's own signature, with SHA-256 in place of MD5 and SHA-1.

    Args:
        certificate: the server's certificate, DER.

    Raises:
        Unsupported: the certificate's signature has no single hash (Ed25519, Ed448), for which RFC 5929 defines no
            binding, or the octets are no certificate.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        parsed = x509.load_der_x509_certificate(certificate)
        algorithm = parsed.signature_hash_algorithm
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise Unsupported(
            "tls-server-end-point: the server certificate cannot be read; use tls-exporter bindings instead"
        ) from error
    if algorithm is None:
        raise Unsupported(
            "tls-server-end-point is not defined for certificates signed without a hash (Ed25519, Ed448); "
            "use tls-exporter bindings or another certificate"
        )
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name.replace("-", "_")
    digest = hashlib.new(name, certificate).digest()
    return ChannelBindings(b"tls-server-end-point:" + digest)


def tls_exporter(keying_material: bytes) -> ChannelBindings:
    """The tls-exporter bindings (RFC 9266) from `TLS_EXPORTER_LENGTH` exported octets with an empty context.

    Under TLS 1.2 they are sound only with the extended master secret; the record connection checks that.

    Raises:
        Unsupported: there are not so many octets.
    """
    if len(keying_material) != TLS_EXPORTER_LENGTH:
        raise Unsupported(f"tls-exporter bindings are {TLS_EXPORTER_LENGTH} octets, not {len(keying_material)}")
    return ChannelBindings(b"tls-exporter:" + keying_material)


def tls_unique(finished: bytes, version: str) -> ChannelBindings:
    """The tls-unique bindings (RFC 5929 3) from the first Finished message of the latest handshake.

    Args:
        finished: the verify data of that message.
        version: the protocol as OpenSSL names it (``TLSv1.2``).

    Raises:
        Unsupported: under TLS 1.3, for which tls-unique is not defined (RFC 9266 1), although Python's ``ssl`` gives a
            value there.
    """
    if version not in ("TLSv1", "TLSv1.1", "TLSv1.2"):
        raise Unsupported(f"tls-unique is not defined for {version}; use tls-exporter or tls-server-end-point")
    return ChannelBindings(b"tls-unique:" + finished)
