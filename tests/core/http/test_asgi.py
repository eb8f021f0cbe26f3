"""The middleware against hand-made ASGI messages: what reaches the application, and what clients get instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Accounts, Keytab
from securestream.drive import respond_blocking
from securestream.errors import ContextExpired, HandshakeError, LogonDenied, NotAuthorized, Unsupported, UsageError
from securestream.http.asgi import (
    CONNECTION,
    ESTABLISHED,
    PEER,
    AuthenticationMiddleware,
    Message,
    Receive,
    Scope,
    Send,
)
from securestream.http.client import HttpClient
from securestream.http.fields import encode_token
from securestream.http.performing import http_options
from securestream.http.schemes import HttpReply, HttpRequest, Origin, SendRequest, ServerScheme
from securestream.http.server import HttpConnection
from securestream.http.tokens import TokenScheme
from securestream.provider import Established
from securestream_providers.digest import DigestClient, DigestServer, Qop
from tests.certificates import authority
from tests.core.handshakes import PlainContext
from tests.core.http.conversations import ORIGIN, Conversation, OneLeg, one_leg, three_legs
from tests.core.http.peers import BOB

HELLO = encode_token("One", b"hello").encode()


class Application:
    """Remembers the scopes; reads the content and says how long it was."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "headers": [(b"x", b"y")]})
            return
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            return
        body = b""
        while (message := await receive()).get("more_body", False):
            body += message["body"]
        body += message["body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b"got ", "more_body": True})
        await send({"type": "http.response.body", "body": str(len(body)).encode()})


def _scope(*authorization: bytes, **changes: Any) -> Scope:
    fields = [(b"host", b"files.example"), *((b"authorization", value) for value in authorization)]
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "client": ("192.0.2.1", 5),
        "headers": fields,
    }
    return {**scope, **changes}


def _serve(middleware: AuthenticationMiddleware, scope: Scope, *bodies: bytes) -> list[Message]:
    sent: list[Message] = []
    parts = bodies or (b"",)
    incoming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    if scope["type"] == "websocket":
        incoming = [{"type": "websocket.connect"}]

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    anyio.run(middleware, scope, receive, send)
    return sent


def _middleware(*schemes: ServerScheme, **settings: Any) -> tuple[AuthenticationMiddleware, Application]:
    app = Application()
    return AuthenticationMiddleware(app, schemes or (one_leg(), three_legs()), **settings), app


def _fields(message: Message, name: bytes) -> list[bytes]:
    return [value for known, value in message["headers"] if known == name]


def test_nobody_reaches_the_application() -> None:
    middleware, app = _middleware()
    junk, sorry = encode_token("One", b"junk").encode(), encode_token("One", b"sorry").encode()
    for scope, asked in ((_scope(), b"One"), (_scope(b"Basic YWJj"), b"One"), (_scope(junk), sorry)):
        start, body = _serve(middleware, scope)
        assert start["status"] == 401
        assert _fields(start, b"www-authenticate") == [asked]
        assert body["body"] == b"authentication is required\n"
    assert app.scopes == []


def test_the_application_sees_the_principal_and_the_client_the_proof() -> None:
    middleware, app = _middleware()
    sent = _serve(middleware, _scope(HELLO), b"ab", b"c")
    assert [message.get("status", message.get("body")) for message in sent] == [200, b"got ", b"3"]
    assert _fields(sent[0], b"www-authenticate") == [encode_token("One", b"proof").encode()]
    assert _fields(sent[0], b"x") == [b"y"]
    assert app.scopes[0][PEER].name == "bob"
    assert app.scopes[0][ESTABLISHED].peer.name == "bob"


def test_keys_last_as_long_as_the_request() -> None:
    middleware, app = _middleware()
    _serve(middleware, _scope(HELLO, state={CONNECTION: HttpConnection()}))
    assert app.scopes[0][ESTABLISHED].result.discarded


