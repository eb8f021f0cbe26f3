"""TSRequests through the TLS tunnel, in both directions, and what both roles do alike with them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, Final

from securestream.channel_bindings import ChannelBindings
from securestream.errors import (
    ContextError,
    ErrorKind,
    HandshakeError,
    InvalidToken,
    LimitExceeded,
    MalformedMessage,
    PeerRefused,
    QualityNotMet,
    SecureStreamError,
    Unsupported,
)
from securestream.options import BindingPolicy, ContextFlags, ImpersonationLevel, Options, Protection, Role
from securestream.provider import Admission, Effect, Established, SecurityContext
from securestream.records.base import RecordConnection
from securestream.records.tunnel import TlsTunnel
from securestream.wire import der
from securestream_providers.credssp.messages import NONCE_SIZE, NegoToken, TSRequest, signed_ntstatus
from securestream_providers.credssp.policy import Policy

_SEQUENCE: Final = 0x30
_HEADER: Final = 2
_ENVELOPE: Final = 1024
"""What a TSRequest may have around its longest token."""
_NEEDED: Final = ContextFlags.CONFIDENTIALITY | ContextFlags.INTEGRITY
_ERRORS_SINCE: Final = 3
_NO_ERRORS_IN: Final = 5
"""Versions 3, 4 and 6 know errorCode ([MS-CSSP] 2.2.1); whoever sends one to 5 is understood all the same."""


class Conversation:
    """The TSRequests of one handshake.

    The version that a peer states in its first one is the version of all; the nonce of an initiator is the same in
    all (SECURITY: CredSSP).

    Args:
        tunnel: the TLS connection.
        policy: what is allowed.
        options: for their limits.
    """

    def __init__(self, tunnel: TlsTunnel, policy: Policy, options: Options) -> None:
        self.tunnel = tunnel
        self._policy = policy
        self._limit = options.limits.token_size + _ENVELOPE
        self._peer: int | None = None
        self.nonce: bytes | None = None
        """The peer's, as it came, or what an initiator sends."""
        self.last_word: bytes | None = None
        """What a refusal says to an initiator that has sent its last TSRequest, and reads none any more."""

    @property
    def version(self) -> int:
        """The version in force.

        Raises:
            Unsupported: the peer has not stated its version yet.
        """
        if self._peer is None:
            raise Unsupported(
                "the mechanism inside CredSSP is complete before the server stated its version: "
                "use one that answers (Kerberos with mutual authentication, NTLM, Negotiate)"
            )
        return self._policy.agree(self._peer)

    def send(
        self,
        *,
        token: bytes | None = None,
        pub_key_auth: bytes | None = None,
        auth_info: bytes | None = None,
        error: ErrorKind | None = None,
        nonce: bytes | None = None,
    ) -> None:
        """Put a TSRequest into the tunnel, under this end's own version; it leaves with the next `receive`."""
        message = TSRequest(
            version=self._policy.version,
            nego_tokens=None if token is None else (NegoToken(token),),
            auth_info=auth_info,
            pub_key_auth=pub_key_auth,
            error_code=None if error is None else signed_ntstatus(error.ntstatus),
            client_nonce=nonce,
        )
        self.tunnel.send(message.encode())

    def receive(self) -> Generator[Effect[Any], Any, TSRequest]:
        """The peer's next TSRequest; what follows it stays in the tunnel's connection.

        Raises:
            InvalidToken: it is none, or its version or nonce changed.
            LimitExceeded: it says that it is longer than the limit, of which nothing was buffered.
            Downgrade: the peer is vulnerable, and policy refuses such.
            PeerRefused: it carries an error.
        """
        head = yield from self.tunnel.receive(_HEADER)
        if head[0] != _SEQUENCE:
            raise InvalidToken("the peer's octets within TLS are no TSRequest: it speaks something else than CredSSP")
        long_form = head[1] & 0x7F if head[1] & 0x80 else 0
        if long_form > 4:
            raise InvalidToken("the length of the peer's TSRequest cannot be read")
        if long_form:
            head += yield from self.tunnel.receive(long_form)
        size = der.element_size(head, 1 << 33)
        if size is None or size <= len(head):
            raise InvalidToken("the peer's TSRequest is empty, or its length cannot be read")
        if size > self._limit:
            raise LimitExceeded(f"the peer's TSRequest of {size} octets is over the limit of {self._limit}")
        message = TSRequest.decode(head + (yield from self.tunnel.receive(size - len(head))))
        self._check(message)
        return message

    def _check(self, message: TSRequest) -> None:
        if message.ntstatus:
            raise refused_by_peer(message.ntstatus)
        if self._peer is not None and message.version != self._peer:
            raise InvalidToken("the peer's version of CredSSP changed within the handshake")
        self._peer = message.version
        self._policy.agree(message.version)
        nonce = message.client_nonce
        if nonce is None:
            return
        if len(nonce) != NONCE_SIZE or (self.nonce is not None and nonce != self.nonce):
            raise InvalidToken("the client's nonce changed within the handshake, or has not 32 octets")
        self.nonce = nonce

    def refusal(self, kind: ErrorKind) -> bytes | None:
        """What tells an initiator why it is refused, as records; a close_notify where there is no word for it.

        There is none behind an error, which ends the exchange: pyspnego's clients read on for ever at a close_notify.
        """
        known = self._peer is not None and min(self._peer, self._policy.version)
        try:
            if self.last_word is not None:
                self.tunnel.send(self.last_word)
            elif known and known >= _ERRORS_SINCE and known != _NO_ERRORS_IN:
                self.send(error=kind)
                return self.tunnel.take()
        except SecureStreamError:  # TLS has failed: only its alert is owed
            pass
        return self.tunnel.close()


