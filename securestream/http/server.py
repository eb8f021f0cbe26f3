"""The server's end, without I/O: whom a request is from, and what the response says otherwise.

An adapter makes one `HttpServer`, one `HttpConnection` for each connection that it can tell from others, and for each
request::

    authentication = server.authenticate(request, options, connection)
    if authentication.machine is not None:
        try:
            step = await respond(authentication.machine, authentication.reply, services, answers=(SendChallenge,))
        except HandshakeError as error:
            outcome = authentication.refuse(error)
        else:
            outcome = authentication.answer(step)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from securestream.carrier import Judge
from securestream.errors import (
    HandshakeError,
    HandshakeTimeout,
    LimitExceeded,
    NotAuthorized,
    Unsupported,
    UsageError,
)
from securestream.http.schemes import HttpField, HttpRequest, SendChallenge, ServerScheme, check_schemes
from securestream.machine import HandshakeMachine, Step, told_to_peer
from securestream.options import Options, Role
from securestream.principal import Principal
from securestream.provider import Admit, Established, SecurityContext
from securestream.redaction import Redacted

HANDSHAKE_TIMEOUT: Final = timedelta(seconds=30)
"""How long a handshake of several legs may take in all."""
ATTEMPTS: Final = 3
"""Handshakes that may fail on one connection before it is closed (SECURITY: logons)."""


@dataclass(frozen=True, repr=False)
class Admitted(Redacted):
    """The request is from somebody.

    Args:
        established: the outcome of the handshake.
        scheme: by which scheme.
        request: the request that completed it.
        confirms: whether the response owes the fields of `fields`; not where the connection was authenticated before.
    """

    established: Established
    scheme: ServerScheme
    request: HttpRequest
    confirms: bool = True

    @property
    def peer(self) -> Principal:
        """Who the client is."""
        return self.established.peer

    def fields(self, body: bytes | None = None) -> Sequence[HttpField]:
        """The fields with which the response proves the server.

        Args:
            body: the response's content, where ``scheme.needs_body``.
        """
        return self.scheme.confirm(self.established, self.request, body) if self.confirms else ()

    def served(self, connection: HttpConnection | None) -> None:
        """The response is complete: the keys are dropped, unless the connection stays authenticated."""
        kept = None if connection is None else connection.admitted
        if kept is None or kept.established is not self.established:
            _discard(self.established)


@dataclass(frozen=True, repr=False)
class Refused(Redacted):
    """The request is from nobody, or not yet.

    Args:
        status: 401, 407, or 403 where somebody proved who he is and is not admitted.
        fields: the challenges.
        close: whether to close the connection after the response.
        continues: whether the handshake goes on with the next request of the connection.
        error: why, for the log; `None` where nothing was wrong.
    """

    status: int
    fields: tuple[HttpField, ...] = ()
    close: bool = False
    continues: bool = False
    error: HandshakeError | None = field(default=None, repr=False)


class HttpConnection:
    """What a server remembers of one HTTP/1.1 connection: a handshake under way, or who authenticated it.

    The adapter makes one when a connection is accepted and drops it with the connection. It must never stand for more
    than one connection: a client's address is not one, and behind a proxy that shares its connections between clients
    nobody may keep one. What one `HttpServer` remembers in it is nothing to another one, whose accounts and `admit` are
    others.
    """

    def __init__(self) -> None:
        self.pending: _Pending | None = None
        """The handshake that awaits the next request."""
        self.admitted: Admitted | None = None
        """Who authenticated the connection by a handshake of several legs."""
        self.failures = 0
        """Handshakes that failed since the last one that did not."""
        self.busy = False
        """Whether a request is being authenticated right now."""
        self.server: HttpServer | None = None
        """Whose `pending` and `admitted` are."""
        self.client: object = None
        """The client's end, as an adapter tells it; whoever comes from another one is not on this connection."""

    def __repr__(self) -> str:
        return f"<HttpConnection {'-' if self.admitted is None else self.admitted.peer}>"

    @property
    def peer(self) -> Principal | None:
        """Who authenticated the connection, by a scheme of several legs; `None` for nobody."""
        return None if self.admitted is None else self.admitted.peer

    def close(self) -> None:
        """Forget everything; the keys are dropped. Idempotent."""
        if self.pending is not None:
            self.pending.machine.close()
        if self.admitted is not None:
            _discard(self.admitted.established)
        self.pending = self.admitted = None


def _discard(established: Established) -> None:
    if isinstance(established.result, SecurityContext):
        established.result.discard()


