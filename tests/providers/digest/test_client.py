"""The client of HTTP Digest: which challenge it answers, when it comes at once or begins again, whom it trusts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from securestream.credentials import Credentials, NtHash, Password
from securestream.errors import HandshakeError, InvalidToken, PeerRefused, QualityNotMet, UsageError
from securestream.http.fields import parse_challenges
from securestream.http.schemes import HttpReply, HttpRequest, Origin, SendRequest
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags
from securestream.principal import NameType
from securestream.redaction import Secret
from securestream_providers.digest import Algorithm, DigestClient, Qop
from tests.providers.digest.ends import (
    ORIGIN,
    PASSWORD,
    REALM,
    Web,
    World,
    accounts,
    get,
    make_client,
    make_server,
    parameter,
    with_parameter,
)

Change = Callable[[str], str | None]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def web(world: World) -> Web:
    return Web(world, make_server())


def sent_first(
    client: DigestClient, challenges: list[str], world: World, request: HttpRequest | None = None
) -> str | None:
    """The credentials with which a client answers challenges, or `None`."""
    handshake = client.initiate(parse_challenges(challenges), request or get(), world.options)
    if handshake is None:
        return None
    need = HandshakeMachine(handshake).step().need
    assert isinstance(need, SendRequest)
    return need.authorization


def offered(*algorithms: Algorithm | str, qop: str = "auth") -> list[str]:
    tokens = (one.token if isinstance(one, Algorithm) else one for one in algorithms)
    return [f'Digest realm="{REALM}", qop="{qop}", algorithm={token}, nonce="n-{token}"' for token in tokens]


# --- the whole exchange


def test_a_request_is_authenticated_and_the_server_proves_itself(web: Web) -> None:
    exchange = web.fetch(make_client(), get())
    outcome = exchange.outcome
    assert web.served[0].peer.name == "alice"
    assert (outcome.peer.name, outcome.peer.name_type) == (REALM, NameType.SERVICE)
    assert outcome.result.flags is ContextFlags.MUTUAL  # type: ignore[union-attr]  # a context, no connection
    assert len(exchange.sent) == 1


def test_the_next_requests_come_with_credentials_at_once(web: Web) -> None:
    client = make_client()
    counts = [parameter(web.fetch(client, get(f"/{n}")).sent[0], "nc") for n in range(3)]
    assert counts == ["00000001", "00000002", "00000003"]
    assert not web.refused


def test_each_request_has_a_cnonce_of_its_own_except_in_a_session(world: World) -> None:
    for algorithm, different in ((Algorithm.SHA_256, 3), (Algorithm.SHA_256_SESS, 1)):
        web, client = Web(world, make_server(algorithms=[algorithm])), make_client()
        cnonces = {parameter(web.fetch(client, get()).sent[0], "cnonce") for _ in range(3)}
        assert len(cnonces) == different


def test_what_was_learnt_is_for_its_origin_alone(web: Web, world: World) -> None:
    client = make_client()
    web.fetch(client, get())
    for origin in ("http://api.example.org", "https://api.example.org:444", "https://example.org"):
        assert client.initiate((), get(origin=Origin.parse(origin)), world.options) is None
    assert client.initiate((), get(proxy=True), world.options) is None
    assert client.initiate((), get(), world.options) is not None
    client.forget()
    assert client.initiate((), get(), world.options) is None


def test_a_client_remembers_a_bounded_number_of_origins(web: Web, world: World) -> None:
    client = make_client()
    for number in range(300):
        web.fetch(client, get(origin=Origin.of("https", f"h{number}")))
    assert client.initiate((), get(origin=Origin.of("https", "h0")), world.options) is None
    assert client.initiate((), get(origin=Origin.of("https", "h299")), world.options) is not None


@pytest.mark.parametrize(
    ("domain", "target", "within"),
    [
        (["/a", "/b"], "/b/c", True),
        (["/a", "/b"], "/c", False),
        (["https://api.example.org/a"], "/a", True),
        (["https://other.example.org/a"], "/a", False),
        (["https://api.example.org"], "/a", False),
        (["nothing://"], "/a", False),
    ],
)
def test_credentials_come_at_once_within_the_protection_space_only(
    world: World, domain: list[str], target: str, within: bool
) -> None:
    """RFC 7616 3.3, domain."""
    client, web = make_client(), Web(world, make_server(domain=domain))
    web.fetch(client, get("/a"))
    assert (client.initiate((), get(target), world.options) is not None) is within


def test_a_proxy_is_answered_in_its_own_fields(world: World) -> None:
    web, client = Web(world, make_server(domain=["/a"])), make_client()
    request = get("origin.example:443", method="CONNECT", proxy=True, origin=Origin.parse("http://proxy:3128"))
    for _ in range(2):
        assert web.fetch(client, request).outcome.peer.name == REALM
    assert not web.refused


# --- choosing


@pytest.mark.parametrize(
    ("algorithms", "chosen"),
    [
        ((Algorithm.MD5, Algorithm.SHA_256), Algorithm.SHA_256),
        ((Algorithm.SHA_256, Algorithm.SHA_512_256, Algorithm.MD5), Algorithm.SHA_512_256),
        ((Algorithm.SHA_256_SESS, Algorithm.SHA_256), Algorithm.SHA_256_SESS),
        (("SHA3-512", Algorithm.SHA_256), Algorithm.SHA_256),
        ((Algorithm.MD5,), None),
        ((Algorithm.MD5_SESS,), None),
        (("SHA3-512",), None),
    ],
)
def test_the_strongest_is_answered_and_md5_never(
    world: World, algorithms: tuple[Any, ...], chosen: Algorithm | None
) -> None:
    sent = sent_first(make_client(), offered(*algorithms), world)
    assert (None if sent is None else parameter(sent, "algorithm")) == (None if chosen is None else chosen.token)


def test_a_challenge_without_an_algorithm_is_md5(world: World) -> None:
    text = [f'Digest realm="{REALM}", nonce="n", qop="auth"']
    assert sent_first(make_client(), text, world) is None
    assert sent_first(make_client(algorithms=[Algorithm.MD5]), text, world) is not None


@pytest.mark.parametrize(
    ("qops", "offer", "body", "chosen"),
    [
        ((Qop.AUTH,), "auth,auth-int", b"", "auth"),
        ((Qop.AUTH,), "auth-int", b"", None),
        ((Qop.AUTH_INT, Qop.AUTH), "auth,auth-int", b"", "auth-int"),
        ((Qop.AUTH_INT, Qop.AUTH), "auth,auth-int", None, "auth"),
        ((Qop.AUTH_INT, Qop.AUTH), "auth", b"", "auth"),
        ((Qop.AUTH_INT,), "auth", b"", None),
        ((Qop.AUTH_INT,), "auth-int", None, None),
        ((Qop.AUTH, Qop.AUTH_INT), "auth-conf", b"", None),
    ],
)
def test_the_quality_is_one_that_both_want(
    world: World, qops: tuple[Qop, ...], offer: str, body: bytes | None, chosen: str | None
) -> None:
    client = make_client(qops=qops)
    assert client.needs_body is (Qop.AUTH_INT in qops)
    sent = sent_first(client, offered(Algorithm.SHA_256, qop=offer), world, get(body=body))
    assert (None if sent is None else parameter(sent, "qop")) == chosen


def test_rfc_2069_without_qop_is_not_answered(world: World) -> None:
    assert sent_first(make_client(), [f'Digest realm="{REALM}", nonce="n", algorithm=SHA-256'], world) is None


def test_a_malformed_challenge_is_passed_over_and_told_where_it_is_alone(world: World) -> None:
    broken = 'Digest realm="r", algorithm=SHA-256'
    assert sent_first(make_client(), [broken, *offered(Algorithm.SHA_256)], world) is not None
    with pytest.raises(InvalidToken, match="nonce is missing"):
        sent_first(make_client(), [broken], world)


def test_opaque_goes_back_as_it_came(world: World) -> None:
    text = offered(Algorithm.SHA_256)[0] + r', opaque="a\"b\\c"'
    sent = sent_first(make_client(), [text], world)
    assert sent is not None
    assert parameter(sent, "opaque") == r'a"b\c'
    without = sent_first(make_client(), offered(Algorithm.SHA_256), world)
    assert without is not None
    assert parameter(without, "opaque") is None


@pytest.mark.parametrize(
    ("name", "more", "userhash", "expected"),
    [
        ("alice", "", True, 'username="alice"'),
        ("CORP\\alice", "", True, 'username="CORP\\\\alice"'),
        ("Jäsøn", ", charset=UTF-8", True, "username*=UTF-8''J%C3%A4s%C3%B8n"),
        ("Jäsøn", "", True, 'username="J\xc3\xa4s\xc3\xb8n"'),
        ("Jäsøn Doe", ", charset=UTF-8, userhash=true", True, 'username="793263ca'),
        ("Jäsøn", ", charset=UTF-8, userhash=true", False, "username*=UTF-8''"),
    ],
)
def test_the_name_travels_as_the_challenge_allows(
    world: World, name: str, more: str, userhash: bool, expected: str
) -> None:
    sent = sent_first(make_client(name=name, userhash=userhash), [offered(Algorithm.SHA_512_256)[0] + more], world)
    assert sent is not None
    assert f"Digest {expected}" in sent
    assert ("userhash=true" in sent) is expected.startswith('username="793263ca')


# --- beginning again


def test_a_stale_nonce_is_followed_by_a_new_one_without_asking_anybody(web: Web, world: World) -> None:
    client = make_client()
    web.fetch(client, get())
    world.clock.advance(timedelta(minutes=6))
    exchange = web.fetch(client, get())
    assert len(exchange.sent) == 2
    assert parameter(exchange.sent[1], "nc") == "00000001"
    assert "expired" in str(web.refused[0])


def test_a_server_with_a_new_key_is_answered_anew(web: Web, world: World) -> None:
    client = make_client()
    web.fetch(client, get())
    web.server = make_server(key=Secret(bytes(32)))
    assert len(web.fetch(client, get()).sent) == 2


def test_a_wrong_password_is_told_after_one_attempt(web: Web, world: World) -> None:
    with pytest.raises(PeerRefused, match="check user, realm and password"):
        web.fetch(make_client(password="wrong"), get())
    assert len(web.refused) == 1


def test_a_password_that_became_wrong_is_told_after_one_more_attempt(web: Web) -> None:
    client = make_client()
    web.fetch(client, get())
    web.server = make_server(credential=accounts(alice="changed"))
    with pytest.raises(PeerRefused):
        web.fetch(client, get())
    assert len(web.refused) == 2


@pytest.mark.parametrize("same_nonce", [False, True])
def test_a_server_that_finds_every_nonce_stale_is_given_up(world: World, same_nonce: bool) -> None:
    client = make_client()
    numbers = itertools.count()

    def challenge() -> list[str]:
        nonce = "n" if same_nonce else f"n{next(numbers)}"
        return [f'Digest realm="{REALM}", nonce="{nonce}", algorithm=SHA-256, qop="auth", stale=true']

    handshake = client.initiate(parse_challenges(challenge()), get(), world.options)
    assert handshake is not None
    machine = HandshakeMachine(handshake)
    machine.step()
    attempts = 0
    while attempts < 5:
        attempts += 1
        try:
            machine.step(HttpReply.received(401, challenge()))
        except PeerRefused:
            break
    assert attempts == 1


def test_a_refusal_that_offers_md5_alone_is_a_refusal(world: World) -> None:
    handshake = make_client().initiate(parse_challenges(offered(Algorithm.SHA_256)), get(), world.options)
    assert handshake is not None
    machine = HandshakeMachine(handshake)
    machine.step()
    with pytest.raises(PeerRefused, match="nothing that may be answered"):
        machine.step(HttpReply.received(401, offered(Algorithm.MD5)))


def test_nextnonce_is_used_from_then_on(web: Web, world: World) -> None:
    client = make_client()
    first = web.fetch(client, get()).sent[0]
    world.clock.advance(timedelta(minutes=4))
    assert parameter(web.fetch(client, get()).sent[0], "nonce") == parameter(first, "nonce")
    third = web.fetch(client, get()).sent[0]
    assert parameter(third, "nonce") != parameter(first, "nonce")
    assert parameter(third, "nc") == "00000001"
    world.clock.advance(timedelta(minutes=2))
    assert len(web.fetch(client, get()).sent) == 1, "so that the nonce never expires under a busy client"
    assert not web.refused


# --- the server's proof


def answered(
    world: World,
    change: Change,
    *,
    client: DigestClient | None = None,
    body: bytes | None = b"content",
    status: int = 200,
) -> Any:
    """A client's outcome when Authentication-Info is changed on its way."""
    qops = (Qop.AUTH, Qop.AUTH_INT)
    server = make_server(qops=qops, algorithms=[Algorithm.SHA_256, Algorithm.SHA_256_SESS])
    web, client = Web(world, server), client or make_client()
    request = get()
    handshake = client.initiate(web.challenge(request).challenges, request, world.options)
    assert handshake is not None
    machine = HandshakeMachine(handshake)
    need = machine.step().need
    assert isinstance(need, SendRequest)
    reply = web.answer(request, need.authorization)
    information = change(reply.information[0])
    fields = [] if information is None else [information]
    return machine.step(HttpReply.received(status, information=fields, body=body)).established


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rspauth", f'"{"0" * 64}"'),
        ("rspauth", '""'),
        ("cnonce", '"another"'),
        ("nc", "00000002"),
        ("qop", "auth-int"),
    ],
)
def test_a_wrong_proof_is_refused(world: World, name: str, value: str) -> None:
    for server_proof in ("required", "when sent"):
        with pytest.raises(InvalidToken, match=r"proof \(rspauth\) is wrong"):
            answered(
                world, lambda text: with_parameter(text, name, value), client=make_client(server_proof=server_proof)
            )


