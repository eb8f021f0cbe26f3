"""The server of HTTP Digest: what it offers, what it accepts, and how it proves itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from securestream.credentials import Accounts
from securestream.errors import (
    ContextExpired,
    HandshakeError,
    InvalidToken,
    LogonDenied,
    QualityNotMet,
    Replay,
    UsageError,
)
from securestream.http.fields import parse_challenges
from securestream.http.schemes import HttpRequest, Origin, SendRequest
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags
from securestream.provider import Established
from securestream.redaction import Secret
from securestream.sasl.mechanism import NoLayer
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.digest import Algorithm, DigestContext, DigestServer, NonceCount, Qop
from securestream_providers.digest.counts import OWNER_SIZE
from tests.providers.digest.ends import (
    PASSWORD,
    REALM,
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


@pytest.fixture
def world() -> World:
    return World()


def credentials(world: World, server: DigestServer, request: HttpRequest | None = None, **arguments: Any) -> str:
    """What an honest client sends to this server."""
    request = get() if request is None else request
    challenges = parse_challenges(server.challenges(request, world.options))
    handshake = make_client(**{"algorithms": tuple(Algorithm), **arguments}).initiate(
        challenges, request, world.options
    )
    assert handshake is not None
    need = HandshakeMachine(handshake).step().need
    assert isinstance(need, SendRequest)
    return need.authorization


def accept(world: World, server: DigestServer, authorization: str, request: HttpRequest | None = None) -> Established:
    return world.drive(server.accept(asked(get() if request is None else request, authorization), world.options))


def accepted(world: World, server: DigestServer, authorization: str, request: HttpRequest | None = None) -> bool:
    return accept(world, server, authorization, request).peer.is_authenticated


# --- challenges


def test_by_default_one_challenge_is_offered_and_it_is_sha_256(world: World) -> None:
    (text,) = make_server().challenges(get(), world.options)
    assert text.startswith(f'Digest realm="{REALM}", qop="auth", algorithm=SHA-256, nonce="')
    assert text.endswith(", charset=UTF-8")


def test_each_algorithm_has_its_challenge_in_the_order_given(world: World) -> None:
    server = make_server(
        algorithms=[Algorithm.SHA_512_256, Algorithm.MD5], qops=list(Qop), userhash=True, domain=["/a"]
    )
    challenges = server.challenges(get(), world.options)
    assert [parameter(text, "algorithm") for text in challenges] == ["SHA-512-256", "MD5"]
    for text in challenges:
        assert [parameter(text, name) for name in ("qop", "userhash", "domain")] == ["auth,auth-int", "true", "/a"]
        assert parameter(text, "stale") is None


def test_no_two_nonces_are_the_same(world: World) -> None:
    server = make_server()
    nonces = {parameter(server.challenges(get(), world.options)[0], "nonce") for _ in range(100)}
    assert len(nonces) == 100


def test_without_a_key_the_server_makes_one_that_stays(world: World) -> None:
    server = make_server(key=None)
    assert accept(world, server, credentials(world, server)).peer.name == "alice"
    with pytest.raises(InvalidToken, match="not one of this server"):
        accept(world, make_server(key=None), credentials(world, server))


# --- acceptance


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("qop", Qop)
def test_every_algorithm_and_quality_is_accepted(world: World, algorithm: Algorithm, qop: Qop) -> None:
    server = make_server(algorithms=[algorithm], qops=[qop])
    outcome = accept(world, server, credentials(world, server, qops=[qop]))
    assert (str(outcome.peer), outcome.peer.package) == ("alice", "WDigest")
    assert isinstance(outcome.result, DigestContext)
    assert outcome.result.session.algorithm is algorithm
    assert outcome.result.flags is ContextFlags.MUTUAL
    assert isinstance(outcome.result, NoLayer), "nothing is wrapped"


@pytest.mark.parametrize("name", ["alice", "Jäsøn Doe", "CORP\\bob", "a@b"])
@pytest.mark.parametrize("userhash", [False, True])
def test_names_of_every_kind_are_found_plain_and_hashed(world: World, name: str, userhash: bool) -> None:
    store = MemoryAccounts()
    store.add(name, PASSWORD, sid="S-1-5-21-1")
    server = make_server(credential=Accounts(store), userhash=userhash)
    sent = credentials(world, server, name=name)
    assert ("userhash=true" in sent) is userhash
    outcome = accept(world, server, sent)
    assert (str(outcome.peer), outcome.peer.sid) == (name, "S-1-5-21-1")


def test_a_password_beyond_ascii(world: World) -> None:
    server = make_server(credential=accounts(alice="pässwörd ☃"))
    assert accepted(world, server, credentials(world, server, password="pässwörd ☃"))
    assert accepted(world, server, credentials(world, server, password="pa\N{COMBINING DIAERESIS}sswörd ☃"))


def test_requests_of_one_nonce_may_overtake_each_other(world: World) -> None:
    web, client = Web(world, make_server()), make_client()
    web.fetch(client, get())
    handshakes = [client.initiate((), get(), world.options) for _ in range(10)]
    sent: list[str] = []
    for handshake in handshakes:
        assert handshake is not None
        need = HandshakeMachine(handshake).step().need
        assert isinstance(need, SendRequest)
        sent.append(need.authorization)
    for authorization in reversed(sent):
        assert accepted(world, web.server, authorization)


@pytest.mark.parametrize(
    ("uri", "target", "origin"),
    [
        ("/x?a=b", "/x?a=b", "https://h"),
        ("https://h/x", "/x", "https://h"),
        ("/x", "https://h/x", "https://h"),
        ("https://h:443/x", "https://H/x", "https://h"),
        ("https://h", "/", "https://h"),
        ("*", "*", "https://h"),
        ("h:443", "h:443", "http://proxy:3128"),
        ("/x?u=http://other/", "/x?u=http://other/", "https://h"),
        ("/x?", "/x", "https://h"),
        ("https://h/x?", "/x", "https://h"),
    ],
)
def test_the_uri_may_be_the_absolute_form_of_the_target(world: World, uri: str, target: str, origin: str) -> None:
    """RFC 7616 3.4.6: proxies change the one into the other."""
    server, there = make_server(), Origin.parse(origin)
    sent = credentials(world, server, get(uri, origin=there))
    assert accepted(world, server, sent, get(target, origin=there))


# --- refusals


def test_refusals_of_password_and_name_are_the_same(world: World) -> None:
    server = make_server(userhash=True)
    told = set[tuple[type, str, bytes | None]]()
    wrong: list[dict[str, Any]] = [{"password": "wrong"}, {"name": "nobody"}, {"name": "ALICE"}, {"name": "x" * 300}]
    for arguments in wrong:
        for userhash in (True, False):
            with pytest.raises(LogonDenied) as refused:
                accept(world, server, credentials(world, server, userhash=userhash, **arguments))
            told.add((type(refused.value), str(refused.value), refused.value.token))
    assert len(told) == 1


@pytest.mark.parametrize("name", ["response", "cnonce", "nonce", "realm", "username", "opaque", "uri", "nc"])
def test_every_altered_parameter_is_refused(world: World, name: str) -> None:
    server = make_server()
    sent = credentials(world, server)
    value = parameter(sent, name)
    assert value is not None
    altered = f'"{value[:-1]}{"0" if value[-1] != "0" else "1"}"'
    with pytest.raises(HandshakeError):
        accept(world, server, with_parameter(sent, name, altered))
    assert accepted(world, server, sent)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST"},
        {"target": "/other"},
        {"target": "/dir/index.html"},
        {"target": "/dir/index.html?q=1&more"},
    ],
)
def test_credentials_for_another_request_are_refused(world: World, change: dict[str, Any]) -> None:
    server = make_server()
    sent = credentials(world, server)
    with pytest.raises(HandshakeError):
        accept(world, server, sent, replace(get(), **change))


@pytest.mark.parametrize(
    ("uri", "origin"),
    [("https://evil.example/x", "https://h"), ("http://h/x", "https://h"), ("https://h:444/x", "https://h")],
)
def test_a_uri_of_another_origin_is_refused(world: World, uri: str, origin: str) -> None:
    server, there = make_server(), Origin.parse(origin)
    sent = credentials(world, server, get(uri, origin=there))
    with pytest.raises(InvalidToken, match="another request-target"):
        accept(world, server, sent, get("/x", origin=there))


@pytest.mark.parametrize(
    ("arguments", "offers", "match"),
    [
        ({"algorithms": [Algorithm.MD5]}, {"algorithms": [Algorithm.MD5]}, "MD5, which was not offered"),
        ({"qops": [Qop.AUTH]}, {"qops": list(Qop)}, "qop=auth, which was not offered"),
        ({"userhash": True}, {"userhash": True}, "hashed, which was not offered"),
    ],
)
def test_what_was_not_offered_is_refused(
    world: World, arguments: dict[str, Any], offers: dict[str, Any], match: str
) -> None:
    """The password is right and the nonce ours: only the offer differs."""
    offering = make_server(**offers)
    sent = credentials(world, offering, **arguments)
    strict = make_server(qops=[Qop.AUTH_INT]) if "qops" in arguments else make_server()
    assert accepted(world, offering, sent)
    with pytest.raises(InvalidToken, match=match):
        accept(world, strict, sent)


def test_a_nonce_count_of_zero_and_a_wrong_opaque_are_refused(world: World) -> None:
    server = make_server()
    sent = credentials(world, server)
    with pytest.raises(InvalidToken, match="begins with 1"):
        accept(world, server, with_parameter(sent, "nc", "00000000"))
    with pytest.raises(InvalidToken, match="not one of this server"):
        accept(world, server, with_parameter(sent, "opaque", '"AAAA"'))
    assert accepted(world, server, with_parameter(sent, "opaque", None)), "some clients leave it out"


def test_a_repetition_is_refused_and_told_a_new_nonce(world: World) -> None:
    server = make_server()
    sent = credentials(world, server)
    accept(world, server, sent)
    with pytest.raises(Replay) as refused:
        accept(world, server, sent)
    assert refused.value.token is not None
    challenge = refused.value.token.decode()
    assert parameter(challenge, "stale") == "true"
    assert parameter(challenge, "nonce") != parameter(sent, "nonce")


def test_an_expired_or_foreign_nonce_is_told_stale_before_any_password_is_looked_at(world: World) -> None:
    server = make_server()
    sent = credentials(world, server)
    foreign = credentials(world, make_server(key=Secret(bytes(32))))
    world.clock.advance(timedelta(minutes=5))
    for authorization, match in ((sent, "expired"), (foreign, "not one of this server")):
        machine = HandshakeMachine(server.accept(asked(get(), authorization), world.options))
        with pytest.raises(InvalidToken, match=match) as refused:
            machine.step()
        assert refused.value.token is not None
        assert parameter(refused.value.token.decode(), "stale") == "true"


def test_a_refused_password_uses_no_count_up(world: World) -> None:
    """Otherwise whoever sees a nonce could spoil it for its owner."""
    server = make_server()
    sent = credentials(world, server)
    response = parameter(sent, "response")
    assert response is not None
    with pytest.raises(LogonDenied):
        accept(world, server, with_parameter(sent, "response", f'"{response[::-1]}"'))
    assert accepted(world, server, sent)


def test_another_user_uses_up_only_his_own_counts(world: World) -> None:
    server = make_server(credential=accounts(alice=PASSWORD, bob=PASSWORD))
    challenges = parse_challenges(server.challenges(get(), world.options))
    for name in ("alice", "bob"):
        handshake = make_client(name=name).initiate(challenges, get(), world.options)
        assert handshake is not None
        need = HandshakeMachine(handshake).step().need
        assert isinstance(need, SendRequest)
        assert accept(world, server, need.authorization).peer.name == name


def test_auth_int_needs_the_content_and_covers_it(world: World) -> None:
    server = make_server(qops=[Qop.AUTH_INT])
    assert server.needs_body
    request = get(method="POST", body=b"content")
    sent = credentials(world, server, request, qops=[Qop.AUTH_INT])
    with pytest.raises(LogonDenied):
        accept(world, server, sent, replace(request, body=b"other"))
    with pytest.raises(QualityNotMet, match="not at hand"):
        accept(world, server, sent, replace(request, body=None))
    assert accepted(world, server, sent, request)
    assert not make_server().needs_body


def test_counts_say_whose_they_are(world: World) -> None:
    """The same for all nonces of a user, with a hashed name, too, and another for everybody else."""
    asked_of: list[NonceCount] = []

    def count(effect: NonceCount) -> bool:
        asked_of.append(effect)
        return True

    world.services.register(NonceCount, blocking=count)
    server = make_server(credential=accounts(alice=PASSWORD, bob=PASSWORD), userhash=True)
    for name, userhash in (("alice", False), ("alice", False), ("alice", True), ("bob", False)):
        accept(world, server, credentials(world, server, name=name, userhash=userhash))
    first, second, third, other = (effect.owner for effect in asked_of)
    assert first == second == third != other
    assert len(first) == OWNER_SIZE
    assert len({effect.nonce for effect in asked_of}) == 4


# --- the server's proof


def test_the_proof_stands_in_the_field_of_the_end_that_asked(world: World) -> None:
    server = make_server()
    for proxy, name in ((False, "Authentication-Info"), (True, "Proxy-Authentication-Info")):
        request = get(proxy=proxy)
        outcome = accept(world, server, credentials(world, server, request), request)
        (field,) = server.confirm(outcome, request, None)
        assert field.name == name
        assert "rspauth=" in field.value
        assert "nextnonce" not in field.value


@pytest.mark.parametrize(("algorithm", "renewed"), [(Algorithm.SHA_256, True), (Algorithm.SHA_256_SESS, False)])
def test_past_half_its_life_a_nonce_is_followed_by_the_next(world: World, algorithm: Algorithm, renewed: bool) -> None:
    """A session form's key covers its first nonce: a new one would end the session (RFC 7616 3.4.2)."""
    server = make_server(algorithms=[algorithm])
    sent = credentials(world, server)
    world.clock.advance(timedelta(minutes=3))
    outcome = accept(world, server, sent)
    (field,) = server.confirm(outcome, get(), None)
    assert ("nextnonce=" in field.value) is renewed


