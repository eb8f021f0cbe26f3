"""Small handshakes to step, and the means to run two ends against each other without I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from examples.custom_provider import SharedKey, SharedKeyPackage
from securestream.credentials import Credential
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags, Options, Role
from securestream.principal import Principal
from securestream.provider import (
    Buffer,
    ContextSizes,
    Effect,
    Established,
    Exchange,
    Handshake,
    SecurityContext,
    SecurityPackage,
    TargetName,
    Unwrapped,
)

R = TypeVar("R")

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = bytes(range(32))
ALICE = SharedKey("alice", KEY)
SHARED_KEY = SharedKeyPackage()


@dataclass(frozen=True, repr=False)
class Ask(Effect[int]):
    """A question that nobody answers by default."""

    question: str = ""


class PlainContext(SecurityContext):
    """Protects nothing; says what it was told to say."""

    def __init__(self, flags: ContextFlags = ContextFlags.NONE, role: Role = Role.INITIATOR) -> None:
        super().__init__("Plain", role, flags)
        self.discarded = False

    @property
    def sizes(self) -> ContextSizes:
        return ContextSizes(0, 0, 1, 0)

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        return bytes(data)

    def unwrap(self, token: Buffer) -> Unwrapped:
        return Unwrapped(bytes(token), encrypted=False)

    def sign(self, data: Buffer) -> bytes:
        return b""

    def verify(self, data: Buffer, signature: Buffer) -> None:
        return None

    def discard(self) -> None:
        self.discarded = True


def established(token: bytes | None = None, flags: ContextFlags = ContextFlags.NONE) -> Established:
    """An outcome of no worth."""
    return Established(PlainContext(flags), Principal("bob", "Plain"), token)


def script(*sent: bytes | None, last: bytes | None = None, got: list[bytes] | None = None) -> Handshake:
    """Sends each of `sent`, awaiting a token after each, and is then established with `last`."""
    for token in sent:
        reply = yield from Exchange(token)
        if got is not None:
            got.append(reply)
    return established(last)


def asking(effect: Effect[R], got: list[R] | None = None) -> Handshake:
    """Asks one thing and is established."""
    reply = yield from effect
    if got is not None:
        got.append(reply)
    return established()


def raising(error: BaseException, *before: Effect[Any]) -> Handshake:
    """Performs `before`, then raises."""
    for effect in before:
        yield from effect
    raise error


def counting_random() -> Callable[[int], bytes]:
    """Octets that differ from draw to draw and are the same in each run."""
    draws = 0

    def draw(size: int) -> bytes:
        nonlocal draws
        draws += 1
        return (draws.to_bytes(4, "big") * (size // 4 + 1))[:size]

    return draw


def options(**changes: Any) -> Options:
    """Options with a clock that stands and randomness that counts."""
    return replace(Options(clock=lambda: NOW, random=counting_random()), **changes)


def pair(
    package: SecurityPackage,
    initiator: Credential | None,
    acceptor: Credential | None,
    *,
    initiator_options: Options | None = None,
    acceptor_options: Options | None = None,
    target: TargetName | None = None,
) -> tuple[HandshakeMachine, HandshakeMachine]:
    """Two machines that can be given to `run`."""
    mine, theirs = initiator_options or options(), acceptor_options or options()
    return (
        HandshakeMachine(package.initiate(initiator, target, mine), mine.limits),
        HandshakeMachine(package.accept(acceptor, theirs), theirs.limits),
    )


def run(
    initiator: HandshakeMachine,
    acceptor: HandshakeMachine,
    services: Services | None = None,
    alter: Callable[[int, bytes], bytes] = lambda leg, token: token,
) -> tuple[Established, Established]:
    """Run both ends to their outcome, each token through `alter`; a failure of either is raised."""
    outcomes: dict[HandshakeMachine, Established] = {}
    respond_blocking(acceptor, None, services)
    token: bytes | None = None
    speaking, listening = initiator, acceptor
    for leg in range(100):
        step = respond_blocking(speaking, token, services)
        if step.established is not None:
            outcomes[speaking] = step.established
        if step.token is None:
            break
        token = alter(leg, step.token)
        speaking, listening = listening, speaking
    assert listening is not speaking
    return outcomes[initiator], outcomes[acceptor]


def generator(machine: HandshakeMachine) -> Generator[Effect[Any], Any, Established] | None:
    """The generator that a machine still holds."""
    held: Generator[Effect[Any], Any, Established] | None = vars(machine)["_handshake"]
    return held
