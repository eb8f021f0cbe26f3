"""The acceptor's negotiation (RFC 4178 4, 5; [MS-SPNG] 3.3), and tokens that come without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

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
from securestream.provider import Established, Exchange, Handshake
from securestream_providers.negotiate.journal import Journal
from securestream_providers.negotiate.mechanism import Mechanism
from securestream_providers.negotiate.messages import (
    HINTS,
    MechTypeList,
    NegState,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
    bare_mechanism,
    canonical,
    frame,
    read_response,
    unframe,
)
from securestream_providers.negotiate.policy import Policy, unusable_reason, with_integrity
from securestream_providers.negotiate.protection import ListProtection, mic_of

_FORBIDDEN: Final = 'policy forbids it: ntlm="never"'


@dataclass(repr=False, slots=True)
class _Ready:
    """A mechanism that waits for its first token."""

    mechanism: Mechanism
    inner: Nested


def accept(policy: Policy, credential: Credential | None, options: Options) -> Handshake:
    """The acceptor's negotiation: the first mechanism of the initiator's list that this end can use.

    Raises:
        NoCommonMechanism: there is none; the message says why of each.
        Downgrade: it is not proved that the list arrived as it was sent.
        HandshakeError: what the chosen mechanism raised, in the envelope of SPNEGO.
        MalformedMessage: a message is none.
    """
    journal = Journal(Role.ACCEPTOR)
    try:
        return (yield from _accept(policy, credential, with_integrity(options), journal))
    except SecureStreamError as error:
        if error.negotiation is None:
            error.negotiation = journal.report()
        raise


def _accept(policy: Policy, credential: Credential | None, options: Options, journal: Journal) -> Handshake:
    """Let every mechanism begin, and choose by the first token."""
    with ExitStack() as running:
        ready: list[_Ready] = []
        for mechanism in policy.candidates:
            if not policy.allows(mechanism):
                journal.passed_over(mechanism, _FORBIDDEN)
            elif reason := unusable_reason(mechanism, credential, Role.ACCEPTOR):
                journal.passed_over(mechanism, reason)
            else:
                # all begin at once, so that a keytab or a store that cannot be used is told of at the start
                inner = running.enter_context(
                    Nested(mechanism.package.accept(credential, options), limits=options.limits)
                )
                yield from inner.step()
                journal.available(mechanism)
                ready.append(_Ready(mechanism, inner))
        first = yield from Exchange(_greeting(policy, ready))
        bare = bare_mechanism(first)
        if bare is not None:
            return (yield from _accept_bare(policy, journal, ready, canonical(bare), first))
        message = unframe(first)
        if isinstance(message, NegTokenInit2):
            raise InvalidToken("the first message is in the form of a server that speaks first; a client's is due")
        return (yield from _Negotiation(journal, ready, message).run())


def _greeting(policy: Policy, ready: list[_Ready]) -> bytes | None:
    """What a server that speaks first says."""
    if not policy.server_first:
        return None
    types = MechTypeList(tuple(one.mechanism.oid for one in ready)) if ready else None
    return frame(NegTokenInit2(types, neg_hints=HINTS))


def _accept_bare(policy: Policy, journal: Journal, ready: list[_Ready], oid: str, token: bytes) -> Handshake:
    """Tokens of a mechanism by themselves are answered in kind ([MS-SPNG] 3.3.5.1), under the same policy."""
    found = next((one for one in ready if oid in one.mechanism.names and not one.mechanism.is_negoex), None)
    if not oid:
        raise InvalidToken("the first token is neither SPNEGO nor of a mechanism that is known here")
    if found is None or policy.bare == "refused":
        if found is not None:
            journal.passed_over(found.mechanism, 'it came without SPNEGO, which policy refuses: bare="refused"')
        raise journal.nothing_left()
    journal.chosen(found.mechanism, "the initiator sent its tokens without SPNEGO")
    step = yield from found.inner.step(token)
    while step.established is None:
        reply = yield from Exchange(step.token)
        step = yield from found.inner.step(reply)
    return replace(step.established, negotiation=journal.report())


class _Negotiation:
    """The exchange of messages after an initiator's list has come.

    Args:
        journal: what was considered so far.
        ready: the mechanisms that wait for a first token, in this end's order.
        message: the initiator's first message.
    """

    def __init__(self, journal: Journal, ready: list[_Ready], message: NegTokenInit) -> None:
        self._journal = journal
        self._ready = ready
        self._message = message
        self._offered = message.mech_types.mech_types
        self._supported: str | None = None
        """The mechanism that was chosen, until the initiator was told."""
        self._demanded = False
        journal.offered = self._offered

    def run(self) -> Handshake:
        """Choose, and go on with what was chosen."""
        for index, oid, one in self._common():
            optimistic = self._message.mech_token if index == 0 else None
            self._supported = oid  # as the initiator called it: Windows refuses another name of the same mechanism
            self._demanded = index > 0 or not self._is_preferred(one)
            try:
                step = None if optimistic is None else (yield from one.inner.step(optimistic))
            except HandshakeError as failure:
                # it has no keytab, and found out only now; or it is NEGOEX, and the ends share none of its schemes
                if failure.kind is ErrorKind.NO_CREDENTIALS or isinstance(failure, NoCommonMechanism):
                    self._journal.passed_over(one.mechanism, str(failure), failure)
                    continue
                self._envelop(failure)
                raise
            self._journal.chosen(one.mechanism, "" if index == 0 else "the first of the initiator's list that is here")
            try:
                return (yield from self._go_on(one, step))
            except HandshakeError as failure:
                self._envelop(failure)
                raise
        raise self._nothing_left()

    def _common(self) -> Iterator[tuple[int, str, _Ready]]:
        """The mechanisms of the initiator's list that are ready here, in its order."""
        seen: set[str] = set()
        for index, oid in enumerate(self._offered):
            name = canonical(oid)
            one = next((one for one in self._ready if name in one.mechanism.names), None)
            if one is None:
                if all(name not in known.mechanism.names for known in self._ready):
                    self._note_unknown(oid)
            elif one.mechanism.oid not in seen:
                seen.add(one.mechanism.oid)
                yield index, oid, one

    def _note_unknown(self, oid: str) -> None:
        if canonical(oid) not in {entry.identifier for entry in self._journal.report().mechanisms}:
            self._journal.unknown(oid)

    def _is_preferred(self, one: _Ready) -> bool:
        """Whether this end would rather have chosen no other, had it been in the list: it may have been taken out (RFC
        4178 5). With NTLM only what is in the list counts, as with .NET and MIT: its own MIC makes one due in any case.
        """
        better = self._ready[: self._ready.index(one)]
        if one.mechanism.is_ntlm:
            names = {canonical(oid) for oid in self._offered}
            return not any(names & ready.mechanism.names for ready in better)
        return not better

    def _go_on(self, one: _Ready, step: Step | None) -> Handshake:
        """Exchange the mechanism's tokens until it is complete at this end."""
        mic = mic_of(self._message) if step is not None else None
        while step is None or step.established is None:
            reply = yield from Exchange(self._answer(None if step is None else step.token))
            message = _read(reply)
            if message.response_token is None:
                raise InvalidToken("the initiator sent no token of the mechanism where one is due")
            step = yield from one.inner.step(message.response_token)
            mic = mic_of(message)
        return (yield from self._finish(one, step, mic))

    def _finish(self, one: _Ready, step: Step, mic: bytes | None) -> Handshake:
        """Send the mechanism's last token, and exchange MICs where they are due."""
        outcome = one.inner.established
        protection = ListProtection(self._message.mech_types_octets, outcome, demanded=self._demanded)
        if mic is not None:
            protection.check(mic)
        if not protection.needed or protection.verified:
            answer = self._answer(step.token, protection.make(), NegState.ACCEPT_COMPLETED)
            return self._established(one, outcome, protection, answer)
        if step.token is None and self._supported is None:
            raise protection.missing()  # the mechanism's last token came from the initiator, its MIC was due with it
        reply = yield from Exchange(self._answer(step.token, protection.make()))
        message = _read(reply)
        mic = mic_of(message)
        if mic is None:
            raise protection.missing()
        protection.check(mic)
        if message.response_token:
            raise InvalidToken("the initiator sent a token after the mechanism was complete")
        return self._established(one, outcome, protection, None)

    def _answer(
        self, token: bytes | None, mic: bytes | None = None, state: NegState = NegState.ACCEPT_INCOMPLETE
    ) -> bytes:
        """A message; the first one names the mechanism that was chosen."""
        supported, self._supported = self._supported, None
        if supported is not None and self._demanded and state is NegState.ACCEPT_INCOMPLETE:
            state = NegState.REQUEST_MIC
        return NegTokenResp(state, supported, token, mic).encode()

    def _established(
        self, one: _Ready, outcome: Established, protection: ListProtection, answer: bytes | None
    ) -> Established:
        protected = protection.verified or one.mechanism.is_negoex
        report = self._journal.report(protected=protected, inner=outcome.negotiation)
        return Established(outcome.result, outcome.peer, answer, report)

    def _envelop(self, failure: HandshakeError) -> None:
        """Let the token of `failure`, if any, travel in a refusal."""
        failure.token = NegTokenResp(NegState.REJECT, self._supported, failure.token).encode()

    def _nothing_left(self) -> NoCommonMechanism:
        names = {canonical(oid) for oid in self._offered}
        for one in self._ready:
            if not names & one.mechanism.names:
                self._journal.passed_over(one.mechanism, "the initiator did not offer it")
        return self._journal.nothing_left(NegTokenResp(NegState.REJECT).encode())


def _read(reply: bytes) -> NegTokenResp:
    """The initiator's message, unless it is a refusal."""
    message = read_response(reply, "initiator")
    if message.neg_state is NegState.REJECT:
        raise PeerRefused("the initiator gave the negotiation up; look at its log", kind=ErrorKind.INVALID_TOKEN)
    return message
