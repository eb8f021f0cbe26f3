"""Channel and service bindings of HTTP Digest: what stands in the fields, and what either end makes of them."""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.errors import (
    BadBindings,
    ErrorKind,
    InvalidToken,
    LogonDenied,
    MalformedMessage,
    PeerRefused,
    SecureStreamError,
    TargetUnknown,
    UsageError,
)
from securestream.http.fields import SchemeValue, parse_challenges
from securestream.http.schemes import HttpReply, HttpRequest, Origin, SendRequest
from securestream.machine import HandshakeMachine, told_to_peer
from securestream.options import BindingPolicy, Options
from securestream.provider import SecurityContext
from securestream_providers.digest import Algorithm, Digest, DigestServer, Qop
from securestream_providers.digest.algorithms import Session
from securestream_providers.digest.bindings import UNBOUND, VERSION_1, DigestBinding
from securestream_providers.digest.messages import DigestResponse
from tests.providers.digest.ends import (
    PASSWORD,
    REALM,
    Exchange,
    Web,
    World,
    accounts,
    asked,
    get,
    make_client,
    make_server,
    parameter,
    with_parameter,
)

OURS = ChannelBindings(b"tls-server-end-point:" + bytes(range(32)))
OTHER = ChannelBindings(b"tls-server-end-point:" + bytes(32))
SERVICE = "HTTP/api.example.org"


@pytest.fixture
def world() -> World:
    return World()


def options(
    world: World,
    bindings: ChannelBindings | None = OURS,
    policy: BindingPolicy = BindingPolicy.WHEN_ADVERTISED,
) -> Options:
    return replace(world.options, channel_bindings=bindings, binding_policy=policy)


def web(world: World, server: DigestServer | None = None, own: Options | None = None) -> Web:
    return Web(world, make_server() if server is None else server, options=options(world) if own is None else own)


def sent_to(site: Web, request: HttpRequest | None = None, given: Options | None = None, **arguments: Any) -> str:
    """What an honest client answers to this server's challenge."""
    request, given = request or get(), given or options(site.world)
    handshake = make_client(**arguments).initiate(site.challenge(request).challenges, request, given)
    assert handshake is not None
    need = HandshakeMachine(handshake).step().need
    assert isinstance(need, SendRequest)
    return need.authorization


def accept(site: Web, authorization: str) -> bool:
    """Whether the server takes it, and as bound."""
    result = site.world.drive(site.server.accept(asked(get(), authorization), site.options)).result
    assert isinstance(result, SecurityContext)
    return result.bound


def is_bound(exchange: Exchange) -> bool:
    assert isinstance(exchange.outcome.result, SecurityContext)
    return exchange.outcome.result.bound


def parameters(value: str) -> list[str | None]:
    return [parameter(value, name) for name in ("hashed-dirs", "service-name", "channel-binding")]


# --- what is sent


def test_the_formula_step_by_step(world: World) -> None:
    """By hand, from the draft's formula and the structure of RFC 2744 3.11; nothing of ours computes here."""
    data = b"tls-server-end-point:" + bytes(range(32))
    channel = hashlib.md5(struct.pack("<IIIII", 0, 0, 0, 0, len(data)) + data).hexdigest()
    covered = hashlib.md5(f"HTTP/api.example.org:{channel}".encode("ascii")).hexdigest()
    assert (channel, covered) == ("8f1214c9c9cab8dc3bf866da9aba57a7", "34b41dd9ec26f3b17d278ab650e4c7a7")
    sent = sent_to(web(world))
    for quoted in (
        'hashed-dirs="service-name,channel-binding"',
        'service-name="HTTP/api.example.org"',
        f'channel-binding="{channel}"',
    ):
        assert quoted in sent
    nonce, cnonce = parameter(sent, "nonce"), parameter(sent, "cnonce")
    assert nonce is not None
    assert cnonce is not None
    assert nonce.startswith("+Upgraded+v1")
    assert re.fullmatch(rf"\+Upgraded\+v1{covered}[0-9a-f]{{32}}", cnonce)
    a1, a2 = (hashlib.sha256(x.encode()).hexdigest() for x in (f"alice:{REALM}:{PASSWORD}", "GET:/dir/index.html?q=1"))
    keyed = f"{a1}:{nonce}:00000001:{cnonce}:auth:{a2}"
    assert parameter(sent, "response") == hashlib.sha256(keyed.encode()).hexdigest()


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_hash_is_md5_whatever_the_algorithm(world: World, algorithm: Algorithm) -> None:
    sent = sent_to(web(world, make_server(algorithms=[algorithm])), algorithms=[algorithm])
    cnonce = parameter(sent, "cnonce")
    assert cnonce is not None
    assert cnonce.startswith("+Upgraded+v134b41dd9ec26f3b17d278ab650e4c7a7")


