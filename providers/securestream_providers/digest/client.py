"""HTTP Digest at the client's end (RFC 7616 3.4-3.6): chooses a challenge, answers it, verifies the server's proof.

One `DigestClient` serves any number of requests and origins: what a server's challenge said is remembered for the next
requests to that origin, which then carry credentials at once.
"""

from __future__ import annotations

import base64
import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn, get_args

from securestream.arguments import check_choice, members
from securestream.credentials import Credential, Password, find_form, join_name
from securestream.errors import BadBindings, InvalidToken, MalformedMessage, PeerRefused, QualityNotMet, UsageError
from securestream.http.fields import Challenge
from securestream.http.schemes import HttpReply, HttpRequest, Origin, SendRequest, ServerProof
from securestream.options import BindingPolicy, ContextFlags, Options, Role
from securestream.principal import NameType, Principal, unauthenticated
from securestream.provider import Established, Handshake
from securestream.redaction import Redacted, Secret
from securestream_providers.digest.algorithms import CLIENT_ALGORITHMS, Algorithm, Qop, Session, equal
from securestream_providers.digest.bindings import RANDOM_SIZE, DigestBinding, is_marked
from securestream_providers.digest.context import PACKAGE, DigestContext
from securestream_providers.digest.messages import SCHEME, DigestChallenge, DigestInfo, DigestResponse, to_field

REMEMBERED: Final = 256
"""Origins whose last challenge a client remembers; beyond them the oldest is forgotten."""

_NOT_ASKED: Final = (
    "channel bindings are demanded, and the server does not ask for them: nothing would keep whoever stands in between "
    "from passing the credentials on; use Negotiate, or another policy"
)
_NO_BINDINGS: Final = (
    "channel bindings are demanded, and the server's certificate is not known here, or has no tls-server-end-point "
    "(Ed25519): give them in the options, or another policy"
)


@dataclass(frozen=True, repr=False)
class _Space(Redacted):
    """A protection space that was answered: what the next request to it needs."""

    challenge: DigestChallenge
    algorithm: Algorithm
    qop: Qop
    cnonce: str = field(repr=False)
    """Of all requests of a session form; other forms have a new one each time."""
    counts: Iterator[int] = field(repr=False)
    binding: DigestBinding | None = None
    """What its responses are bound to, where the server asks for that."""


