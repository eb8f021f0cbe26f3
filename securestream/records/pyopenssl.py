"""The record engine over pyOpenSSL and the OpenSSL that `cryptography` carries: exporters, post-quantum, stapling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from securestream.errors import CertificateRejected
from securestream.options import Role
from securestream.provider import Buffer
from securestream.records._engine import RECORD, Ended, EngineConnection, EngineFailure, WantsMore
from securestream.records.alerts import HOSTNAME_MISMATCH, UNSPECIFIED
from securestream.records.base import EngineCapability, TlsSession
from securestream.records.files import UNREADABLE
from securestream.records.names import ip_address, matches
from securestream.records.pyopenssl_names import verify_within_openssl

HEADER = 5
LONGEST_RECORD = RECORD + 2048
"""The longest record body of any version (RFC 5246 6.2.3)."""


@dataclass
class Verdict:
    """What the verification of one connection came to; OpenSSL's callbacks find it in the connection's app data.

    Args:
        host: the name that an initiator wants to see, or `None`.
        code: X509_V_ERR_* of the refusal.
        rejected: a refusal beyond those codes.
    """

    host: str | None = None
    code: int | None = None
    rejected: CertificateRejected | None = None


def verify_peer(connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int) -> bool:
    """OpenSSL's verification callback: its own verdict first, then, at the leaf, the name (pyOpenSSL checks none)."""
    verdict: Verdict = connection.get_app_data()
    if not ok:
        verdict.code = code
        return False
    if depth == 0 and verdict.host is not None:
        try:
            leaf = certificate.to_cryptography()
        except UNREADABLE:
            verdict.code = UNSPECIFIED
            return False
        if not carries(leaf, verdict.host):
            verdict.code = HOSTNAME_MISMATCH
            return False
    return True


def carries(leaf: x509.Certificate, host: str) -> bool:
    """Whether a certificate is for `host`, a name in A-labels or an address; no common name counts (RFC 9525)."""
    try:
        if ip_address(host) is not None:
            verify_certificate_ip_address(leaf, host)
        else:
            verify_certificate_hostname(leaf, host)
    except (VerificationError, CertificateError, ValueError):
        return host.startswith("xn--") and _carries_wildcard(leaf, host)
    return True


