"""SECURITY 8 and 20: whoever stands between a client and a server with a certificate of his own relays no Digest.

He reads and writes every field in both directions, and does not know the password.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Accounts
from securestream.errors import (
    BadBindings,
    HandshakeError,
    LogonDenied,
    MalformedMessage,
    TargetUnknown,
)
from securestream.http.fields import parse_challenges
from securestream.http.performing import authenticate_blocking
from securestream.http.schemes import HttpRequest, Origin, SendRequest
from securestream.http.server import HttpServer, Refused
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, Options
from securestream.provider import SecurityContext
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.digest import Algorithm, NonceCount
from securestream_providers.digest.bindings import UNBOUND, VERSION_1, DigestBinding
from tests.providers.digest.ends import (
    PASSWORD,
    Web,
    World,
    asked,
    get,
    make_client,
    make_server,
    parameter,
    with_parameter,
)
from tests.security.test_rule_20_digest import HandMade

HIS = ChannelBindings(b"tls-server-end-point:" + b"m" * 32)
"""Of the channel between the client and him."""
OURS = ChannelBindings(b"tls-server-end-point:" + b"s" * 32)
"""Of the channel between him and the server."""
SERVICE = "HTTP/api.example.org"
DEMANDING = (BindingPolicy.WHEN_SUPPORTED, BindingPolicy.WHEN_ADVERTISED, BindingPolicy.ALWAYS)
STORE = MemoryAccounts(throttle=None)  # which would be all that refuses, after so much that is wrong
STORE.add("alice", PASSWORD)


@dataclass
class Between:
    """A client, a server, and him."""

    policy: BindingPolicy = BindingPolicy.WHEN_ADVERTISED
    algorithm: Algorithm = Algorithm.SHA_256
    channel: ChannelBindings | None = field(default_factory=lambda: HIS)
    served: tuple[str, ...] = ()
    world: World = field(default_factory=World)
    site: Web = field(init=False)

    def __post_init__(self) -> None:
        server = make_server(credential=Accounts(STORE), algorithms=[self.algorithm], served=self.served)
        self.site = Web(self.world, server, options=self.options(OURS))

    def options(self, bindings: ChannelBindings | None) -> Options:
        return replace(self.world.options, channel_bindings=bindings, binding_policy=self.policy)

    def challenge(self) -> str:
        """The server's challenge."""
        return self.site.server.challenges(get(), self.site.options)[0]

    def answer(self, challenge: str, *, request: HttpRequest | None = None) -> str:
        """What the client answers to a challenge that comes through his channel."""
        client = make_client(algorithms=[self.algorithm])
        given = replace(self.world.options, channel_bindings=self.channel)
        handshake = client.initiate(parse_challenges([challenge]), request or get(), given)
        assert handshake is not None
        need = HandshakeMachine(handshake).step().need
        assert isinstance(need, SendRequest)
        return need.authorization

    def accepts(self, authorization: str) -> bool:
        """Whether the server takes it."""
        try:
            outcome = self.world.drive(self.site.server.accept(asked(get(), authorization), self.site.options))
        except (HandshakeError, MalformedMessage):
            return False
        assert isinstance(outcome.result, SecurityContext)
        return True


def forged(sent: str, binding: DigestBinding) -> Iterator[str]:
    """With other directives: under the cnonce as it was, and under one that fits them."""
    for parameter_, value in (("service-name", binding.service_name), ("channel-binding", binding.channel_binding)):
        sent = with_parameter(sent, parameter_, f'"{value}"')
    yield sent
    yield with_parameter(sent, "cnonce", f'"{binding.cnonce(bytes(16))}"')


def stripped(sent: str) -> Iterator[str]:
    """Without some of the directives, or all; with the cnonce as it was, or an innocent one, or half of it."""
    names = ("hashed-dirs", "service-name", "channel-binding")
    cnonce = parameter(sent, "cnonce") or ""
    for count in (1, 2, 3):
        for taken in itertools.combinations(names, count):
            without = sent
            for name in taken:
                without = with_parameter(without, name, None)
            yield without
            for other in ("0a4f113b", cnonce.removeprefix(VERSION_1), cnonce.lower(), f" {cnonce}"):
                yield with_parameter(without, "cnonce", f'"{other}"')


def manipulations(sent: str) -> Iterator[str]:
    """All that he can do to a response."""
    yield sent
    yield from stripped(sent)
    for channel in (OURS.md5().hex(), UNBOUND):
        yield from forged(sent, DigestBinding(SERVICE, channel))


@pytest.mark.parametrize("policy", DEMANDING)
@pytest.mark.parametrize("algorithm", [Algorithm.MD5, Algorithm.SHA_256, Algorithm.SHA_512_256_SESS])
def test_a_bound_response_is_relayed_in_no_form(policy: BindingPolicy, algorithm: Algorithm) -> None:
    """The client is honest and bound to his channel; the same client in the server's own channel is let in."""
    between = Between(policy, algorithm)
    tried = 0
    for manipulated in manipulations(between.answer(between.challenge())):
        assert not between.accepts(manipulated), manipulated
        tried += 1
    assert tried == 1 + 7 * 5 + 4
    honest = Between(policy, algorithm, channel=OURS)
    assert honest.accepts(honest.answer(honest.challenge()))