def test_a_missing_proof_is_refused_unless_that_was_allowed(world: World) -> None:
    changes: list[Change] = [lambda text: None, lambda text: with_parameter(text, "rspauth", None)]
    for change in changes:
        with pytest.raises(QualityNotMet, match='server_proof="when sent"'):
            answered(world, change)
        outcome = answered(world, change, client=make_client(server_proof="when sent"))
        assert outcome.result.flags is ContextFlags.NONE
        assert not outcome.peer.is_authenticated


@pytest.mark.parametrize("status", [204, 304, 302, 404, 500])
def test_only_a_success_owes_the_proof_and_what_has_none_is_from_nobody(world: World, status: int) -> None:
    """Seen: mod_auth_digest proves neither 404 nor 304. Whoever can answer with those can do so unasked, too."""
    if status < 300:
        with pytest.raises(QualityNotMet):
            answered(world, lambda text: None, status=status)
        return
    outcome = answered(world, lambda text: None, status=status)
    assert outcome.result.flags is ContextFlags.NONE
    assert not outcome.peer.is_authenticated
    assert answered(world, str, status=status).peer.is_authenticated
    with pytest.raises(InvalidToken):
        answered(world, lambda text: with_parameter(text, "rspauth", '"00"'), status=status)


def test_a_nextnonce_without_proof_is_not_taken(world: World) -> None:
    client = make_client(server_proof="when sent")
    answered(world, lambda text: 'nextnonce="from somebody"', client=client)
    handshake = client.initiate((), get(), world.options)
    assert handshake is not None
    need = HandshakeMachine(handshake).step().need
    assert isinstance(need, SendRequest)
    assert "from somebody" not in need.authorization


