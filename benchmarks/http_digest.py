"""HTTP Digest: one request and its response behind a challenge, beside what httpx and requests do at the client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from benchmarks import pairs
from benchmarks.measure import OURS, Effort, Section, compare, cpu_loop, micro, ratio
from benchmarks.sides import Handshakes, Sides, compare_sides
from securestream.ambient import system_options
from securestream.credentials import Accounts, Password
from securestream.drive import Services
from securestream.http.schemes import HttpReply, HttpRequest, Origin, SendRequest
from securestream.machine import HandshakeMachine, Step
from securestream_providers.digest import DigestClient, DigestServer

_URL: Final = f"https://{pairs.HOST}/a/path?q=1"
_ORIGIN: Final = Origin.parse(f"https://{pairs.HOST}")
_REALM: Final = "benchmark"
HTTPX: Final = "httpx.DigestAuth"
REQUESTS: Final = "requests"


class _Web:
    """Both ends of ours, made once as a program makes them."""

    def __init__(self) -> None:
        self.server = DigestServer(Accounts.memory(**{pairs.USER: pairs.PASSWORD}), _REALM)
        self.client = DigestClient(Password(pairs.USER, pairs.PASSWORD))
        self.options, self.services = system_options(), Services()
        self.request = HttpRequest("GET", "/a/path?q=1", _ORIGIN)
        self.challenge = self.server.challenges(self.request, self.options)[0]

    def perform(self, machine: HandshakeMachine, step: Step) -> Step:
        """Perform what does not send a request."""
        while step.need is not None and not isinstance(step.need, SendRequest):
            step = machine.step(self.services.performer_of(type(step.need)).perform_blocking(step.need))
        return step

    def begin(self) -> tuple[HandshakeMachine, str]:
        """The client's credentials for a challenge that is new to it."""
        reply = HttpReply.received(401, [self.server.challenges(self.request, self.options)[0]])
        handshake = self.client.initiate(reply.challenges, self.request, self.options)
        assert handshake is not None
        machine = HandshakeMachine(handshake)
        step = self.perform(machine, machine.step())
        assert isinstance(step.need, SendRequest)
        return machine, step.need.authorization

    def serve(self, authorization: str) -> str:
        """Verify them; the proof of the server."""
        request = HttpRequest.received("GET", self.request.target, _ORIGIN, [authorization])
        machine = HandshakeMachine(self.server.accept(request, self.options))
        step = self.perform(machine, machine.step())
        assert step.established is not None
        return self.server.confirm(step.established, request, b"")[0].value

    def end(self, machine: HandshakeMachine, proof: str) -> None:
        """Verify the server."""
        step = self.perform(machine, machine.step(HttpReply.received(200, information=[proof])))
        assert step.established is not None


def _ours(web: _Web) -> Handshakes:
    def exchanges(times: int) -> Sides:
        sides, clock = Sides(), time.thread_time
        for _ in range(times):
            start = clock()
            machine, authorization = web.begin()
            sent = clock()
            proof = web.serve(authorization)
            served = clock()
            web.end(machine, proof)
            sides.initiator += sent - start + clock() - served
            sides.acceptor += served - sent
        return sides

    return exchanges


def _httpx(challenge: str) -> Callable[[], object]:
    import httpx

    request = httpx.Request("GET", _URL)
    reply = httpx.Response(401, headers={"WWW-Authenticate": challenge}, request=request)
    done = httpx.Response(200, request=request)

    def once() -> None:
        flow = httpx.DigestAuth(pairs.USER, pairs.PASSWORD).auth_flow(httpx.Request("GET", _URL))
        next(flow)
        flow.send(reply)
        try:
            flow.send(done)
        except StopIteration:
            return

    return once


def _requests(challenge: str) -> Callable[[], object] | None:
    try:
        from requests.auth import HTTPDigestAuth
        from requests.utils import parse_dict_header
    except ImportError:
        return None
    parse: Callable[[str], Mapping[str, str | None]] = parse_dict_header

    def once() -> object:
        auth: Any = HTTPDigestAuth(pairs.USER, pairs.PASSWORD)
        auth.init_per_thread_state()
        auth._thread_local.chal = parse(challenge.partition(" ")[2])
        return auth.build_digest_header("GET", _URL)

    return once


def exchanges(effort: Effort) -> Section:
    """The rows of HTTP Digest."""
    web = _Web()
    series, sides = compare_sides({OURS: _ours(web)}, effort)
    section = Section(
        "HTTP Digest, SHA-256: a request behind a challenge, CPU µs",
        ("", "client", "server", "both", f"client × {OURS}'s"),
        notes=[
            "No sockets: from the challenge to credentials, their verification, and the server's proof.",
            "The others are clients alone, and verify no proof; ours makes the challenge in its time, too.",
        ],
    )
    section.rows.append((OURS, *(micro(half) for half in sides[OURS]), micro(series[OURS]), "1.00"))
    clients = {HTTPX: _httpx(web.challenge), REQUESTS: _requests(web.challenge)}
    others = {name: cpu_loop(once) for name, once in clients.items() if once is not None}
    found = compare({OURS: cpu_loop(lambda: web.begin()), **others}, effort)
    for name in others:
        times = ratio(found, name, OURS)
        section.rows.append((name, micro(found[name]), "–", "–", "–" if times is None else f"{times:.2f}"))
    return section
