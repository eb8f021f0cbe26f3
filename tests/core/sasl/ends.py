"""Two SASL ends in memory, as a profile drives them, with somebody in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Accounts, Credential, Password
from securestream.drive import Services, respond_blocking
from securestream.errors import SecureStreamError, kind_of
from securestream.machine import HandshakeMachine, owed_token
from securestream.options import Options, Protection, Role
from securestream.provider import Established, TargetName
from securestream.sasl import Answer, SaslClient, SaslLayer, SaslMechanism, SaslServer
from tests.providers.kerberos.ends import TARGET, Realm, new_services
from tests.providers.kerberos.ends import package as kerberos

__all__ = ["TARGET", "Protection", "Realm", "kerberos", "new_services"]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PASSWORD = "correct horse"
ALICE = Password("alice", PASSWORD)
BINDINGS = ChannelBindings(b"tls-exporter:" + bytes(range(32)))
OTHER_BINDINGS = ChannelBindings(b"tls-exporter:" + bytes(32))
END_POINT = ChannelBindings(b"tls-server-end-point:" + bytes(range(32)))
NONE, SIGN, SEAL = Protection.NONE, Protection.SIGN, Protection.ENCRYPT_AND_SIGN

Alter = Callable[[int, bytes], bytes]
"""What somebody in between makes of the token of that number, from 0."""


def accounts() -> Accounts:
    """A store that knows alice."""
    return Accounts.memory(alice=PASSWORD)


def options(protection: Protection = NONE, seed: int = 0, **more: Any) -> Options:
    """Options whose clock stands and whose randomness repeats."""
    made = Options(clock=lambda: NOW, random=random.Random(seed).randbytes, protection=protection)
    return replace(made, **more)


@dataclass
class Meeting:
    """How an exchange went."""

    client: Established | None = None
    server: Established | None = None
    errors: dict[Role, SecureStreamError] = field(default_factory=dict[Role, SecureStreamError])
    tokens: list[bytes] = field(default_factory=list[bytes])

    @property
    def outcomes(self) -> tuple[Established, Established]:
        """The client's and the server's, after success."""
        assert not self.errors, self.errors
        assert self.client is not None
        assert self.server is not None
        return self.client, self.server

    @property
    def layers(self) -> tuple[SaslLayer, SaslLayer]:
        """Both layers, after success."""
        one, other = (end.result for end in self.outcomes)
        assert isinstance(one, SaslLayer)
        assert isinstance(other, SaslLayer)
        return one, other

    @property
    def error(self) -> SecureStreamError:
        """The first failure."""
        assert self.errors, "the exchange succeeded"
        return next(iter(self.errors.values()))

    @property
    def kinds(self) -> dict[Role, str]:
        """The kind of each end's failure."""
        return {role: kind_of(error).name for role, error in self.errors.items()}


def meet(
    client: SaslMechanism,
    server: SaslMechanism,
    initiating: Credential | None,
    accepting: Credential | None,
    *,
    mine: Options | None = None,
    theirs: Options | None = None,
    target: str = TARGET,
    services: Services | None = None,
    alter: Alter = lambda leg, token: token,
    initial: bool = True,
    additional_data: bool = True,
) -> Meeting:
    """Let two ends authenticate as a profile does.

    Args:
        client: the client's mechanism.
        server: the server's.
        initiating: the client's credential.
        accepting: the server's.
        mine: what the client asks.
        theirs: what the server asks.
        target: the service.
        services: who performs effects.
        alter: somebody in between.
        initial: whether the profile has initial responses.
        additional_data: whether it has data with success.
    """
    found = Meeting()
    services = services or new_services()
    try:
        one = SaslClient(client, options=mine or options(seed=1), credential=initiating, target=target)
        response = one.response(respond_blocking(one.machine, None, services))
    except SecureStreamError as error:
        found.errors[Role.INITIATOR] = error
        return found
    other = SaslServer(server, options=theirs or options(seed=2), credential=accepting, additional_data=additional_data)
    held = None if initial else response
    arrived = response if initial else None
    for _ in range(20):
        answer = _served(found, other, _carried(found, alter, arrived), services)
        if answer is None:
            return found
        arrived = _carried(found, alter, answer.data)
        try:
            if not answer.is_challenge:
                last = one.succeeded(arrived)
                if last is not None:
                    one.response(respond_blocking(one.machine, last, services))
                found.client = one.established
                return found
            if held is not None:
                assert answer.data == b""
                arrived, held = held, None
            elif one.is_complete or one.machine.state.value == "established":
                assert answer.data == b"" or not additional_data
                one.challenged(answer.data or b"")
            else:
                arrived = one.response(respond_blocking(one.machine, one.challenged(arrived or b""), services))
        except SecureStreamError as error:
            found.errors[Role.INITIATOR] = error
            return found
    raise AssertionError("an exchange without an end")


def _carried(found: Meeting, alter: Alter, token: bytes | None) -> bytes | None:
    if token is None:
        return None
    found.tokens.append(token)
    return alter(len(found.tokens) - 1, token)


def _served(found: Meeting, server: SaslServer, response: bytes | None, services: Services) -> Answer | None:
    """The server's answer; `None` when it refused."""
    try:
        taken = server.received(response)
        answer = (
            taken if isinstance(taken, Answer) else server.answer(respond_blocking(server.machine, taken, services))
        )
        if not answer.is_challenge:
            found.server = server.established
        return answer
    except SecureStreamError as error:
        found.errors[Role.ACCEPTOR] = error
        return None


def stepped(machine: HandshakeMachine, *tokens: bytes, services: Services | None = None) -> bytes | None:
    """The token that a machine gives after these ones."""
    step = respond_blocking(machine, None, services)
    for token in tokens:
        step = respond_blocking(machine, token, services)
    return step.token


def owed(error: BaseException) -> bytes | None:
    """What a mechanism tells its peer of a failure."""
    return owed_token(error)


def initiator(mechanism: SaslMechanism, credential: Credential | None, asked: Options) -> HandshakeMachine:
    """A client's machine."""
    return HandshakeMachine(mechanism.initiate(credential, TargetName(TARGET), asked))


def acceptor(mechanism: SaslMechanism, credential: Credential | None, asked: Options) -> HandshakeMachine:
    """A server's machine."""
    return HandshakeMachine(mechanism.accept(credential, asked))