class DigestClient:
    """HTTP Digest as a client's scheme, with the password to answer with.

    Where a server asks for them (`bindings`), responses are bound to ``HTTP/<host of the origin>`` and to the channel
    bindings of the options. With `BindingPolicy.ALWAYS` in these, no response leaves unbound but to ``http:``: a server
    that does not ask gets none, nor one whose channel has no bindings here (a certificate with Ed25519).

    Args:
        credential: a `Password`; a domain goes before the name, ``DOMAIN\\user``.
        algorithms: what may be used. The strongest that a server offers is. MD5 is for those who name it.
        qops: what may be used, the preferred one first. ``AUTH_INT`` covers contents, and needs them at hand.
        userhash: whether the name is sent hashed where the server allows it.
        server_proof: ``"when sent"`` also takes a success without the server's proof (``rspauth``), so that whoever
            answers need not know the password; IIS and many devices send none. A wrong one is refused always. Errors
            and redirects without one are from nobody (mod_auth_digest proves none of them): `Established.peer` says so.

    Raises:
        UsageError: the credential has no password, nothing may be used, or a value cannot be one.
    """

    name = SCHEME
    needs_connection = False

    def __init__(
        self,
        credential: Credential,
        *,
        algorithms: Sequence[Algorithm] = CLIENT_ALGORITHMS,
        qops: Sequence[Qop] = (Qop.AUTH,),
        userhash: bool = True,
        server_proof: ServerProof = "required",
    ) -> None:
        password = find_form(credential, Password)
        if password is None:
            raise UsageError("Digest answers with a password: give a credential of type Password")
        self._password = password
        self._algorithms = frozenset(members("algorithms", algorithms, Algorithm))
        self._qops = members("qops", qops, Qop)
        if not self._algorithms or not self._qops:
            raise UsageError("Digest needs at least one algorithm and one qop that may be used")
        check_choice("server_proof", server_proof, get_args(ServerProof))
        self._userhash = userhash
        self._server_proof = server_proof
        self._spaces: dict[tuple[Origin, bool], _Space] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'/'.join(sorted(algorithm.token for algorithm in self._algorithms))}>"

    @property
    def needs_body(self) -> bool:
        """Whether contents are looked at."""
        return Qop.AUTH_INT in self._qops

    def initiate(self, challenges: Sequence[Challenge], request: HttpRequest, options: Options) -> Handshake | None:
        """The handshake that authenticates `request`; see `securestream.http.schemes.ClientScheme`.

        Raises:
            InvalidToken: no challenge can be answered, and one is malformed.
            BadBindings: bindings are demanded, and no challenge that could be answered asks for them, or there are
                none of this channel.
        """
        if not challenges:
            known = self._spaces.get((request.origin, request.proxy))
            if known is None or not _within(known.challenge, request) or not _is_still_bound(known, request, options):
                return None
            return self._run(known, request, options)
        space = self._choose(challenges, request, options)
        return None if space is None else self._run(space, request, options, fresh=True)

    def forget(self) -> None:
        """Forget what servers said: the next requests wait for a challenge."""
        self._spaces.clear()

    # --- challenges

    def _choose(self, challenges: Sequence[Challenge], request: HttpRequest, options: Options) -> _Space | None:
        """The strongest challenge that may be answered (RFC 7616 3.7); among equals the first."""
        best: _Space | None = None
        malformed: MalformedMessage | None = None
        unbound = False
        for challenge in challenges:
            try:
                parsed = DigestChallenge.parse(challenge)
            except MalformedMessage as error:  # raised below, unless another challenge can be answered
                malformed = error
                continue
            algorithm, qop = parsed.algorithm, self._qop(parsed, request)
            if algorithm is None or algorithm not in self._algorithms or qop is None:
                continue
            binding = _binding(parsed, request, options)
            if not _is_enough(binding, request, options):
                unbound = True
                continue
            if best is None or algorithm.strength > best.algorithm.strength:
                best = _Space(parsed, algorithm, qop, _cnonce(binding, options), itertools.count(1), binding)
        if best is None and unbound:
            raise BadBindings(_NO_BINDINGS if options.channel_bindings is None else _NOT_ASKED)
        if best is None and malformed is not None:
            raise InvalidToken(f"the server's Digest challenge is malformed: {malformed}") from malformed
        return best

    def _qop(self, challenge: DigestChallenge, request: HttpRequest) -> Qop | None:
        """The preferred quality that is offered; one that covers contents only where they are at hand."""
        for qop in self._qops:
            if qop in challenge.qops and (qop is Qop.AUTH or request.body is not None):
                return qop
        return None

    # --- the exchange

    def _run(self, space: _Space, request: HttpRequest, options: Options, *, fresh: bool = False) -> Handshake:
        """Answers a challenge; one that is no longer good, once more.

        Args:
            space: what to answer with.
            request: what is sent.
            options: the caller's.
            fresh: whether the server gave `space` in answer to this request.
        """
        while True:
            session, ha1, response = self._respond(space, request, options)
            reply = yield from SendRequest(response.encode())
            if not reply.is_challenge:
                return self._finish(space, session, ha1, request, reply)
            self._spaces.pop((request.origin, request.proxy), None)
            again = self._choose(reply.of_scheme(SCHEME), request, options)
            if again is None or (fresh and not again.challenge.stale):
                _refused(space, again)
            if fresh and space.challenge.stale:
                _refused(space, again)  # a server that finds every nonce stale
            space, fresh = again, True

    def _respond(
        self, space: _Space, request: HttpRequest, options: Options
    ) -> tuple[Session, Secret[bytes], DigestResponse]:
        challenge, algorithm = space.challenge, space.algorithm
        cnonce = space.cnonce if algorithm.session else _cnonce(space.binding, options)
        session = Session(algorithm, challenge.nonce, cnonce, space.qop, next(space.counts))
        name = join_name(self._password.user, self._password.domain)
        octets, realm = _octets(name), challenge.realm.encode("latin-1")
        verifier = algorithm.verifier(octets, realm, _octets(self._password.password.reveal()))
        ha1 = Secret(session.ha1(verifier))
        del verifier
        hashed = self._userhash and challenge.userhash
        response = DigestResponse(
            username=algorithm.hash(octets + b":" + realm).decode("ascii") if hashed else name,
            realm=challenge.realm,
            nonce=challenge.nonce,
            uri=request.target,
            response=session.response(ha1.reveal(), request.method, request.target, request.body),
            algorithm=algorithm,
            qop=space.qop,
            cnonce=cnonce,
            nc=session.nc,
            opaque=challenge.opaque,
            userhash=hashed,
            extended=not hashed and challenge.utf_8 and not name.isascii(),
            binding=space.binding,
        )
        return session, ha1, response

    def _finish(
        self, space: _Space, session: Session, ha1: Secret[bytes], request: HttpRequest, reply: HttpReply
    ) -> Established:
        """The outcome, once the server's proof was verified."""
        try:
            info = DigestInfo.parse(reply.information)
        except MalformedMessage as error:
            raise InvalidToken(f"the server's Authentication-Info is malformed: {error}") from error
        context = DigestContext(
            Role.INITIATOR,
            ContextFlags.MUTUAL,
            session=session,
            ha1=ha1,
            uri=request.target,
            bound=space.binding is not None and not space.binding.is_unbound,
        )
        if info.rspauth is None:
            if self._server_proof == "required" and 200 <= reply.status < 300:
                raise QualityNotMet(
                    "the server did not prove that it knows the password (no rspauth in Authentication-Info): "
                    'if it cannot, allow that with server_proof="when sent"'
                )
            context.flags = ContextFlags.NONE
        else:
            _verify(info, context, reply)
        self._remember(space, info, request)
        realm = Principal(space.challenge.realm, PACKAGE, name_type=NameType.SERVICE)
        return Established(context, realm if ContextFlags.MUTUAL in context.flags else unauthenticated(PACKAGE))

    def _remember(self, space: _Space, info: DigestInfo, request: HttpRequest) -> None:
        """Keep what the next request needs. A session form stays with the nonce that its key covers."""
        if info.nextnonce is not None and info.rspauth is not None and not space.algorithm.session:
            challenge = replace(space.challenge, nonce=info.nextnonce)
            space = replace(space, challenge=challenge, counts=itertools.count(1))
        key = request.origin, request.proxy
        self._spaces.pop(key, None)
        while len(self._spaces) >= REMEMBERED:
            self._spaces.pop(next(iter(self._spaces)), None)
        self._spaces[key] = space