def test_a_client_without_a_channel_says_so_with_zeros(world: World) -> None:
    sent = sent_to(web(world), given=options(world, None))
    assert parameters(sent) == ["service-name,channel-binding", SERVICE, "0" * 32]
    cnonce = parameter(sent, "cnonce")
    assert cnonce is not None
    assert cnonce.startswith("+Upgraded+v1db7feef0d8b700accca7d101b04be609")


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("https://api.example.org:8443", SERVICE),
        ("https://API.Example.ORG.", SERVICE),
        ("https://[2001:db8::1]", "HTTP/2001:db8::1"),
        ("https://bücher.example.org", "HTTP/xn--bcher-kva.example.org"),
    ],
)
def test_the_service_is_the_host_of_the_origin(world: World, host: str, service: str) -> None:
    assert parameters(sent_to(web(world), get(origin=Origin.parse(host))))[1] == service


def test_of_a_proxy_it_is_the_proxys(world: World) -> None:
    request = get("http://elsewhere.example/", origin=Origin.parse("http://proxy.example:3128"), proxy=True)
    site = web(world, make_server(served=["proxy.example"]), world.options)
    exchange = site.fetch(make_client(), request)
    assert parameters(exchange.sent[0]) == ["service-name,channel-binding", "HTTP/proxy.example", "0" * 32]


@pytest.mark.parametrize("nonce", ["plain", "+upgraded+v1x", " +Upgraded+v1x", "+Upgraded", "x+Upgraded+v1"])
def test_a_nonce_without_the_marker_asks_for_nothing(world: World, nonce: str) -> None:
    sent = answer_to(world, nonce)
    assert parameters(sent) == [None, None, None]
    assert "Upgraded" not in (parameter(sent, "cnonce") or "")


def test_a_later_version_is_answered_with_the_first(world: World) -> None:
    sent = answer_to(world, "+Upgraded+v2x")
    assert (parameter(sent, "cnonce") or "").startswith("+Upgraded+v1")
    assert parameter(sent, "nonce") == "+Upgraded+v2x", "as it came"


def answer_to(world: World, nonce: str, **more: Any) -> str:
    challenge = f'Digest realm="{REALM}", nonce="{nonce}", algorithm=SHA-256, qop="auth"'
    handshake = make_client(**more).initiate(parse_challenges([challenge]), get(), options(world))
    assert handshake is not None
    need = HandshakeMachine(handshake).step().need
    assert isinstance(need, SendRequest)
    return need.authorization


# --- who asks


@pytest.mark.parametrize("policy", BindingPolicy)
@pytest.mark.parametrize("bindings", [OURS, None])
@pytest.mark.parametrize("served", [(), ("api.example.org",)])
def test_nonces_are_marked_where_something_is_judged(
    world: World, policy: BindingPolicy, bindings: ChannelBindings | None, served: tuple[str, ...]
) -> None:
    server = make_server(served=served)
    (text,) = server.challenges(get(), options(world, bindings, policy))
    marked = bool(served) or (bindings is not None and policy is not BindingPolicy.NEVER)
    assert (parameter(text, "nonce") or "").startswith(VERSION_1) is marked


def test_later_nonces_are_marked_like_the_first(world: World) -> None:
    """The next one while the first is good, and the new one when it is stale."""
    site, client = web(world), make_client()
    site.fetch(client, get(), site.options)
    world.clock.advance(timedelta(minutes=4))
    site.fetch(client, get(), site.options)
    third = site.fetch(client, get(), site.options)
    world.clock.advance(timedelta(minutes=5))
    last = site.fetch(client, get(), site.options)
    nonces = [parameter(sent, "nonce") or "" for sent in (*third.sent, *last.sent)]
    assert len(set(nonces)) == 2  # the next one, which then is the stale one
    assert all(nonce.startswith(VERSION_1) for nonce in nonces)
    assert is_bound(third)
    assert is_bound(last)


@pytest.mark.parametrize("made_with", [OURS, None])
def test_a_nonce_is_foreign_where_the_other_kind_is_made(world: World, made_with: ChannelBindings | None) -> None:
    """One made for plain HTTP does not serve under TLS, nor the other way round; the client is given the right kind."""
    server = make_server()
    here, there = (web(world, server, options(world, b)) for b in (made_with, None if made_with else OURS))
    authorization = sent_to(here)
    with pytest.raises(InvalidToken, match="not one of this server") as refused:
        accept(there, authorization)
    assert refused.value.token is not None
    again = parse_challenges([refused.value.token])[0]
    assert again.parameter("stale") == "true"
    assert (again.parameter("nonce") or "").startswith(VERSION_1) is (made_with is None)


