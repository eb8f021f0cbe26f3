"""Two ends of NEGOEX in memory, and somebody in between who reads and alters what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from securestream.credentials import Credential
from securestream.drive import respond_blocking
from securestream.errors import SecureStreamError
from securestream.machine import HandshakeMachine, owed_token
from securestream.options import Role
from securestream.provider import Established, SecurityPackage
from securestream_providers.negotiate.negoex.messages import Message, MessageType, messages_of
from securestream_providers.negotiate.negoex.package import Negoex
from tests.core.handshakes import options
from tests.providers.negotiate.negoex.hops import SECOND, Hops

Alter = Callable[[int, bytes], bytes]
ONE, TWO = Hops(name="First"), Hops(SECOND, name="Second")


def untouched(leg: int, token: bytes) -> bytes:
    """Nobody in between."""
    return token


@dataclass
class Meeting:
    """How it went."""

    outcomes: dict[Role, Established] = field(default_factory=dict[Role, Established])
    errors: dict[Role, SecureStreamError] = field(default_factory=dict[Role, SecureStreamError])
    tokens: list[bytes] = field(default_factory=list[bytes])

    @property
    def said(self) -> list[list[str]]:
        """The messages of each token: number and type."""
        return [[f"{one.sequence} {one.kind.name}" for one in messages_of(token)] for token in self.tokens]

    @property
    def complete(self) -> bool:
        """Whether both ends are."""
        return len(self.outcomes) == 2

    def error(self) -> SecureStreamError:
        """The first failure."""
        return next(iter(self.errors.values()))

    def chosen(self, role: Role) -> str:
        """What that end's report names."""
        negotiation = self.outcomes[role].negotiation
        assert negotiation is not None
        assert negotiation.chosen is not None
        return negotiation.chosen.mechanism

    def reason(self, role: Role, mechanism: str) -> str:
        """Why a mechanism was passed over."""
        negotiation = self.outcomes[role].negotiation
        assert negotiation is not None
        return negotiation.reason_against(mechanism)


def meet(
    initiator: Iterable[SecurityPackage] | SecurityPackage,
    acceptor: Iterable[SecurityPackage] | SecurityPackage,
    *,
    alter: Alter = untouched,
    credentials: Credential | tuple[Credential | None, Credential | None] | None = None,
) -> Meeting:
    """Run two ends, each token through `alter`; the last word of whoever fails is given to the other.

    Args:
        initiator: a package, or schemes for one of NEGOEX.
        acceptor: the same.
        alter: somebody in between.
        credentials: of the initiator and of the acceptor, or one for both.
    """
    mine, theirs = _package(initiator), _package(acceptor)
    known = credentials if isinstance(credentials, tuple) else (credentials, credentials)
    met = Meeting()
    ends = {
        Role.INITIATOR: HandshakeMachine(mine.initiate(known[0], None, options())),
        Role.ACCEPTOR: HandshakeMachine(theirs.accept(known[1], options())),
    }
    try:
        _run(met, ends, alter)
    finally:
        for end in ends.values():
            end.close()
    return met


def _run(met: Meeting, ends: dict[Role, HandshakeMachine], alter: Alter) -> None:
    role, token = Role.INITIATOR, None
    try:
        respond_blocking(ends[Role.ACCEPTOR], None)
    except SecureStreamError as failure:
        met.errors[Role.ACCEPTOR] = failure
        return
    for leg in range(40):
        try:
            step = respond_blocking(ends[role], token)
        except SecureStreamError as failure:
            met.errors[role] = failure
            owed = owed_token(failure)
        else:
            owed = step.token
            if step.established is not None:
                met.outcomes[role] = step.established
        role = role.other
        if owed is None or role in met.outcomes or role in met.errors:
            return
        met.tokens.append(owed)
        token = alter(leg, owed)
    raise AssertionError("it never ends")


def _package(side: Iterable[SecurityPackage] | SecurityPackage) -> SecurityPackage:
    return Negoex(tuple(side)) if isinstance(side, Iterable) else side


def rewritten(token: bytes, change: Callable[[Message], Message | None]) -> bytes:
    """The messages of a token, each as `change` has it, or left out."""
    changed = (change(one) for one in messages_of(token))
    return b"".join(one.encode() for one in changed if one is not None)


def without(kind: MessageType) -> Callable[[bytes], bytes]:
    """Leaves messages of a type out, and renumbers those behind them."""

    def alter(token: bytes) -> bytes:
        gone = 0

        def change(message: Message) -> Message | None:
            nonlocal gone
            if message.kind is kind:
                gone += 1
                return None
            return replace(message, sequence=message.sequence - gone)

        return rewritten(token, change)

    return alter


def on_leg(number: int, alter: Callable[[bytes], bytes]) -> Alter:
    """Alters one token."""
    return lambda leg, token: alter(token) if leg == number else token