def _verify(info: DigestInfo, context: DigestContext, reply: HttpReply) -> None:
    """Check the server's proof (RFC 7616 3.5); it answers this request alone, with the quality that was used."""
    session = context.session
    if session.qop is Qop.AUTH_INT and reply.body is None:
        raise QualityNotMet("the server's proof covers the response's content, which is not at hand: read it first")
    expected = context.proof(reply.body)
    answers = (info.qop or session.qop) is session.qop and (info.nc or session.nc) == session.nc
    answers = answers and (info.cnonce is None or info.cnonce == session.cnonce)
    if not answers or not equal(info.rspauth or "", expected.rspauth or ""):
        raise InvalidToken(
            "the server's proof (rspauth) is wrong: somebody who does not know the password answers in its place, or "
            "changed the response"
        )


def _refused(space: _Space, again: _Space | None) -> NoReturn:
    if again is None:
        raise PeerRefused("the server refused the digest, and offers nothing that may be answered instead")
    hint = ""
    if space.binding is not None and space.binding.is_unbound:
        hint = "; it was bound to no channel, as no channel bindings are known here: the server may demand them"
    elif space.binding is not None:
        hint = "; it was bound to the channel to this server: a proxy that ends TLS on the way would be in between"
    raise PeerRefused(f"the server refused the digest: check user, realm and password{hint}")


def _within(challenge: DigestChallenge, request: HttpRequest) -> bool:
    """Whether a request belongs to the protection space (RFC 7616 3.3, domain; of proxies it is ignored)."""
    if not challenge.domain or request.proxy:
        return True
    for uri in challenge.domain.split(" "):
        prefix = uri
        if "://" in uri:
            authority, slash, path = uri.partition("://")[2].partition("/")
            try:
                if Origin.parse(f"{uri.partition('://')[0]}://{authority}") != request.origin:
                    continue
            except UsageError:  # no origin, so not this one
                continue
            prefix = slash + path
        if prefix and request.target.startswith(prefix):
            return True
    return False


def _binding(challenge: DigestChallenge, request: HttpRequest, options: Options) -> DigestBinding | None:
    """What the answer to a challenge is bound to; a server whose nonce is not marked asks for nothing."""
    if not is_marked(challenge.nonce):
        return None
    return DigestBinding.to(request.origin.host, options.channel_bindings)


def _is_enough(binding: DigestBinding | None, request: HttpRequest, options: Options) -> bool:
    """Whether a response may be bound to that. Without TLS there is no channel that could be demanded."""
    if binding is not None and not binding.is_unbound:
        return True
    has_channel = request.origin.is_secure or options.channel_bindings is not None
    return options.binding_policy is not BindingPolicy.ALWAYS or not has_channel


def _is_still_bound(space: _Space, request: HttpRequest, options: Options) -> bool:
    """Whether what is remembered would be bound to this request's service and channel, and as far as is demanded."""
    return _is_enough(space.binding, request, options) and _binding(space.challenge, request, options) == space.binding


def _cnonce(binding: DigestBinding | None, options: Options) -> str:
    return _random_text(options) if binding is None else binding.cnonce(options.random(RANDOM_SIZE))


def _random_text(options: Options) -> str:
    return base64.urlsafe_b64encode(options.random(18)).decode("ascii")


def _octets(text: str) -> bytes:
    return to_field(unicodedata.normalize("NFC", text)).encode("latin-1")