def test_the_content_of_a_response_is_needed_for_auth_int(world: World) -> None:
    server = make_server(qops=[Qop.AUTH_INT])
    outcome = accept(world, server, credentials(world, server, qops=[Qop.AUTH_INT]))
    with pytest.raises(UsageError, match="as `body`"):
        server.confirm(outcome, get(), None)
    proofs = {server.confirm(outcome, get(), body)[0].value for body in (b"", b"content")}
    assert len(proofs) == 2


def test_a_discarded_context_proves_nothing(world: World) -> None:
    server = make_server()
    outcome = accept(world, server, credentials(world, server))
    assert isinstance(outcome.result, DigestContext)
    outcome.result.discard()
    with pytest.raises(ContextExpired):
        server.confirm(outcome, get(), None)


# --- wrong use


def test_a_server_offers_something_that_can_be_written() -> None:
    for arguments in ({"algorithms": ()}, {"qops": ()}, {"lifetime": timedelta()}, {"key": Secret(b"short")}):
        with pytest.raises(UsageError):
            make_server(**arguments)
    with pytest.raises(UsageError, match="a realm has"):
        DigestServer(accounts(), 'a "realm"')


def test_credentials_of_another_scheme_are_the_callers_mistake(world: World) -> None:
    server = make_server()
    for request in (get(), asked(get(), "Basic YTpi")):
        with pytest.raises(UsageError):
            world.drive(server.accept(request, world.options))
    other = Established(NoLayer("X", outcome_role()), accept(world, server, credentials(world, server)).peer)
    with pytest.raises(UsageError, match="accept"):
        server.confirm(other, get(), None)


def outcome_role() -> Any:
    from securestream.options import Role

    return Role.ACCEPTOR


def test_no_key_is_shown() -> None:
    assert REALM in repr(make_server())
    assert "00010203" not in repr(vars(make_server()))
