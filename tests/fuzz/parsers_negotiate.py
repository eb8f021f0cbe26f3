"""SPNEGO's parsers of peers' octets: both forms of a first message, later ones, and both ends' use of them."""

from __future__ import annotations

from collections.abc import Callable

from securestream.credentials import Accounts
from securestream.drive import Services, respond_blocking
from securestream.errors import HandshakeError, MalformedMessage, PeerRefused
from securestream.machine import HandshakeMachine
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    HINTS,
    MechTypeList,
    NegTokenInit2,
    NegTokenResp,
    bare_mechanism,
    frame,
    unframe,
)
from securestream_providers.ntlm import Ntlm
from tests.fuzz.harness import Parser
from tests.providers.negotiate.ends import meet, options
from tests.providers.negotiate.toy import SECOND, Toy
from tests.providers.ntlm.ends import ALICE, store

_ACCOUNTS = Accounts(store())
_CLIENT, _SERVER = Negotiate(Toy(SECOND), Ntlm(), ntlm="always"), Negotiate(Ntlm(), Toy(legs=3))
_TOKENS = [
    meet(client, server, initiating=ALICE, accepting=_ACCOUNTS).tokens
    for client, server in (
        (Negotiate(Ntlm()), Negotiate(Ntlm())),
        (_CLIENT, Negotiate(Ntlm())),
        (Negotiate(Toy(legs=1)), Negotiate(Toy(SECOND), Toy(legs=1))),
        (Negotiate(Toy(SECOND), Toy(legs=4)), Negotiate(Toy(legs=4))),
    )
]
_FIRST = [tokens[0] for tokens in _TOKENS]
_HELLO = frame(NegTokenInit2(MechTypeList((SECOND,)), neg_hints=HINTS))
_LATER = [token for tokens in _TOKENS for token in tokens[1:]]
_REFUSALS = (MalformedMessage, HandshakeError, PeerRefused)


def _describe(octets: bytes) -> object:
    return _SERVER.describe_token(octets)


def _initiator(before: list[bytes]) -> Callable[[bytes], object]:
    """The initiator of an exchange, given an altered message after those of the acceptor in `before`."""

    def parse(octets: bytes) -> object:
        machine = HandshakeMachine(_CLIENT.initiate(ALICE, None, options(1)))
        machine.step()
        for token in before:
            machine.step(token)
        return machine.step(octets)

    return parse


def _acceptor(before: list[bytes]) -> Callable[[bytes], object]:
    """The acceptor of an exchange, given an altered message after those of the initiator in `before`."""
    services = Services()

    def parse(octets: bytes) -> object:
        machine = HandshakeMachine(_SERVER.accept(_ACCOUNTS, options(2)))
        machine.step()
        for token in before:
            respond_blocking(machine, token, services)
        return respond_blocking(machine, octets, services)

    return parse


PARSERS = [
    Parser("negotiate.first", unframe, [*_FIRST, _HELLO]),
    Parser("negotiate.later", NegTokenResp.decode, _LATER),
    Parser("negotiate.bare", bare_mechanism, [*_FIRST, _HELLO, *_LATER]),
    Parser("negotiate.describe", _describe, [*_FIRST, _HELLO, *_LATER], ()),
    Parser("negotiate.initiator.choice", _initiator([]), [_TOKENS[1][1]], _REFUSALS),
    Parser("negotiate.initiator.challenge", _initiator([_TOKENS[1][1]]), [_TOKENS[1][3]], _REFUSALS),
    Parser("negotiate.acceptor.first", _acceptor([]), [_FIRST[0], _FIRST[2]], _REFUSALS),
    Parser("negotiate.acceptor.authenticate", _acceptor([_FIRST[0]]), [_TOKENS[0][2]], _REFUSALS),
]
