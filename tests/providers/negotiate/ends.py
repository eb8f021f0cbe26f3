"""Two ends of a negotiation in memory, with somebody in between, and messages that a hand-made peer writes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from securestream.credentials import Anonymous, Credential
from securestream.drive import Services
from securestream.machine import HandshakeMachine
from securestream.negotiation import Negotiation
from securestream.options import ContextFlags, Options, Protection, Role
from securestream.provider import SecurityContext, SecurityPackage, TargetName
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
from tests.providers.meeting import Alter, Met

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TARGET = TargetName("host/files.corp.example")
NOBODY = Anonymous()


def options(
    seed: int = 0,
    *,
    protection: Protection = Protection.ENCRYPT_AND_SIGN,
    flags: ContextFlags = ContextFlags.MUTUAL,
) -> Options:
    """Options whose clock stands and whose randomness repeats."""
    return Options(clock=lambda: NOW, random=random.Random(seed).randbytes, protection=protection, flags=flags)


class Meeting(Met):
    """How a negotiation of two ends went."""

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
    mine, theirs = mine or options(1), theirs or options(2)
    machines = {
        Role.INITIATOR: HandshakeMachine(client.initiate(initiating, TARGET, mine), mine.limits),
        Role.ACCEPTOR: HandshakeMachine(server.accept(accepting, theirs), theirs.limits),
    }
    first = isinstance(server, Negotiate) and server.server_first
    found.run(machines, Role.ACCEPTOR if first else Role.INITIATOR, services or Services(), alter)
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