@pytest.mark.parametrize(("refusal", "status"), [(NotAuthorized, 403), (LogonDenied, 401)])
def test_a_token_of_whoever_judges_is_no_field(refusal: type[HandshakeError], status: int) -> None:
    def admit(outcome: Established) -> None:
        raise refusal("not today", token=b"x\r\nSet-Cookie: y")

    start = _serve(AuthenticationMiddleware(Application(), [one_leg()], admit=admit), _scope(HELLO))[0]
    assert start["status"] == status
    assert b"Set-Cookie" not in repr(start["headers"]).encode()


def test_keys_go_when_whoever_judges_fails() -> None:
    judged: list[Established] = []

    def admit(outcome: Established) -> None:
        judged.append(outcome)
        raise LookupError("a bug")

    app = Application()
    with pytest.raises(LookupError):
        _serve(AuthenticationMiddleware(app, [one_leg()], admit=admit), _scope(HELLO))
    (outcome,) = judged
    assert isinstance(outcome.result, PlainContext)
    assert outcome.result.discarded
    assert app.scopes == []


def test_keys_of_a_connection_that_stays_authenticated_last_as_long_as_it() -> None:
    middleware, app = _middleware(three_legs())
    connection = HttpConnection()
    talk = Conversation(middleware.server, HttpClient(ORIGIN, three_legs()), connection)
    talk.fetch()
    assert connection.admitted is not None
    _serve(middleware, _scope(state={CONNECTION: connection}))
    context = app.scopes[0][ESTABLISHED].result
    context.sign(b"still there")
    connection.close()
    with pytest.raises(ContextExpired):
        context.sign(b"gone")


def test_malformed_credentials_are_a_bad_request() -> None:
    middleware, app = _middleware()
    for scope in (_scope(HELLO, HELLO), _scope(b"One a, Two b"), _scope(b"("), _scope(HELLO, headers=[(b"host", b"")])):
        assert _serve(middleware, scope)[0]["status"] == 400
    assert app.scopes == []


def test_why_a_request_was_refused_is_logged_and_can_be_handled(caplog: pytest.LogCaptureFixture) -> None:
    """The client sees 401 whatever it was; whoever runs the server has to learn more."""
    caplog.set_level("INFO")
    middleware, _ = _middleware()
    _serve(middleware, _scope())
    assert not caplog.messages, "to be asked for credentials is no failure"
    _serve(middleware, _scope(encode_token("One", b"wrong").encode()))
    _serve(middleware, _scope(b"One !!!"))
    refused, malformed = caplog.messages
    assert refused == "authentication of 192.0.2.1 failed (SEC_E_INVALID_TOKEN): no hello"
    assert malformed.startswith(
        "authentication of 192.0.2.1 failed (SEC_E_INVALID_TOKEN): the credentials are malformed: "
    )

    class Counting(AuthenticationMiddleware):
        seen: ClassVar[list[tuple[str, str]]] = []

        async def handle_handshake_error(self, error: HandshakeError, source: str) -> None:
            self.seen.append((source, str(error)))

    _serve(Counting(Application(), [one_leg()]), _scope(encode_token("One", b"wrong").encode(), client=None))
    assert Counting.seen == [("", "no hello")]


