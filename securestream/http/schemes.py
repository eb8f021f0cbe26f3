"""What an HTTP authentication scheme is, for either end: a maker of handshakes over values, which know no library.

A scheme's handshake yields, beside the effects of its mechanism, one of two effects that its caller answers with the
next message of the peer: a client's `SendRequest` with the response, a server's `SendChallenge` with the next request::

    reply = yield from SendRequest("Negotiate YII...")       # client: the request again, with these credentials
    request = yield from SendChallenge("NTLM TlRM...")       # server: 401 with this challenge; the next request
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from securestream.errors import UsageError
from securestream.http.fields import Authorization, Challenge, parse_authorization, parse_challenges
from securestream.options import Options, Role
from securestream.provider import Effect, Established, Handshake
from securestream.redaction import Redacted

ServerProof: TypeAlias = Literal["required", "when sent"]
"""Whether a client takes a response without the server's proof."""

PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origin(NamedTuple):
    """Scheme, host and port (RFC 6454 4): authentication is for one origin and no other.

    Args:
        scheme: ``http`` or ``https``, lower case.
        host: name or address, lower case, without brackets.
        port: TCP port.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, scheme: str, host: str, port: int | None = None) -> Origin:
        """An origin with its default port where none is given."""
        scheme = scheme.lower()
        if port is None:
            port = PORTS.get(scheme)
        if port is None or not host:
            raise UsageError("an origin is scheme://host[:port], with a scheme of http or https")
        return cls(scheme, host.lower().strip("[]").rstrip("."), port)

    @classmethod
    def parse(cls, text: str) -> Origin:
        """The origin of ``scheme://host[:port]``; a path is refused, since none would be looked at.

        Raises:
            UsageError: it is none.
        """
        scheme, separator, authority = text.partition("://")
        authority = authority.removesuffix("/")
        if not separator or scheme.lower() not in PORTS or any(mark in authority for mark in "/?#@"):
            raise UsageError(f"{text!r} is no origin: give scheme://host[:port] and nothing else")
        host, bracket, rest = authority.partition("]") if authority.startswith("[") else ("", "", "")
        if bracket:
            port = rest.removeprefix(":")
        else:
            host, _, port = authority.partition(":")
        if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise UsageError(f"{text!r} has no port that is a number below 65536")
        return cls.of(scheme, host, int(port) if port else None)

    @property
    def is_secure(self) -> bool:
        """Whether it is reached through TLS."""
        return self.scheme in ("https", "wss")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if PORTS.get(self.scheme) == self.port else f":{self.port}")


@dataclass(frozen=True, repr=False)
class HttpRequest(Redacted):
    """A request, as far as authentication looks at it.

    Args:
        method: as it is sent.
        target: the request-target as it is sent (RFC 9112 3.2): ``/path?query``; ``host:port`` for CONNECT.
        origin: whom the request is for; of a proxy's authentication, the proxy itself.
        authorization: the credentials it brought (server), or `None`.
        body: its content, where the scheme needs it (`ClientScheme.needs_body`) and it is at hand, else `None`.
        proxy: whether this is authentication to a proxy (Proxy-Authorization and 407).
    """

    method: str
    target: str
    origin: Origin
    authorization: Authorization | None = None
    body: bytes | None = field(default=None, repr=False)
    proxy: bool = False

    @classmethod
    def received(
        cls,
        method: str,
        target: str,
        origin: Origin,
        authorization: Sequence[str | bytes],
        *,
        body: bytes | None = None,
        proxy: bool = False,
    ) -> HttpRequest:
        """A request that came, from the values of its Authorization (or Proxy-Authorization) fields.

        Raises:
            MalformedMessage: they are malformed, or several.
        """
        return cls(method, target, origin, parse_authorization(authorization), body, proxy)


@dataclass(frozen=True, repr=False)
class HttpReply(Redacted):
    """A response, as far as authentication looks at it.

    Args:
        status: the status code.
        challenges: those of WWW-Authenticate (of Proxy-Authenticate, for a proxy), whatever the status.
        information: the values of Authentication-Info (of Proxy-Authentication-Info), unparsed, in order.
        body: the content, where the scheme needs it and it is at hand, else `None`.
        proxy: whether this is authentication to a proxy.
    """

    status: int
    challenges: tuple[Challenge, ...] = ()
    information: tuple[str, ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    proxy: bool = False

    @classmethod
    def received(
        cls,
        status: int,
        challenges: Sequence[str | bytes] = (),
        information: Sequence[str] = (),
        *,
        body: bytes | None = None,
        proxy: bool = False,
    ) -> HttpReply:
        """A response that came, from the values of its fields.

        Raises:
            MalformedMessage: the challenges are malformed.
        """
        return cls(status, parse_challenges(challenges), tuple(information), body, proxy)

    @property
    def is_challenge(self) -> bool:
        """Whether the response asks for (further, or other) credentials."""
        return self.status == (407 if self.proxy else 401)

    def of_scheme(self, scheme: str) -> tuple[Challenge, ...]:
        """The challenges of one scheme, in order."""
        return tuple(challenge for challenge in self.challenges if challenge.is_scheme(scheme))


@dataclass(frozen=True, repr=False)
class SendRequest(Effect[HttpReply]):
    """Client: send the request with these credentials; the reply is the response to it.

    Args:
        authorization: the value of Authorization (Proxy-Authorization).
        same_connection: whether it must go through the connection of the response before it.
    """

    authorization: str = field(repr=False)
    same_connection: bool = False


@dataclass(frozen=True, repr=False)
class SendChallenge(Effect[HttpRequest]):
    """Server: answer 401 (407) with this challenge; the reply is the next request of the same connection.

    Args:
        challenge: the value of WWW-Authenticate (Proxy-Authenticate).
    """

    challenge: str = field(repr=False)


class HttpField(NamedTuple):
    """One field of a message.

    Args:
        name: of the field.
        value: its value.
    """

    name: str
    value: str


class ClientScheme(Protocol):
    """A scheme at the client's end, with the credential to answer with. May remember what servers said (Digest)."""

    @property
    def name(self) -> str:
        """The scheme's name in challenges."""
        ...

    @property
    def needs_connection(self) -> bool:
        """Whether each of its handshakes takes several requests on one connection."""
        ...

    @property
    def needs_body(self) -> bool:
        """Whether `HttpRequest.body` and `HttpReply.body` are looked at (Digest's auth-int)."""
        ...

    def initiate(self, challenges: Sequence[Challenge], request: HttpRequest, options: Options) -> Handshake | None:
        """The handshake that authenticates `request`; it yields `SendRequest` at least once.

        Args:
            challenges: the server's challenges of this scheme; none to authenticate before it asks.
            request: what is to be sent.
            options: clock, randomness, bindings and what is wanted.

        Returns:
            `None` where the scheme can or will answer none of these challenges, or must see one first.

        The handshake returns when the server's proof, where the scheme has one, was verified; it raises `PeerRefused`
        when the server does not accept the credentials, and then nothing is wrong with its response.
        """
        ...