def refused_by_peer(code: int) -> PeerRefused:
    """The peer's NTSTATUS as an exception."""
    if code in _NOT_ADMITTED:
        return not_admitted(f"NTSTATUS 0x{code:08X}", code)
    kind = next((kind for kind in ErrorKind if kind.ntstatus == code), ErrorKind.LOGON_DENIED)
    if code in _MORE_DENIALS:
        kind = ErrorKind.LOGON_DENIED
    return PeerRefused(
        f"the peer refused the logon (NTSTATUS 0x{code:08X}): check the user name, the password and the domain, "
        "and whether the account may log on there",
        kind=kind,
        code=code,
    )


def not_admitted(word: str, code: int) -> PeerRefused:
    """The error of a user whom the server knows and does not admit.

    Args:
        word: how it said so.
        code: its number.
    """
    return PeerRefused(
        f"the server does not admit this user ({word}): let its administrator allow the logon",
        kind=ErrorKind.NOT_AUTHORIZED,
        code=code,
    )


_NOT_ADMITTED: Final = frozenset((ErrorKind.NOT_AUTHORIZED.ntstatus, 0xC000015B))
"""Access denied, and the type of logon not granted ([MS-ERREF] 2.3)."""
_MORE_DENIALS: Final = frozenset((0xC0000064, 0xC000006A, 0xC000006D, 0xC000006E, 0xC0000071, 0xC0000072, 0xC0000234))
"""No such user, wrong password, logon failure, restriction, expired password, disabled, locked ([MS-ERREF] 2.3)."""


def context_of(established: Established) -> SecurityContext:
    """The context of the negotiation inside, fit to seal with.

    Raises:
        QualityNotMet: it does not encrypt.
    """
    context = established.result
    if not isinstance(context, SecurityContext) or _NEEDED & ~context.flags:
        raise QualityNotMet("the mechanism inside CredSSP must encrypt and sign: let both ends allow it")
    return context


def opened(context: SecurityContext, sealed: bytes, what: str) -> bytes:
    """What the peer sealed.

    Raises:
        InvalidToken: it was altered, is no token of this context, or was not encrypted.
    """
    try:
        data, encrypted = context.unwrap(sealed)
    except ContextError as damaged:
        raise InvalidToken(f"the peer's {what} was altered on its way, or is not the next message") from damaged
    if not encrypted:
        raise InvalidToken(f"the peer's {what} came in clear")
    return data


def inner_options(options: Options, connection: RecordConnection, role: Role) -> Options:
    """What is asked of the negotiation inside: sealing, mutual authentication, bindings to the TLS around it.

    pubKeyAuth binds every CredSSP to the server's key, and Windows' clients send empty bindings beside it: an acceptor
    whose policy is the default one therefore takes empty ones. A credential is delegated by CredSSP alone.
    """
    bindings = options.channel_bindings
    if bindings is None:
        bindings = _server_end_point(connection)
    policy = options.binding_policy
    if role is Role.ACCEPTOR and policy is BindingPolicy.WHEN_ADVERTISED:
        policy = BindingPolicy.WHEN_SUPPORTED
    return replace(
        options,
        protection=Protection.ENCRYPT_AND_SIGN,
        flags=(options.flags | ContextFlags.MUTUAL) & ~ContextFlags.DELEGATE,
        impersonation=ImpersonationLevel.IMPERSONATION if role is Role.INITIATOR else ImpersonationLevel.IDENTIFICATION,
        channel_bindings=bindings,
        binding_policy=policy,
    )


def _server_end_point(connection: RecordConnection) -> ChannelBindings | None:
    try:
        return connection.channel_bindings("tls-server-end-point")
    except Unsupported:  # the certificate's signature has no hash (RFC 5929 4.1)
        return None


def judged(proved: Established) -> Generator[Effect[Any], Any, HandshakeError | None]:
    """The refusal of whoever judges the peer; `None` for none."""
    try:
        yield from Admission(proved)
    except HandshakeError as refused:
        refused.token = None  # it would leave outside of TLS
        return refused
    return None


def required(octets: bytes | None, what: str) -> bytes:
    """A field that is due.

    Raises:
        InvalidToken: it is absent.
    """
    if octets is None:
        raise InvalidToken(f"the peer's TSRequest carries no {what}, which is due")
    return octets


def malformed(error: MalformedMessage) -> InvalidToken:
    """The error of octets that are no message."""
    return InvalidToken(f"the peer's message is malformed or damaged: {error}")
