"""Two ends of a handshake that meet in memory, with somebody in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from securestream.drive import Services, respond_blocking
from securestream.errors import SecureStreamError
from securestream.machine import HandshakeMachine, owed_token
from securestream.options import Role
from securestream.provider import Established

Alter = Callable[[int, bytes], bytes]
"""What somebody in between makes of the token of that number, from 0."""


@dataclass
class Met:
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

    def of(self, role: Role) -> Established | None:
        """The outcome of one end, if it had any."""
        return self.initiator if role is Role.INITIATOR else self.acceptor

    def run(self, machines: dict[Role, HandshakeMachine], first: Role, services: Services, alter: Alter) -> None:
        """Let the two ends talk, each token through `alter`, until one of them says nothing, or nobody listens."""
        speaking, token = first, None
        for number in itertools.count():
            try:
                step = respond_blocking(machines[speaking], token, services)
                answer = step.token
                if step.established is not None:
                    if speaking is Role.INITIATOR:
                        self.initiator = step.established
                    else:
                        self.acceptor = step.established
            except SecureStreamError as error:
                self.errors[speaking] = error
                answer = owed_token(error)
            speaking = speaking.other
            if answer is None or speaking in self.errors:
                return
            if self.of(speaking) is not None:
                assert speaking.other in self.errors, "a token for an end that is complete"
                return
            self.tokens.append(answer)
            token = alter(number, answer)