@dataclass(frozen=True)
class _Pending:
    """A handshake that awaits its next request."""

    machine: HandshakeMachine
    scheme: ServerScheme
    judge: Judge
    until: datetime
    further: bool = False
    """Whether it goes on from an earlier request."""


class HttpServer:
    """Authenticates requests.

    Args:
        schemes: what is offered, the preferred one first; no two of one name.
        admit: a further judgement of who was authenticated; raises `NotAuthorized` to answer 403.
        proxy: whether this is a proxy: 407 and the Proxy- fields.
        handshake_timeout: for handshakes of several legs.
    """

    def __init__(
        self,
        *schemes: ServerScheme,
        admit: Admit | None = None,
        proxy: bool = False,
        handshake_timeout: timedelta = HANDSHAKE_TIMEOUT,
    ) -> None:
        check_schemes(schemes, Role.ACCEPTOR)
        names = [scheme.name.lower() for scheme in schemes]
        if not names or len(set(names)) < len(names):
            raise UsageError("name at least one scheme, and none twice")
        self._schemes = schemes
        self._admit = admit
        self._proxy = proxy
        self._handshake_timeout = handshake_timeout

    def __repr__(self) -> str:
        return f"<HttpServer {', '.join(scheme.name for scheme in self._schemes)}>"

    @property
    def schemes(self) -> Sequence[ServerScheme]:
        """What is offered."""
        return self._schemes

    @property
    def is_proxy(self) -> bool:
        """Whether it authenticates to a proxy."""
        return self._proxy

    def scheme_of(self, request: HttpRequest) -> ServerScheme | None:
        """The scheme of the request's credentials, or `None`."""
        if request.authorization is None:
            return None
        return next((one for one in self._schemes if request.authorization.is_scheme(one.name)), None)

    def known(self, connection: HttpConnection) -> Admitted | None:
        """Who authenticated a connection to this server, by a handshake of several legs."""
        return connection.admitted if connection.server is self else None

    def authenticate(
        self, request: HttpRequest, options: Options, connection: HttpConnection | None = None
    ) -> Authentication:
        """Begin with a request, or go on with the handshake that its connection is in.

        Args:
            request: the request, its ``origin`` as the client addressed it.
            options: clock, randomness, the channel bindings of the live TLS, and the client's address as source.
            connection: what is remembered of the connection; `None` where connections cannot be told apart (HTTP/2):
                only schemes of one leg are offered then.
        """
        return Authentication(self, request, options, connection, self._begin(request, options, connection))

    def _begin(
        self, request: HttpRequest, options: Options, connection: HttpConnection | None
    ) -> Admitted | Refused | _Pending:
        connected = connection is not None
        pending: _Pending | None = None
        if connection is not None:
            if connection.busy:
                return self.refusal(request, options, LimitExceeded("one request at a time authenticates"), close=True)
            if connection.failures >= ATTEMPTS:
                error = LimitExceeded(f"{ATTEMPTS} handshakes failed on this connection: open another one")
                return self.refusal(request, options, error, connected=True, close=True)
            known = self.known(connection)
            if request.authorization is None and known is not None:
                return known
            pending, connection.pending = connection.pending, None
        scheme = self.scheme_of(request)
        if pending is not None and connection is not None:
            goes_on = scheme is pending.scheme and connection.server is self
            if goes_on and options.clock() < pending.until:
                return pending
            pending.machine.close()
            if goes_on:
                late = HandshakeTimeout("the client took too long for its handshake: let it begin again")
                return self.refusal(request, options, late, connected=True)
        if scheme is None or (scheme.needs_connection and not connected):
            return self.refusal(request, options, connected=connected)
        if connection is not None:
            connection.close()  # whoever authenticates anew is no longer who he was
            connection.server = self
        judge = Judge(options, self._admit)
        machine = HandshakeMachine(scheme.accept(request, options), options.limits, admit=judge)
        return _Pending(machine, scheme, judge, options.clock() + self._handshake_timeout)

    def refusal(
        self,
        request: HttpRequest,
        options: Options,
        error: HandshakeError | None = None,
        *,
        connected: bool = False,
        scheme: ServerScheme | None = None,
        close: bool = False,
    ) -> Refused:
        """The response that asks for authentication.

        Args:
            request: what is answered.
            options: as for `authenticate`.
            error: why; its token takes the place of the challenges of `scheme`.
            connected: whether schemes of several legs can be offered.
            scheme: the scheme whose handshake failed.
            close: whether the connection is to be closed.
        """
        owed = None if error is None else told_to_peer(error).token
        name = "Proxy-Authenticate" if self._proxy else "WWW-Authenticate"
        if isinstance(error, NotAuthorized):
            told = () if owed is None else (HttpField(name, owed.decode("latin-1")),)
            return Refused(403, told, close=close, error=error)
        fields: list[HttpField] = []
        for one in self._schemes:
            if one.needs_connection and not connected:
                continue
            if one is scheme and owed is not None:
                fields.append(HttpField(name, owed.decode("latin-1")))
            else:
                fields += (HttpField(name, value) for value in one.challenges(request, options))
        return Refused(407 if self._proxy else 401, tuple(fields), close=close, error=error)