class ServerScheme(Protocol):
    """A scheme at the server's end, with the credential to verify with."""

    @property
    def name(self) -> str:
        """The scheme's name in challenges."""
        ...

    @property
    def needs_connection(self) -> bool:
        """Whether each of its handshakes takes several requests on one connection."""
        ...

    @property
    def needs_body(self) -> bool:
        """Whether `HttpRequest.body` and the body given to `confirm` are looked at (Digest's auth-int)."""
        ...

    def challenges(self, request: HttpRequest, options: Options) -> Sequence[str]:
        """The values of WWW-Authenticate that ask for this scheme, the preferred one first."""
        ...

    def accept(self, request: HttpRequest, options: Options) -> Handshake:
        """The handshake that verifies ``request.authorization``, which is of this scheme.

        It may yield `SendChallenge`. A `HandshakeError` that leaves it carries as ``token`` the value that takes the
        place of this scheme's `challenges` (Digest's ``stale=true``), or `None`.
        """
        ...

    def confirm(self, established: Established, request: HttpRequest, body: bytes | None) -> Sequence[HttpField]:
        """The fields of the response that prove the server, once `accept` has returned `established`.

        Args:
            established: what `accept` returned.
            request: the request that completed it.
            body: the response's content, where the scheme needs it and it is at hand.
        """
        ...


def check_schemes(schemes: Sequence[object], role: Role) -> None:
    """Refuse what is no scheme of this end: a package by itself, a class, a scheme of the other end.

    Raises:
        UsageError: one of them is none.
    """
    own, digest = ("initiate", "DigestClient") if role is Role.INITIATOR else ("challenges", "DigestServer")
    for one in schemes:
        if isinstance(one, type) or not (hasattr(one, own) and hasattr(one, "needs_connection")):
            name = one.__name__ if isinstance(one, type) else type(one).__name__
            raise UsageError(
                f"{name} is no scheme that {'answers' if role is Role.INITIATOR else 'asks for'} credentials: give "
                f'TokenScheme("Negotiate", Negotiate()), with the package inside, or {digest}(...)'
            )
