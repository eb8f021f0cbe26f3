"""The acceptor's NEGOEX negotiation ([MS-NEGOEX] 3.1.5, draft-zhu-negoex-04 4)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

from securestream.errors import HandshakeError, InvalidToken
from securestream.options import Options, Role
from securestream.provider import Effect, Exchange, Handshake, SecurityPackage
from securestream_providers.negotiate.negoex.candidate import Candidate
from securestream_providers.negotiate.negoex.conversation import Conversation, Heard
from securestream_providers.negotiate.negoex.journal import Schemes
from securestream_providers.negotiate.negoex.messages import ExchangeMessage, MessageType, NegoMessage
from securestream_providers.negotiate.negoex.session import Session

RANDOM: Final = 32


def accept(
    packages: tuple[SecurityPackage, ...],
    begin: Callable[[SecurityPackage], Handshake],
    schemes: Schemes,
    options: Options,
) -> Handshake:
    """The acceptor's negotiation: its own order decides among the schemes that both ends have.

    Args:
        packages: those that can be used, the preferred one first.
        begin: starts an acceptor's handshake of one.
        schemes: where to note what becomes of each.
        options: what is wanted.

    Raises:
        NoCommonMechanism: the ends share no scheme; the message says why of each.
        Downgrade: the initiator did not prove that it saw what was sent, or somebody altered it.
        InvalidToken: its token does not fit.
        HandshakeError: what the chosen package raised.
    """
    with ExitStack() as running:
        candidates: list[Candidate] = []
        for package in packages:
            candidate = running.enter_context(Candidate(package, partial(begin, package), options.limits))
            # at once, so that a keytab or a store that cannot be used is told of at the start
            yield from candidate.start()
            candidates.append(candidate)
        first = yield from Exchange()
        conversation = Conversation(Role.ACCEPTOR)
        heard = conversation.hear(first)
        common = yield from _common(candidates, heard, schemes)
        if not common:
            raise schemes.nothing_left()
        session = yield from _optimistic(common[0], heard, conversation)

        conversation.add(
            MessageType.ACCEPTOR_NEGO, NegoMessage(options.random(RANDOM), tuple(one.scheme for one in common))
        )
        for one in common:
            if one.metadata:
                conversation.add(MessageType.ACCEPTOR_META_DATA, ExchangeMessage(one.scheme, one.metadata))
        if session is None:
            reply = yield from Exchange(conversation.take())
            heard = conversation.hear(reply)
            chosen = _selected(common, heard)
            session = Session(Role.ACCEPTOR, conversation, chosen)
            yield from session.hear(heard)
            schemes.chosen(chosen.package, "" if chosen is common[0] else "the initiator chose it")
        else:
            session.hear_proof(heard)
            schemes.chosen(common[0].package)
        established = yield from session.run()
        return replace(established, negotiation=schemes.report())


def _common(
    candidates: list[Candidate], heard: Heard, schemes: Schemes
) -> Generator[Effect[Any], Any, list[Candidate]]:
    """The candidates that the initiator has too and that can use its metadata, each waiting for its token."""
    offered = heard.schemes or ()
    common: list[Candidate] = []
    for one in candidates:
        if one.scheme not in offered:
            schemes.passed_over(one.package, "the initiator does not have it")
            continue
        one.peer_metadata = heard.metadata.get(one.scheme)
        try:
            yield from one.go_on()
        except HandshakeError as failure:
            schemes.passed_over(one.package, failure)
        else:
            schemes.available(one.package)
            common.append(one)
    for scheme in offered:
        schemes.unknown(str(scheme))
    return common


def _optimistic(
    preferred: Candidate, heard: Heard, conversation: Conversation
) -> Generator[Effect[Any], Any, Session | None]:
    """Take the optimistic token if it is of the preferred scheme; that it fails is no error: the scheme begins anew."""
    if heard.token is None or heard.token.scheme != preferred.scheme:
        return None
    try:
        yield from preferred.step(heard.token.payload)
    except HandshakeError:
        yield from preferred.start()
        yield from preferred.go_on()
        return None
    return Session(Role.ACCEPTOR, conversation, preferred)


def _selected(common: list[Candidate], heard: Heard) -> Candidate:
    """The candidate that the initiator begins with."""
    if heard.token is None:
        raise InvalidToken("NEGOEX: the initiator sent no token of a scheme where one is due")
    for one in common:
        if one.scheme == heard.token.scheme:
            return one
    raise InvalidToken(f"NEGOEX: the initiator began with the scheme {heard.token.scheme}, which was not offered to it")
