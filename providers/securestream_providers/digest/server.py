"""HTTP Digest at the server's end (RFC 7616 3.3, 3.5): challenges, verifies responses, and proves the server.

Nothing is kept of a challenge: its nonce tells by itself what it is (`nonces`). What was used is remembered by whoever
performs `NonceCount`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from securestream.arguments import check_secret, check_sequence, hidden, members
from securestream.credentials import Credential
from securestream.errors import BadBindings, ErrorKind, InvalidToken, QualityNotMet, Replay, TargetUnknown, UsageError
from securestream.http.fields import Authorization
from securestream.http.schemes import HttpField, HttpRequest, Origin
from securestream.logon import VerifierLogon
from securestream.options import BindingPolicy, ContextFlags, Options, Role
from securestream.provider import Established, Handshake, TargetName
from securestream.redaction import Secret
from securestream.services.verifiers import checked_realm
from securestream_providers.digest.algorithms import SERVER_ALGORITHMS, Algorithm, Qop, Session, equal
from securestream_providers.digest.bindings import is_marked
from securestream_providers.digest.context import PACKAGE, DigestContext
from securestream_providers.digest.counts import NonceCount
from securestream_providers.digest.messages import SCHEME, DigestChallenge, DigestResponse, to_field
from securestream_providers.digest.nonces import RANDOM_SIZE, Judged, Judgement, NonceKey, Nonces, check_lifetime

LIFETIME: Final = timedelta(minutes=5)
"""How long a nonce is good unless told otherwise; past its half, responses carry the next one."""

_DENIED: Final = ErrorKind.LOGON_DENIED
"""What a client is told of bindings, which are judged after its password: that it is right is not shown."""


class DigestServer:
    """HTTP Digest as a server's scheme, with the accounts to verify with.

    Where it has channel bindings, or `served`, it asks clients for theirs (`bindings`) by the beginning of its nonces;
    few but those of Windows and this library answer. `BindingPolicy.NEVER` without `served` leaves that out, for
    clients that mangle the ``+`` in it.

    Args:
        credential: `Accounts` whose store keeps verifiers of the realm, or whatever the performer registered for
            `securestream.logon.VerifierLogon` understands.
        realm: the realm.
        algorithms: what is offered, the preferred one first. MD5 is for those who name it.
        qops: what is offered. With ``AUTH_INT`` the contents of requests and responses are covered.
        userhash: whether clients may send their names hashed.
        lifetime: how long a nonce is good.
        key: 32 octets under which nonces are signed; `None` makes one for this object. Processes that serve one origin
            need the same, and the same memory of nonce counts.
        domain: URIs or paths of the protection space; none for the whole origin.
        served: names of this server: whole service principal names, hosts, or service classes, without regard to case.
            A client that names the service that it means, and means another, is refused, also without TLS.

    Raises:
        UsageError: nothing is offered, or a value cannot be one.
    """

    name = SCHEME
    needs_connection = False

    def __init__(
        self,
        credential: Credential,
        realm: str,
        *,
        algorithms: Sequence[Algorithm] = SERVER_ALGORITHMS,
        qops: Sequence[Qop] = (Qop.AUTH,),
        userhash: bool = False,
        lifetime: timedelta = LIFETIME,
        key: bytes | Secret[bytes] | None = None,
        domain: Sequence[str] = (),
        served: Sequence[str] = (),
    ) -> None:
        secret = None if key is None else hidden(key)
        del key  # an error raised here shows the locals of this frame to crash reporters
        check_secret("key", secret, bytes)
        self._credential = credential
        self._realm = checked_realm(realm)
        self._algorithms = members("algorithms", algorithms, Algorithm)
        self._qops = members("qops", qops, Qop)
        if not self._algorithms or not self._qops:
            raise UsageError("a Digest server offers at least one algorithm and one qop")
        check_sequence("domain", domain, '["/private/"]')
        check_sequence("served", served, '["HTTP/www.example.com"]')
        self._userhash = userhash
        check_lifetime(lifetime)
        self._lifetime = lifetime
        self._domain = " ".join(domain)
        self._served = tuple(served)
        self._key = NonceKey(secret)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._realm!r} {'/'.join(algorithm.token for algorithm in self._algorithms)}>"

    @property
    def needs_body(self) -> bool:
        """Whether contents are looked at."""
        return Qop.AUTH_INT in self._qops

    # --- challenges

    def challenges(self, request: HttpRequest, options: Options) -> Sequence[str]:
        """The values of WWW-Authenticate, one for each algorithm, the preferred one first."""
        return [self._challenge(algorithm, options) for algorithm in self._algorithms]

    def _challenge(self, algorithm: Algorithm, options: Options, *, stale: bool = False) -> str:
        nonces = self._signer(options)
        return DigestChallenge(
            realm=to_field(self._realm),
            nonce=nonces.make(options.clock(), options.random(RANDOM_SIZE)),
            algorithm=algorithm,
            qops=self._qops,
            opaque=nonces.opaque,
            stale=stale,
            domain=self._domain,
            utf_8=True,
            userhash=self._userhash,
        ).encode()

    def _signer(self, options: Options) -> Nonces:
        bindings = options.channel_bindings is not None and options.binding_policy is not BindingPolicy.NEVER
        return Nonces(self._key.get(options), self._realm, self._lifetime, marked=bindings or bool(self._served))

    # --- responses

    def accept(self, request: HttpRequest, options: Options) -> Handshake:
        """The handshake that verifies a response; see `securestream.http.schemes.ServerScheme`.

        Who knows no password learns nothing from the order of these checks: what is looked at before the password's
        proof is in the request, or in a nonce that everybody is given. Bindings are judged after it, and refused like a
        wrong one; before the count, whose repetition would tell that it was right.
        """
        if options.channel_bindings is None and options.binding_policy is BindingPolicy.ALWAYS:
            raise UsageError("BindingPolicy.ALWAYS needs the channel bindings of the acceptor's own channel")
        now = options.clock()
        response = self._checked(request)
        judged = self._judged(response, options, now)
        session = Session(response.algorithm, response.nonce, response.cnonce, response.qop, response.nc)

        def prove(verifier: bytes) -> Secret[bytes] | None:
            ha1 = session.ha1(verifier)
            computed = session.response(ha1, request.method, response.uri, request.body)
            return Secret(ha1) if equal(response.response, computed) else None

        logon = yield from VerifierLogon(
            credential=self._credential,
            user=response.username,
            kind=response.algorithm.kind,
            realm=self._realm,
            prove=prove,
            source=options.source,
            now=now,
            package=PACKAGE,
            hashed=response.userhash,
        )
        self._check_target(response)
        bound = _check_bindings(response, options)
        if not (yield from NonceCount.of(str(logon.principal), response.nonce, response.nc, judged.expires)):
            raise Replay(
                "this nonce count was used before: the request is a repetition, or the client counts wrong",
                token=self._challenge(response.algorithm, options, stale=True).encode("latin-1"),
            )
        nextnonce = None
        if now > judged.made + self._lifetime / 2 and not response.algorithm.session:
            nextnonce = self._signer(options).make(now, options.random(RANDOM_SIZE))
        context = DigestContext(
            Role.ACCEPTOR,
            ContextFlags.MUTUAL,
            session=session,
            ha1=logon.proof,
            uri=response.uri,
            bound=bound,
            nextnonce=nextnonce,
            expires=judged.expires,
        )
        return Established(context, logon.principal)

    def _checked(self, request: HttpRequest) -> DigestResponse:
        """The response, as far as it can be judged without a clock: it answers a challenge of ours, for this request.

        Raises:
            InvalidToken: it does not.
        """
        if request.authorization is None:
            raise UsageError("the request has no credentials: answer it with `challenges`")
        response = DigestResponse.parse(_of_digest(request.authorization))
        if response.algorithm not in self._algorithms:
            raise InvalidToken(f"the client answers with {response.algorithm.token}, which was not offered")
        if response.qop not in self._qops:
            raise InvalidToken(f"the client answers with qop={response.qop.value}, which was not offered")
        if response.realm != to_field(self._realm):
            raise InvalidToken("the client answers for another realm")
        if response.userhash and not self._userhash:
            raise InvalidToken("the client sends its name hashed, which was not offered")
        if response.nc < 1:
            raise InvalidToken("the nonce count begins with 1 (RFC 7616 3.4)")
        if not _covers(response.uri, request):
            raise InvalidToken("the digest covers another request-target (uri) than that of the request")
        if response.qop is Qop.AUTH_INT and request.body is None:
            raise QualityNotMet("the digest covers the request's content, which is not at hand: it may be too long")
        return response

    def _judged(self, response: DigestResponse, options: Options, now: datetime) -> Judged:
        """The nonce, which is good.

        Raises:
            InvalidToken: it is not, or the opaque value is another; the client is given a new one (``stale``).
        """
        nonces = self._signer(options)
        judged = nonces.judge(response.nonce, now)
        if judged.judgement is not Judgement.GOOD or response.opaque not in (None, nonces.opaque):
            raise InvalidToken(
                "the nonce has expired" if judged.judgement is Judgement.OLD else "the nonce is not one of this server",
                token=self._challenge(response.algorithm, options, stale=True).encode("latin-1"),
            )
        if response.binding is not None and not is_marked(response.nonce):
            raise InvalidToken("the client binds its response, which this server did not ask for")
        return judged

    def _check_target(self, response: DigestResponse) -> None:
        """Whether the client, where it says which service it means, means this one."""
        binding = response.binding
        if self._served and binding is not None and not TargetName(binding.service_name).is_among(self._served):
            raise TargetUnknown(
                "the client means another service than the ones that DigestServer(served=...) names: add the name by "
                "which it knows this one, unless somebody relays",
                told=_DENIED,
            )

    # --- the server's proof

    def confirm(self, established: Established, request: HttpRequest, body: bytes | None) -> Sequence[HttpField]:
        """Authentication-Info with the server's proof; `body` is the response's content, for auth-int.

        Raises:
            UsageError: `established` is of another scheme, or the content is missing.
        """
        context = established.result
        if not isinstance(context, DigestContext):
            raise UsageError("confirm() takes what accept() established")
        if context.session.qop is Qop.AUTH_INT and body is None:
            raise UsageError("the server's proof covers the response's content: give it as `body`")
        name = "Proxy-Authentication-Info" if request.proxy else "Authentication-Info"
        return [HttpField(name, context.proof(body).encode())]


def _check_bindings(response: DigestResponse, options: Options) -> bool:
    """Whether the client's channel is ours (SECURITY: channel bindings)."""
    policy, own, binding = options.binding_policy, options.channel_bindings, response.binding
    if own is None or policy is BindingPolicy.NEVER:
        return False
    if binding is not None and not binding.is_unbound:
        if binding.is_of(own):
            return True
        raise BadBindings(
            "the client's channel is not ours: somebody relays, or a proxy ends TLS between us", told=_DENIED
        )
    advertised = policy is BindingPolicy.WHEN_ADVERTISED and binding is not None
    if advertised or policy is BindingPolicy.ALWAYS:
        raise BadBindings(
            f"the client bound its response to no channel, and the policy is {policy.value!r}", told=_DENIED
        )
    return False


def _of_digest(authorization: Authorization) -> Authorization:
    if not authorization.is_scheme(SCHEME):
        raise UsageError("these credentials are of another scheme")
    return authorization


def _covers(uri: str, request: HttpRequest) -> bool:
    """Whether `uri` names the request-target (RFC 7616 3.4.6); a proxy may have made a path of an absolute form, and an
    ASGI server does not tell an empty query from none.
    """
    if uri.removesuffix("?") == request.target.removesuffix("?"):
        return True
    (covered, path), (asked, target) = _split(uri, request.origin), _split(request.target, request.origin)
    return covered == asked == request.origin and path.removesuffix("?") == target.removesuffix("?")


def _split(target: str, origin: Origin) -> tuple[Origin | None, str]:
    """The origin that a request-target names, by default `origin`, and its path with its query."""
    scheme, separator, rest = target.partition("://")
    if not separator or not scheme.isalpha():
        return origin, target
    authority, slash, path = rest.partition("/")
    try:
        return Origin.parse(f"{scheme}://{authority}"), f"/{path}" if slash else "/"
    except UsageError:  # it names none
        return None, target
