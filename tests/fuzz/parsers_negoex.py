"""NEGOEX's parsers of peers' octets: the messages, and both ends' use of the first that they get."""

from __future__ import annotations

from dataclasses import replace

from securestream.errors import HandshakeError, MalformedMessage
from securestream.machine import HandshakeMachine
from securestream_providers.negotiate.negoex.describe import describe
from securestream_providers.negotiate.negoex.messages import messages_of
from securestream_providers.negotiate.negoex.package import Negoex
from tests.core.handshakes import options
from tests.fuzz.harness import Parser
from tests.providers.negotiate.negoex.meeting import ONE, TWO, meet

_LATE = (replace(ONE, hops=4), TWO)
_EARLY = (replace(ONE, hops=4, keys="early"), TWO)
_TOKENS = [
    meet(mine, theirs).tokens
    for mine, theirs in ((_LATE, _LATE), (_EARLY, _LATE), (_LATE, _EARLY), ((ONE, TWO), (TWO, ONE)))
]
_ALL = [token for tokens in _TOKENS for token in tokens]
_REFUSALS = (MalformedMessage, HandshakeError)


def _messages(octets: bytes) -> object:
    return [message.encode() for message in messages_of(octets)]


def _describe(octets: bytes) -> object:
    return describe((ONE, TWO), octets)


def _initiator(octets: bytes) -> object:
    """An initiator given an altered answer to its first token."""
    machine = HandshakeMachine(Negoex(_LATE).initiate(None, None, options()))
    machine.step()
    return machine.step(octets)


def _acceptor(octets: bytes) -> object:
    """An acceptor given an altered first token."""
    machine = HandshakeMachine(Negoex(_LATE).accept(None, options()))
    machine.step()
    return machine.step(octets)


PARSERS = [
    Parser("negoex.messages", _messages, _ALL),
    Parser("negoex.describe", _describe, _ALL),
    Parser("negoex.acceptor", _acceptor, [_TOKENS[0][0], _TOKENS[1][0]], _REFUSALS),
    Parser("negoex.initiator", _initiator, [_TOKENS[0][1], _TOKENS[2][1]], _REFUSALS),
]