def test_a_session_stays_with_the_nonce_that_its_key_covers(world: World) -> None:
    """RFC 7616 3.4.2: whether a server that sends the next nonce begins a new session, the document leaves open."""
    for algorithm, moves in ((Algorithm.SHA_256, True), (Algorithm.SHA_256_SESS, False)):
        client = make_client(algorithms=[algorithm])
        answered(world, lambda text: f'nextnonce="the next", {text}', client=client)
        handshake = client.initiate((), get(), world.options)
        assert handshake is not None
        need = HandshakeMachine(handshake).step().need
        assert isinstance(need, SendRequest)
        assert ("the next" in need.authorization) is moves


def test_the_proof_may_leave_out_what_the_request_said(world: World) -> None:
    """RFC 7616 3.5: mod_auth_digest sends all; others send rspauth alone."""
    outcome = answered(world, lambda text: text[text.index("rspauth") :].split(",")[0])
    assert outcome.result.flags is ContextFlags.MUTUAL


def test_malformed_information_is_refused(world: World) -> None:
    with pytest.raises(InvalidToken, match="malformed"):
        answered(world, lambda text: "rspauth")


def test_auth_int_proves_the_content_of_the_response(world: World) -> None:
    client = make_client(qops=[Qop.AUTH_INT])
    assert answered(world, str, client=client) is not None
    with pytest.raises(InvalidToken, match="changed the response"):
        answered(world, str, client=make_client(qops=[Qop.AUTH_INT]), body=b"other content")
    with pytest.raises(QualityNotMet, match="not at hand"):
        answered(world, str, client=make_client(qops=[Qop.AUTH_INT]), body=None)