def test_a_server_without_its_keytab_says_so_however_little_is_logged(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("WARNING")
    middleware, _ = _middleware(TokenScheme("Negotiate", "negotiate", Keytab(tmp_path / "absent")), one_leg())
    _serve(middleware, _scope(encode_token("One", b"wrong").encode()))
    assert not caplog.messages
    _serve(middleware, _scope(encode_token("Negotiate", b"token").encode()))
    assert "there is no keytab" in caplog.text


def test_a_scheme_of_several_legs_needs_a_connection_of_http_1_1() -> None:
    middleware, _ = _middleware()
    connection = HttpConnection()
    for version, state, offered in (
        ("1.1", {CONNECTION: connection}, [b"One", b"Three"]),
        ("2", {CONNECTION: connection}, [b"One"]),
        ("1.0", {CONNECTION: connection}, [b"One"]),
        ("1.1", {CONNECTION: "192.0.2.1"}, [b"One"]),
        ("1.1", {}, [b"One"]),
    ):
        start = _serve(middleware, _scope(http_version=version, state=state))[0]
        assert _fields(start, b"www-authenticate") == offered


def test_optional_lets_in_who_brings_nothing_and_nobody_who_fails() -> None:
    middleware, app = _middleware(optional=True)
    assert _serve(middleware, _scope())[0]["status"] == 200
    assert app.scopes[0][PEER] is None
    assert _serve(middleware, _scope(encode_token("One", b"junk").encode()))[0]["status"] == 401
    assert _serve(middleware, _scope(HELLO))[0]["status"] == 200
    assert app.scopes[1][PEER].name == "bob"


def test_an_application_cannot_be_told_a_peer_from_outside() -> None:
    middleware, app = _middleware(optional=True)
    _serve(middleware, _scope(**{PEER: "mallory"}))
    assert app.scopes[0][PEER] is None


def _nobody(_: Established) -> None:
    raise NotAuthorized("not on the list")


def test_who_is_not_admitted_gets_403() -> None:
    middleware, app = _middleware(admit=_nobody)
    assert _serve(middleware, _scope(HELLO))[0]["status"] == 403
    assert app.scopes == []


def test_a_proxy_looks_at_its_own_fields() -> None:
    middleware, _ = _middleware(proxy=True)
    start = _serve(middleware, _scope(HELLO))[0]
    assert (start["status"], _fields(start, b"proxy-authenticate")) == (407, [b"One"])
    fields = [(b"host", b"files.example"), (b"proxy-authorization", HELLO)]
    start = _serve(middleware, _scope(headers=fields))[0]
    assert (start["status"], _fields(start, b"proxy-authenticate")) == (200, [encode_token("One", b"proof").encode()])


def test_failures_close_the_connection_in_the_end() -> None:
    middleware, _ = _middleware()
    connection = HttpConnection()
    closes: list[bool] = []
    for _ in range(4):
        scope = _scope(encode_token("One", b"junk").encode(), state={CONNECTION: connection})
        closes.append(_fields(_serve(middleware, scope)[0], b"connection") == [b"close"])
    assert closes == [False, False, True, True]


def test_the_servers_own_events_pass_and_protocols_without_authentication_do_not() -> None:
    middleware, app = _middleware()
    assert _serve(middleware, {"type": "lifespan"}) == [{"type": "lifespan.startup.complete"}]
    app.scopes.clear()
    with pytest.raises(UsageError, match="not webtransport"):
        _serve(middleware, {"type": "webtransport"})
    assert app.scopes == []


def test_a_websocket_is_authenticated_by_its_opening_request() -> None:
    middleware, app = _middleware()
    sent = _serve(middleware, _scope(type="websocket", scheme="ws"))
    assert [message["type"] for message in sent] == ["websocket.close"]
    sent = _serve(middleware, _scope(type="websocket", scheme="ws", extensions={"websocket.http.response": {}}))
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 401)
    assert app.scopes == []
    sent = _serve(middleware, _scope(HELLO, type="websocket", scheme="ws"))
    assert sent[0]["type"] == "websocket.accept"
    assert _fields(sent[0], b"www-authenticate") == [encode_token("One", b"proof").encode()]
    assert app.scopes[0][PEER].name == "bob"


# --- channel bindings -------------------------------------------------------------------------------------------------


class Bound(OneLeg):
    """Remembers the bindings."""

    seen: ChannelBindings | None = None

    def accept(self, credential: Any, options: Any) -> Any:
        self.seen = options.channel_bindings
        self.source = options.source
        return super().accept(credential, options)


