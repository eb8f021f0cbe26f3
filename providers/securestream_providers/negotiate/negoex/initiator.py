"""The initiator's NEGOEX negotiation ([MS-NEGOEX] 3.1.5, draft-zhu-negoex-04 4)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

from securestream.errors import HandshakeError, InvalidToken
from securestream.options import Options, Role
from securestream.provider import Effect, Exchange, Handshake, SecurityPackage
from securestream_providers.negotiate.negoex.candidate import Candidate, Doing
from securestream_providers.negotiate.negoex.conversation import Conversation, Heard
from securestream_providers.negotiate.negoex.journal import Schemes
from securestream_providers.negotiate.negoex.messages import ExchangeMessage, MessageType, NegoMessage
from securestream_providers.negotiate.negoex.session import Session

CONVERSATION: Final = 16
RANDOM: Final = 32


def initiate(
    packages: tuple[SecurityPackage, ...],
    begin: Callable[[SecurityPackage], Handshake],
    schemes: Schemes,
    options: Options,
) -> Handshake:
    """The initiator's negotiation: all schemes are offered, with the first token of the first one.

    Each package's handshake goes as far as its metadata, or its first token where it has none, before anything is sent:
    what cannot begin is not offered.

    Args:
        packages: those that can be used, the preferred one first.
        begin: starts an initiator's handshake of one.
        schemes: where to note what becomes of each.
        options: what is wanted.

    Raises:
        NoCommonMechanism: no scheme is left; the message says why of each.
        Downgrade: the acceptor did not prove that it saw what was sent, or somebody altered it.
        InvalidToken: its token does not fit.
        HandshakeError: what the chosen package raised.
    """
    with ExitStack() as running:
        candidates: list[Candidate] = []
        for package in packages:
            candidate = running.enter_context(Candidate(package, partial(begin, package), options.limits))
            try:
                yield from candidate.start()
                if not candidates:
                    yield from candidate.go_on(spoken=False)
            except HandshakeError as failure:
                schemes.passed_over(package, failure)
            else:
                schemes.available(package)
                candidates.append(candidate)
        if not candidates:
            raise schemes.nothing_left()

        conversation = Conversation(Role.INITIATOR, options.random(CONVERSATION))
        conversation.add(
            MessageType.INITIATOR_NEGO, NegoMessage(options.random(RANDOM), tuple(one.scheme for one in candidates))
        )
        for one in candidates:
            if one.metadata:
                conversation.add(MessageType.INITIATOR_META_DATA, ExchangeMessage(one.scheme, one.metadata))
        optimistic: Session | None = None
        if candidates[0].token is not None:
            optimistic = Session(Role.INITIATOR, conversation, candidates[0])
            optimistic.speak()
        reply = yield from Exchange(conversation.take())
        heard = conversation.hear(reply)
        session = yield from _decide(candidates, optimistic, heard, conversation, schemes)
        established = yield from session.run()
        return replace(established, negotiation=schemes.report())


def _decide(
    candidates: list[Candidate],
    optimistic: Session | None,
    heard: Heard,
    conversation: Conversation,
    schemes: Schemes,
) -> Generator[Effect[Any], Any, Session]:
    """Take the acceptor's first token: it goes on with the optimistic token, or the first of its list is begun."""
    for one in candidates:
        one.peer_metadata = heard.metadata.get(one.scheme)
    common = [one for scheme in dict.fromkeys(heard.schemes or ()) for one in candidates if one.scheme == scheme]
    first = candidates[0]
    # whoever took the optimistic token answers it, or proves the conversation with the key that it brought
    if optimistic is not None and (heard.token is not None or heard.verify is not None):
        if first not in common:
            raise InvalidToken("NEGOEX: the acceptor answers a scheme that is not among those that it has")
        schemes.chosen(first.package)
        yield from optimistic.hear(heard)
        return optimistic
    if heard.token is not None:
        raise InvalidToken("NEGOEX: the acceptor answers a token that was not sent")
    if optimistic is not None:
        first.close()
    for one in common:
        try:
            yield from _begin_late(one, started=one is not first or optimistic is None)
        except HandshakeError as failure:
            schemes.passed_over(one.package, failure)
            continue
        schemes.chosen(one.package, "" if one is first else "the acceptor prefers it")
        return Session(Role.INITIATOR, conversation, one)
    raise schemes.nothing_left()


def _begin_late(candidate: Candidate, *, started: bool) -> Doing:
    """Bring a candidate to its first token, now that the acceptor's metadata is known."""
    if not started:
        yield from candidate.start()
    yield from candidate.go_on()
    if candidate.token is None:
        raise InvalidToken(f"{candidate.name} has no token to begin with")
