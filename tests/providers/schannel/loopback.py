"""A client and a server of Schannel in memory, stepped by hand."""

from __future__ import annotations

from dataclasses import dataclass

from securestream.ambient import system_options
from securestream.credentials import Credential
from securestream.errors import HandshakeError, SecureStreamError, Unsupported, UsageError
from securestream.machine import HandshakeMachine, Step
from securestream.options import Options
from securestream.provider import Established, TargetName
from securestream.records._engine import EngineConnection
from securestream.records.endpoints import Engine
from securestream_providers.schannel import Schannel
from tests.certificates import authority

CA = authority()
LEAF = CA.leaf(["localhost", "127.0.0.1"])
CLIENT = CA.leaf(["client.example"], usage=["client"])
ENGINES: tuple[Engine, ...] = ("stdlib", "pyopenssl")


@dataclass
class Side:
    """One machine: what it established, or how it failed."""

    machine: HandshakeMachine
    established: Established | None = None
    error: SecureStreamError | None = None
    last: bytes | None = None

    def step(self, token: bytes | None) -> bytes | None:
        """Take a token, give one; after establishment, data for the connection."""
        if self.error is not None:
            return None
        try:
            if self.established is not None:
                if token:
                    self.connection.receive_data(token)
                    self.connection.next_event()
                return None
            step: Step = self.machine.step(token)
        except (UsageError, Unsupported):  # this end's own mistake
            raise
        except SecureStreamError as error:
            self.error = error
            return error.token if isinstance(error, HandshakeError) else None
        self.established = step.established
        return step.token

    @property
    def connection(self) -> EngineConnection:
        assert self.established is not None, self.error
        assert isinstance(self.established.result, EngineConnection)
        return self.established.result


@dataclass
class Loop:
    """Both sides after the last token."""

    client: Side
    server: Side

    def say(self, data: bytes) -> bytes:
        """Carry `data` from the client to the server and back."""
        for sender, receiver in ((self.client, self.server), (self.server, self.client)):
            sender.connection.send(data)
            receiver.connection.receive_data(sender.connection.data_to_send())
            buffer = bytearray(len(data) + 1)
            assert receiver.connection.read_into(buffer) == len(data)
            assert buffer[:-1] == data
        return data


def run(
    client: Schannel,
    server: Schannel,
    *,
    client_credential: Credential | None = None,
    server_credential: Credential | None = LEAF.credential,
    target: str | None = "localhost",
    options: Options | None = None,
) -> Loop:
    """Run both handshakes against each other until neither has a token left."""
    asked = options or system_options()
    initiator = Side(
        HandshakeMachine(client.initiate(client_credential, TargetName(target) if target is not None else None, asked))
    )
    acceptor = Side(HandshakeMachine(server.accept(server_credential, asked)))
    token = initiator.step(None)
    acceptor.step(None)
    while token is not None:
        answer = acceptor.step(token)
        token = initiator.step(answer) if answer is not None else None
    return Loop(initiator, acceptor)