class Authentication:
    """One request being authenticated; `HttpServer.authenticate` makes it."""

    def __init__(
        self,
        server: HttpServer,
        request: HttpRequest,
        options: Options,
        connection: HttpConnection | None,
        begun: Admitted | Refused | _Pending,
    ) -> None:
        self._server = server
        self._request = request
        self._options = options
        self._connection = connection
        self._pending = begun if isinstance(begun, _Pending) else None
        self._outcome = None if isinstance(begun, _Pending) else begun
        if connection is not None and self._pending is not None:
            connection.busy = True

    @property
    def outcome(self) -> Admitted | Refused:
        """The outcome.

        Raises:
            UsageError: it is not there yet.
        """
        if self._outcome is None:
            raise UsageError("drive the machine first, and give its step to answer()")
        return self._outcome

    @property
    def machine(self) -> HandshakeMachine | None:
        """The machine to drive; `None` where the outcome is there already."""
        return None if self._pending is None else self._pending.machine

    @property
    def reply(self) -> HttpRequest | None:
        """What to step the machine with: the request, where a handshake goes on with it."""
        return self._request if self._pending is not None and self._pending.further else None

    def answer(self, step: Step) -> Admitted | Refused:
        """What `step`, whose need is none or a `SendChallenge`, means for this request."""
        pending = self._take()
        if step.established is None:
            return self._continue(pending, step)
        try:
            pending.judge(step.established)
        except HandshakeError as error:
            error.token = None  # whoever judges knows no scheme: it would be no value of its field
            _discard(step.established)
            return self._refuse(error, pending.scheme)
        except BaseException:  # a bug of whoever judges: nobody gets the outcome, and its keys go
            _discard(step.established)
            raise
        self._outcome = admitted = Admitted(step.established, pending.scheme, self._request)
        if self._connection is not None:
            self._connection.failures = 0
            if pending.further:
                self._connection.admitted = replace(admitted, confirms=False)
        return admitted

    def refuse(self, error: HandshakeError) -> Refused:
        """What a failure of the machine means for this request."""
        return self._refuse(error, self._take().scheme)

    def abandon(self) -> None:
        """The request is gone (cancellation, a bug): drop the handshake. Idempotent."""
        if self._pending is not None:
            self._take().machine.close()

    def _take(self) -> _Pending:
        pending, self._pending = self._pending, None
        if pending is None:
            raise UsageError("this request is answered already")
        if self._connection is not None:
            self._connection.busy = False
        return pending

    def _continue(self, pending: _Pending, step: Step) -> Refused:
        if not isinstance(step.need, SendChallenge):
            pending.machine.close()
            raise UsageError("perform the machine's needs, up to a SendChallenge, before answer()")
        if self._connection is None:
            pending.machine.close()
            error = Unsupported(
                f"the client's {pending.scheme.name} handshake takes several requests, and connections cannot be told "
                "apart here: give the adapter its connections, or let the client use Kerberos"
            )
            return self._refuse(error, pending.scheme)
        self._connection.pending = replace(pending, further=True)
        name = "Proxy-Authenticate" if self._server.is_proxy else "WWW-Authenticate"
        field_ = HttpField(name, step.need.challenge)
        self._outcome = refused = Refused(407 if self._server.is_proxy else 401, (field_,), continues=True)
        return refused

    def _refuse(self, error: HandshakeError, scheme: ServerScheme) -> Refused:
        connected = self._connection is not None
        close = False
        if self._connection is not None:
            self._connection.failures += 1
            close = self._connection.failures >= ATTEMPTS
        self._outcome = refused = self._server.refusal(
            self._request, self._options, error, connected=connected, scheme=scheme, close=close
        )
        return refused
