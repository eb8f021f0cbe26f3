"""NTLM's parsers of peers' octets: the three messages, AV pairs, responses, and both ends' use of them."""

from __future__ import annotations

from collections.abc import Callable

from securestream.credentials import Accounts
from securestream.drive import Services, respond_blocking
from securestream.errors import HandshakeError, MalformedMessage
from securestream.machine import HandshakeMachine
from securestream_providers.ntlm import Ntlm
from securestream_providers.ntlm.messages import Authenticate, Challenge, ClientChallenge, Negotiate, unpack_pairs
from tests.fuzz.harness import Parser
from tests.providers.ntlm.ends import ALICE, BINDINGS, TARGET, handshake, options, store

_BOUND = options(1, bindings=BINDINGS)
_TOKENS = [
    handshake(client, server, client_options=_BOUND).tokens
    for client, server in (
        (Ntlm(), Ntlm()),
        (Ntlm(level=1), Ntlm(level=1, mic="optional")),
        (Ntlm(unicode=False, oem="cp850"), Ntlm(unicode=False, oem="cp850")),
    )
]
_NEGOTIATES, _CHALLENGES, _AUTHENTICATES = ([tokens[number] for tokens in _TOKENS] for number in range(3))
_RESPONSE = Authenticate.unpack(_AUTHENTICATES[0]).nt_response[16:]
_INFO = Challenge.unpack(_CHALLENGES[0]).target_info or b""


def _pairs(octets: bytes) -> object:
    return unpack_pairs(octets, 64)


def _blob(octets: bytes) -> object:
    return unpack_pairs(ClientChallenge.unpack(octets).pairs, 64)


def _initiator(octets: bytes) -> object:
    """The whole answer to a CHALLENGE."""
    machine = HandshakeMachine(Ntlm().initiate(ALICE, TARGET, options(1)))
    machine.step()
    return machine.step(octets)


def _acceptor(number: int) -> Callable[[bytes], object]:
    """The acceptor given an altered message; a changed AUTHENTICATE is refused, by the family."""
    services, accounts = Services(), Accounts(store())

    def parse(octets: bytes) -> object:
        machine = HandshakeMachine(Ntlm().accept(accounts, options(2)))
        machine.step()
        if number == 0:
            return respond_blocking(machine, octets, services)
        respond_blocking(machine, _NEGOTIATES[0], services)
        return respond_blocking(machine, octets, services)

    return parse


PARSERS = [
    Parser("ntlm.negotiate", Negotiate.unpack, _NEGOTIATES),
    Parser("ntlm.challenge", Challenge.unpack, _CHALLENGES),
    Parser("ntlm.authenticate", Authenticate.unpack, _AUTHENTICATES),
    Parser("ntlm.av_pairs", _pairs, (_INFO, b"\0\0\0\0")),
    Parser("ntlm.client_challenge", _blob, (_RESPONSE,)),
    Parser("ntlm.initiator", _initiator, (_CHALLENGES[0],), (MalformedMessage, HandshakeError)),
    Parser("ntlm.acceptor.negotiate", _acceptor(0), (_NEGOTIATES[0],), (MalformedMessage, HandshakeError)),
    Parser("ntlm.acceptor.authenticate", _acceptor(2), (_AUTHENTICATES[0],), (MalformedMessage, HandshakeError)),
]
