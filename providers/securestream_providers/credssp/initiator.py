"""The initiator: TLS, the negotiation inside, the proof of the key, and only then the credentials ([MS-CSSP] 3.1.5)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from securestream.credentials import Certificate, Credential, find_form
from securestream.errors import HandshakeError, InvalidToken, MalformedMessage, PeerGone, Unsupported
from securestream.nested import Nested
from securestream.options import Options, Role
from securestream.principal import Principal
from securestream.provider import Effect, Established, Handshake, SecurityContext, SecurityPackage, TargetName
from securestream.records.tunnel import TlsTunnel
from securestream_providers.credssp import binding, credentials
from securestream_providers.credssp.conversation import (
    Conversation,
    context_of,
    inner_options,
    judged,
    malformed,
    not_admitted,
    opened,
    required,
)
from securestream_providers.credssp.messages import NONCE_SIZE, VERDICT_SIZE, TSRequest
from securestream_providers.credssp.policy import Policy


def initiate(
    policy: Policy,
    negotiation: SecurityPackage,
    tls: SecurityPackage,
    credential: Credential | None,
    target: TargetName | None,
    options: Options,
) -> Handshake:
    """The initiator's handshake; to whom it may delegate is settled before the first octet."""
    policy.require_target(target)
    certificate = find_form(credential, Certificate)
    tunnel = yield from TlsTunnel.over(
        _unresumed(tls).initiate(certificate, target, options),
        limits=options.limits,
        limit=2 * options.limits.token_size,
        apart=options.in_turns,
    )
    talk = Conversation(tunnel, policy, options)
    try:
        return (yield from _authenticate(talk, policy, negotiation, credential, target, options))
    except MalformedMessage as error:
        refused = malformed(error)
        refused.token = tunnel.close()
        raise refused from error
    except HandshakeError as error:
        if error.token is None:  # else it is the alert of TLS itself
            error.token = tunnel.close()
        raise


@runtime_checkable
class Resuming(Protocol):
    """What a package of TLS offers beside `SecurityPackage` when its clients resume sessions."""

    def unresumed(self) -> SecurityPackage:
        """The same package without that."""
        ...


def _unresumed(tls: SecurityPackage) -> SecurityPackage:
    """`tls` as CredSSP may use it: Windows' servers fail where the session of its TLS is a resumed one."""
    return tls.unresumed() if isinstance(tls, Resuming) else tls


def _authenticate(
    talk: Conversation,
    policy: Policy,
    negotiation: SecurityPackage,
    credential: Credential | None,
    target: TargetName | None,
    options: Options,
) -> Handshake:
    connection = talk.tunnel.connection
    certificate = connection.session.peer_certificate
    if certificate is None:
        raise Unsupported("CredSSP binds to the server's certificate, and this TLS connection has none")
    key = binding.public_key(certificate)
    inner_handshake = negotiation.initiate(credential, target, inner_options(options, connection, Role.INITIATOR))
    with Nested(inner_handshake, limits=options.limits) as inner:
        last = yield from _negotiate(talk, inner)
        context = context_of(inner.established)
        policy.require_host(talk.tunnel.peer, inner.established.peer, context)
        talk.nonce = options.random(NONCE_SIZE) if talk.version >= binding.HASHED_SINCE else None
        proof = binding.plaintext(Role.INITIATOR, talk.version, key, talk.nonce)
        talk.send(token=last, pub_key_auth=context.wrap(proof), nonce=talk.nonce)
        yield from _verify_server(talk, context, key)
        outcome = inner.established
        proved = Established(connection, _who(outcome.peer, talk.tunnel.peer), negotiation=outcome.negotiation)
        if refused := (yield from judged(proved)):
            raise refused
        _delegate(talk, context, None if policy.restricted_admin else credentials.to_delegate(credential))
        context.discard()
        if policy.early_authorization:
            yield from _hear_verdict(talk.tunnel)
    return replace(proved, token=talk.tunnel.take())


def _negotiate(talk: Conversation, inner: Nested) -> Generator[Effect[Any], Any, bytes | None]:
    """Run the negotiation inside; give its last token, which leaves with the proof of the key."""
    received: bytes | None = None
    while True:
        try:
            step = yield from inner.step(received)
        except HandshakeError as error:
            error.token = None  # it would leave outside of TLS; whoever initiates just closes
            raise
        if step.established is not None:
            return step.token
        if step.token is not None:
            talk.send(token=step.token)
        reply = yield from _hear(talk)
        if reply.pub_key_auth is not None or reply.auth_info is not None:
            raise InvalidToken("the server proves its key before the negotiation is complete")
        received = required(reply.token, "token of the negotiation")


def _hear(talk: Conversation) -> Generator[Effect[Any], Any, TSRequest]:
    """The server's next message. Servers of versions 2 and 5 refuse a logon by closing, and so do others."""
    try:
        return (yield from talk.receive())
    except PeerGone as gone:
        raise PeerGone(
            "the server closed the connection within CredSSP without saying why: check the user name and the password, "
            "and whether the account may log on there; look at its log"
        ) from gone


def _verify_server(talk: Conversation, context: SecurityContext, key: bytes) -> Generator[Effect[Any], Any, None]:
    """The server's proof that its end of TLS has the same key; nothing is delegated without it."""
    reply = yield from _hear(talk)
    if reply.nego_tokens is not None or reply.auth_info is not None:
        raise InvalidToken("the server goes on negotiating where its proof of the key is due")
    proof = opened(context, required(reply.pub_key_auth, "pubKeyAuth"), "proof of its key")
    binding.check(proof, Role.ACCEPTOR, talk.version, key, talk.nonce)


def _delegate(talk: Conversation, context: SecurityContext, credential: Credential | None) -> None:
    """Seal the credentials, for the context and for TLS. No exception passes a frame that holds them."""
    talk.send(auth_info=context.wrap(credentials.encode(credential)))


def _hear_verdict(tunnel: TlsTunnel) -> Generator[Effect[Any], Any, None]:
    code = int.from_bytes((yield from tunnel.receive(VERDICT_SIZE)), "little")
    if code:
        raise not_admitted(f"early user authorization, 0x{code:08X}", code)


def _who(inner: Principal, outer: Principal | None) -> Principal:
    """The server, as the mechanism inside proved it, else as TLS did."""
    return inner if inner.is_authenticated or outer is None else outer
