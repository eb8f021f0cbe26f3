"""The security package Schannel: its arguments, and the two handshakes made from them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from securestream.arguments import check_choice, check_sequence
from securestream.credentials import Certificate, Credential, Credentials, find_form
from securestream.errors import CertificateRejected, ErrorKind, NoCredentials, TargetUnknown, UsageError
from securestream.options import Options, Role
from securestream.principal import Principal, unauthenticated
from securestream.provider import (
    Capability,
    Established,
    Handshake,
    PackageInfo,
    TargetName,
    Unusable,
)
from securestream.records.endpoints import (
    ClientEndpoint,
    Engine,
    ServerEndpoint,
    client_endpoint,
    require_engine,
    server_endpoint,
)
from securestream.records.files import certificates
from securestream.records.names import canonical_host
from securestream.records.settings import Presence, Source, TlsSettings, Version
from securestream_providers.schannel.exchange import listen_for_hello, refuse_unreadable, require_alpn, run
from securestream_providers.schannel.identity import (
    PACKAGE,
    Form,
    Mapping,
    client_principal,
    server_principal,
)

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

INFO = PackageInfo(
    name=PACKAGE,
    comment="Transport Layer Security 1.2 and 1.3",
    capabilities=Capability.INTEGRITY
    | Capability.PRIVACY
    | Capability.CONNECTION
    | Capability.MULTI_REQUIRED
    | Capability.EXTENDED_ERROR
    | Capability.IMPERSONATION
    | Capability.ACCEPT_WIN32_NAME
    | Capability.STREAM
    | Capability.MUTUAL_AUTH,
    max_token=24576,  # what EnumerateSecurityPackages tells for Schannel
    rpc_id=14,  # RPC_C_AUTHN_GSS_SCHANNEL
)


class Schannel:
    """TLS for both roles.

    An initiator verifies the server's certificate, its name and, with `crls`, its revocation. Its credential is
    `None`, or a `Certificate` for the server that asks for one. Under TLS 1.3 the server judges that certificate after
    the client's handshake is complete: its refusal is then a `PeerRefused` of the first receive (RFC 8446 4.4.2).

    An acceptor's credential is a `Certificate`, or `Credentials` with several; the one that serves the name asked for
    is used, else the first. Files are read again when they change; connections made before keep theirs.

    Args:
        context: an `ssl.SSLContext` in place of the settings below; `alpn`, `verify`, `key_log`, `resumption` and the
            mapping of client certificates go with it. Renegotiation and names by the common name are switched off in
            it, and so are session tickets where it asks for client certificates. A context does not tell its
            certificate: an acceptor on it has channel bindings of the kind tls-server-end-point only if that
            `Certificate`, with its key, is the credential, too; it is then loaded into the context.
        engine: ``"stdlib"`` (Python's `ssl`) or ``"pyopenssl"`` (extra ``openssl``: exporters, post-quantum key
            agreement, OCSP stapling).
        trust: ``"system"``, or the authorities to trust, in PEM files or octets.
        verify: ``"none"`` gives up the proof of who the server is.
        crls: revocation lists in PEM; with any given, a certificate without a current list is refused.
        crl_check: whether all of a chain is looked up, or its leaf alone.
        client_certificates: whether an acceptor asks for a client certificate.
        identities: which names of a client certificate become its principal, the preferred one first; ``"email"`` and
            ``"subject"`` count only when named here.
        upn_issuers: authorities, in PEM, whose user principal names count.
        alpn: application protocols, the preferred one first. An acceptor refuses a client whose protocols are others;
            an initiator refuses a server that agrees to none.
        minimum_version: older than TLS 1.2 only when named.
        maximum_version: the newest to speak.
        ciphers: OpenSSL's cipher string for TLS 1.2.
        group: the one curve for the key agreement; `None` leaves the choice to the engine.
        post_quantum: demand the hybrid X25519MLKEM768.
        ocsp: whether an initiator asks for, or requires, a stapled OCSP response.
        ocsp_response: the DER file that an acceptor staples.
        resumption: whether sessions are resumed; `None` for wherever the engine can, and ``"pyopenssl"`` cannot. A
            resumed session keeps the client's identity, and its certificate's lifetime and revocation are looked at
            again. Listeners that share this object and a certificate share sessions. Under Python 3.11, before 3.12.8
            and under 3.13.0, where `ssl` leaks 6 KiB with each session that is taken, a client takes sessions on its
            first 256 connections alone.
        key_log: file for the session secrets, for Wireshark, made with mode 0600. Whoever reads it reads everything.

    Raises:
        UsageError: the arguments contradict each other.
        Unsupported: the engine cannot do what is asked, or is not installed.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        engine: Engine = "stdlib",
        trust: Source | Sequence[Source] = "system",
        verify: Literal["full", "none"] = "full",
        crls: Sequence[Source] = (),
        crl_check: Literal["chain", "leaf"] = "chain",
        client_certificates: Presence = "none",
        identities: Sequence[Form] = ("upn", "dns"),
        upn_issuers: Sequence[Source] = (),
        alpn: Sequence[str] = (),
        minimum_version: Version = "TLSv1.2",
        maximum_version: Version = "TLSv1.3",
        ciphers: str | None = None,
        group: str | None = None,
        post_quantum: bool = False,
        ocsp: Presence = "none",
        ocsp_response: Path | str | None = None,
        resumption: bool | None = None,
        key_log: Path | str | None = None,
    ) -> None:
        check_sequence("crls", crls, '["revoked.pem"]')
        check_sequence("identities", identities, '["upn", "dns"]')
        check_sequence("upn_issuers", upn_issuers, '["authority.pem"]')
        check_sequence("alpn", alpn, '["h2"]')
        for form in identities:
            check_choice("a form in identities", form, get_args(Form))
        self._settings = TlsSettings(
            trust=trust,
            verify=verify,
            crls=tuple(crls),
            crl_check=crl_check,
            client_certificates=client_certificates,
            alpn=tuple(alpn),
            minimum_version=minimum_version,
            maximum_version=maximum_version,
            ciphers=ciphers,
            group=group,
            post_quantum=post_quantum,
            ocsp=ocsp,
            ocsp_response=ocsp_response,
            resumption=resumption,
            key_log=key_log,
        )
        require_engine(engine, self._settings)
        self._engine: Engine = engine
        self._context = context
        if context is not None:
            _refuse_settings_beside_context(self._settings, engine)
        self._mapping = Mapping(tuple(identities), tuple(one for source in upn_issuers for one in certificates(source)))
        self._clients: dict[Certificate | None, ClientEndpoint] = {}
        self._servers: dict[tuple[Certificate, ...], ServerEndpoint] = {}
        self._unresumed: Schannel | None = None

    def __repr__(self) -> str:
        return f"Schannel(engine={self._engine!r})"

    @property
    def info(self) -> PackageInfo:
        """What the package is."""
        return INFO

    def for_listener(self) -> Schannel:
        """This package with server endpoints of its own, whose sessions no other listener resumes."""
        scoped = copy(self)
        scoped._servers = {}
        return scoped

    def unresumed(self) -> Schannel:
        """This package with clients that resume no session, the same object at each call."""
        if not self._settings.resumes:
            return self
        if self._unresumed is None:
            scoped = copy(self)
            scoped._settings = replace(self._settings, resumption=False)
            scoped._clients = {}
            self._unresumed = scoped
        return self._unresumed

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential`."""
        if role is Role.ACCEPTOR and self._context is None and find_form(credential, Certificate) is None:
            return Unusable("a TLS server needs a Certificate with its key: give one as the credential")
        if credential is not None and find_form(credential, Certificate) is None:
            return Unusable("TLS proves identities by certificates: give a Certificate as the credential, or none")
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The client's handshake: `target` is the server's name, sent as SNI and verified.

        Raises:
            TargetUnknown: there is none to verify.
            HandshakeError: what the records raised.
        """
        host = canonical_host(target.host) if target else None
        verified = self._settings.verify == "full"
        if host is None and verified:
            raise TargetUnknown("TLS proves the name of the server: give a target")
        connection = self._client(self._certificate(credential, Role.INITIATOR)).connection(host)
        token = yield from run(connection, options)
        peer = server_principal(connection.session.peer_certificate, host) if verified else unauthenticated(PACKAGE)
        return Established(connection, peer, token)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The server's handshake."""
        self._certificate(credential, Role.ACCEPTOR)
        endpoint = self._server(credential)
        hello, received = yield from listen_for_hello()
        connection = endpoint.connection(hello)
        if not hello.readable:
            refuse_unreadable(connection, received)
        require_alpn(hello, self._settings.alpn)
        token = yield from run(connection, options, received)
        try:
            peer = self._client_of(connection.session.peer_certificate)
        except CertificateRejected as error:  # OpenSSL is done with its verdict and sends no alert any more
            connection.close()
            error.token = connection.data_to_send() or None
            raise
        return Established(connection, peer, token)

    def _client_of(self, certificate: bytes | None) -> Principal:
        if certificate is not None:
            return client_principal(certificate, self._mapping)
        if self._settings.client_certificates == "required":
            raise CertificateRejected("the client sent no certificate", kind=ErrorKind.CERTIFICATE_REQUIRED)
        return unauthenticated(PACKAGE)

    def _certificate(self, credential: Credential | None, role: Role) -> Certificate | None:
        unusable = self.usable(credential, role)
        if unusable is not None:
            raise NoCredentials(unusable.reason)
        return find_form(credential, Certificate)

    def _client(self, certificate: Certificate | None) -> ClientEndpoint:
        endpoint = self._clients.get(certificate)
        if endpoint is None:
            if self._context is None:
                made = client_endpoint(self._engine, self._settings, certificate)
            else:
                from securestream.records.stdlib_endpoints import StdlibClient

                made = StdlibClient(self._settings, certificate, context=self._context)
            endpoint = self._clients.setdefault(certificate, made)
        return endpoint

    def _server(self, credential: Credential | None) -> ServerEndpoint:
        forms = credential if isinstance(credential, Credentials) else (credential,)
        own = tuple(form for form in forms if isinstance(form, Certificate))
        endpoint = self._servers.get(own)
        if endpoint is None:
            if self._context is None:
                made = server_endpoint(self._engine, self._settings, own)
            else:
                from securestream.records.stdlib_endpoints import ContextServer

                if self._servers or len(own) > 1:
                    raise UsageError("an ssl.SSLContext serves one certificate: make a Schannel for each")
                made = ContextServer(self._context, self._settings, own[0] if own else None)
            endpoint = self._servers.setdefault(own, made)
        return endpoint


def _refuse_settings_beside_context(settings: TlsSettings, engine: Engine) -> None:
    if engine != "stdlib":
        raise UsageError("an ssl.SSLContext works on the stdlib engine only")
    plain = TlsSettings(
        verify=settings.verify, alpn=settings.alpn, key_log=settings.key_log, resumption=settings.resumption
    )
    if settings != plain:
        raise UsageError("with an ssl.SSLContext, say trust, lists, versions and ciphers in that context")
