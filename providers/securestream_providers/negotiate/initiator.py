"""The initiator's negotiation (RFC 4178 4, 5; [MS-SPNG] 3.2)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final

from securestream.credentials import Credential
from securestream.errors import (
    ErrorKind,
    HandshakeError,
    InvalidToken,
    NoCommonMechanism,
    PeerRefused,
    SecureStreamError,
)
from securestream.machine import Step
from securestream.nested import Nested
from securestream.options import Options, Role
from securestream.provider import Effect, Established, Exchange, Handshake, TargetName
from securestream_providers.negotiate.journal import Journal
from securestream_providers.negotiate.mechanism import Mechanism
from securestream_providers.negotiate.messages import (
    NegState,
    NegTokenInit,
    NegTokenResp,
    canonical,
    frame,
    list_of,
    read_response,
    unframe,
)
from securestream_providers.negotiate.policy import FALLBACK, Policy, unusable_reason, with_integrity
from securestream_providers.negotiate.protection import ListProtection, mic_of

_SENT: Final = Step()
"""What is left to send after the mechanism's last token is on its way."""


@dataclass(repr=False, slots=True)
class _Asked:
    """What is asked of every mechanism, and what is known of them."""

    policy: Policy
    credential: Credential | None
    target: TargetName | None
    options: Options
    journal: Journal

    def begin(self, mechanism: Mechanism) -> Nested:
        """A handshake of `mechanism`."""
        handshake = mechanism.package.initiate(self.credential, self.target, self.options)
        return Nested(handshake, limits=self.options.limits)


