"""HTTP Digest's fields: challenges, responses, the server's proof, nonces; and what a server does with credentials."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Accounts
from securestream.errors import HandshakeError, MalformedMessage, PeerRefused
from securestream.http.fields import parse_authorization, parse_challenges
from securestream.http.schemes import HttpReply, SendRequest
from securestream.inspection import Inspection
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, Options
from securestream.provider import SecurityContext
from securestream.redaction import Secret
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.verifiers import ScramParameters, ScramVerifier, scram_verifier
from securestream_providers.digest import Algorithm, NonceCount, Qop
from securestream_providers.digest.describe import describe
from securestream_providers.digest.inspect import inspect
from securestream_providers.digest.messages import DigestChallenge, DigestInfo, DigestResponse
from securestream_providers.digest.nonces import Nonces
from tests.fuzz.harness import Parser
from tests.providers.digest.ends import KEY, PASSWORD, REALM, START, Web, World, get, make_client, make_server

_STORE = MemoryAccounts(throttle=None)
_STORE.add("alice", PASSWORD)
_WORLD = World()
_WORLD.services.register(NonceCount, blocking=lambda effect: True)
_WEB = Web(
    _WORLD,
    make_server(credential=Accounts(_STORE), algorithms=tuple(Algorithm), qops=tuple(Qop), userhash=True),
)
_BOUND = replace(
    _WORLD.options,
    channel_bindings=ChannelBindings(b"tls-server-end-point:" + bytes(32)),
    binding_policy=BindingPolicy.ALWAYS,
)
_NONCES = Nonces(Secret(KEY), REALM, timedelta(minutes=5))
_CLIENT = make_client(algorithms=tuple(Algorithm), qops=tuple(Qop))
_CHALLENGES = tuple(_WEB.server.challenges(get(), _WORLD.options))
_BOUND_CHALLENGES = tuple(_WEB.server.challenges(get(), _BOUND))
_RESPONSES = tuple(
    make_client(name=name, algorithms=tuple(Algorithm), qops=[qop], userhash=False)
    for name in ("alice", "Jäsøn")
    for qop in Qop
)


def _sent(challenge: str, options: Options) -> tuple[str, ...]:
    made: list[str] = []
    for client in _RESPONSES:
        handshake = client.initiate(parse_challenges([challenge]), get(), options)
        assert handshake is not None
        need = HandshakeMachine(handshake).step().need
        assert isinstance(need, SendRequest)
        made.append(need.authorization)
    return tuple(made)


_SENT = _sent(_CHALLENGES[2], _WORLD.options)
_BOUND_SENT = _sent(_BOUND_CHALLENGES[2], _BOUND)
_INFORMATION = (DigestInfo("ab" * 32, Qop.AUTH, "cnonce", 1, "next").encode(), DigestInfo("0" * 32).encode())


def _octets(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(text.encode("latin-1") for text in texts)


def _challenge(octets: bytes) -> None:
    for challenge in parse_challenges([octets]):
        parsed = DigestChallenge.parse(challenge)
        if parsed.algorithm is not None and parsed.qops:
            assert DigestChallenge.parse(parse_challenges([parsed.encode()])[0]) == parsed


def _response(octets: bytes) -> None:
    authorization = parse_authorization([octets])
    if authorization is not None:
        parsed = DigestResponse.parse(authorization)
        assert len(parsed.username) <= 4096


def _serve(octets: bytes) -> None:
    """No mutation of credentials makes them somebody else's."""
    authorization = parse_authorization([octets])
    if authorization is None or not authorization.is_scheme("Digest"):
        return
    outcome = _WORLD.drive(_WEB.server.accept(replace(get(), authorization=authorization), _WORLD.options))
    assert outcome.peer.name == "alice"


def _serve_bound(octets: bytes) -> None:
    """Nor does one take bindings away where they are demanded."""
    authorization = parse_authorization([octets])
    if authorization is None or not authorization.is_scheme("Digest"):
        return
    outcome = _WORLD.drive(_WEB.server.accept(replace(get(), authorization=authorization), _BOUND))
    assert isinstance(outcome.result, SecurityContext)
    assert outcome.result.bound


def _answer(octets: bytes) -> None:
    """Whatever a server sends, a client ends in its own errors, and never writes what no field may hold."""
    challenges = [challenge for challenge in parse_challenges([octets]) if challenge.is_scheme("Digest")]
    options = replace(_BOUND, binding_policy=BindingPolicy.WHEN_ADVERTISED)
    handshake = _CLIENT.initiate(challenges, get(), options) if challenges else None
    if handshake is None:
        return
    need = HandshakeMachine(handshake).step().need
    assert isinstance(need, SendRequest)
    assert "\n" not in need.authorization
    assert "\r" not in need.authorization


def _finish(octets: bytes) -> None:
    handshake = make_client().initiate(parse_challenges([_CHALLENGES[2]]), get(), _WORLD.options)
    assert handshake is not None
    machine = HandshakeMachine(handshake)
    machine.step()
    try:
        machine.step(HttpReply.received(200, information=[octets.decode("latin-1")], body=b""))
    except HandshakeError:
        return
    raise AssertionError("a proof that nobody can make was believed")


def _nonce(octets: bytes) -> None:
    _NONCES.judge(octets.decode("latin-1"), START)


def _inspect(octets: bytes) -> None:
    node = inspect(octets, Inspection())
    assert node is None or all(one.name for one in node.walk())


def _scram(octets: bytes) -> None:
    assert ScramVerifier.unpack(octets).pack() == octets


def _scram_parameters(octets: bytes) -> None:
    assert ScramParameters.unpack(octets).pack() == octets


_VERIFIER = scram_verifier("pw", b"salt of 16 octet", 1)
_REFUSALS = (MalformedMessage, HandshakeError, PeerRefused)

PARSERS = [
    Parser("digest.challenge", _challenge, _octets(_CHALLENGES)),
    Parser("digest.response", _response, _octets((*_SENT, *_BOUND_SENT))),
    Parser("digest.information", lambda octets: DigestInfo.parse((octets.decode("latin-1"),)), _octets(_INFORMATION)),
    Parser("digest.nonce", _nonce, (_NONCES.make(START, bytes(12)).encode(), _NONCES.opaque.encode())),
    Parser("digest.server", _serve, _octets(_SENT[:1]), _REFUSALS),
    Parser("digest.server.bound", _serve_bound, _octets(_BOUND_SENT[:1]), _REFUSALS),
    Parser("digest.client", _answer, _octets((*_CHALLENGES, *_BOUND_CHALLENGES[:1])), _REFUSALS),
    Parser("digest.client.proof", _finish, _octets(_INFORMATION), _REFUSALS),
    Parser("digest.describe", describe, _octets((*_CHALLENGES, *_SENT, *_BOUND_SENT, *_INFORMATION))),
    Parser(
        "digest.inspect",
        _inspect,
        _octets((*_CHALLENGES, *_SENT, *_BOUND_SENT, *(f"Authentication-Info: {i}" for i in _INFORMATION))),
    ),
    Parser("verifiers.scram", _scram, (_VERIFIER.pack(),)),
    Parser("verifiers.scram.parameters", _scram_parameters, (_VERIFIER.parameters.pack(),)),
]