# --- what the server makes of it


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hashed-dirs", None),
        ("service-name", None),
        ("channel-binding", None),
        ("hashed-dirs", '""'),
        ("hashed-dirs", '"service-name"'),
        ("hashed-dirs", '"channel-binding,service-name"'),
        ("hashed-dirs", '"service-name,channel-binding,uri"'),
        ("hashed-dirs", '"service-name,service-name,channel-binding"'),
        ("service-name", '""'),
        ("service-name", '"HTTP/other.example.org"'),
        ("service-name", '"http/api.example.org"'),
        ("service-name", '"HTTP/\xe4pi.example.org"'),
        ("channel-binding", f'"{UNBOUND}"'),
        ("channel-binding", f'"{OTHER.md5().hex()}"'),
        ("channel-binding", f'"{OURS.md5().hex().upper()}"'),
        ("channel-binding", f'"{OURS.md5().hex()}0"'),
        ("channel-binding", '""'),
        ("cnonce", '"+Upgraded+v1"'),
        ("cnonce", '"+Upgraded+v1' + "0" * 64 + '"'),
        ("cnonce", '"+Upgraded+v2' + "34b41dd9ec26f3b17d278ab650e4c7a7" + "0" * 32 + '"'),
        ("cnonce", '"+Upgraded+"'),
        ("cnonce", '"0a4f113b"'),
    ],
)
@pytest.mark.parametrize("policy", [BindingPolicy.WHEN_SUPPORTED, BindingPolicy.ALWAYS])
def test_directives_that_do_not_fit_the_cnonce_are_refused(
    world: World, policy: BindingPolicy, name: str, value: str | None
) -> None:
    """Before the password is looked at: there is nobody whose password it could be."""
    site = web(world, make_server(credential=accounts(nobody="x")), options(world, OURS, policy))
    with pytest.raises(InvalidToken) as refused:
        accept(site, with_parameter(sent_to(site), name, value))
    assert refused.value.token is None


@pytest.mark.parametrize(
    ("service", "channel", "why"),
    [
        (SERVICE, OURS.md5().hex().upper(), "lower case"),
        (SERVICE, OURS.md5().hex() + "0", "32 hexadecimal digits"),
        (SERVICE, "", "32 hexadecimal digits"),
        ("HTTP/\xe4pi.example.org", UNBOUND, "a name in ASCII"),
        ("x" * 1025, UNBOUND, "a name in ASCII"),
    ],
)
def test_directives_have_one_form_also_under_a_cnonce_that_fits(service: str, channel: str, why: str) -> None:
    binding = DigestBinding(service, channel)
    response = SchemeValue("Digest", None, tuple((one.name, one.value) for one in binding.parameters))
    with pytest.raises(MalformedMessage, match=why):
        DigestBinding.parse(response, binding.cnonce(bytes(16)))
    fitting = DigestBinding(SERVICE, OURS.md5().hex())
    response = replace(response, parameters=tuple((one.name, one.value) for one in fitting.parameters))
    assert DigestBinding.parse(response, fitting.cnonce(bytes(16))) == fitting
    with pytest.raises(MalformedMessage, match="another version"):
        DigestBinding.parse(response, fitting.cnonce(bytes(16)).replace("v1", "v2", 1))


def test_directives_twice_are_refused(world: World) -> None:
    site = web(world)
    sent = sent_to(site)
    with pytest.raises(SecureStreamError, match="occurs twice"):
        accept(site, f'{sent}, channel-binding="{OURS.md5().hex()}"')


@pytest.mark.parametrize("spelled", ['"service-name, channel-binding"', '"Service-Name,Channel-Binding"'])
def test_the_names_of_directives_have_no_case_and_may_have_spaces(world: World, spelled: str) -> None:
    site = web(world)
    assert accept(site, with_parameter(sent_to(site), "hashed-dirs", spelled))


