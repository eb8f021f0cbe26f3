"""Clients and servers on the pyOpenSSL engine: contexts made from settings, reloading, stapling."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from securestream.credentials import Certificate
from securestream.errors import CertificateRejected, ErrorKind, HandshakeError, TargetUnknown, Unsupported
from securestream.options import Role
from securestream.records.base import TlsSession
from securestream.records.client_hello import ClientHello
from securestream.records.endpoints import OwnCertificate, Reloaded, choose, sources_of, unusable_key
from securestream.records.files import UNREADABLE, certificates, prepare_key_log, read, revocation_lists
from securestream.records.ocsp import judge_response, missing_response
from securestream.records.pyopenssl import PyOpenSslConnection, Verdict, verify_peer
from securestream.records.settings import POST_QUANTUM_GROUP, TlsSettings

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Forward secrecy only, as Python's `ssl` has it."""

_VERSIONS = {
    "TLSv1": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "prime256v1": ec.SECP256R1,
    "secp256r1": ec.SECP256R1,
    "secp384r1": ec.SECP384R1,
    "secp521r1": ec.SECP521R1,
}


def make_context(settings: TlsSettings, role: Role, credential: Certificate | None) -> SSL.Context:
    """A context that does what `settings` say.

    Raises:
        Unsupported: pyOpenSSL cannot do what is asked.
        UsageError: files cannot be used.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD if role is Role.INITIATOR else SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[settings.minimum_version])
    context.set_max_proto_version(_VERSIONS[settings.maximum_version])
    # No tickets and no cache: pyOpenSSL cannot tell whether a session was resumed, so none is (RFC 8446 4.6.1)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle connection keeps none, as with `ssl`
    ciphers = settings.ciphers or ("DEFAULT" if settings.allows_old_versions else CIPHERS)
    try:
        context.set_cipher_list((f"{ciphers}:@SECLEVEL=0" if settings.allows_old_versions else ciphers).encode())
    except SSL.Error as error:
        raise Unsupported(f"this OpenSSL has none of the ciphers {ciphers!r}") from error
    if settings.group is not None:
        if settings.group not in _CURVES:
            raise Unsupported(f"pyOpenSSL chooses among the curves {', '.join(_CURVES)}, not {settings.group!r}")
        context.set_tmp_ecdh(_CURVES[settings.group]())
    if settings.alpn:
        _set_alpn(context, settings.alpn, role)
    if credential is not None:
        _load_key(context, credential)
    _set_verification(context, settings, role)
    _set_stapling(context, settings, role)
    if settings.key_log is not None:
        _set_key_log(context, settings.key_log)
    return context


def _set_alpn(context: SSL.Context, alpn: tuple[str, ...], role: Role) -> None:
    ours = [name.encode() for name in alpn]
    if role is Role.INITIATOR:
        context.set_alpn_protos(ours)
        return

    def select(connection: SSL.Connection, theirs: list[bytes]) -> bytes | object:
        return next((name for name in ours if name in theirs), SSL.NO_OVERLAPPING_PROTOCOLS)

    context.set_alpn_select_callback(select)  # type: ignore[arg-type]  # its stub names a private class


def _load_key(context: SSL.Context, credential: Certificate) -> None:
    """Give `context` its certificate. No local variable holds the key's octets or its password."""
    secret = credential.password
    chain = certificates(credential.certificate)
    try:
        key = load_pem_private_key(
            read(credential.certificate if credential.key is None else credential.key),
            None if secret is None else secret.reveal().encode(),
        )
        context.use_certificate(chain[0])
        for above in chain[1:]:
            context.add_extra_chain_cert(above)
        context.use_privatekey(key)  # type: ignore[arg-type]  # a kind of key that TLS has not is refused below
        context.check_privatekey()
    except (SSL.Error, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise unusable_key(credential, type(error).__name__) from error


def _set_verification(context: SSL.Context, settings: TlsSettings, role: Role) -> None:
    if (role is Role.ACCEPTOR and settings.client_certificates == "none") or (
        role is Role.INITIATOR and settings.verify == "none"
    ):
        context.set_verify(SSL.VERIFY_NONE, None)
        return
    mode = SSL.VERIFY_PEER
    if settings.client_certificates == "required":
        mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context.set_verify(mode, verify_peer)
    store = context.get_cert_store()
    if store is None:
        raise Unsupported("this OpenSSL gives its context no certificate store")
    if settings.trust == "system":
        _load_system_trust(context, store)
    for source in settings.authorities:
        for authority in certificates(source):
            store.add_cert(crypto.X509.from_cryptography(authority))
    for source in settings.crls:
        for one in revocation_lists(source):
            store.add_crl(one)
    if settings.crls:
        every = crypto.X509StoreFlags.CRL_CHECK_ALL if settings.crl_check == "chain" else 0
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK | every)


