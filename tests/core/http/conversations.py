"""A client and a server of the core against each other, message by message, without any library of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from securestream.credentials import Credential
from securestream.drive import Services, respond_blocking
from securestream.errors import InvalidToken, PeerRefused
from securestream.http.client import HttpClient
from securestream.http.fields import parse_authorization
from securestream.http.performing import authenticate_blocking
from securestream.http.schemes import HttpField, HttpReply, HttpRequest, Origin, SendRequest
from securestream.http.server import Admitted, HttpConnection, HttpServer
from securestream.http.tokens import TokenScheme
from securestream.machine import Step
from securestream.options import Options, Protection, Role
from securestream.provider import (
    Capability,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    TargetName,
    Unusable,
)
from tests.core.handshakes import ALICE, SHARED_KEY, established, options

ORIGIN = Origin("http", "files.example", 80)
REQUEST = HttpRequest("GET", "/page", ORIGIN)


def http(**changes: object) -> Options:
    """Options as HTTP has them."""
    return replace(options(protection=Protection.NONE), **changes)  # type: ignore[arg-type]  # any field of theirs


class OneLeg:
    """The client says hello, the server proves itself in its final response: Kerberos's shape."""

    info = PackageInfo("OneLeg", "toy", Capability.CONNECTION, 16)
    wanted: TargetName | None = None

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        self.wanted = target
        proof = yield from Exchange(b"hello")
        if proof != b"proof":
            raise InvalidToken("no proof")
        return established()

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        hello = yield from Exchange()
        if hello != b"hello":
            raise InvalidToken("no hello", token=b"sorry")
        return established(b"proof")


def three_legs(credential: Credential | None = ALICE) -> TokenScheme:
    """NTLM's shape."""
    return TokenScheme("Three", SHARED_KEY, credential, needs_connection=True)


def one_leg() -> TokenScheme:
    """Kerberos's shape."""
    return TokenScheme("One", OneLeg())


Alter = Callable[[int, list[HttpField]], Sequence[HttpField]]


@dataclass
class Conversation:
    """A browser with one connection to a server."""

    server: HttpServer
    client: HttpClient
    connection: HttpConnection | None = field(default_factory=HttpConnection)
    options: Options = field(default_factory=http)
    services: Services | None = None
    alter: Alter = lambda leg, fields: fields
    statuses: list[int] = field(default_factory=list[int])
    sent: list[str | None] = field(default_factory=list[str | None])
    admitted: Admitted | None = None

    def ask(self, authorization: str | None, request: HttpRequest = REQUEST) -> HttpReply:
        """The server's response to one request."""
        self.sent.append(authorization)
        values = [] if authorization is None else [authorization]
        came = replace(request, authorization=parse_authorization(values))
        outcome = authenticate_blocking(self.server, came, self.options, self.connection, self.services)
        if isinstance(outcome, Admitted):
            self.admitted = outcome
            status, fields = 200, list(outcome.fields())
        else:
            self.admitted = None
            status, fields = outcome.status, list(outcome.fields)
        fields = list(self.alter(len(self.statuses), fields))
        self.statuses.append(status)
        proxy = request.proxy
        challenges = [
            value for name, value in fields if name.endswith("Authenticate") and name[0] == ("P" if proxy else "W")
        ]
        information = [value for name, value in fields if name.endswith("Authentication-Info")]
        return HttpReply.received(status, challenges, information, proxy=proxy)

    def fetch(self, request: HttpRequest = REQUEST, *, keeps_connection: bool = True) -> Established | None:
        """A page, authenticated where the server asks; `None` where nothing was answered, or all was refused."""
        reply = self.ask(None, request)
        machine = self.client.begin(request, reply, self.options, keeps_connection=keeps_connection)
        if machine is None:
            return None
        try:
            step = respond_blocking(machine, None, self.services, answers=(SendRequest,))
            while isinstance(step.need, SendRequest):
                reply = self.ask(step.need.authorization, request)
                step = respond_blocking(machine, reply, self.services, answers=(SendRequest,))
        except PeerRefused:
            return None
        assert step.token is None
        return step.established


def authorization_of(step: Step) -> str:
    """The credentials that a client's step wants to send."""
    assert isinstance(step.need, SendRequest)
    return step.need.authorization