@pytest.mark.parametrize("policy", DEMANDING)
def test_a_nonce_without_its_marker_gets_no_answer_that_is_worth_anything(policy: BindingPolicy) -> None:
    """The downgrade: the client is made to believe that the server does not ask. The nonce's signature and the digest
    over it are in the way, with the marker put back or not.
    """
    between = Between(policy)
    for altered in ("", "+upgraded+v1", "+Upgraded-v1", "%2BUpgraded%2Bv1", " +Upgraded+v1"):
        sent = between.answer(between.challenge().replace(VERSION_1, altered))
        assert parameter(sent, "channel-binding") is None
        assert not between.accepts(sent)
        assert not between.accepts(sent.replace(f'nonce="{altered}', f'nonce="{VERSION_1}', 1))


@pytest.mark.parametrize("policy", DEMANDING)
def test_nonces_of_the_same_server_that_are_not_marked_do_not_serve_either(policy: BindingPolicy) -> None:
    """He fetches one where it is reached without TLS, or had no bindings, and has the client answer that."""
    between = Between(policy)
    plain = between.site.server.challenges(get(), between.options(None))[0]
    assert VERSION_1 not in plain
    sent = between.answer(plain)
    assert parameter(sent, "channel-binding") is None
    assert not between.accepts(sent)
    nonce = parameter(plain, "nonce")
    assert nonce is not None
    marked = between.answer(plain.replace(nonce, VERSION_1 + nonce))
    assert not between.accepts(marked)
    assert not between.accepts(marked.replace(VERSION_1 + nonce, nonce))


def test_a_client_that_demands_bindings_is_not_even_made_to_answer() -> None:
    between = Between()
    demanding = replace(between.options(HIS), binding_policy=BindingPolicy.ALWAYS)
    weak = parse_challenges([between.challenge().replace(VERSION_1, "")])
    with pytest.raises(BadBindings):
        make_client().initiate(weak, get(), demanding)


@pytest.mark.parametrize("policy", [BindingPolicy.WHEN_ADVERTISED, BindingPolicy.ALWAYS])
def test_a_client_without_a_channel_is_not_taken_for_an_old_one(policy: BindingPolicy) -> None:
    """He meets it over plain HTTP, whatever its user typed; its zeros show that it would have bound."""
    between = Between(policy, channel=None)
    for manipulated in manipulations(between.answer(between.challenge())):
        assert not between.accepts(manipulated), manipulated


def test_old_clients_are_let_in_unless_bindings_are_demanded() -> None:
    """They can be relayed, and so `ALWAYS` is there; nobody can make an old one of a new one."""
    for policy in DEMANDING:
        between = Between(policy)
        nonce = parameter(between.challenge(), "nonce")
        assert nonce is not None
        assert between.accepts(HandMade(nonce).authorization) is (policy is not BindingPolicy.ALWAYS)


def test_every_altered_character_of_what_is_bound_is_noticed() -> None:
    between = Between(channel=OURS)
    sent = between.answer(between.challenge())
    for name in ("service-name", "channel-binding", "cnonce", "nonce", "hashed-dirs"):
        found = re.search(rf'(?<![\w-]){name}="([^"]*)"', sent)
        assert found is not None
        for position in range(*found.span(1)):
            other = "0" if sent[position] != "0" else "1"
            assert not between.accepts(sent[:position] + other + sent[position + 1 :])
    assert between.accepts(sent)


def test_a_response_to_one_service_serves_no_other() -> None:
    """Two hosts with one realm, one key and one certificate, as behind a wildcard: the service's name tells them apart,
    and also where there is no channel to bind to.
    """
    for channel in (OURS, None):
        between = Between(BindingPolicy.WHEN_SUPPORTED, channel=channel, served=(SERVICE,))
        elsewhere = get(origin=Origin.parse("https://evil.example.org"))
        meant = between.answer(between.challenge(), request=elsewhere)
        assert parameter(meant, "service-name") == "HTTP/evil.example.org"
        assert not between.accepts(meant)
        channels = parameter(meant, "channel-binding") or ""
        for manipulated in (*stripped(meant), *forged(meant, DigestBinding(SERVICE, channels))):
            assert not between.accepts(manipulated)
        assert between.accepts(between.answer(between.challenge()))


# --- what he learns


@pytest.mark.parametrize("served", [(), ("elsewhere.example",)])
def test_a_refusal_does_not_tell_that_the_password_was_right(served: tuple[str, ...]) -> None:
    """Not by its fields, not when it is sent again, and not by a count that was used up."""
    between = Between(served=served, channel=OURS if served else HIS)
    counted: list[NonceCount] = []
    server = HttpServer(between.site.server)

    def count(effect: NonceCount) -> bool:
        counted.append(effect)
        return True

    def told(sent: str) -> tuple[int, tuple[str, ...], type[HandshakeError]]:
        """What the server answers, but for the new nonce; and why it does, in truth."""
        options, services = between.site.options, between.world.services
        refused = authenticate_blocking(server, asked(get(), sent), options, services=services)
        assert isinstance(refused, Refused)
        assert refused.error is not None
        fields = tuple(re.sub(r'nonce="[^"]*"', "", one.value) for one in refused.fields)
        return refused.status, fields, type(refused.error)

    between.world.services.register(NonceCount, blocking=count)
    right = between.answer(between.challenge())
    (response,) = re.findall(r'response="([^"]*)"', right)
    wrong = right.replace(response, response[::-1])
    unknown = right.replace('username="alice"', 'username="nobody"')
    answers = [told(sent) for sent in (right, right, wrong, wrong, unknown)]
    assert len({answer[:2] for answer in answers}) == 1
    reason = TargetUnknown if served else BadBindings
    assert [answer[2] for answer in answers] == [reason, reason, LogonDenied, LogonDenied, LogonDenied]
    assert not counted