def _load_system_trust(context: SSL.Context, store: crypto.X509Store) -> None:
    """What Python's `ssl` trusts; the OpenSSL inside `cryptography` was built with places of its own."""
    if sys.platform == "win32":
        reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        reader.load_default_certs()
        for der in reader.get_ca_certs(binary_form=True):
            store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, der))
        return
    places = ssl.get_default_verify_paths()
    if os.path.isfile(places.cafile or "") or os.path.isdir(places.capath or ""):
        context.load_verify_locations(places.cafile, places.capath)
    else:
        context.set_default_verify_paths()


def _set_stapling(context: SSL.Context, settings: TlsSettings, role: Role) -> None:
    if role is Role.ACCEPTOR:
        if settings.ocsp_response is not None:
            response = read(settings.ocsp_response)
            context.set_ocsp_server_callback(lambda connection, data: response)
        return
    if settings.ocsp == "none":
        return

    def judge(connection: SSL.Connection, response: bytes, data: object) -> bool:
        verdict: Verdict = connection.get_app_data()
        try:
            if not response:
                if settings.ocsp == "required":
                    raise missing_response()
                return True
            chain = connection.get_verified_chain(as_cryptography=True) or []
            if not chain:
                raise CertificateRejected("nothing was verified", kind=ErrorKind.REVOCATION_UNKNOWN)
            judge_response(response, chain[0], chain[min(1, len(chain) - 1)], datetime.now(UTC))
        except CertificateRejected as rejected:
            verdict.rejected = rejected
            return False
        except UNREADABLE:
            verdict.rejected = CertificateRejected("the server's certificate cannot be read: it needs another one")
            return False
        return True

    context.set_ocsp_client_callback(judge)


def _set_key_log(context: SSL.Context, path: Path | str) -> None:
    prepare_key_log(path)

    def write(connection: SSL.Connection, line: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0))
        try:
            os.write(descriptor, line + b"\n")
        finally:
            os.close(descriptor)

    context.set_keylog_callback(write)


def _require_group(session: TlsSession) -> None:
    if session.group != POST_QUANTUM_GROUP:
        raise HandshakeError(
            f"the peer agreed on {session.group}, and {POST_QUANTUM_GROUP} is required",
            kind=ErrorKind.ALGORITHM_MISMATCH,
        )


class PyOpenSslClient(Reloaded[SSL.Context]):
    """An initiator on pyOpenSSL.

    Args:
        settings: what is wanted.
        credential: the client certificate, or `None`.
    """

    def __init__(self, settings: TlsSettings, credential: Certificate | None = None) -> None:
        super().__init__((*settings.watched, *sources_of([] if credential is None else [credential])))
        self._settings = settings
        self._credential = credential
        self.current()

    def make(self) -> SSL.Context:
        """Read everything."""
        return make_context(self._settings, Role.INITIATOR, self._credential)

    def connection(self, host: str | None) -> PyOpenSslConnection:
        """A new connection to `host`."""
        settings = self._settings
        if host is None and settings.verify == "full":
            raise TargetUnknown("TLS proves the name of the server: give a target")
        return PyOpenSslConnection(
            self.current(),
            Role.INITIATOR,
            host=host,
            verify=settings.verify == "full",
            alpn=settings.alpn,
            staple=settings.ocsp != "none",
            judge=_require_group if settings.post_quantum else None,
        )


@dataclass
class _ServerState:
    own: list[OwnCertificate]
    contexts: list[SSL.Context]


class PyOpenSslServer(Reloaded[_ServerState]):
    """An acceptor on pyOpenSSL, with a context for each certificate.

    Args:
        settings: what is wanted.
        credentials: its certificates, the default one first.
    """

    def __init__(self, settings: TlsSettings, credentials: Sequence[Certificate]) -> None:
        super().__init__((*settings.watched, *sources_of(credentials)))
        self._settings = settings
        self._credentials = tuple(credentials)
        self.current()

    def make(self) -> _ServerState:
        """Read everything."""
        return _ServerState(
            [OwnCertificate.load(one) for one in self._credentials],
            [make_context(self._settings, Role.ACCEPTOR, one) for one in self._credentials],
        )

    def connection(self, hello: ClientHello) -> PyOpenSslConnection:
        """A new connection for a client that asks for `hello`."""
        state = self.current()
        own, _ = choose(state.own, hello.server_name)
        return PyOpenSslConnection(
            state.contexts[state.own.index(own)],
            Role.ACCEPTOR,
            alpn=self._settings.alpn,
            server_name=hello.server_name,
            own_certificate=own.der,
            judge=_require_group if self._settings.post_quantum else None,
        )
