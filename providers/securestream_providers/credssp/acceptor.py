"""The acceptor: TLS, the negotiation inside, the proof of the key, and the credentials that come ([MS-CSSP] 3.1.5)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, NamedTuple

from securestream.credentials import Credential
from securestream.errors import (
    HandshakeError,
    InvalidToken,
    LogonDenied,
    MalformedMessage,
    NotAuthorized,
    Unsupported,
)
from securestream.nested import Nested
from securestream.options import Options, Role
from securestream.provider import Effect, Established, Handshake, SecurityContext, SecurityPackage
from securestream.records.tunnel import TlsTunnel
from securestream_providers.credssp import binding, credentials
from securestream_providers.credssp.conversation import (
    Conversation,
    context_of,
    inner_options,
    judged,
    malformed,
    opened,
    required,
)
from securestream_providers.credssp.messages import ADMITTED, DENIED, TSRequest
from securestream_providers.credssp.policy import Policy


def accept(
    policy: Policy,
    negotiation: SecurityPackage,
    tls: SecurityPackage,
    credential: Credential | None,
    certificate: Credential | None,
    options: Options,
) -> Handshake:
    """The acceptor's handshake.

    The verdict on the user is asked for (`Admission`) as soon as the client proved its key, before its credentials
    come: a client that is refused by an error code sends none. Where the early verdict was agreed, that is what tells
    it; its credentials, which it sends before it listens, stay unopened ([MS-RDPBCGR] 5.4.5.2).

    Args:
        policy: what is allowed.
        negotiation: the package inside.
        tls: the package around it.
        credential: what `negotiation` takes.
        certificate: what `tls` takes.
        options: what is wanted.
    """
    tunnel = yield from TlsTunnel.over(
        tls.accept(certificate, options), limits=options.limits, limit=2 * options.limits.token_size
    )
    talk = Conversation(tunnel, policy, options)
    try:
        return (yield from _authenticate(talk, policy, negotiation, credential, options))
    except MalformedMessage as error:
        refused = malformed(error)
        refused.token = talk.refusal(refused.kind)
        raise refused from error
    except HandshakeError as error:
        if error.token is None:  # else it is the alert of TLS itself
            error.token = talk.refusal(error.told or error.kind)
        raise


def _authenticate(
    talk: Conversation,
    policy: Policy,
    negotiation: SecurityPackage,
    credential: Credential | None,
    options: Options,
) -> Handshake:
    connection = talk.tunnel.connection
    certificate = connection.session.own_certificate
    if certificate is None:
        raise Unsupported(
            "CredSSP binds to this server's certificate, which its ssl.SSLContext does not tell: "
            "give the Certificate as a credential, too"
        )
    key = binding.public_key(certificate)
    inner_handshake = negotiation.accept(credential, inner_options(options, connection, Role.ACCEPTOR))
    with Nested(inner_handshake, limits=options.limits) as inner:
        negotiated = yield from _negotiate(talk, inner)
        outcome = inner.established
        context = context_of(outcome)
        if not outcome.peer.is_authenticated:
            raise LogonDenied("the client proved no identity: CredSSP is for users who have one")
        _verify_client(talk, context, key, negotiated.request)
        proved = Established(connection, outcome.peer, negotiation=outcome.negotiation)
        refused = yield from judged(proved)
        if refused is not None and not policy.early_authorization:
            raise refused
        proof = binding.plaintext(Role.ACCEPTOR, talk.version, key, talk.nonce)
        talk.send(token=negotiated.token, pub_key_auth=context.wrap(proof))
        # an errorCode would from here on be read as a verdict, or as the first data of the application
        talk.last_word = DENIED if policy.early_authorization else b""
        if refused is not None:
            yield from talk.receive()
            raise refused
        delegated = yield from _receive_credentials(talk, context, policy)
        context.discard()
        if policy.early_authorization:
            talk.tunnel.send(ADMITTED)
    return replace(proved, token=talk.tunnel.take(), delegated=delegated)


class _Negotiated(NamedTuple):
    """Where the negotiation ended: the message with the client's proof, and a token still owed to the client."""

    request: TSRequest
    token: bytes | None


def _negotiate(talk: Conversation, inner: Nested) -> Generator[Effect[Any], Any, _Negotiated]:
    """Run the negotiation inside, until the message that carries the client's proof is there."""
    received: bytes | None = None
    request: TSRequest | None = None
    while True:
        try:
            step = yield from inner.step(received)
        except HandshakeError as error:
            error.token = None  # it would leave outside of TLS, and clients look at errorCode
            raise
        if step.established is not None and request is not None:
            break
        if request is not None and request.pub_key_auth is not None:
            raise InvalidToken("the client proves its key before the negotiation is complete")
        if step.token is not None:
            talk.send(token=step.token)
        request = yield from talk.receive()
        _refuse_credentials(request)
        received = required(request.token, "token of the negotiation")
    if request.pub_key_auth is not None:  # it came with the client's last token
        return _Negotiated(request, step.token)
    if step.token is not None:
        talk.send(token=step.token)
    request = yield from talk.receive()
    _refuse_credentials(request)
    if request.nego_tokens is not None:
        raise InvalidToken("the client goes on negotiating where its proof of the key is due")
    return _Negotiated(request, None)


def _refuse_credentials(request: TSRequest) -> None:
    if request.auth_info is not None:
        raise InvalidToken("the client delegates before the keys are proved")


def _verify_client(talk: Conversation, context: SecurityContext, key: bytes, request: TSRequest) -> None:
    proof = opened(context, required(request.pub_key_auth, "pubKeyAuth"), "proof of its key")
    binding.check(proof, Role.INITIATOR, talk.version, key, talk.nonce)


def _receive_credentials(
    talk: Conversation, context: SecurityContext, policy: Policy
) -> Generator[Effect[Any], Any, Credential | None]:
    request = yield from talk.receive()
    if request.nego_tokens is not None or request.pub_key_auth is not None:
        raise InvalidToken("the client negotiates where its credentials are due")
    delegated = credentials.decode(opened(context, required(request.auth_info, "authInfo"), "credentials"))
    if delegated is None and not policy.restricted_admin:
        raise NotAuthorized("the client delegates nothing (restricted admin mode): restricted_admin=True would let it")
    return delegated
