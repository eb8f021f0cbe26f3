"""NEGOEX with MIT's: the exchanges of MIT's own tests, each with ourselves at either end, must be the same messages.

The reference is MIT against MIT in the same run. The mechanism is MIT's test mechanism, which ours plays too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Literal, Protocol, TypeAlias

import pytest

from securestream.drive import respond_blocking
from securestream.errors import Downgrade, HandshakeError, LogonDenied, SecureStreamError
from securestream.machine import HandshakeMachine
from securestream.negotiation import Verdict
from securestream.options import Options, Role
from securestream.provider import Established
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import NegTokenInit, NegTokenResp, is_response, unframe
from securestream_providers.negotiate.negoex.messages import messages_of
from tests.core.handshakes import options
from tests.interop.expected_negoex import FAILURES, NEGOEX, SCENARIOS
from tests.interop.matrix import Filler
from tests.interop.peers import negoex as peers
from tests.interop.peers.foreign import Refused
from tests.interop.peers.negoex import FIRST_OCTET, SECOND, NegoexPeer
from tests.providers.negotiate.negoex.hops import Hops, Keys

pytestmark = pytest.mark.interop

Whose: TypeAlias = Literal["MIT", "ours"]
ONE, TWO = Hops(name="First"), Hops(SECOND, name="Second")


@dataclass(frozen=True)
class Side:
    """One end of a scenario, as MIT's switches and as our packages."""

    switches: Mapping[str, str] = field(default_factory=dict[str, str])
    packages: tuple[Hops, ...] = (ONE, TWO)


def both(hops: int = 1, keys: Keys = "end", *, waits: bool = False) -> tuple[Hops, ...]:
    """Our two packages, both changed."""
    return tuple(replace(one, hops=hops, keys=keys, waits=waits) for one in (ONE, TWO))


def hops(count: int, key: str = "", initiator: Keys = "end", acceptor: Keys = "end") -> tuple[Side, Side]:
    """A scenario of that many tokens; the keys as MIT's switch has it, and as our two ends."""
    switches = {"HOPS": str(count), **({"KEY": key} if key else {})}
    return Side(switches, both(count, initiator)), Side(switches, both(count, acceptor))


PLAIN = Side()
SCENARIO: dict[str, tuple[Side, Side]] = {
    **{f"{count} hops": hops(count) for count in range(1, 8)},
    **{f"early keys, {count} hops": hops(count, "always", "early", "early") for count in range(1, 6)},
    "no optimistic token": (Side({"NEGOEX_NO_OPTIMISTIC_TOKEN": ""}, both(waits=True)), PLAIN),
    "no metadata": (
        Side({"INIT_QUERY_NONE": FIRST_OCTET}, (replace(ONE, metadata=None), TWO)),
        Side({"ACCEPT_QUERY_NONE": FIRST_OCTET}, (replace(ONE, metadata=None), TWO)),
    ),
    "first mechanism refused before the start": (
        Side({"INIT_QUERY_FAIL": FIRST_OCTET}, (replace(ONE, fails="start"), TWO)),
        PLAIN,
    ),
    "first mechanism refused by the initiator": (
        Side({"INIT_FAIL": FIRST_OCTET}, (replace(ONE, fails="token"), TWO)),
        PLAIN,
    ),
    "first mechanism refused by the acceptor": (
        PLAIN,
        Side({"ACCEPT_QUERY_FAIL": FIRST_OCTET}, (replace(ONE, fails="metadata"), TWO)),
    ),
    "first mechanism's metadata refused": (
        PLAIN,
        Side({"ACCEPT_EXCHANGE_FAIL": FIRST_OCTET}, (replace(ONE, fails="metadata"), TWO)),
    ),
    "ALERT to the initiator": hops(3, "init-always", initiator="early"),
    "ALERT to the acceptor": hops(4, "accept-always", acceptor="early"),
    "the acceptor prefers the second": (PLAIN, Side({}, (TWO, ONE))),
    "the acceptor has the second alone": (PLAIN, Side({}, (TWO,))),
    "no keys": hops(1, "never", "never", "never"),
    "refused token": (
        Side({"HOPS": "2"}, both(2)),
        Side({"HOPS": "2", "ACCEPT_FAIL": FIRST_OCTET}, (replace(ONE, hops=2, fails="token"), TWO)),
    ),
}


class End(Protocol):
    """One end under way."""

    complete: bool

    def step(self, token: bytes | None) -> bytes | None:
        """Take a token, give the next one."""
        ...


class OurEnd:
    """An end of ours."""

    def __init__(self, packages: tuple[Hops, ...], role: Role) -> None:
        wanted: Options = options()
        negotiate = Negotiate(*packages)
        handshake = negotiate.initiate(None, None, wanted) if role is Role.INITIATOR else negotiate.accept(None, wanted)
        self._machine = HandshakeMachine(handshake)
        self.complete = False
        self.established: Established | None = None

    def step(self, token: bytes | None) -> bytes | None:
        """Take a token, give the next one."""
        step = respond_blocking(self._machine, token)
        self.established = step.established
        self.complete = step.established is not None
        return step.token


