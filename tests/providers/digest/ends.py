"""Both ends of HTTP Digest, driven by hand: requests and responses are values, time stands still unless it is moved."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from securestream.credentials import Accounts, Password
from securestream.drive import Services
from securestream.http.fields import parse_challenges
from securestream.http.schemes import HttpReply, HttpRequest, Origin, SendRequest
from securestream.machine import HandshakeMachine, Step
from securestream.options import Options
from securestream.provider import Established, Handshake
from securestream.redaction import Secret
from securestream_providers.digest import DigestClient, DigestServer, NonceCount
from securestream_providers.digest.performers import MemoryCounts

START = datetime(2026, 1, 1, tzinfo=UTC)
REALM = "api@example.org"
PASSWORD = "correct horse"
ORIGIN = Origin.parse("https://api.example.org")
KEY = bytes(range(32))


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by


class Counting:
    """Random octets that are the same in every run and never repeat."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += 1
        return hashlib.shake_128(self.drawn.to_bytes(8, "big")).digest(size)


@dataclass
class World:
    """One clock, one source of randomness, one memory of what was used."""

    clock: Clock = field(default_factory=Clock)
    services: Services = field(default_factory=Services)
    options: Options = field(init=False)

    def __post_init__(self) -> None:
        self.options = Options(clock=self.clock, random=Counting(), source="192.0.2.1")
        self.services.register_performer(NonceCount, MemoryCounts(clock=self.clock))

    def drive(self, handshake: Handshake) -> Established:
        """Run a server's handshake to its end."""
        machine = HandshakeMachine(handshake)
        return established(self.perform(machine, machine.step()))

    def perform(self, machine: HandshakeMachine, step: Step) -> Step:
        """Perform everything but what sends a request."""
        while step.need is not None and not isinstance(step.need, SendRequest):
            try:
                reply: Any = self.services.performer_of(type(step.need)).perform_blocking(step.need)
            except Exception as error:  # thrown into the handshake, as a driver does
                step = machine.fail(error)
            else:
                step = machine.step(reply)
        return step


def established(step: Step) -> Established:
    """What a last step established."""
    assert step.established is not None
    return step.established


@dataclass
class Exchange:
    """What a client's handshake did: the credentials it sent, and the outcome."""

    sent: list[str]
    outcome: Established


class Web:
    """A server behind values: answers requests as an adapter would."""

    def __init__(
        self,
        world: World,
        server: DigestServer,
        *,
        status: int = 200,
        body: bytes = b"content",
        options: Options | None = None,
    ) -> None:
        self.world = world
        self.server = server
        self.options = world.options if options is None else options
        self.status = status
        self.body = body
        self.served: list[Established] = []
        self.refused: list[Exception] = []

    def challenge(self, request: HttpRequest) -> HttpReply:
        """401 (407) with the server's challenges."""
        return self.refusal(request, self.server.challenges(request, self.options))

    def refusal(self, request: HttpRequest, challenges: Sequence[str]) -> HttpReply:
        """401 (407) with these challenges."""
        return HttpReply.received(407 if request.proxy else 401, challenges, proxy=request.proxy)

    def answer(self, request: HttpRequest, authorization: str) -> HttpReply:
        """The response to a request with credentials."""
        from securestream.errors import HandshakeError

        request = HttpRequest.received(
            request.method, request.target, request.origin, [authorization], body=request.body, proxy=request.proxy
        )
        try:
            outcome = self.world.drive(self.server.accept(request, self.options))
        except HandshakeError as error:
            self.refused.append(error)
            own = error.token
            challenges = self.server.challenges(request, self.options) if own is None else [own.decode("ascii")]
            return self.refusal(request, challenges)
        self.served.append(outcome)
        fields = self.server.confirm(outcome, request, self.body)
        assert {one.name for one in fields} <= {"Authentication-Info", "Proxy-Authentication-Info"}
        return HttpReply.received(
            self.status, information=[one.value for one in fields], body=self.body, proxy=request.proxy
        )

    def fetch(self, client: DigestClient, request: HttpRequest, options: Options | None = None) -> Exchange:
        """A client's whole exchange: with credentials at once where it can, else after the challenge."""
        options = self.world.options if options is None else options
        handshake = client.initiate((), request, options)
        if handshake is None:
            handshake = client.initiate(self.challenge(request).challenges, request, options)
        assert handshake is not None
        return self.converse(handshake, request)

    def converse(self, handshake: Handshake, request: HttpRequest) -> Exchange:
        """Run a client's handshake against this server."""
        sent: list[str] = []
        machine = HandshakeMachine(handshake)
        step = machine.step()
        while isinstance(step.need, SendRequest):
            sent.append(step.need.authorization)
            step = machine.step(self.answer(request, step.need.authorization))
        return Exchange(sent, established(step))


def get(
    target: str = "/dir/index.html?q=1", *, method: str = "GET", body: bytes | None = b"", **more: Any
) -> HttpRequest:
    """A request."""
    return HttpRequest(method, target, more.pop("origin", ORIGIN), body=body, **more)


def accounts(**passwords: str) -> Accounts:
    """Accounts in memory; alice unless others are given."""
    return Accounts.memory(**(passwords or {"alice": PASSWORD}))


def make_server(**arguments: Any) -> DigestServer:
    """A server of `REALM` that knows alice."""
    arguments.setdefault("key", Secret(KEY))
    return DigestServer(arguments.pop("credential", None) or accounts(), REALM, **arguments)


def make_client(**arguments: Any) -> DigestClient:
    """A client that is alice."""
    name, password = arguments.pop("name", "alice"), arguments.pop("password", PASSWORD)
    return DigestClient(Password(name, password), **arguments)


def with_parameter(value: str, name: str, replacement: str | None) -> str:
    """A field value with a parameter exchanged, or left out."""
    pattern = re.compile(rf'(?<![\w*]){re.escape(name)}=("(?:[^"\\]|\\.)*"|[^,]*)(?:, )?')
    assert pattern.search(value), f"there is no {name}"
    changed = pattern.sub("" if replacement is None else f"{name}={replacement}, ", value)
    return changed.rstrip(", ")


def parameter(value: str, name: str) -> str | None:
    """A parameter of a field value."""
    return parse_challenges([value])[0].parameter(name)


def asked(request: HttpRequest, authorization: str) -> HttpRequest:
    """A request with these credentials."""
    made = HttpRequest.received(request.method, request.target, request.origin, [authorization])
    return replace(request, authorization=made.authorization)