def initiate(policy: Policy, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
    """The initiator's negotiation.

    The first mechanism that can begin is offered first, with its token; behind it those that policy allows beside it.

    Raises:
        NoCommonMechanism: none is left; the message says why of each.
        Downgrade: it is not proved that the acceptor saw the list that was sent.
        PeerRefused: the acceptor refused.
        InvalidToken: its token does not fit, or it calls itself complete before the mechanism is.
        HandshakeError: what the chosen mechanism raised.
    """
    asked = _Asked(policy, credential, target, with_integrity(options), Journal(Role.INITIATOR))
    try:
        return (yield from _initiate(asked))
    except SecureStreamError as error:
        if error.negotiation is None:
            error.negotiation = asked.journal.report()
        raise


def _initiate(asked: _Asked) -> Handshake:
    """Find the first mechanism that can begin, and negotiate with it in front."""
    policy, credential = asked.policy, asked.credential
    if policy.server_first:
        # a NegTokenInit2, which without hints has the other form; all it says is a hint, which anybody can forge
        unframe((yield from Exchange()))
    failures: dict[Mechanism, HandshakeError | None] = {}
    for mechanism in policy.candidates:
        if reason := unusable_reason(mechanism, credential, Role.INITIATOR):
            failures[mechanism] = None
            asked.journal.passed_over(mechanism, reason)
            continue
        if mechanism.is_ntlm and (objection := policy.objection(credential, failures)):
            asked.journal.passed_over(mechanism, objection)
            continue
        with asked.begin(mechanism) as inner:
            try:
                step = yield from inner.step()
            except HandshakeError as failure:
                if failure.kind not in FALLBACK:
                    _end(asked, mechanism, failure)
                    raise
                failure.token = None
                failures[mechanism] = failure
                asked.journal.passed_over(mechanism, str(failure), failure)
                continue
            offered = (mechanism, *_further(asked, mechanism, failures))
            try:
                return (yield from _Negotiation(asked, offered).run(inner, step))
            except PeerRefused as refusal:
                if refusal.kind is ErrorKind.NO_COMMON_MECHANISM and (reasons := asked.journal.not_offered()):
                    told = f"{refusal}; not offered: {reasons}"
                    raise PeerRefused(told, kind=refusal.kind, code=refusal.code) from refusal
                raise
    raise asked.journal.nothing_left()


def _end(asked: _Asked, failed: Mechanism, failure: HandshakeError) -> None:
    """Note why nothing is tried after a failure that is not one of `FALLBACK`."""
    candidates = asked.policy.candidates
    asked.journal.passed_over(failed, str(failure), failure)
    for mechanism in candidates[candidates.index(failed) + 1 :]:
        asked.journal.passed_over(mechanism, f"nothing is tried after this failure of {failed.name}")


def _further(asked: _Asked, first: Mechanism, failures: dict[Mechanism, HandshakeError | None]) -> list[Mechanism]:
    """What is offered behind the first mechanism."""
    candidates = asked.policy.candidates
    found: list[Mechanism] = []
    asked.journal.chosen(first)
    for mechanism in candidates[candidates.index(first) + 1 :]:
        if reason := unusable_reason(mechanism, asked.credential, Role.INITIATOR):
            failures[mechanism] = None
            asked.journal.passed_over(mechanism, reason)
        elif mechanism.is_ntlm and (objection := asked.policy.objection(asked.credential, failures)):
            asked.journal.passed_over(mechanism, objection)
        else:
            asked.journal.available(mechanism)
            found.append(mechanism)
    return found


class _Negotiation:
    """The exchange of messages, once a list is made.

    Args:
        asked: what is asked of every mechanism.
        offered: the list, the first one with its token.
    """

    def __init__(self, asked: _Asked, offered: tuple[Mechanism, ...]) -> None:
        self._asked = asked
        self._offered = offered
        self._chosen = offered[0]
        self._types, self._list = list_of(tuple([mechanism.oid for mechanism in offered]))
        self._demanded = False
        asked.journal.offered = self._types.mech_types

    def run(self, inner: Nested, step: Step) -> Handshake:
        """Offer the list, and go on with the mechanism that the acceptor chooses.

        Args:
            inner: the handshake of the first mechanism.
            step: its first step.
        """
        try:
            reply = yield from Exchange(frame(NegTokenInit(self._types, mech_token=step.token)))
            message = _read(reply)
            if message.neg_state is NegState.REJECT:
                raise (yield from self._refused(inner, message, first=True))
            self._demanded = message.neg_state is NegState.REQUEST_MIC
            if not self._is_first_choice(message.supported_mech):
                return (yield from self._switch(message))
            return (yield from self._go_on(inner, _without_token(step), message))
        except HandshakeError as failure:
            failure.token = NegTokenResp(NegState.REJECT, response_token=failure.token).encode()
            raise

    def _is_first_choice(self, supported: str | None) -> bool:
        """Whether the acceptor chose the first mechanism; some leave out what they chose if it is that."""
        return supported is None or canonical(supported) in self._chosen.names

    def _switch(self, message: NegTokenResp) -> Handshake:
        """Begin anew with another mechanism of the list; its choice has to be proved (RFC 4178 5)."""
        supported = canonical(message.supported_mech or "")
        chosen = next((one for one in self._offered if supported in one.names), None)
        if chosen is None:
            raise NoCommonMechanism(
                f"the acceptor chose {message.supported_mech}, which was not offered: "
                f"{self._asked.journal.report()}".replace("\n", "; "),
                negotiation=self._asked.journal.report(),
            )
        if message.neg_state is NegState.ACCEPT_COMPLETED or message.response_token:
            raise InvalidToken("the acceptor chose another mechanism and answers a token that it has not seen")
        journal = self._asked.journal
        journal.available(self._chosen, "offered first; the acceptor chose another mechanism")
        journal.chosen(chosen, "the acceptor chose it")
        self._chosen, self._demanded = chosen, True
        with self._asked.begin(chosen) as inner:
            step = yield from inner.step()
            if step.token is None:
                raise InvalidToken(f"{chosen.name} cannot begin in the middle of a negotiation")
            if step.established is not None:
                return (yield from self._finish(inner, step, None))
            reply = yield from Exchange(_incomplete(step.token))
            return (yield from self._go_on(inner, _SENT, _read(reply)))

    def _go_on(self, inner: Nested, step: Step, message: NegTokenResp) -> Handshake:
        """Exchange the mechanism's tokens until it is complete at this end."""
        while step.established is None:
            if message.neg_state is NegState.REJECT:
                raise (yield from self._refused(inner, message))
            self._demanded |= message.neg_state is NegState.REQUEST_MIC
            if message.response_token is None:
                raise InvalidToken("the acceptor sent no token of the mechanism, which is not complete")
            step = yield from inner.step(message.response_token)
            if step.established is not None:
                return (yield from self._finish(inner, step, message))
            if message.neg_state is NegState.ACCEPT_COMPLETED or step.token is None:
                raise InvalidToken("the acceptor calls the negotiation complete before the mechanism is")
            reply = yield from Exchange(_incomplete(step.token))
            message = _read(reply)
        _check_over(message)
        return (yield from self._finish(inner, step, message))

    def _finish(self, inner: Nested, step: Step, message: NegTokenResp | None) -> Handshake:
        """Send the mechanism's last token, and exchange MICs where they are due.

        Args:
            inner: the mechanism's handshake, complete.
            step: its last step, whose token is still to be sent.
            message: the acceptor's last message; `None` where it has seen nothing of this mechanism yet.
        """
        outcome = inner.established
        protection = ListProtection(self._list, outcome, demanded=self._demanded)
        if step.token is not None:
            if message is not None and message.neg_state is NegState.ACCEPT_COMPLETED:
                raise InvalidToken("the acceptor calls the negotiation complete before it has our last token")
            last = NegTokenResp(NegState.ACCEPT_INCOMPLETE, response_token=step.token, mech_list_mic=protection.make())
            message = _read((yield from Exchange(last.encode())))
            if message.neg_state is NegState.REJECT:
                raise (yield from self._refused(inner, message))
            _check_over(message)
        return self._conclude(outcome, protection, message or NegTokenResp())

    def _conclude(self, outcome: Established, protection: ListProtection, message: NegTokenResp) -> Established:
        """Take the acceptor's last message, whose MIC is due if one is needed at all (RFC 4178 5)."""
        mic = mic_of(message)
        if mic is not None:
            protection.check(mic)
        elif protection.needed:
            raise protection.missing()
        elif message.neg_state not in (NegState.ACCEPT_COMPLETED, None):  # a state left out says nothing (4.2.2)
            raise InvalidToken("the acceptor does not call the negotiation complete, and nothing more is due to it")
        # who calls the negotiation complete with a MIC that nobody asked for awaits none, and counts none of ours
        mic = None if message.neg_state is NegState.ACCEPT_COMPLETED else protection.make()
        return self._established(outcome, protection, mic)

    def _established(self, outcome: Established, protection: ListProtection, mic: bytes | None) -> Established:
        token = None
        if mic is not None:
            token = NegTokenResp(NegState.ACCEPT_COMPLETED, mech_list_mic=mic).encode()
        protected = protection.verified or self._chosen.is_negoex
        report = self._asked.journal.report(protected=protected, inner=outcome.negotiation)
        return Established(outcome.result, outcome.peer, token, report)

    def _refused(
        self, inner: Nested, message: NegTokenResp, *, first: bool = False
    ) -> Generator[Effect[Any], Any, PeerRefused]:
        """The error to raise for a refusal, unless what its mechanism says is one by itself.

        Args:
            inner: the mechanism's handshake.
            message: the refusal.
            first: whether it is the first that the acceptor says.
        """
        if message.response_token and not inner.is_established:
            try:
                yield from inner.step(message.response_token)
            except InvalidToken:  # no error token of the mechanism; the state has said enough
                pass
            except HandshakeError as failure:  # nothing is owed to an acceptor that has refused
                return PeerRefused(str(failure), kind=failure.kind)
        if first and message.supported_mech is None and not message.response_token:
            return PeerRefused(
                "the acceptor refused the negotiation: it shares none of the mechanisms that were offered "
                f"({', '.join(self._asked.journal.offered)}), or it refused the logon; look at its log",
                kind=ErrorKind.NO_COMMON_MECHANISM,
            )
        return PeerRefused(f"the acceptor refused the logon by {self._chosen.name}; look at its log")


def _without_token(step: Step) -> Step:
    """`step`, whose token was sent."""
    return _SENT if step.established is None else Step(established=step.established)


def _incomplete(token: bytes) -> bytes:
    return NegTokenResp(NegState.ACCEPT_INCOMPLETE, response_token=token).encode()


def _read(reply: bytes) -> NegTokenResp:
    """The acceptor's message. An acceptor's last leg may be empty, and then says as little as a message of nothing."""
    return read_response(reply, "acceptor") if reply else NegTokenResp()


def _check_over(message: NegTokenResp) -> None:
    """Nothing of the mechanism comes after it is complete, but for a copy of the MIC."""
    if message.response_token and message.response_token != message.mech_list_mic:
        raise InvalidToken("the acceptor sent a token after the mechanism was complete")
