"""Clients and servers on the `ssl` engine: contexts made from settings or handed in, sessions, reloading."""

from __future__ import annotations

import ssl
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from securestream.credentials import Certificate
from securestream.errors import ErrorKind, HandshakeError, TargetUnknown, Unsupported, UsageError
from securestream.options import Role
from securestream.records.base import TlsSession
from securestream.records.client_hello import ClientHello
from securestream.records.endpoints import (
    OwnCertificate,
    Recheck,
    Reloaded,
    choose,
    sources_of,
    unusable_key,
)
from securestream.records.files import as_path, certificates, described, prepare_key_log
from securestream.records.settings import TlsSettings
from securestream.records.stdlib import Judge, StdlibConnection
from securestream.records.unresumed import UnresumedConnection, UnresumedContexts, cached

MAX_SESSIONS = 256
"""Sessions that a client keeps, one a host."""

MAX_NAMES = 64
"""SNI names with tickets of their own that a server keeps; further names are served without resumption."""

MAX_CACHED = 2048
"""Sessions of TLS 1.2 without a ticket that OpenSSL keeps for a name, about 1 KiB each, before all of them go."""

SESSION_LEAKS = sys.version_info < (3, 12, 8) or (3, 13) <= sys.version_info < (3, 13, 1)
"""Whether each look at `SSLObject.session` leaks about 6 KiB (CPython issue 116810, never mended in 3.11)."""

MAX_LEAKS = 256
"""Connections of a client that take a session there; those after them are made without resumption."""

_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


def _new_context(settings: TlsSettings, role: Role) -> ssl.SSLContext:
    protocol = ssl.PROTOCOL_TLS_CLIENT if role is Role.INITIATOR else ssl.PROTOCOL_TLS_SERVER
    if role is Role.INITIATOR and settings.trust == "system" and sys.platform in ("win32", "darwin"):
        try:
            import truststore
        except ImportError:
            return ssl.SSLContext(protocol)
        return truststore.SSLContext(protocol)
    return ssl.SSLContext(protocol)


def make_context(
    settings: TlsSettings, role: Role, credential: Certificate | None, *, tickets: bool = True
) -> ssl.SSLContext:
    """A context that does what `settings` say and nothing of the environment.

    Args:
        settings: what is wanted.
        role: this end's role.
        credential: this end's certificate, or `None`.
        tickets: whether an acceptor gives session tickets.

    Raises:
        Unsupported: `ssl` cannot do what is asked.
        UsageError: files cannot be used.
    """
    context = _new_context(settings, role)
    if settings.allows_old_versions:  # OpenSSL 3 has them at security level 0 only
        context.set_ciphers(f"{settings.ciphers or 'DEFAULT'}:@SECLEVEL=0")
    elif settings.ciphers is not None:
        _set_ciphers(context, settings.ciphers)
    if settings.allows_old_versions:
        import warnings

        with warnings.catch_warnings():  # it was named
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = _VERSIONS[settings.minimum_version]
            context.maximum_version = _VERSIONS[settings.maximum_version]
    else:
        context.minimum_version = _VERSIONS[settings.minimum_version]
        context.maximum_version = _VERSIONS[settings.maximum_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if settings.group is not None:
        try:
            context.set_ecdh_curve(settings.group)
        except ValueError as error:
            raise Unsupported(f"this OpenSSL knows no curve {settings.group!r}") from error
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    if credential is not None:
        _load_key(context, credential)
    if not tickets or not settings.resumes:
        _without_tickets(context)
    _set_verification(context, settings, role)
    if settings.key_log is not None:
        prepare_key_log(settings.key_log)
        context.keylog_filename = str(settings.key_log)
    return context


def _set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError as error:
        raise Unsupported(f"this OpenSSL has none of the ciphers {ciphers!r}") from error


def _load_key(context: ssl.SSLContext, credential: Certificate) -> None:
    """Give `context` its certificate. No exception passes a frame that holds the key or its password."""

    def password() -> str:
        return "" if credential.password is None else credential.password.reveal()

    failure: str | None = None
    with (
        as_path(credential.certificate) as chain,
        as_path(credential.certificate if credential.key is None else credential.key) as key,
    ):
        try:
            context.load_cert_chain(chain, key, password)
        except (ssl.SSLError, OSError, ValueError) as error:
            failure = type(error).__name__
    if failure is not None:
        raise unusable_key(credential, failure)


def _without_tickets(context: ssl.SSLContext) -> None:
    context.options |= ssl.OP_NO_TICKET
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0


def _set_verification(context: ssl.SSLContext, settings: TlsSettings, role: Role) -> None:
    if role is Role.ACCEPTOR:
        wanted = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
        context.verify_mode = wanted[settings.client_certificates]
        if settings.client_certificates == "none":
            return
    elif settings.verify == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return
    else:
        context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_TRUSTED_FIRST
    if settings.trust == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH if role is Role.INITIATOR else ssl.Purpose.CLIENT_AUTH)
    for source in settings.authorities:
        certificates(source)  # says which source is wrong
        with as_path(source) as path:
            context.load_verify_locations(path)
    for source in settings.crls:
        try:
            with as_path(source) as path:
                context.load_verify_locations(path)
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"{described(source)} holds no PEM revocation list") from error
    if settings.crls:
        chain = settings.crl_check == "chain"
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN if chain else ssl.VERIFY_CRL_CHECK_LEAF