# --- construction


def test_a_client_needs_a_password_and_something_to_use() -> None:
    assert DigestClient(Credentials(NtHash("alice", bytes(16)), Password("alice", "pw"))).name == "Digest"
    with pytest.raises(UsageError, match="type Password"):
        DigestClient(NtHash("alice", bytes(16)))
    for arguments in ({"algorithms": ()}, {"qops": ()}):
        with pytest.raises(UsageError, match="at least one"):
            make_client(**arguments)


def test_nothing_secret_is_shown(web: Web) -> None:
    client = make_client()
    exchange = web.fetch(client, get())
    shown = repr(client) + repr(exchange.outcome) + repr(vars(client)) + repr(vars(exchange.outcome.result))
    assert PASSWORD not in shown
    for secret in ("nonce", "response"):
        value = parameter(exchange.sent[0], secret)
        assert value is not None
        assert value not in repr(client) + repr(exchange.outcome)


def test_a_failed_handshake_keeps_no_password_in_its_frames(web: Web, world: World) -> None:
    with pytest.raises(HandshakeError) as failed:
        answered(world, lambda text: None)
    traceback = failed.value.__traceback__
    while traceback is not None:
        if "securestream" in traceback.tb_frame.f_code.co_filename:
            assert PASSWORD not in repr(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next
    assert ORIGIN.is_secure