def test_what_a_server_did_not_ask_for_is_refused(world: World) -> None:
    """In an answer to its own nonce, which is not marked."""
    site = web(world, make_server(), world.options)
    nonce = parameter(site.server.challenges(get(), site.options)[0], "nonce")
    assert nonce is not None
    binding = DigestBinding.to("api.example.org", OURS)
    cnonce = binding.cnonce(bytes(16))
    session = Session(Algorithm.SHA_256, nonce, cnonce, Qop.AUTH, 1)
    verifier = Algorithm.SHA_256.verifier(b"alice", REALM.encode(), PASSWORD.encode())
    uri = get().target
    response = DigestResponse(
        username="alice",
        realm=REALM,
        nonce=nonce,
        uri=uri,
        response=session.response(session.ha1(verifier), "GET", uri, b""),
        algorithm=Algorithm.SHA_256,
        qop=Qop.AUTH,
        cnonce=cnonce,
        nc=1,
        binding=binding,
    )
    with pytest.raises(InvalidToken, match="did not ask for"):
        accept(site, response.encode())


def test_bindings_that_cannot_be_verified_cannot_be_demanded(world: World) -> None:
    site = web(world, own=options(world, None, BindingPolicy.ALWAYS))
    with pytest.raises(UsageError, match="acceptor's own channel"):
        accept(site, sent_to(site))