def _carries_wildcard(leaf: x509.Certificate, host: str) -> bool:
    """A wildcard covers a first label in A-form, too (RFC 9525 6.3; OpenSSL); service-identity 26 says it does not."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    wild = (name for name in names.get_values_for_type(x509.DNSName) if name.startswith("*."))
    return any(matches(name, host) for name in wild)


class PyOpenSslConnection(EngineConnection):
    """TLS by pyOpenSSL.

    Args:
        context: the context, whose verification callback is `verify_peer`.
        role: this end's role.
        host: the name or address that an initiator wants to reach; sent as SNI unless it is an address.
        verify: whether `host` is verified.
        alpn: this end's protocols.
        server_name: the SNI name that an acceptor was asked for.
        own_certificate: an acceptor's leaf, DER.
        staple: whether an initiator asks for an OCSP response.
        judge: a last judgement before the handshake counts as complete.
    """

    capabilities = (
        EngineCapability.EXPORTER
        | EngineCapability.POST_QUANTUM
        | EngineCapability.OCSP_STAPLING
        | EngineCapability.TLS_UNIQUE
        | EngineCapability.KEY_LOG
    )

    def __init__(
        self,
        context: SSL.Context,
        role: Role,
        *,
        host: str | None = None,
        verify: bool = True,
        alpn: tuple[str, ...] = (),
        server_name: str | None = None,
        own_certificate: bytes | None = None,
        staple: bool = False,
        judge: Callable[[TlsSession], None] | None = None,
    ) -> None:
        super().__init__(role, server_name=server_name or host, alpn=alpn, own_certificate=own_certificate)
        self._tls = SSL.Connection(context, None)
        self._verdict = Verdict(host if verify and role is Role.INITIATOR else None)
        self._tls.set_app_data(self._verdict)
        self._judge = judge
        self._behind: Exception | None = None
        self._pending = bytearray()
        self._at = 0
        self._drained: list[bytes] = []
        if role is Role.ACCEPTOR:
            self._tls.set_accept_state()
            return
        self._tls.set_connect_state()
        if host is not None and ip_address(host) is None:
            self._tls.set_tlsext_host_name(host.encode("ascii"))
        if self._verdict.host is not None:
            verify_within_openssl(self._tls, self._verdict.host)
        if staple:
            self._tls.request_ocsp()

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                if not self._pump():
                    raise WantsMore from None
            except SSL.Error as error:
                raise self._signal(error) from error
            else:
                return

    def _read_into(self, buffer: memoryview) -> int:
        filled = 0
        if self._behind is not None:
            raise self._behind
        while not filled or len(buffer) - filled >= RECORD:
            if not self._tls.pending() and not self._pump():
                break
            part = buffer[filled : filled + RECORD]  # pyOpenSSL makes a buffer of this size for each record
            try:
                filled += self._tls.recv_into(part)
            except SSL.WantReadError:  # it was no data
                if self._tls.pending():
                    break
            except SSL.Error as error:
                self._behind = self._signal(error)
                self._behind.__cause__ = error
                if not filled:
                    raise self._behind from error
                break
        return filled

    def _write(self, data: Buffer) -> None:
        try:
            self._tls.sendall(data)
        except SSL.Error as error:
            raise self._signal(error) from error

    def _shutdown(self) -> None:
        try:
            self._tls.shutdown()
        except SSL.Error:  # the close_notify is out; what the peer makes of it is read, if at all, by next_event
            pass

    def _feed(self, data: Buffer) -> None:
        if self._at:
            del self._pending[: self._at]
            self._at = 0
        self._pending += data

    def _pump(self) -> bool:
        """Give OpenSSL the next whole record, so that what follows a close_notify stays ours; tell if there was one."""
        have = len(self._pending) - self._at
        if have < HEADER:
            return False
        kind = self._pending[self._at]
        length = HEADER + int.from_bytes(self._pending[self._at + 3 : self._at + HEADER], "big")
        if not 20 <= kind <= 24 or length > HEADER + LONGEST_RECORD:
            length = have  # OpenSSL's to refuse
        if have < length:
            return False
        with memoryview(self._pending) as pending:
            self._tls.bio_write(pending[self._at : self._at + length])
        self._at += length
        if self._at == len(self._pending):
            self._pending = bytearray()  # an idle connection keeps no buffer
            self._at = 0
        return True

    def _drain(self) -> bytes:
        self._unsent()
        drained, self._drained = b"".join(self._drained), []
        return drained

    def _unsent(self) -> int:
        while True:
            try:
                self._drained.append(self._tls.bio_read(65536))
            except SSL.WantReadError:
                return sum(map(len, self._drained))

    def _leftover(self) -> bytes:
        left = bytes(self._pending[self._at :])
        self._pending, self._at = bytearray(), 0
        return left

    def _describe(self, server_name: str | None) -> TlsSession:
        tls = self._tls
        try:
            chain = tls.get_verified_chain(as_cryptography=True) or []
            leaf = tls.get_peer_certificate(as_cryptography=True)
        except UNREADABLE as error:
            raise CertificateRejected("the peer's certificate cannot be read: it needs another one") from error
        return TlsSession(
            version=tls.get_protocol_version_name(),
            cipher=tls.get_cipher_name() or "",
            alpn=tls.get_alpn_proto_negotiated().decode() or None,
            server_name=server_name,
            peer_certificate=None if leaf is None else leaf.public_bytes(Encoding.DER),
            peer_chain=tuple(one.public_bytes(Encoding.DER) for one in chain),
            group=tls.get_group_name(),
        )

    def _accepts(self, session: TlsSession) -> None:
        super()._accepts(session)
        if self._judge is not None:
            self._judge(session)

    def _after_data(self) -> None:
        """Nothing: this engine resumes no sessions."""

    def _finished(self) -> bytes:
        """The client's Finished, which comes first where nothing is resumed (RFC 5929 3.1)."""
        mine = self.role is Role.INITIATOR
        return (self._tls.get_finished() if mine else self._tls.get_peer_finished()) or b""

    def _export(self, label: bytes, length: int, context: bytes | None) -> bytes:
        return self._tls.export_keying_material(label, length, context)

    def _signal(self, error: SSL.Error) -> Exception:
        """OpenSSL's complaint in the words of the shell."""
        if isinstance(error, SSL.ZeroReturnError):
            return Ended()
        if self._session is None:
            if self._verdict.rejected is not None:
                return self._verdict.rejected
            if self._verdict.code is not None:
                return EngineFailure(f"X509 error {self._verdict.code}", self._verdict.code)
        reasons = [entry[2] for entry in error.args[0] if entry[2]] if error.args and _is_queue(error.args[0]) else []
        return EngineFailure(reasons[0] if reasons else str(error) or type(error).__name__)


def _is_queue(argument: object) -> bool:
    return isinstance(argument, list)