Peers: TypeAlias = Callable[[Role, tuple[Hops, ...]], NegoexPeer]


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of MIT's library."""
    return require(peers)


@pytest.fixture(scope="module")
def theirs(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """A process of MIT's library for each role and order of mechanisms."""
    started: dict[tuple[Role, tuple[str, ...]], NegoexPeer] = {}

    def peer(role: Role, packages: tuple[Hops, ...]) -> NegoexPeer:
        oids = tuple(one.oid for one in packages)
        if (role, oids) not in started:
            started[role, oids] = NegoexPeer(tmp_path_factory.mktemp("negoex"), oids)
        return started[role, oids]

    yield peer
    for one in started.values():
        one.__exit__(None, None, None)


@dataclass
class Exchanged:
    """What was said, and what it came to."""

    said: list[str] = field(default_factory=list[str])
    ends: tuple[End, ...] = ()
    failure: Exception | None = None


def told(token: bytes) -> list[str]:
    """The NEGOEX messages in a token of SPNEGO: number, type, scheme; sizes are equal too, then."""
    message = NegTokenResp.decode(token) if is_response(token) else unframe(token)
    inner = message.mech_token if isinstance(message, NegTokenInit) else getattr(message, "response_token", None)
    return [f"{one.sequence} {one.kind.name} {len(one.encode())}" for one in messages_of(inner)] if inner else []


def exchange(theirs: Peers, scenario: tuple[Side, Side], initiator: Whose, acceptor: Whose) -> Exchanged:
    """Run a scenario with these two ends until both are complete or one says no."""

    def end(whose: Whose, side: Side, role: Role) -> End:
        if whose == "ours":
            return OurEnd(side.packages, role)
        peer = theirs(role, side.packages)
        peer.begin(initiator=role is Role.INITIATOR, switches=side.switches)
        return peer

    first, second = end(initiator, scenario[0], Role.INITIATOR), end(acceptor, scenario[1], Role.ACCEPTOR)
    came = Exchanged(ends=(first, second))
    token: bytes | None = None
    try:
        if isinstance(second, OurEnd):
            second.step(None)
        for _ in range(40):
            token = first.step(token)
            if token is None:
                break
            came.said += told(token)
            first, second = second, first
    except (Refused, SecureStreamError) as failure:
        came.failure = failure
        if isinstance(failure, Refused | HandshakeError) and failure.token:
            try:
                second.step(failure.token)
            except (Refused, SecureStreamError) as answer:
                came.said.append(f"told: {answer}")
    return came


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
def test_the_same_messages_as_between_two_of_mit(
    theirs: Peers, name: str, role: Literal["initiator", "acceptor"], version: str, matrix: Filler
) -> None:
    scenario = SCENARIO[name]
    reference = exchange(theirs, scenario, "MIT", "MIT")
    assert reference.failure is None
    came = (
        exchange(theirs, scenario, "MIT", "ours") if role == "initiator" else exchange(theirs, scenario, "ours", "MIT")
    )
    assert came.failure is None
    assert came.said == reference.said
    assert [end.complete for end in came.ends] == [True, True]
    ours = came.ends[1 if role == "initiator" else 0]
    assert isinstance(ours, OurEnd)
    assert ours.established is not None
    report = ours.established.negotiation
    assert report is not None
    assert report.chosen is not None
    assert report.chosen.verdict is Verdict.CHOSEN
    assert report.protected
    seen = f"{report.chosen.mechanism}, {len(came.said)} messages as between two of MIT"
    matrix.fill(NEGOEX, peers.NAME, version, role, name, seen)


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
def test_failures_are_failures_at_both_ends(
    theirs: Peers, name: str, role: Literal["initiator", "acceptor"], version: str, matrix: Filler
) -> None:
    scenario = SCENARIO[name]
    reference = exchange(theirs, scenario, "MIT", "MIT")
    came = (
        exchange(theirs, scenario, "MIT", "ours") if role == "initiator" else exchange(theirs, scenario, "ours", "MIT")
    )
    assert reference.failure is not None
    assert came.failure is not None
    if isinstance(came.failure, SecureStreamError):
        assert isinstance(came.failure, Downgrade if name == "no keys" else LogonDenied)
    assert not any(end.complete for end in came.ends)
    matrix.fill(NEGOEX, peers.NAME, version, role, name, f"{came.failure}")


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_messages_among_ourselves(theirs: Peers, name: str) -> None:
    came = exchange(theirs, SCENARIO[name], "ours", "ours")
    assert came.failure is None
    assert came.said == exchange(theirs, SCENARIO[name], "MIT", "MIT").said
