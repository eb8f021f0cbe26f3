"""Schemes whose values are a security package's tokens in base64: Negotiate (RFC 4559), NTLM ([MS-NTHT]), others alike.

Who sends which token is the package's business. HTTP's own rules are here: the client is done only when the server's
last token, which comes with its final response, was verified; a second leg needs the connection of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from securestream.arguments import check_choice
from securestream.credentials import Credential
from securestream.errors import HandshakeError, InvalidToken, NoCredentials, PeerRefused, Unsupported
from securestream.http.fields import Challenge, encode_token
from securestream.http.schemes import HttpField, HttpReply, HttpRequest, SendChallenge, SendRequest, ServerProof
from securestream.machine import Step
from securestream.nested import Nested
from securestream.options import Options, Role
from securestream.principal import unauthenticated
from securestream.provider import Capability, Established, Handshake, SecurityPackage, TargetName
from securestream.registry import package_of
from securestream.sasl.mechanism import NoLayer


class TokenScheme:
    """A security package under its HTTP name, for either end: ``TokenScheme("Negotiate", Negotiate())``.

    Args:
        name: the scheme's name.
        package: whose tokens it carries; the name of an installed one, or the package itself.
        credential: as whom, or with what to verify; `None` for the package's default.
        service: the class of the service principal name that a client asks for, ``HTTP/<host of the origin>``.
        needs_connection: whether each handshake takes several legs; `None` for "NTLM does, others may".
        allow_unbound: whether to authenticate inside TLS without channel bindings, where the certificate is not known
            or has no tls-server-end-point: a man in the middle with a certificate of his own can then relay.
        server_proof: ``"when sent"`` also lets a client take a final response without the token that proves the server:
            proxies send none with their answer to CONNECT. `Established.peer` is then nobody.

    Raises:
        UsageError: no package has that name, or an argument cannot be what it is.
    """

    def __init__(
        self,
        name: str,
        package: str | SecurityPackage,
        credential: Credential | None = None,
        *,
        service: str = "HTTP",
        needs_connection: bool | None = None,
        allow_unbound: bool = False,
        server_proof: ServerProof = "required",
    ) -> None:
        check_choice("server_proof", server_proof, get_args(ServerProof))
        self._name = name
        self._package = package_of(package)
        self._credential = credential
        self._service = service
        self._needs_connection = name.upper() == "NTLM" if needs_connection is None else needs_connection
        self._allow_unbound = allow_unbound
        self._server_proof = server_proof

    def __repr__(self) -> str:
        return f"<TokenScheme {self._name}>"

    @property
    def name(self) -> str:
        """The scheme's name."""
        return self._name

    @property
    def needs_connection(self) -> bool:
        """Whether each handshake takes several requests on one connection."""
        return self._needs_connection

    @property
    def needs_body(self) -> bool:
        """Tokens say nothing of the content."""
        return False

    # --- client --------------------------------------------------------------------------------------------------

    def initiate(self, challenges: Sequence[Challenge], request: HttpRequest, options: Options) -> Handshake | None:
        """The client's handshake; without a challenge, too: the server's name is all that a first token needs.

        Raises:
            NoCredentials: the package cannot use the credential.
            Unsupported: the channel bindings of this TLS connection are not known.
        """
        if unusable := self._package.usable(self._credential, Role.INITIATOR):
            raise NoCredentials(f"{self._name}: {unusable.reason}")
        self._check_bound(request, options)
        return self._initiate(request, options)

    def _initiate(self, request: HttpRequest, options: Options) -> Handshake:
        target = TargetName(f"{self._service}/{request.origin.host}")
        handshake = self._package.initiate(self._credential, target, replace(options, in_turns=True))
        with Nested(handshake, limits=options.limits) as inner:
            step = yield from inner.step()
            further = False
            while step.token is not None:
                reply = yield from SendRequest(encode_token(self._name, step.token), same_connection=further)
                further = True
                token = self._token_of(reply)
                if step.established is not None:
                    self._check_end(reply, token)
                    return replace(step.established, token=None)  # it was sent
                if token is None and self._has_nothing_to_say(reply):
                    token = b""
                if token is None:
                    if reply.is_challenge or self._server_proof == "required":
                        raise self._unproved(reply)
                    return Established(NoLayer(self._name, Role.INITIATOR), unauthenticated(self._name))
                step = yield from inner.step(token)
                if not reply.is_challenge:
                    return self._completed(step, reply)
                if step.token is None:
                    raise self._refused(reply)
            raise InvalidToken(f"{self._name} has nothing to send, though the server asks for more")

    def _completed(self, step: Step, reply: HttpReply) -> Established:
        """The outcome, where the final response came with the token that completes the handshake."""
        if step.established is None or step.token is not None:
            raise InvalidToken(
                f"the server ended its {self._name} handshake with status {reply.status} before this end was complete: "
                "do not trust this response"
            )
        return step.established

    def _token_of(self, reply: HttpReply) -> bytes | None:
        challenges = reply.of_scheme(self._name)
        tokens = [token for challenge in challenges if (token := challenge.token) is not None]
        if len(tokens) > 1:
            raise InvalidToken(f"the response holds several tokens of {self._name}, of which one at most is meant")
        return tokens[0] if tokens else None

    def _has_nothing_to_say(self, reply: HttpReply) -> bool:
        """Whether a challenge without a token is an empty one: a server of TLS 1.3 owes nothing to a last flight."""
        stream = Capability.STREAM in self._package.info.capabilities
        return stream and reply.is_challenge and bool(reply.of_scheme(self._name))

    def _check_end(self, reply: HttpReply, token: bytes | None) -> None:
        if reply.is_challenge:
            raise self._refused(reply)
        if token is not None:
            raise InvalidToken(f"the server sent a token of {self._name} after the end of the handshake")

    def _unproved(self, reply: HttpReply) -> PeerRefused | InvalidToken:
        if reply.is_challenge:
            return self._refused(reply)
        return InvalidToken(
            f"the server answered {reply.status} without the {self._name} token that proves it: do not trust this "
            "response; see whether something between here and there removes WWW-Authenticate; of a proxy that never "
            'sends one take it with server_proof="when sent"'
        )

    def _refused(self, reply: HttpReply) -> PeerRefused:
        return PeerRefused(
            f"the server answered {reply.status} to our {self._name} token: check the credential, and that the server "
            f"is known as {self._service}/<its name in the URL>"
        )

    def _check_bound(self, request: HttpRequest, options: Options) -> None:
        if not request.origin.is_secure or options.channel_bindings is not None or self._allow_unbound:
            return
        raise Unsupported(
            f"{self._name} inside TLS needs channel bindings, and the server's certificate is not known here, or has "
            "no tls-server-end-point (Ed25519): give them in the options, or say allow_unbound=True"
        )

    # --- server --------------------------------------------------------------------------------------------------

    def challenges(self, request: HttpRequest, options: Options) -> Sequence[str]:
        """The scheme's name alone (RFC 4559 4.1)."""
        return (self._name,)

    def accept(self, request: HttpRequest, options: Options) -> Handshake:
        """The server's handshake.

        Raises:
            NoCredentials: the package cannot use the credential.
            Unsupported: the channel bindings of this TLS connection are not known.
        """
        if unusable := self._package.usable(self._credential, Role.ACCEPTOR):
            raise NoCredentials(f"{self._name}: {unusable.reason}")
        self._check_bound(request, options)
        return self._accept(request, options)

    def _accept(self, request: HttpRequest, options: Options) -> Handshake:
        try:
            with Nested(self._package.accept(self._credential, options), limits=options.limits) as inner:
                step = yield from inner.step(self._received(request))
                while not inner.is_established:
                    request = yield from SendChallenge(encode_token(self._name, step.token or b""))
                    step = yield from inner.step(self._received(request))
                return inner.established
        except HandshakeError as error:
            if error.token is not None:
                error.token = encode_token(self._name, error.token).encode("ascii")
            raise

    def _received(self, request: HttpRequest) -> bytes:
        authorization = request.authorization
        token = None if authorization is None or not authorization.is_scheme(self._name) else authorization.token
        if token is None:
            raise InvalidToken(f"the credentials hold no token of {self._name}: send {self._name} <base64>")
        return token

    def confirm(self, established: Established, request: HttpRequest, body: bytes | None) -> Sequence[HttpField]:
        """The package's last token, which proves the server, in the field that its challenges came in (RFC 4559 5)."""
        if established.token is None or Capability.STREAM in self._package.info.capabilities:
            return ()
        name = "Proxy-Authenticate" if request.proxy else "WWW-Authenticate"
        return (HttpField(name, encode_token(self._name, established.token)),)