# --- contexts handed in ----------------------------------------------------------------------------------------------


def adopt_context(context: ssl.SSLContext, settings: TlsSettings, role: Role) -> None:
    """Check a context that the caller made, and tighten what no caller wants loose.

    Renegotiation is switched off, and so is the common name as the name of a server; a server that asks for client
    certificates gives no tickets, since nothing else looks at its revocation lists again.

    Raises:
        UsageError: it verifies nothing and `settings.verify` does not say so; it writes a key log that nobody named.
    """
    wrong = ssl.PROTOCOL_TLS_SERVER if role is Role.INITIATOR else ssl.PROTOCOL_TLS_CLIENT
    if context.protocol == wrong:
        raise UsageError(f"this ssl.SSLContext is made for the other role than {role.value}")
    key_log = getattr(context, "keylog_filename", None)
    if key_log is not None and str(key_log) != str(settings.key_log):
        raise UsageError(
            "this ssl.SSLContext writes a key log (ssl.create_default_context takes SSLKEYLOGFILE): "
            "name the same file as key_log, or make the context without"
        )
    if key_log is not None:
        prepare_key_log(key_log)
    elif settings.key_log is not None:
        prepare_key_log(settings.key_log)
        context.keylog_filename = str(settings.key_log)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    if role is Role.INITIATOR:
        if settings.verify == "full":
            if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
                raise UsageError(
                    "this ssl.SSLContext does not verify the server (CERT_NONE, or check_hostname off): "
                    'say verify="none" if that is meant'
                )
            context.hostname_checks_common_name = False
    elif context.verify_mode != ssl.CERT_NONE or not settings.resumes:
        _without_tickets(context)


# --- endpoints -------------------------------------------------------------------------------------------------------


