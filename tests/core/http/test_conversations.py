"""Both ends of the core against each other: schemes of one leg and of several, what is verified, what is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from examples.custom_provider import SharedKey
from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Password
from securestream.drive import respond_blocking
from securestream.errors import (
    HandshakeError,
    InvalidToken,
    LimitExceeded,
    LogonDenied,
    NoCredentials,
    NotAuthorized,
    PeerRefused,
    Unsupported,
    UsageError,
)
from securestream.http.client import HttpClient
from securestream.http.fields import Challenge, encode_token
from securestream.http.performing import authenticate_blocking
from securestream.http.schemes import HttpField, HttpReply, HttpRequest, Origin, SendRequest
from securestream.http.server import ATTEMPTS, Admitted, HttpConnection, HttpServer, Refused
from securestream.http.tokens import TokenScheme
from securestream.options import ImpersonationLevel, Limits, Protection
from securestream.provider import Established
from tests.core.handshakes import ALICE, KEY, NOW, SHARED_KEY
from tests.core.http.conversations import (
    ORIGIN,
    REQUEST,
    Conversation,
    OneLeg,
    authorization_of,
    http,
    one_leg,
    three_legs,
)

MALLORY = SharedKey("alice", bytes(32))


def _pair(scheme: TokenScheme, other: TokenScheme | None = None) -> Conversation:
    return Conversation(HttpServer(scheme), HttpClient(ORIGIN, other or scheme))


def test_a_package_may_be_named() -> None:
    assert "NTLM" in TokenScheme("NTLM", "ntlm").challenges(REQUEST, http())
    with pytest.raises(UsageError, match="no package is called 'ntml'"):
        TokenScheme("NTLM", "ntml")


# --- schemes of one leg and of several --------------------------------------------------------------------------------


def test_one_leg() -> None:
    talk = _pair(one_leg())
    assert talk.fetch() is not None
    assert talk.statuses == [401, 200]
    assert talk.sent == [None, encode_token("One", b"hello")]
    assert talk.admitted is not None
    assert talk.admitted.fields() == (HttpField("WWW-Authenticate", encode_token("One", b"proof")),)


def test_three_legs() -> None:
    talk = _pair(three_legs())
    established = talk.fetch()
    assert established is not None
    assert established.peer.name == "alice"
    assert talk.statuses == [401, 401, 200]
    assert talk.admitted is not None
    assert talk.admitted.peer.name == "alice"


def test_a_wrong_key_is_refused_and_the_client_told() -> None:
    talk = _pair(three_legs(), three_legs(MALLORY))
    with pytest.raises(LogonDenied):
        talk.fetch()  # the acceptor proves itself first
    assert talk.admitted is None


def test_the_service_principal_name_is_of_the_origin() -> None:
    package = OneLeg()
    _pair(TokenScheme("One", package)).fetch()
    assert package.wanted == "HTTP/files.example"


def test_a_proxy_has_its_own_fields_and_status() -> None:
    proxy = Origin("http", "proxy.example", 3128)
    talk = Conversation(HttpServer(three_legs(), proxy=True), HttpClient(proxy, three_legs(), proxy=True))
    request = HttpRequest("CONNECT", "files.example:443", proxy, proxy=True)
    assert talk.fetch(request) is not None
    assert talk.statuses == [407, 407, 200]
    talk = Conversation(HttpServer(one_leg(), proxy=True), HttpClient(proxy, one_leg(), proxy=True))
    assert talk.fetch(request) is not None
    assert talk.admitted is not None
    assert talk.admitted.fields()[0].name == "Proxy-Authenticate"


# --- the client -------------------------------------------------------------------------------------------------------


def _without(leg: int, fields: Sequence[HttpField]) -> Sequence[HttpField]:
    return fields if leg == 0 else ()


def _wrong(leg: int, fields: Sequence[HttpField]) -> Sequence[HttpField]:
    return fields if leg == 0 else [HttpField("WWW-Authenticate", encode_token("One", b"prouf"))]


def _twice(leg: int, fields: Sequence[HttpField]) -> Sequence[HttpField]:
    return fields if leg == 0 else [*fields, *fields]


def _no_base64(leg: int, fields: Sequence[HttpField]) -> Sequence[HttpField]:
    return fields if leg == 0 else [HttpField("WWW-Authenticate", "One a.b")]


@pytest.mark.parametrize("alter", [_without, _wrong, _twice, _no_base64])
def test_a_final_response_without_the_right_proof_is_refused(alter: object) -> None:
    talk = _pair(one_leg())
    talk.alter = alter  # type: ignore[assignment]  # parametrized
    with pytest.raises(InvalidToken):
        talk.fetch()
    assert talk.statuses == [401, 200]


@pytest.mark.parametrize("alter", [_wrong, _twice, _no_base64])
def test_a_proof_that_may_be_missing_may_not_be_wrong(alter: object) -> None:
    """Proxies send none in their answer to CONNECT; by name a client does without, and then knows nobody."""
    lenient = TokenScheme("One", OneLeg(), server_proof="when sent")
    talk = _pair(one_leg(), lenient)
    talk.alter = _without
    established = talk.fetch()
    assert established is not None
    assert not established.peer.name
    talk = _pair(one_leg(), lenient)
    talk.alter = alter  # type: ignore[assignment]  # parametrized
    with pytest.raises(InvalidToken):
        talk.fetch()
    proved = _pair(one_leg(), lenient).fetch()
    assert proved is not None
    assert proved.peer.name


def test_a_final_response_in_the_middle_is_refused() -> None:
    """A server that says 200 when it should have asked on has proved nothing."""
    talk = _pair(three_legs())
    replies = iter([HttpReply(401, (Challenge("Three"),))])
    machine = talk.client.begin(REQUEST, next(replies), talk.options, keeps_connection=True)
    assert machine is not None
    machine.step()
    with pytest.raises(InvalidToken, match="without the Three token"):
        machine.step(HttpReply(200))


def test_a_final_response_that_leaves_a_token_unsent_is_refused() -> None:
    """The server lets in before it saw the proof: it does not look at it, or somebody else answers."""
    talk = _pair(three_legs())
    machine = talk.client.begin(REQUEST, talk.ask(None), talk.options, keeps_connection=True)
    assert machine is not None
    reply = replace(talk.ask(authorization_of(machine.step())), status=200)
    with pytest.raises(InvalidToken, match="before this end was complete"):
        respond_blocking(machine, reply, answers=(SendRequest,))


def test_a_token_after_the_end_is_refused() -> None:
    talk = _pair(three_legs())
    extra = HttpField("WWW-Authenticate", encode_token("Three", b"more"))
    talk.alter = lambda leg, fields: fields if leg < 2 else [*fields, extra]
    with pytest.raises(InvalidToken, match="after the end"):
        talk.fetch()


def test_a_refusal_is_the_responses_own_business() -> None:
    """401 again: nothing is wrong with the response, and its user sees it."""
    talk = _pair(one_leg())
    talk.server = HttpServer(TokenScheme("One", SHARED_KEY, ALICE))
    assert talk.fetch() is None
    assert talk.statuses == [401, 401]


def test_a_refusal_after_the_clients_last_token_establishes_nothing() -> None:
    talk = _pair(three_legs())
    machine = talk.client.begin(REQUEST, talk.ask(None), talk.options, keeps_connection=True)
    assert machine is not None
    respond_blocking(machine, talk.ask(authorization_of(machine.step())), answers=(SendRequest,))
    with pytest.raises(PeerRefused):
        machine.step(HttpReply(401, (Challenge("Three"),)))


def test_schemes_in_the_clients_order() -> None:
    server = HttpServer(three_legs(), one_leg())
    for schemes, used in (((one_leg(), three_legs()), "One"), ((three_legs(), one_leg()), "Three")):
        talk = Conversation(server, HttpClient(ORIGIN, *schemes))
        assert talk.fetch() is not None
        assert str(talk.sent[1]).startswith(used)


def test_a_scheme_of_several_legs_is_passed_over_where_the_connection_is_not_kept() -> None:
    talk = Conversation(HttpServer(three_legs(), one_leg()), HttpClient(ORIGIN, three_legs(), one_leg()))
    assert talk.fetch(keeps_connection=False) is not None
    assert str(talk.sent[1]).startswith("One")


def test_a_scheme_without_its_credential_is_passed_over_and_said() -> None:
    talk = Conversation(
        HttpServer(three_legs(), one_leg()), HttpClient(ORIGIN, three_legs(Password("a", "b")), one_leg())
    )
    assert talk.fetch() is not None
    talk = _pair(three_legs(), three_legs(Password("a", "b")))
    with pytest.raises(NoCredentials, match="SharedKey"):
        talk.fetch()


def test_nothing_that_is_not_asked_is_answered() -> None:
    client = HttpClient(ORIGIN, one_leg())
    challenge = (Challenge("One"),)
    for reply in (
        HttpReply(200, challenge),
        HttpReply(407, challenge),
        HttpReply(407, challenge, proxy=True),
        HttpReply(401),
        HttpReply(401, (Challenge("X"),)),
    ):
        assert client.begin(REQUEST, reply, http()) is None
    assert client.begin(REQUEST, HttpReply(401, challenge), http()) is not None
    assert client.begin(REQUEST, None, http()) is not None
    with pytest.raises(UsageError):
        HttpClient(ORIGIN)


# --- channel bindings -------------------------------------------------------------------------------------------------


def test_what_cannot_be_answered_is_told_for_the_log() -> None:
    """A server of MD5 alone, or of other schemes: without a word nobody finds out why there is a 401."""
    fields = ['Digest realm="r", nonce="n", qop="auth", algorithm=MD5', "Basic", 'X qop="a;b"']
    told = HttpClient(ORIGIN, one_leg()).unanswered(HttpReply.received(401, fields))
    assert "offers Digest (algorithm=MD5 qop=auth), Basic, X: <TokenScheme One> may answer none of it" in told
    assert "offers nothing" in HttpClient(ORIGIN, one_leg()).unanswered(HttpReply(401))


def test_tls_without_bindings_is_refused_at_both_ends_unless_named() -> None:
    secure = replace(REQUEST, origin=Origin("https", "files.example", 443))
    client = HttpClient(secure.origin, one_leg())
    challenge = HttpReply(401, (Challenge("One"),))
    with pytest.raises(Unsupported, match="allow_unbound"):
        client.begin(secure, challenge, http())
    assert client.begin(secure, None, http()) is None  # the first response will tell the certificate
    bound = http(channel_bindings=ChannelBindings(b"tls-server-end-point:x"))
    assert client.begin(secure, challenge, bound) is not None
    unbound = TokenScheme("One", OneLeg(), allow_unbound=True)
    assert HttpClient(secure.origin, unbound).begin(secure, challenge, http()) is not None
    asked = HttpRequest.received("GET", "/", secure.origin, [encode_token("One", b"hello")])
    with pytest.raises(Unsupported, match="allow_unbound"):
        authenticate_blocking(HttpServer(one_leg()), asked, http())
    assert isinstance(authenticate_blocking(HttpServer(one_leg()), asked, bound), Admitted)
    assert isinstance(authenticate_blocking(HttpServer(unbound), asked, http()), Admitted)


# --- the server -------------------------------------------------------------------------------------------------------


def _asks(value: str | None, request: HttpRequest = REQUEST) -> HttpRequest:
    return HttpRequest.received(request.method, request.target, request.origin, [] if value is None else [value])


def test_a_connection_that_took_several_legs_stays_authenticated() -> None:
    talk = _pair(three_legs())
    talk.fetch()
    assert talk.connection is not None
    assert talk.connection.peer is not None
    assert talk.ask(None).status == 200
    assert talk.admitted is not None
    assert talk.admitted.peer.name == "alice"
    assert talk.admitted.fields() == ()
    other = authenticate_blocking(talk.server, _asks(None), talk.options, HttpConnection())
    assert isinstance(other, Refused)


def test_one_leg_authenticates_one_request() -> None:
    talk = _pair(one_leg())
    talk.fetch()
    assert talk.ask(None).status == 401


def test_whoever_authenticates_anew_is_no_longer_who_he_was() -> None:
    talk = _pair(three_legs())
    talk.fetch()
    assert talk.ask(encode_token("Three", b"junk")).status == 401
    assert talk.ask(None).status == 401
    assert talk.connection is not None
    assert talk.connection.peer is None


def test_a_request_without_credentials_ends_the_handshake_under_way() -> None:
    server = HttpServer(three_legs())
    connection = HttpConnection()
    talk = Conversation(server, HttpClient(ORIGIN, three_legs()), connection)
    machine = talk.client.begin(REQUEST, talk.ask(None), talk.options, keeps_connection=True)
    assert machine is not None
    first = authorization_of(machine.step())
    assert talk.ask(first).status == 401
    assert connection.pending is not None
    talk.ask(None)
    assert connection.pending is None


def test_without_a_connection_no_scheme_of_several_legs_is_offered_or_taken() -> None:
    server = HttpServer(three_legs(), one_leg())
    refused = authenticate_blocking(server, _asks(None), http(), None)
    assert isinstance(refused, Refused)
    assert [value for _, value in refused.fields] == ["One"]
    refused = authenticate_blocking(server, _asks(encode_token("Three", b"x")), http(), None)
    assert isinstance(refused, Refused)
    assert not refused.continues
    assert refused.error is None  # it was not even begun


def test_an_unexpected_second_leg_without_a_connection_says_what_to_do() -> None:
    scheme = TokenScheme("Three", SHARED_KEY, ALICE, needs_connection=False)
    talk = Conversation(HttpServer(scheme), HttpClient(ORIGIN, scheme), None)
    machine = talk.client.begin(REQUEST, talk.ask(None), talk.options)
    assert machine is not None
    outcome = authenticate_blocking(talk.server, _asks(authorization_of(machine.step())), talk.options, None)
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, Unsupported)
    assert [value for _, value in outcome.fields] == ["Three"]


def test_a_handshake_has_a_time_limit_over_all_its_requests() -> None:
    now = NOW
    talk = _pair(three_legs())
    talk.options = http(clock=lambda: now)
    machine = talk.client.begin(REQUEST, talk.ask(None), talk.options, keeps_connection=True)
    assert machine is not None
    reply = talk.ask(authorization_of(machine.step()))
    now += timedelta(seconds=31)
    third = authorization_of(respond_blocking(machine, reply, answers=(SendRequest,)))
    assert talk.ask(third).status == 401
    assert talk.admitted is None


def test_a_connection_has_three_attempts() -> None:
    talk = _pair(one_leg())
    junk = _asks(encode_token("One", b"junk"))
    closes: list[bool] = []
    for _ in range(ATTEMPTS):
        outcome = authenticate_blocking(talk.server, junk, talk.options, talk.connection)
        assert isinstance(outcome, Refused)
        closes.append(outcome.close)
    assert closes == [False, False, True]
    right = authenticate_blocking(talk.server, _asks(encode_token("One", b"hello")), talk.options, talk.connection)
    assert isinstance(right, Refused)
    assert isinstance(right.error, LimitExceeded)


def test_two_requests_of_one_connection_are_not_authenticated_at_once() -> None:
    server, connection = HttpServer(one_leg()), HttpConnection()
    first = server.authenticate(_asks(encode_token("One", b"hello")), http(), connection)
    second = server.authenticate(_asks(encode_token("One", b"hello")), http(), connection).outcome
    assert isinstance(second, Refused)
    first.abandon()
    first.abandon()
    third = authenticate_blocking(server, _asks(encode_token("One", b"hello")), http(), connection)
    assert isinstance(third, Admitted)


def test_the_owed_token_takes_the_place_of_the_challenge() -> None:
    server = HttpServer(one_leg(), three_legs())
    outcome = authenticate_blocking(server, _asks(encode_token("One", b"junk")), http(), HttpConnection())
    assert isinstance(outcome, Refused)
    assert [value for _, value in outcome.fields] == [encode_token("One", b"sorry"), "Three"]


@pytest.mark.parametrize("value", ["One", "One a=b", "Two YWJj", "One a.b"])
def test_credentials_without_a_token_are_refused(value: str) -> None:
    outcome = authenticate_blocking(HttpServer(one_leg()), _asks(value), http(), HttpConnection())
    assert isinstance(outcome, Refused)
    assert outcome.status == 401


def _nobody(_: Established) -> None:
    raise NotAuthorized("alice is not on the list")


def test_who_is_not_admitted_gets_403() -> None:
    server = HttpServer(one_leg(), admit=_nobody)
    outcome = authenticate_blocking(server, _asks(encode_token("One", b"hello")), http(), None)
    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.fields) == (403, ())


def test_less_than_was_asked_is_refused() -> None:
    for less in (http(protection=Protection.SIGN), http(impersonation=ImpersonationLevel.DELEGATION)):
        outcome = authenticate_blocking(HttpServer(three_legs()), _asks(None), less, HttpConnection())
        assert isinstance(outcome, Refused)
    package = OneLeg()
    asked = _asks(encode_token("One", b"hello"))
    outcome = authenticate_blocking(HttpServer(TokenScheme("One", package)), asked, http(protection=Protection.SIGN))
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, HandshakeError)


def test_limits_hold_over_the_tokens_of_a_conversation() -> None:
    talk = _pair(one_leg())
    talk.options = http(limits=Limits(token_size=4))
    outcome = authenticate_blocking(talk.server, _asks(encode_token("One", b"hello")), talk.options)
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, LimitExceeded)


def test_a_server_has_each_scheme_once() -> None:
    with pytest.raises(UsageError):
        HttpServer(one_leg(), TokenScheme("ONE", OneLeg()))
    with pytest.raises(UsageError):
        HttpServer()


def test_nothing_secret_is_shown() -> None:
    talk = _pair(three_legs())
    talk.fetch()
    for shown in (talk.server, talk.client, talk.connection, talk.admitted, talk.client.schemes, REQUEST):
        assert KEY.hex() not in repr(shown)
        assert "YWJj" not in repr(shown)
    assert "alice" in repr(talk.connection)


# --- origins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://Files.Example", Origin("http", "files.example", 80)),
        ("HTTPS://files.example/", Origin("https", "files.example", 443)),
        ("https://files.example.:8443", Origin("https", "files.example", 8443)),
        ("http://[::1]:8080", Origin("http", "::1", 8080)),
        ("http://[::1]", Origin("http", "::1", 80)),
    ],
)
def test_origins(text: str, origin: Origin) -> None:
    assert Origin.parse(text) == origin
    assert Origin.parse(str(origin)) == origin


@pytest.mark.parametrize(
    "text",
    ["files.example", "http://", "ftp://x", "http://a/b", "http://u@a", "http://a:b", "http://a:99999", "http://a?b"],
)
def test_no_origins(text: str) -> None:
    with pytest.raises(UsageError):
        Origin.parse(text)
