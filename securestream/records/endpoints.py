"""What makes record connections: one client or server configuration on one engine, read anew when its files change."""

from __future__ import annotations

import importlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from securestream.credentials import Certificate
from securestream.errors import CertificateRejected, ErrorKind, SecureStreamError, Unsupported, UsageError
from securestream.records.base import RecordConnection, TlsSession
from securestream.records.client_hello import ClientHello
from securestream.records.files import UNREADABLE, Stamp, certificates, described, revocation_lists, stamp
from securestream.records.names import matches
from securestream.records.settings import Source, TlsSettings

T = TypeVar("T")
Engine: TypeAlias = Literal["stdlib", "pyopenssl"]

logger = logging.getLogger("securestream.records")


class ClientEndpoint(Protocol):
    """Makes an initiator's connections."""

    def connection(self, host: str | None) -> RecordConnection:
        """A new connection to `host`, as `canonical_host` gave it; `None` only where nothing is verified."""
        ...


class ServerEndpoint(Protocol):
    """Makes an acceptor's connections."""

    def connection(self, hello: ClientHello) -> RecordConnection:
        """A new connection for a client that asks for `hello`."""
        ...


@dataclass(frozen=True)
class OwnCertificate:
    """A certificate of ours: the credential, its leaf in DER, and the names that it serves."""

    credential: Certificate
    der: bytes
    names: tuple[str, ...]

    @classmethod
    def load(cls, credential: Certificate) -> OwnCertificate:
        """Read the leaf.

        Raises:
            UsageError: it cannot be read.
        """
        leaf = certificates(credential.certificate)[0]
        der = leaf.public_bytes(Encoding.DER)
        try:
            extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            return cls(credential, der, ())
        return cls(credential, der, tuple(extension.get_values_for_type(x509.DNSName)))


def choose(own: Sequence[OwnCertificate], name: str | None) -> tuple[OwnCertificate, bool]:
    """The certificate for an SNI name, and whether it really serves that name; the first one where none does."""
    for certificate in own if name is not None else ():
        if any(matches(pattern, name or "") for pattern in certificate.names):
            return certificate, True
    return own[0], name is None


def sources_of(credentials: Sequence[Certificate]) -> tuple[Source, ...]:
    """Everything that `credentials` read."""
    return tuple(
        source
        for credential in credentials
        for source in (credential.certificate, credential.key)
        if source is not None
    )


class Reloaded(ABC, Generic[T]):
    """Something made from files, made again when one of them changes.

    While the new files cannot be used (half-written, key and certificate apart), the old ones serve on.

    Args:
        watched: what may be files.
    """

    def __init__(self, watched: Sequence[Source]) -> None:
        self._watched = tuple(watched)
        self._stamp: Stamp | None = None
        self._made: T | None = None

    @abstractmethod
    def make(self) -> T:
        """Make it from the files as they are now."""

    def current(self) -> T:
        """It, after a look at the files.

        Raises:
            UsageError: the files cannot be used, and never could.
        """
        seen = stamp(self._watched)
        if self._made is not None and seen == self._stamp:
            return self._made
        try:
            self._made = self.make()
        except SecureStreamError as error:
            if self._made is None:
                raise
            logger.warning("changed certificates cannot be used; the old ones serve on: %s", error)
            return self._made
        self._stamp = seen
        return self._made


class Recheck:
    """Judges the certificate of a resumed session, which the engine does not verify again (SECURITY rule 11).

    Args:
        lists: the revocation lists in use.
        clock: the present moment.
    """

    def __init__(
        self,
        lists: Sequence[x509.CertificateRevocationList],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lists = lists
        self._clock = clock

    @classmethod
    def of(cls, settings: TlsSettings) -> Recheck:
        """The judge for these settings."""
        return cls([found for source in settings.crls for found in revocation_lists(source)])

    def __call__(self, session: TlsSession) -> None:
        """Refuse a certificate that expired or was revoked since the session began.

        Raises:
            CertificateRejected: it did.
        """
        if not session.resumed or session.peer_certificate is None:
            return
        try:
            leaf = x509.load_der_x509_certificate(session.peer_certificate)
        except UNREADABLE as error:
            raise CertificateRejected("the peer's certificate cannot be read: it needs another one") from error
        now = self._clock()
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            raise CertificateRejected(
                "the peer's certificate expired since the session began: renew it", kind=ErrorKind.CERTIFICATE_EXPIRED
            )
        if not self._lists:
            return
        current = [
            one
            for one in self._lists
            if one.issuer == leaf.issuer and (one.next_update_utc is None or now <= one.next_update_utc)
        ]
        if not current:
            raise CertificateRejected(
                "no current revocation list covers the resumed session", kind=ErrorKind.REVOCATION_UNKNOWN
            )
        if any(one.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None for one in current):
            raise CertificateRejected("the peer's certificate is revoked", kind=ErrorKind.CERTIFICATE_REVOKED)


_CANNOT_STDLIB = "Python's ssl chooses no post-quantum group and staples no OCSP response: use engine='pyopenssl'"


def require_engine(engine: Engine, settings: TlsSettings) -> None:
    """Say at once what an engine cannot do.

    Raises:
        Unsupported: it is not installed, or cannot do what is asked.
    """
    if engine == "pyopenssl":
        try:
            importlib.import_module("securestream.records.pyopenssl")
        except ImportError as error:
            raise Unsupported(
                "the engine 'pyopenssl' needs pyOpenSSL and service-identity: pip install 'securestream[openssl]'"
            ) from error
        if settings.resumption:
            raise Unsupported("the engine 'pyopenssl' resumes no sessions: leave `resumption` out, or use 'stdlib'")
    elif engine != "stdlib":
        raise UsageError(f"there is no TLS engine {engine!r}; there are 'stdlib' and 'pyopenssl'")
    elif settings.post_quantum or settings.ocsp != "none" or settings.ocsp_response is not None:
        raise Unsupported(_CANNOT_STDLIB)


def client_endpoint(engine: Engine, settings: TlsSettings, credential: Certificate | None) -> ClientEndpoint:
    """An initiator's configuration on `engine`.

    Args:
        engine: the record engine.
        settings: what is wanted.
        credential: the client certificate, or `None`.

    Raises:
        Unsupported: the engine cannot do what is asked.
        UsageError: files cannot be used.
    """
    require_engine(engine, settings)
    if engine == "pyopenssl":
        from securestream.records.pyopenssl_endpoints import PyOpenSslClient

        return PyOpenSslClient(settings, credential)
    from securestream.records.stdlib_endpoints import StdlibClient

    return StdlibClient(settings, credential)


def server_endpoint(engine: Engine, settings: TlsSettings, credentials: Sequence[Certificate]) -> ServerEndpoint:
    """An acceptor's configuration on `engine`; the first of `credentials` serves names that none of them carries.

    Raises:
        Unsupported: the engine cannot do what is asked.
        UsageError: files cannot be used.
    """
    if not credentials:
        raise UsageError("a TLS server needs a certificate")
    require_engine(engine, settings)
    if engine == "pyopenssl":
        from securestream.records.pyopenssl_endpoints import PyOpenSslServer

        return PyOpenSslServer(settings, credentials)
    from securestream.records.stdlib_endpoints import StdlibServer

    return StdlibServer(settings, credentials)


def unusable_key(credential: Certificate, failure: str) -> UsageError:
    """The error of a certificate whose key cannot be used; `failure` is the exception's type."""
    return UsageError(
        f"the certificate {described(credential.certificate)} cannot be used: "
        f"its key is missing, encrypted with another password, or does not fit ({failure})"
    )