class _Sessions:
    """The sessions that a client may resume, one a host; each is taken out when it is used (RFC 8446 C.4)."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, ssl.SSLSession] = OrderedDict()
        self._looks = 0

    def keeper(self, host: str) -> Callable[[ssl.SSLSession], None] | None:
        """What keeps a new session with `host`; `None` where looking for more would leak too much."""
        if SESSION_LEAKS and self._looks >= MAX_LEAKS:
            return None
        self._looks += 1
        return partial(self.keep, host)

    def take(self, host: str) -> ssl.SSLSession | None:
        return self._sessions.pop(host, None)

    def keep(self, host: str, session: ssl.SSLSession) -> None:
        self._sessions[host] = session
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)


@dataclass
class _ClientState:
    context: ssl.SSLContext
    judge: Judge
    sessions: _Sessions | None


class StdlibClient(Reloaded[_ClientState]):
    """An initiator on `ssl`.

    Args:
        settings: what is wanted.
        credential: the client certificate, or `None`.
        context: a context handed in, in place of one made from `settings`.
    """

    def __init__(
        self, settings: TlsSettings, credential: Certificate | None = None, *, context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__((*settings.watched, *sources_of([] if credential is None else [credential])))
        self._settings = settings
        self._credential = credential
        self._context = context
        if context is not None:
            adopt_context(context, settings, Role.INITIATOR)
            if credential is not None:
                _load_key(context, credential)
        self.current()

    def make(self) -> _ClientState:
        """Read everything."""
        settings = self._settings
        resumption = settings.resumes
        if self._context is None:
            context = make_context(settings, Role.INITIATOR, self._credential)
        else:
            context = self._context
            looks_up = ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_CRL_CHECK_CHAIN
            resumption = resumption and not context.verify_flags & looks_up  # its lists cannot be asked again
        return _ClientState(context, Recheck.of(settings), _Sessions() if resumption else None)

    def connection(self, host: str | None) -> StdlibConnection:
        """A new connection to `host`."""
        state = self.current()
        if host is None and state.context.check_hostname:
            raise TargetUnknown("TLS proves the name of the server: give a target")
        sessions = state.sessions if host is not None else None
        return StdlibConnection(
            state.context,
            Role.INITIATOR,
            server_hostname=host,
            alpn=self._settings.alpn,
            resume=None if sessions is None or host is None else sessions.take(host),
            keep=None if sessions is None or host is None else sessions.keeper(host),
            judge=state.judge,
        )


@dataclass
class _ServerState:
    own: list[OwnCertificate]
    judge: Judge
    contexts: dict[tuple[int, str | None], ssl.SSLContext] = field(
        default_factory=dict[tuple[int, str | None], ssl.SSLContext]
    )
    unresumed: dict[int, UnresumedContexts] = field(default_factory=dict[int, UnresumedContexts])


class StdlibServer(Reloaded[_ServerState]):
    """An acceptor on `ssl`: a context, and with it ticket keys, for each certificate and each name that it serves.

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
        state = _ServerState([OwnCertificate.load(one) for one in self._credentials], Recheck.of(self._settings))
        for index, own in enumerate(state.own):
            make = partial(make_context, self._settings, Role.ACCEPTOR, own.credential, tickets=False)
            state.unresumed[index] = UnresumedContexts(make)
        return state

    def _resuming(self, state: _ServerState, own: int, name: str | None) -> ssl.SSLContext | None:
        """The context with the tickets of `name`; `None` where there is to be none."""
        context = state.contexts.get((own, name))
        if context is None and len(state.contexts) >= MAX_NAMES:
            return None
        if context is None or cached(context) > MAX_CACHED:
            context = make_context(self._settings, Role.ACCEPTOR, state.own[own].credential)
            state.contexts[own, name] = context
        return context

    def connection(self, hello: ClientHello) -> StdlibConnection:
        """A new connection for a client that asks for `hello`."""
        state = self.current()
        own, serves = choose(state.own, hello.server_name)
        index = state.own.index(own)
        resumes = serves and self._settings.resumes
        context = self._resuming(state, index, hello.server_name) if resumes else None
        if context is None:
            return UnresumedConnection(
                state.unresumed[index].choose(hello.session_id),
                alpn=self._settings.alpn,
                server_name=hello.server_name,
                own_certificate=own.der,
            )
        return StdlibConnection(
            context,
            Role.ACCEPTOR,
            alpn=self._settings.alpn,
            server_name=hello.server_name,
            own_certificate=own.der,
            judge=state.judge,
        )


class ContextServer:
    """An acceptor on a context handed in.

    Args:
        context: the context, with its certificates.
        settings: alpn, key log, and whether it verifies.
        credential: a certificate to load into it, for bindings; a context does not tell which it has.

    Raises:
        UsageError: the context cannot be adopted, or the certificate not be loaded.
    """

    def __init__(self, context: ssl.SSLContext, settings: TlsSettings, credential: Certificate | None = None) -> None:
        adopt_context(context, settings, Role.ACCEPTOR)
        self._context = context
        self._settings = settings
        self._own_certificate: bytes | None = None
        if credential is not None:
            own = OwnCertificate.load(credential)
            _load_key(context, credential)
            if context.sni_callback is None:  # which chooses among contexts, and with them certificates
                self._own_certificate = own.der
        self._recheck = Recheck.of(settings)

    def connection(self, hello: ClientHello) -> StdlibConnection:
        """A new connection for a client that asks for `hello`."""
        return StdlibConnection(
            self._context,
            Role.ACCEPTOR,
            alpn=self._settings.alpn,
            server_name=hello.server_name,
            own_certificate=self._own_certificate,
            judge=self._judge,
        )

    def _judge(self, session: TlsSession) -> None:
        """OpenSSL's own cache, which no context of `ssl` can do without, resumes TLS 1.2 sessions by their IDs."""
        self._recheck(session)
        if session.resumed and self._context.verify_mode != ssl.CERT_NONE:
            raise HandshakeError(
                "a session was resumed by its ID, and the revocation lists of a context handed in cannot be asked "
                "again: give Schannel the lists and authorities in place of a context",
                kind=ErrorKind.REVOCATION_UNKNOWN,
            )