def test_tls_needs_bindings_and_takes_them_from_where_they_are() -> None:
    leaf = authority().leaf(["files.example"])
    package = Bound()
    middleware, _ = _middleware(TokenScheme("One", package))
    with pytest.raises(Unsupported, match="allow_unbound"):
        _serve(middleware, _scope(HELLO, scheme="https"))
    shown = {"tls": {"server_cert": leaf.pem.decode()}}
    assert _serve(middleware, _scope(HELLO, scheme="https", extensions=shown))[0]["status"] == 200
    assert package.seen is not None
    assert package.seen.application_data.startswith(b"tls-server-end-point:")
    assert package.source == "192.0.2.1"
    named = ChannelBindings(b"tls-server-end-point:named")

    def always(scope: Scope) -> ChannelBindings:
        return named

    for bindings in (named, always):
        middleware, _ = _middleware(TokenScheme("One", package), bindings=bindings)
        assert _serve(middleware, _scope(HELLO, scheme="https", extensions=shown))[0]["status"] == 200
        assert package.seen == named
        assert _serve(middleware, _scope(HELLO, extensions=shown))[0]["status"] == 200
        assert package.seen is None  # nothing to be bound to
    behind, _ = _middleware(TokenScheme("One", package), bindings=named, origin="https://files.example")
    assert _serve(behind, _scope(HELLO))[0]["status"] == 200
    assert package.seen == named


# --- schemes that look at contents ------------------------------------------------------------------------------------


def _digest(middleware: AuthenticationMiddleware, *bodies: bytes, sent: bytes | None = None) -> list[Message]:
    """A POST by Digest with auth-int, its content as `sent` said when it was signed; the client checks the proof."""
    origin = Origin("http", "files.example", 80)
    content = b"".join(bodies) if sent is None else sent
    start = _serve(middleware, _scope(method="POST"), b"")[0]
    client = HttpClient(origin, DigestClient(BOB, qops=(Qop.AUTH_INT,)))
    request = HttpRequest("POST", "/x", origin, body=content)
    reply = HttpReply.received(401, [value.decode() for value in _fields(start, b"www-authenticate")])
    machine = client.begin(request, reply, http_options())
    assert machine is not None
    step = respond_blocking(machine, None, answers=(SendRequest,))
    assert isinstance(step.need, SendRequest)
    answer = _serve(middleware, _scope(step.need.authorization.encode(), method="POST"), *bodies)
    if answer[0]["status"] == 200:
        body = b"".join(message["body"] for message in answer[1:])
        proof: Sequence[str] = [value.decode() for value in _fields(answer[0], b"authentication-info")]
        step = respond_blocking(machine, HttpReply.received(200, (), proof, body=body), answers=(SendRequest,))
        assert step.established is not None
    return answer


def test_contents_are_covered_in_both_directions() -> None:
    scheme = DigestServer(Accounts.memory(bob="battery staple"), "example", qops=(Qop.AUTH_INT,))
    middleware, app = _middleware(scheme, body_limit=100)
    answer = _digest(middleware, b"ab", b"c")
    assert (answer[0]["status"], answer[1]["body"]) == (200, b"got 3")
    assert _digest(middleware, b"ab", b"d", sent=b"abc")[0]["status"] == 401
    assert _digest(middleware, b"a" * 60, b"b" * 60)[0]["status"] == 413
    assert len(app.scopes) == 1
    small, _ = _middleware(scheme, body_limit=3)
    with pytest.raises(UsageError, match="body_limit"):  # "got 3" is longer
        _digest(small, b"abc")


def test_a_client_that_leaves_in_the_middle_of_its_content() -> None:
    scheme = DigestServer(Accounts.memory(bob="battery staple"), "example", qops=(Qop.AUTH_INT,))
    middleware, app = _middleware(scheme)
    incoming: list[Message] = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    anyio.run(middleware, _scope(b"Digest a=b", method="POST"), receive, send)
    assert sent[0]["status"] == 413
    assert app.scopes == []
