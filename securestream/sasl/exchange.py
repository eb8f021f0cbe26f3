"""A SASL exchange as a protocol's profile sees it (RFC 4422 3): responses, challenges and the outcome, without I/O.

`SaslClient` and `SaslServer` know what a profile needs beside the mechanism: initial responses that are absent,
additional data with success, challenges that only carry such data, and that neither end is complete before both are::

    client = SaslClient(mechanism, credential=credential, target="ldap/dc1.example.com", options=options)
    response = client.response(respond_blocking(client.machine))        # `None`: no initial response
    answer = request(mechanism.info.name, response)
    while answer.is_challenge:
        token = client.challenged(answer.data)
        answer = request(client.response(respond_blocking(client.machine, token)))
    token = client.succeeded(answer.data)
    if token is not None:
        client.response(respond_blocking(client.machine, token))
    established = client.established

Where a profile has no initial responses, the first one is the answer to the server's first, empty, challenge. Inside
TLS the options of both ends name its bindings (``stream.extra(SecurityAttribute.channel_bindings)``) and ask for
`Protection.NONE`, or for a layer within; without TLS, anything less than the default of `Options` is in clear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from securestream.carrier import Judge, handshake_of
from securestream.credentials import Credential
from securestream.errors import InvalidToken, PeerRefused, UsageError
from securestream.machine import HandshakeMachine, State, Step
from securestream.options import Options, Role
from securestream.provider import Admit, Established, TargetName
from securestream.redaction import Redacted
from securestream.registry import check_package
from securestream.sasl.mechanism import SaslLayer, SaslMechanism


class _End:
    """What both ends share.

    Args:
        mechanism: the mechanism.
        role: this end's role.
        options: what is asked; `Options.protection` is demanded of the outcome.
        credential: as whom, or with what to verify.
        target: the service, for a client.
        admit: a further judgement of the outcome.
    """

    def __init__(
        self,
        mechanism: SaslMechanism,
        role: Role,
        options: Options,
        credential: Credential | None,
        target: TargetName | None,
        admit: Admit | None,
    ) -> None:
        check_package(mechanism, type(self).__name__, 'find_mechanism("GSSAPI") or Gssapi(Kerberos())')
        handshake = handshake_of(mechanism, role, credential, target, options)
        self._mechanism = mechanism
        self._judge = Judge(options, admit)
        self._machine = HandshakeMachine(handshake, options.limits, admit=self._judge)
        self._outcome: Established | None = None
        self._complete = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._mechanism.info.name} {self._machine.state.value}>"

    @property
    def name(self) -> str:
        """The mechanism's name."""
        return self._mechanism.info.name

    @property
    def machine(self) -> HandshakeMachine:
        """The machine, for `securestream.drive.respond`."""
        return self._machine

    @property
    def is_complete(self) -> bool:
        """Whether both ends are known to be complete: data may flow, through the layer."""
        return self._complete

    @property
    def established(self) -> Established:
        """The outcome, admitted; its result is a `SaslLayer`.

        Raises:
            UsageError: the exchange is not complete.
        """
        if self._outcome is None or not self._complete:
            raise UsageError("the SASL exchange is not complete")
        return self._outcome

    def close(self) -> None:
        """Abandon the exchange, and drop its keys. Idempotent."""
        self._machine.close()
        outcome, self._outcome, self._complete = self._outcome, None, False
        if outcome is not None and isinstance(outcome.result, SaslLayer):
            outcome.result.discard()

    def _take(self, outcome: Established) -> None:
        """Take the outcome, before the last token leaves.

        Raises:
            HandshakeError: it is refused by `check_quality` or by `admit`.
        """
        self._outcome = outcome
        try:
            self._judge(outcome)
        except BaseException:
            self.close()
            raise

    def _refuse(self, message: str) -> InvalidToken:
        """The error of a peer that breaks the exchange, which is then over; to be raised."""
        self.close()
        return InvalidToken(message)


