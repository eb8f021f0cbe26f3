"""The client of one origin, without I/O: which scheme answers, to whom, and how the conversation goes on.

An adapter asks `HttpClient.begin` when a response wants authentication, and drives the machine that it gets::

    machine = client.begin(request, reply, options)
    step = await respond(machine, None, services, answers=(SendRequest,))
    while isinstance(step.need, SendRequest):
        ...send the request again with step.need.authorization...
        step = await respond(machine, reply, services, answers=(SendRequest,))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from securestream.errors import NoCredentials, Unsupported, UsageError
from securestream.http.fields import Challenge
from securestream.http.schemes import ClientScheme, HttpReply, HttpRequest, Origin, check_schemes
from securestream.machine import HandshakeMachine
from securestream.options import Options, Role


class HttpClient:
    """Answers the challenges of one origin, or of one proxy, and of nobody else (SECURITY: HTTP).

    Args:
        origin: whom to answer: an `Origin`, or ``scheme://host[:port]``.
        schemes: what to answer with, in order of preference. A man in the middle can take challenges out of a response:
            list nothing weaker than you would use alone.
        proxy: whether the origin is a proxy: 407 and the Proxy- fields.
    """

    def __init__(self, origin: Origin | str, *schemes: ClientScheme, proxy: bool = False) -> None:
        if not schemes:
            raise UsageError("name at least one scheme, TokenScheme('Negotiate', Negotiate()) for example")
        check_schemes(schemes, Role.INITIATOR)
        self._origin = Origin.parse(origin) if isinstance(origin, str) else origin
        self._schemes = schemes
        self._proxy = proxy

    def __repr__(self) -> str:
        return f"<HttpClient of {self._origin}: {', '.join(scheme.name for scheme in self._schemes)}>"

    @property
    def origin(self) -> Origin:
        """Whom it answers."""
        return self._origin

    @property
    def schemes(self) -> Sequence[ClientScheme]:
        """What it answers with."""
        return self._schemes

    @property
    def needs_body(self) -> bool:
        """Whether one of the schemes looks at the content of requests and responses."""
        return any(scheme.needs_body for scheme in self._schemes)

    @property
    def is_proxy(self) -> bool:
        """Whether it answers a proxy."""
        return self._proxy

    def begin(
        self, request: HttpRequest, reply: HttpReply | None, options: Options, *, keeps_connection: bool = False
    ) -> HandshakeMachine | None:
        """The handshake that answers `reply`, or `None` where there is nothing to answer, or nothing to answer with.

        Args:
            request: what was sent, and is to be sent again.
            reply: the response to it; `None` to authenticate before the server asks.
            options: with the channel bindings of the live TLS connection.
            keeps_connection: whether the adapter sends the next request through the connection of `reply`; schemes that
                need it are passed over otherwise.

        Raises:
            NoCredentials: every scheme that the server offers lacks a credential.
        """
        if request.origin != self._origin or request.proxy is not self._proxy:
            return None
        if reply is not None and (not reply.is_challenge or reply.proxy is not self._proxy):
            return None
        lacking: NoCredentials | None = None
        for scheme in self._schemes:
            challenges = () if reply is None else reply.of_scheme(scheme.name)
            if (reply is not None and not challenges) or (scheme.needs_connection and not keeps_connection):
                continue
            try:
                handshake = scheme.initiate(challenges, request, options)
            except NoCredentials as error:
                lacking = lacking or error
                continue
            except Unsupported:
                if reply is None:  # what the scheme lacks, the certificate of the server for example, may come with it
                    continue
                raise
            if handshake is not None:
                return HandshakeMachine(handshake, options.limits)
        if lacking is not None:
            raise lacking
        return None

    def unanswered(self, reply: HttpReply) -> str:
        """Where `begin` gave nothing for a response that asks for authentication: a sentence about it, for the log.

        Args:
            reply: the response. Of what the server says only lists of tokens are shown.
        """
        offered = ", ".join(_shown(challenge) for challenge in reply.challenges) or "nothing"
        ours = ", ".join(map(repr, self._schemes))
        return f"{self._origin} asks for authentication and offers {offered}: {ours} may answer none of it"


_TOKENS: Final = re.compile(r"[A-Za-z0-9, _-]{1,40}")


def _shown(challenge: Challenge) -> str:
    """A challenge's scheme, with what a choice depends on."""
    values = ((name, challenge.parameter(name)) for name in ("algorithm", "qop"))
    told = " ".join(f"{name}={value}" for name, value in values if value is not None and _TOKENS.fullmatch(value))
    scheme = challenge.scheme if _TOKENS.fullmatch(challenge.scheme) else "another scheme"
    return f"{scheme} ({told})" if told else scheme