@pytest.mark.parametrize(
    ("served", "fits"),
    [
        ("HTTP/api.example.org", True),
        ("http/API.example.org", True),
        ("api.example.org", True),
        ("HTTP", True),
        ("HTTP/api", False),
        ("host/api.example.org", False),
        ("example.org", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("bindings", [OURS, None])
def test_services(world: World, served: str, fits: bool, bindings: ChannelBindings | None) -> None:
    """With TLS and without it."""
    site = web(world, make_server(served=["other.example.org", served]), options(world, bindings))
    authorization = sent_to(site, given=options(world, bindings))
    if fits:
        assert accept(site, authorization) is (bindings is not None)
    else:
        with pytest.raises(TargetUnknown, match="another service"):
            accept(site, authorization)


def test_services_are_an_argument_of_the_package_too(world: World) -> None:
    package = Digest(served=["elsewhere.example"])
    site = web(world, package.http_server(accounts(), REALM), world.options)
    with pytest.raises(TargetUnknown):
        accept(site, sent_to(site))


def test_a_service_is_looked_at_though_bindings_are_not(world: World) -> None:
    server = make_server(served=["elsewhere.example"])
    with pytest.raises(TargetUnknown):
        accept(*_sent(world, server, BindingPolicy.NEVER))
    server = make_server(served=["api.example.org"])
    assert not accept(*_sent(world, server, BindingPolicy.NEVER, OTHER))


def _sent(
    world: World, server: DigestServer, policy: BindingPolicy, bindings: ChannelBindings | None = OURS
) -> tuple[Web, str]:
    site = web(world, server, options(world, OURS, policy))
    return site, sent_to(site, given=options(world, bindings))


@pytest.mark.parametrize("served", [(), ("elsewhere.example",)])
def test_what_is_told_does_not_depend_on_the_password(world: World, served: tuple[str, ...]) -> None:
    """Wrong bindings or service with a right password, a wrong one and of an unknown user: one answer, however often;
    the counts of none of them are used.
    """
    site = web(world, make_server(served=served))
    told = set[tuple[ErrorKind, bytes | None]]()
    for name, password in (("alice", PASSWORD), ("alice", "wrong"), ("nobody", PASSWORD)):
        given = options(world, OURS if served else OTHER)
        authorization = sent_to(site, given=given, name=name, password=password)
        expected = (BadBindings, TargetUnknown) if (name, password) == ("alice", PASSWORD) else LogonDenied
        for _ in range(2):
            with pytest.raises(expected) as refused:
                accept(site, authorization)
            peers = told_to_peer(refused.value)
            told.add((peers.kind, peers.token))
    assert len(told) == 1


# --- what the client makes of it


def test_a_client_that_demands_bindings_answers_no_server_that_does_not_ask(world: World) -> None:
    demanding = options(world, OURS, BindingPolicy.ALWAYS)
    unmarked = web(world, own=world.options).challenge(get()).challenges
    with pytest.raises(BadBindings, match="does not ask for them"):
        make_client().initiate(unmarked, get(), demanding)
    both = [*unmarked, *web(world).challenge(get()).challenges]
    assert make_client().initiate(both, get(), demanding) is not None
    assert make_client().initiate(unmarked, get(), options(world)) is not None


def test_nor_one_whose_channel_has_no_bindings(world: World) -> None:
    """Whoever stands in between chooses his certificate: one of Ed25519 has none, and would undo the demand."""
    demanding, site = (
        options(world, None, BindingPolicy.ALWAYS),
        web(world, own=options(world, OURS, BindingPolicy.WHEN_SUPPORTED)),
    )
    unmarked = web(world, own=world.options).challenge(get()).challenges
    marked = site.challenge(get()).challenges
    client = make_client()
    for challenges in (unmarked, marked, [*unmarked, *marked]):
        with pytest.raises(BadBindings, match="Ed25519"):
            client.initiate(challenges, get(), demanding)
    site.fetch(client, get(), options(world, None))
    assert client.initiate((), get(), options(world, None)) is not None
    assert client.initiate((), get(), demanding) is None, "what is remembered is unbound, too"
    plain = get(origin=Origin.parse("http://api.example.org"))
    assert client.initiate(unmarked, plain, demanding) is not None, "there is no channel to bind to"


def test_nor_when_the_challenge_comes_later(world: World) -> None:
    """Stale, in the answer to a bound response; as the next nonce of an answer; of a request without bindings."""
    demanding = options(world, OURS, BindingPolicy.ALWAYS)
    site, client = web(world), make_client()
    handshake = client.initiate(site.challenge(get()).challenges, get(), demanding)
    assert handshake is not None
    machine = HandshakeMachine(handshake)
    machine.step()
    weak = f'Digest realm="{REALM}", nonce="weak", algorithm=SHA-256, qop="auth", stale=true'
    with pytest.raises(BadBindings):
        machine.step(HttpReply.received(401, [weak]))

    web(world, own=world.options).fetch(client, get())
    assert client.initiate((), get(), world.options) is not None
    assert client.initiate((), get(), demanding) is None


def test_a_next_nonce_that_no_longer_asks_is_not_used(world: World) -> None:
    """Nothing proves it: the server's proof does not cover it."""
    site, client = web(world), make_client()
    handshake = client.initiate(site.challenge(get()).challenges, get(), site.options)
    assert handshake is not None
    machine = HandshakeMachine(handshake)
    need = machine.step().need
    assert isinstance(need, SendRequest)
    (information,) = site.answer(get(), need.authorization).information
    machine.step(HttpReply.received(200, information=[f'{information}, nextnonce="weak"']))
    assert client.initiate((), get(), site.options) is None


@pytest.mark.parametrize("algorithm", [Algorithm.SHA_256, Algorithm.SHA_256_SESS])
def test_what_is_remembered_serves_the_same_channel_alone(world: World, algorithm: Algorithm) -> None:
    """Another certificate, or none that is known, and everything begins anew."""
    site = web(world, make_server(algorithms=[algorithm]), options(world, OURS, BindingPolicy.WHEN_SUPPORTED))
    client = make_client(algorithms=[algorithm])
    first, second = (site.fetch(client, get(), options(world)).sent[0] for _ in range(2))
    assert (parameter(first, "cnonce") == parameter(second, "cnonce")) is algorithm.session
    assert [parameter(one, "nc") for one in (first, second)] == ["00000001", "00000002"]
    for other in (OTHER, None):
        assert client.initiate((), get(), options(world, other)) is None
    unbound = site.fetch(client, get(), options(world, None))
    assert parameters(unbound.sent[0])[2] == UNBOUND
    assert not is_bound(unbound)
    assert client.initiate((), get(), options(world, None)) is not None
    assert client.initiate((), get(), options(world)) is None


def test_both_ends_say_whether_they_are_bound(world: World) -> None:
    for given, policy, expected in (
        (OURS, BindingPolicy.ALWAYS, (True, True)),
        (OURS, BindingPolicy.WHEN_ADVERTISED, (True, True)),
        (OURS, BindingPolicy.NEVER, (False, False)),
        (None, BindingPolicy.WHEN_SUPPORTED, (False, False)),
    ):
        site = web(world, own=options(world, OURS, policy))
        exchange = site.fetch(make_client(), get(), options(world, given))
        (outcome,) = site.served
        assert isinstance(outcome.result, SecurityContext)
        assert (is_bound(exchange), outcome.result.bound) == expected


@pytest.mark.parametrize(
    ("bindings", "policy", "hint"),
    [
        (OTHER, BindingPolicy.WHEN_SUPPORTED, "bound to the channel to this server"),
        (None, BindingPolicy.WHEN_ADVERTISED, "bound to no channel, as no channel bindings are known here"),
    ],
)
def test_a_refused_client_is_told_what_may_be_the_reason(
    world: World, bindings: ChannelBindings | None, policy: BindingPolicy, hint: str
) -> None:
    """It cannot know: the server tells nobody more than that."""
    site = web(world, own=options(world, OURS, policy))
    with pytest.raises(PeerRefused, match=f"check user, realm and password; it was {hint}"):
        site.fetch(make_client(), get(), options(world, bindings))
    assert [type(one) for one in site.refused] == [BadBindings]
