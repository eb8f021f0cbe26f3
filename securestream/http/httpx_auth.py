"""`SecureAuth`: Negotiate and Digest as authentication of httpx, async and blocking, over any transport of httpx.

A handshake of several legs needs its connection, which httpx does not show here: `SecureTransport` has it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import closing

try:
    import httpx
except ImportError as error:
    raise ImportError("securestream.http.httpx_auth needs httpx: pip install 'securestream[http]'") from error

from securestream.drive import Services, respond, respond_blocking
from securestream.errors import BadBindings, InvalidToken, MalformedMessage, PeerRefused, Unsupported, UsageError
from securestream.http.client import HttpClient
from securestream.http.httpx_values import (
    ESTABLISHED,
    PEER,
    authorized,
    certificate_of,
    origin_of,
    reply_of,
    request_of,
)
from securestream.http.performing import bound, http_options
from securestream.http.schemes import ClientScheme, HttpReply, SendRequest
from securestream.machine import HandshakeMachine, Step
from securestream.options import Options
from securestream.provider import Established, SecurityContext

_ANSWERS = (SendRequest,)
_log = logging.getLogger(__name__)


class SecureAuth(httpx.Auth):
    """Answers the challenges of one origin.

    ``response.extensions["securestream.peer"]`` is then the server's `Principal`. A redirect to another origin, and
    requests for other origins through the same client, get nothing; a redirect inside the origin is answered anew.

    Args:
        origin: whom to answer, ``scheme://host[:port]``.
        schemes: what to answer with, in order of preference; none that always takes several legs (NTLM).
        options: what is asked of handshakes; by default no protection of data, which is TLS's business.
        services: who performs effects; `None` for the process-wide ones.
        preemptive: whether to authenticate before the server asks, as far as a scheme can: Digest with a nonce that it
            has already, tokens; neither where they are bound to the server's certificate, which comes with the first
            response (`SecureTransport` has it before).

    Raises:
        UsageError: a scheme needs its connection.
    """

    def __init__(
        self,
        origin: str,
        *schemes: ClientScheme,
        options: Options | None = None,
        services: Services | None = None,
        preemptive: bool = False,
    ) -> None:
        self._client = HttpClient(origin, *schemes)
        for scheme in schemes:
            if scheme.needs_connection:
                raise UsageError(
                    f"{scheme.name} belongs to one connection, which httpx.Auth has not: use SecureTransport"
                )
        self._options = http_options(options)
        self._services = services
        self._preemptive = preemptive

    def __repr__(self) -> str:
        return f"<SecureAuth of {self._client.origin}>"

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The flow for `httpx.Client`.

        Raises:
            HandshakeError: the handshake failed here; among others, the server did not prove itself.
        """
        flow = _Flow(self._client, self._options, request)
        if flow.needs_body:
            request.read()
        machine = flow.preempt() if self._preemptive else None
        if machine is None:
            response = yield request
            machine = flow.challenged(response)
        while machine is not None:
            with closing(machine):
                try:
                    step = respond_blocking(machine, None, self._services, answers=_ANSWERS)
                    while isinstance(step.need, SendRequest):
                        response = yield flow.authorized(step.need)
                        if flow.needs_body:
                            flow.answer(response).read()
                        step = respond_blocking(machine, flow.reply(response), self._services, answers=_ANSWERS)
                except PeerRefused:
                    return  # the response says so itself
            machine = flow.done(step)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The flow for `httpx.AsyncClient`.

        Raises:
            HandshakeError: as for `sync_auth_flow`.
        """
        flow = _Flow(self._client, self._options, request)
        if flow.needs_body:
            await request.aread()
        machine = flow.preempt() if self._preemptive else None
        if machine is None:
            response = yield request
            machine = flow.challenged(response)
        while machine is not None:
            with closing(machine):
                try:
                    step = await respond(machine, None, self._services, answers=_ANSWERS)
                    while isinstance(step.need, SendRequest):
                        response = yield flow.authorized(step.need)
                        if flow.needs_body:
                            await flow.answer(response).aread()
                        step = await respond(machine, flow.reply(response), self._services, answers=_ANSWERS)
                except PeerRefused:
                    return  # the response says so itself
            machine = flow.done(step)


class _Flow:
    """One request of the user's, with the redirects that httpx follows on its way."""

    def __init__(self, client: HttpClient, options: Options, request: httpx.Request) -> None:
        self._client = client
        self._options = options
        self._asked = request
        self._request = request
        self._sent: httpx.Request | None = None
        self._response: httpx.Response | None = None
        self._certificate: bytes | None = None

    @property
    def needs_body(self) -> bool:
        return self._client.needs_body

    def preempt(self) -> HandshakeMachine | None:
        return self._client.begin(request_of(self._asked, with_body=self.needs_body), None, self._options)

    def challenged(self, response: httpx.Response) -> HandshakeMachine | None:
        """The handshake that answers a response; `None` where there is none, or the way there left the origin."""
        way = [self._asked, *(earlier.request for earlier in response.history), response.request]
        if any(origin_of(request.url) != self._client.origin for request in way):
            return None
        self._request = response.request
        if response.cookies:
            httpx.Cookies(response.cookies).set_cookie_header(self._request)
        self._certificate = certificate_of(response.extensions.get("network_stream"))
        options = bound(self._options, self._certificate)
        request = request_of(self._request, with_body=self.needs_body)
        try:
            reply = reply_of(response, with_body=False)
        except MalformedMessage as error:
            raise InvalidToken(f"the challenges of the server are malformed: {error}") from error
        machine = self._client.begin(request, reply, options)
        if machine is None and reply.is_challenge:
            _log.warning("%s", self._client.unanswered(reply))
        return machine

    def authorized(self, need: SendRequest) -> httpx.Request:
        if need.same_connection:
            raise Unsupported(
                "the handshake takes several requests on one connection, which httpx.Auth has not: "
                "use SecureTransport, or have a Kerberos ticket"
            )
        self._sent = authorized(self._request, need.authorization)
        if self.needs_body:  # what is covered is the content as it is sent, and httpx shows it decoded
            self._sent.headers["Accept-Encoding"] = "identity"
        return self._sent

    def answer(self, response: httpx.Response) -> httpx.Response:
        """The response to what was sent, which httpx may have followed to `response`."""
        self._response = response
        return next(one for one in (response, *response.history) if one.request is self._sent)

    def reply(self, response: httpx.Response) -> HttpReply:
        answer = self.answer(response)
        try:
            return reply_of(answer, with_body=self.needs_body)
        except MalformedMessage as error:
            raise InvalidToken(f"the challenges of the server are malformed: {error}") from error

    def done(self, step: Step) -> HandshakeMachine | None:
        """Note who the server is. The next handshake, where httpx followed a redirect that asks again.

        Raises:
            BadBindings: the credentials left by another connection than that of the challenge, with another certificate
                than they are bound to: whoever has it could have passed them on.
        """
        response = self._response
        if step.established is None or response is None:
            raise UsageError("a scheme's handshake sends the request at least once")
        answer = self.answer(response)
        if self._is_elsewhere(answer, step.established):
            raise BadBindings(
                "another server, with another certificate, answered than the one that had asked for authentication: "
                "do not trust this response; use SecureTransport, which keeps to one connection"
            )
        answer.extensions[PEER] = step.established.peer
        answer.extensions[ESTABLISHED] = step.established
        return None if answer is response else self.challenged(response)

    def _is_elsewhere(self, answer: httpx.Response, established: Established) -> bool:
        result = established.result
        if self._options.channel_bindings is not None or not isinstance(result, SecurityContext) or not result.bound:
            return False
        return certificate_of(answer.extensions.get("network_stream")) != self._certificate
