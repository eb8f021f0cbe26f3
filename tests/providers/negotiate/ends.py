"""Two ends of a negotiation in memory, with somebody in between, and messages that a hand-made peer writes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from securestream.credentials import Anonymous, Credential
from securestream.drive import Services, respond_blocking
from securestream.errors import SecureStreamError
from securestream.machine import HandshakeMachine, owed_token
from securestream.negotiation import Negotiation
from securestream.options import ContextFlags, Options, Protection, Role
from securestream.provider import Established, SecurityContext, SecurityPackage, TargetName
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    MechTypeList,
    NegState,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
    frame,
    is_response,
    unframe,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TARGET = TargetName("host/files.corp.example")
NOBODY = Anonymous()

Alter = Callable[[int, bytes], bytes]
"""What somebody in between makes of the token of that number, from 0."""


def options(
    seed: int = 0,
    *,
    protection: Protection = Protection.ENCRYPT_AND_SIGN,
    flags: ContextFlags = ContextFlags.MUTUAL,
) -> Options:
    """Options whose clock stands and whose randomness repeats."""
    return Options(clock=lambda: NOW, random=random.Random(seed).randbytes, protection=protection, flags=flags)


@dataclass
class Meeting:
    """How a handshake of two ends went."""

    initiator: Established | None = None
    acceptor: Established | None = None
    errors: dict[Role, SecureStreamError] = field(default_factory=dict[Role, SecureStreamError])
    tokens: list[bytes] = field(default_factory=list[bytes])

    @property
    def established(self) -> tuple[Established, Established]:
        """Both outcomes, after success."""
        assert not self.errors, self.errors
        assert self.initiator is not None
        assert self.acceptor is not None
        return self.initiator, self.acceptor

    @property
    def contexts(self) -> tuple[SecurityContext, SecurityContext]:
        """Both contexts, after success."""
        one, two = (end.result for end in self.established)
        assert isinstance(one, SecurityContext)
        assert isinstance(two, SecurityContext)
        return one, two

    @property
    def reports(self) -> tuple[Negotiation, Negotiation]:
        """Both reports, after success."""
        one, two = (end.negotiation for end in self.established)
        assert one is not None
        assert two is not None
        return one, two

    @property
    def messages(self) -> list[NegTokenInit | NegTokenInit2 | NegTokenResp]:
        """What was sent, decoded."""
        return [read(token) for token in self.tokens]


def read(token: bytes) -> NegTokenInit | NegTokenInit2 | NegTokenResp:
    """A message of SPNEGO, whichever it is."""
    return NegTokenResp.decode(token) if is_response(token) else unframe(token)


def response(token: bytes | None) -> NegTokenResp:
    """A message after the first."""
    assert token is not None
    return NegTokenResp.decode(token)


def altered(number: int, change: Callable[[NegTokenResp], NegTokenResp]) -> Alter:
    """Somebody who changes the response of that number."""

    def alter(current: int, token: bytes) -> bytes:
        return change(NegTokenResp.decode(token)).encode() if current == number else token

    return alter


def with_list(*oids: str) -> Alter:
    """Somebody who puts another list into the first message, and leaves the token only to its first mechanism."""

    def alter(number: int, token: bytes) -> bytes:
        if number:
            return token
        message = unframe(token)
        assert isinstance(message, NegTokenInit)
        kept = message.mech_token if message.mech_types.mech_types[0] == oids[0] else None
        return frame(NegTokenInit(MechTypeList(oids), mech_token=kept))

    return alter


def offer(*oids: str, token: bytes | None = None, mic: bytes | None = None) -> bytes:
    """An initiator's first message."""
    return frame(NegTokenInit(MechTypeList(oids), mech_token=token, mech_list_mic=mic))


def types(*oids: str) -> bytes:
    """The octets that a mechListMIC covers."""
    return MechTypeList(oids).encode()


def resp(
    state: NegState | None = None, mech: str | None = None, token: bytes | None = None, mic: bytes | None = None
) -> bytes:
    """A message after the first."""
    return NegTokenResp(state, mech, token, mic).encode()


def initiator(package: SecurityPackage, credential: Credential = NOBODY) -> HandshakeMachine:
    """An initiator to be stepped by a hand-made acceptor."""
    return HandshakeMachine(package.initiate(credential, TARGET, options(1)))


def acceptor(package: SecurityPackage, credential: Credential = NOBODY) -> HandshakeMachine:
    """An acceptor to be stepped by a hand-made initiator."""
    machine = HandshakeMachine(package.accept(credential, options(2)))
    machine.step()
    return machine


def meet(
    client: SecurityPackage,
    server: SecurityPackage,
    *,
    initiating: Credential = NOBODY,
    accepting: Credential = NOBODY,
    mine: Options | None = None,
    theirs: Options | None = None,
    services: Services | None = None,
    alter: Alter = lambda number, token: token,
) -> Meeting:
    """Let two ends negotiate in memory."""
    found = Meeting()
    services = services or Services()
    mine, theirs = mine or options(1), theirs or options(2)
    machines = {
        Role.INITIATOR: HandshakeMachine(client.initiate(initiating, TARGET, mine), mine.limits),
        Role.ACCEPTOR: HandshakeMachine(server.accept(accepting, theirs), theirs.limits),
    }
    first = isinstance(server, Negotiate) and server.server_first
    speaking, token = Role.ACCEPTOR if first else Role.INITIATOR, None
    for number in itertools.count():
        try:
            step = respond_blocking(machines[speaking], token, services)
            answer = step.token
            if step.established is not None:
                if speaking is Role.INITIATOR:
                    found.initiator = step.established
                else:
                    found.acceptor = step.established
        except SecureStreamError as error:
            found.errors[speaking] = error
            answer = owed_token(error)
        if answer is None or speaking.other in found.errors:
            return found
        if (found.initiator if speaking is Role.ACCEPTOR else found.acceptor) is not None:
            return found
        found.tokens.append(answer)
        token = alter(number, answer)
        speaking = speaking.other
    return found


def talk(met: Meeting) -> None:
    """Data goes both ways, sealed or signed as was agreed; numbers continue after the MICs."""
    one, two = met.contexts
    for sender, receiver in ((one, two), (two, one), (one, two)):
        encrypt = ContextFlags.CONFIDENTIALITY in sender.flags
        for data in (b"", b"data", bytes(5000)):
            assert receiver.unwrap(sender.wrap(data, encrypt=encrypt)).data == data
        receiver.verify(b"signed", sender.sign(b"signed"))


def without_mic(message: NegTokenResp) -> NegTokenResp:
    """The message, its MIC removed."""
    return replace(message, mech_list_mic=None)