class SaslClient(_End):
    """A client's exchange; the module's first lines show how to drive it.

    Args:
        mechanism: the mechanism, such as `securestream.sasl.choice.choose` gives.
        options: what is asked.
        credential: as whom.
        target: the service, ``ldap/dc1.example.com``.
        admit: a further judgement of the outcome, before the last response leaves.

    Raises:
        NoCredentials: the mechanism cannot use the credential; the message says what to give.
        UsageError: the mechanism plays no client.
    """

    def __init__(
        self,
        mechanism: SaslMechanism,
        *,
        options: Options,
        credential: Credential | None = None,
        target: str | None = None,
        admit: Admit | None = None,
    ) -> None:
        name = None if target is None else TargetName(target)
        super().__init__(mechanism, Role.INITIATOR, options, credential, name, admit)
        self._began = False
        self._success_told = False

    def response(self, step: Step) -> bytes | None:
        """What to send after `step`: the response to a challenge, or first of all the initial response, which is `None`
        where there is none. After success nothing is sent, and this gives `None`.

        Raises:
            HandshakeError: the outcome is refused.
        """
        initial, self._began = not self._began, True
        if step.established is not None:
            self._take(step.established)
            if not self._success_told:
                return step.token or b""
        if self._success_told:
            if step.established is None or step.token is not None:
                raise self._refuse("the server calls the exchange complete, and this end still has to answer it")
            self._complete = True
            return None
        return None if initial and not step.token and not self._mechanism.client_first else step.token or b""

    def challenged(self, data: bytes) -> bytes:
        """The server sent a challenge: the token with which to step the machine.

        Raises:
            InvalidToken: none is due.
        """
        if self._outcome is not None:
            raise self._refuse("the server sent a challenge after this end's last response")
        return data

    def succeeded(self, data: bytes | None = None) -> bytes | None:
        """The server says that the exchange is complete: the token with which to step the machine a last time, or
        `None` where nothing is left to do.

        Args:
            data: the additional data; `None` where there is none.

        Raises:
            InvalidToken: this end is not complete: the server has not proved what it must (SECURITY rule 20).
        """
        if self._outcome is None:
            if data is None:
                raise self._refuse("the server calls the exchange complete before it has proved what it must")
            self._success_told = True
            return data
        if data:
            raise self._refuse("the server sent data with its success, where none is due")
        self._complete = True
        return None

    def refused(self, message: str = "") -> NoReturn:
        """The server refused: end the exchange, and raise that, or what the mechanism makes of it.

        Args:
            message: what the profile told, without secrets.

        Raises:
            PeerRefused: always, unless the mechanism raises another error: a negotiation tells what it had considered.
        """
        error = PeerRefused(f"the server refused the logon by {self.name}{f': {message}' if message else ''}")
        if self._machine.state in (State.EXCHANGING, State.NEEDING):
            self._machine.fail(error)
        self.close()
        raise error


@dataclass(frozen=True, repr=False)
class Answer(Redacted):
    """What a server sends.

    Args:
        data: the challenge, or the additional data with success; `None` for none.
        is_challenge: whether it awaits a response; otherwise it is success.
    """

    data: bytes | None
    is_challenge: bool


class SaslServer(_End):
    """A server's exchange. `Established.peer` of its outcome is who logged on; as whom he wants to act, where he said
    it, is ``established.result.authzid``, which the mechanism's `authorize` has allowed::

        server = SaslServer(mechanism, credential=accounts, options=options)
        taken = server.received(initial_response)             # `None` where the client sent none
        while True:
            answer = taken if isinstance(taken, Answer) else server.answer(respond_blocking(server.machine, taken))
            if not answer.is_challenge:
                break
            taken = server.received(challenge(answer.data))

    Args:
        mechanism: the mechanism that the client named.
        options: what is asked.
        credential: with what to verify.
        admit: a further judgement of the outcome, before success is told.
        additional_data: whether the profile can carry data with success; where it cannot, they are a challenge of their
            own.

    Raises:
        NoCredentials: the mechanism cannot use the credential; the message says what to give.
        UsageError: the mechanism plays no server.
    """

    def __init__(
        self,
        mechanism: SaslMechanism,
        *,
        options: Options,
        credential: Credential | None = None,
        admit: Admit | None = None,
        additional_data: bool = True,
    ) -> None:
        super().__init__(mechanism, Role.ACCEPTOR, options, credential, None, admit)
        self._additional_data = additional_data
        self._asked = False

    def received(self, response: bytes | None) -> bytes | Answer:
        """The client sent a response: the token with which to step the machine, or the answer where no step is due.

        Args:
            response: at the beginning the initial response, which is `None` where there was none.

        Raises:
            InvalidToken: none is due, or it is missing.
        """
        if self._outcome is not None:  # it is told by a challenge of its own, and this is the answer to that
            if response:
                raise self._refuse("the client answered the data of success by a response, where none is due")
            self._complete = True
            return Answer(None, is_challenge=False)
        if response is not None:
            return response
        if self._asked or self._machine.state is not State.NEW:
            raise self._refuse("the client sent no response to a challenge")
        self._asked = True
        return Answer(b"", is_challenge=True) if self._mechanism.client_first else b""

    def answer(self, step: Step) -> Answer:
        """What to send after `step`.

        Raises:
            HandshakeError: the outcome is refused.
        """
        if step.established is None:
            return Answer(step.token or b"", is_challenge=True)
        self._take(step.established)
        if step.token is not None and not self._additional_data:
            return Answer(step.token, is_challenge=True)
        self._complete = True
        return Answer(step.token, is_challenge=False)
