"""Rule 20, HTTP: answers go to one origin, on one connection, and the server's last token is verified.

The servers here are hand-made: a list of responses on a socket, which also keeps what came. Each attack is one that an
honest server of ours would not make.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import anyio
import httpx
import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Accounts, Credential
from securestream.errors import BadBindings, HandshakeError, InvalidToken, NotAuthorized, PeerGone, SecureStreamError
from securestream.http.asgi import CONNECTION, AuthenticationMiddleware, Scope, connection_of
from securestream.http.fields import encode_token
from securestream.http.httpx_auth import SecureAuth
from securestream.http.httpx_blocking import BlockingSecureTransport
from securestream.http.httpx_transport import SecureTransport
from securestream.http.performing import authenticate_blocking
from securestream.http.schemes import ClientScheme, HttpRequest, Origin, ServerScheme
from securestream.http.server import Admitted, HttpConnection, HttpServer, Refused
from securestream.http.tokens import TokenScheme
from securestream.machine import HandshakeMachine
from securestream.options import Options
from securestream.provider import Established, Handshake, SecurityContext, TargetName
from securestream_providers.digest import DigestClient, DigestServer, Qop
from securestream_providers.ntlm import Ntlm
from tests.certificates import authority as authority_of_tests
from tests.core.handshakes import ALICE, SHARED_KEY
from tests.core.http.conversations import OneLeg, http
from tests.core.http.live import WhoAmI, serving
from tests.core.http.peers import BOB, digest, ntlm

pytestmark = pytest.mark.anyio


@dataclass
class Script:
    """A server that answers the n-th request of all its connections with the n-th of its responses, then closes; before
    an empty one, too.
    """

    responses: Sequence[str]
    port: int = 0
    heads: list[str] = field(default_factory=list[str])
    connections: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    """Set once one of its connections is closed."""

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def credentials(self) -> list[str]:
        """What came in Authorization fields."""
        lines = [line for head in self.heads for line in head.split("\r\n")]
        return [line for line in lines if line.lower().startswith(("authorization:", "proxy-authorization:"))]


def _response(status: int, *fields: str) -> str:
    return "\r\n".join([f"HTTP/1.1 {status} X", "Content-Length: 0", *fields, "", ""])


def _serve(listener: socket.socket, script: Script) -> None:
    left = list(script.responses)
    while left:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        script.connections += 1
        with connection, suppress(OSError):  # a client goes when it has heard enough
            received = b""
            while left:
                while b"\r\n\r\n" not in received:
                    octets = connection.recv(65536)
                    if not octets:
                        break
                    received += octets
                head, found, received = received.partition(b"\r\n\r\n")
                if not found:
                    break
                script.heads.append(head.decode("latin-1"))
                response = left.pop(0)
                connection.sendall(response.encode("latin-1"))
                silent = left[:1] == [""]
                if silent or "Connection: close" in response:
                    del left[: int(silent)]
                    break
        script.closed.set()


@contextmanager
def scripted(*responses: str) -> Generator[Script, None, None]:
    script = Script(list(responses))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        script.port = listener.getsockname()[1]
        thread = threading.Thread(target=_serve, args=(listener, script), daemon=True)
        thread.start()
        try:
            yield script
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _one() -> TokenScheme:
    return TokenScheme("One", OneLeg())


PROOF = "WWW-Authenticate: " + encode_token("One", b"proof")
ASKS = "WWW-Authenticate: One"


def _clients(origin: str, how: str) -> httpx.AsyncClient:
    if how == "auth":
        return httpx.AsyncClient(auth=SecureAuth(origin, _one()))
    return httpx.AsyncClient(transport=SecureTransport(origin, _one()))


both = pytest.mark.parametrize("how", ["auth", "transport"])


@both
async def test_another_origin_gets_nothing(how: str) -> None:
    with scripted(_response(401, ASKS)) as other:
        async with _clients("http://files.example", how) as client:
            assert (await client.get(other.origin)).status_code == 401
    assert other.credentials == []


@both
async def test_another_name_scheme_or_port_is_another_origin(how: str) -> None:
    with scripted(_response(401, ASKS), _response(401, ASKS)) as other:
        for origin in (f"http://127.0.0.1:{other.port}", f"https://localhost:{other.port}"):
            async with _clients(origin, how) as client:
                assert (await client.get(other.origin)).status_code == 401
    assert other.credentials == []


@both
async def test_a_redirect_to_another_origin_gets_nothing(how: str) -> None:
    """Neither before nor after this end has answered the origin that it was made for."""
    with scripted(_response(401, ASKS)) as other, scripted(_response(302, f"Location: {other.origin}/")) as first:
        async with _clients(first.origin, how) as client:
            assert (await client.get(first.origin, follow_redirects=True)).status_code == 401
    assert other.credentials == []
    with scripted(_response(401, ASKS)) as other:
        redirect = _response(302, f"Location: {other.origin}/", PROOF)
        with scripted(_response(401, ASKS), redirect) as first:
            async with _clients(first.origin, how) as client:
                assert (await client.get(first.origin, follow_redirects=True)).status_code == 401
        assert len(first.credentials) == 1
    assert len(other.heads) == 1
    assert other.credentials == []


async def test_a_redirect_to_the_same_host_under_another_scheme_gets_nothing() -> None:
    """httpx keeps credentials on the way from http to https on one host: ours are not there to be kept."""
    auth = SecureAuth("http://files.example", _one())
    seen: list[tuple[str, bool]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent = any(name.lower() == b"authorization" for name, _ in request.headers.raw)
        seen.append((request.url.scheme, sent))
        if request.url.scheme == "https":
            return httpx.Response(200)
        if not sent:
            return httpx.Response(401, headers={"WWW-Authenticate": "One"})
        proof = {"WWW-Authenticate": encode_token("One", b"proof"), "Location": "https://files.example/"}
        return httpx.Response(302, headers=proof)

    async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(answer), follow_redirects=True) as client:
        assert (await client.get("http://files.example")).status_code == 200
    assert seen == [("http", False), ("http", True), ("https", False)]


async def test_another_origin_cannot_redirect_here_to_be_answered() -> None:
    auth = SecureAuth("http://files.example", _one())
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert not any(name.lower() == b"authorization" for name, _ in request.headers.raw)
        seen.append(request.url.host)
        if request.url.host == "files.example" and len(seen) != 1:
            return httpx.Response(401, headers={"WWW-Authenticate": "One"})
        target = "http://files.example/transfer" if request.url.host == "evil.example" else "http://evil.example/"
        return httpx.Response(302, headers={"Location": target})

    async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(answer), follow_redirects=True) as client:
        for start in ("http://files.example", "http://evil.example"):
            assert (await client.get(start)).status_code == 401
            seen[:] = ["evil.example"]


@pytest.mark.parametrize("scheme", ["Digest", "NTLM"])
def test_nor_can_it_where_authentication_is_below_the_redirects(scheme: str) -> None:
    """Neither is a handshake made for what strayed, nor does it travel on a connection that is authenticated already.

    Client and origin are real; a redirect inside the origin is answered anew.
    """
    app, accounts = WhoAmI(), Accounts.memory(bob="battery staple")
    bob = digest(BOB) if scheme == "Digest" else ntlm(BOB)
    offered: list[ServerScheme] = [DigestServer(accounts, "example"), TokenScheme("NTLM", Ntlm(), accounts)]

    async def ask(origin: str, evil: str) -> list[int]:
        async with httpx.AsyncClient(transport=SecureTransport(origin, bob), follow_redirects=True) as client:
            return [(await client.get(url)).status_code for url in (origin, evil, f"{origin}/there")]

    def ask_blocking(origin: str, evil: str) -> list[int]:
        with httpx.Client(transport=BlockingSecureTransport(origin, bob), follow_redirects=True) as client:
            return [client.get(url).status_code for url in (origin, evil, f"{origin}/there")]

    with serving(AuthenticationMiddleware(app, offered)) as origin:
        for way in ("async", "blocking"):
            with scripted(_response(302, f"Location: {origin}/transfer")) as evil:
                asked = anyio.run(ask, origin, evil.origin) if way == "async" else ask_blocking(origin, evil.origin)
            assert asked == [200, 401, 200]
    assert {scope["path"] for scope in app.scopes} == {"/", "/there"}


@both
@pytest.mark.parametrize(
    "fields", [(), (ASKS,), ("WWW-Authenticate: " + encode_token("One", b"prouf"),), (PROOF, PROOF)]
)
@pytest.mark.parametrize("status", [200, 204, 302, 404, 500])
async def test_whatever_the_status_the_last_token_is_verified(how: str, fields: tuple[str, ...], status: int) -> None:
    with scripted(_response(401, ASKS), _response(status, *fields)) as server:
        async with _clients(server.origin, how) as client:
            with pytest.raises(InvalidToken):
                await client.get(server.origin)


@both
async def test_what_is_proved_is_taken_whatever_the_status(how: str) -> None:
    for status in (200, 404, 500):
        with scripted(_response(401, ASKS), _response(status, PROOF)) as server:
            async with _clients(server.origin, how) as client:
                assert (await client.get(server.origin)).status_code == status


def _ntlm(origin: str, who: Credential = BOB) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=SecureTransport(origin, TokenScheme("NTLM", Ntlm(), who)))


def _challenge() -> str:
    """What a server of NTLM answers to a first token, whoever sent it."""
    client = HandshakeMachine(Ntlm().initiate(BOB, None, http()))
    server = HandshakeMachine(Ntlm().accept(Accounts.memory(), http()))
    token = server.step(client.step().token).token
    assert token is not None
    return "WWW-Authenticate: " + encode_token("NTLM", token)


async def test_a_second_leg_never_leaves_by_another_connection() -> None:
    """The server closes after its challenge: what answers it must not reach whoever takes the next connection."""
    closing = _response(401, _challenge(), "Connection: close")
    with scripted(_response(401, "WWW-Authenticate: NTLM"), closing, _response(200)) as server:
        async with _ntlm(server.origin) as client:
            with pytest.raises(PeerGone, match="in the middle"):
                await client.get(server.origin)
    assert len(server.credentials) == 1
    assert server.connections == 1


async def test_a_first_leg_may_begin_on_another_connection() -> None:
    closing = _response(401, "WWW-Authenticate: NTLM", "Connection: close")
    with scripted(closing, _response(401, _challenge()), _response(200)) as server:
        async with _ntlm(server.origin) as client:
            assert (await client.get(server.origin)).status_code == 200
    assert server.connections == 2
    assert len(server.credentials) == 2


async def test_a_connection_that_the_server_closed_meanwhile_authenticates_nobody() -> None:
    """The next request begins anew on another connection, as nobody."""
    once = (_response(401, "WWW-Authenticate: NTLM"), _response(401, _challenge()), _response(200))
    with scripted(*once, "", *once) as server:
        async with _ntlm(server.origin) as client:
            assert (await client.get(server.origin)).status_code == 200
            assert await anyio.to_thread.run_sync(server.closed.wait, 30)
            assert (await client.get(server.origin)).status_code == 200
    assert server.connections == 2
    assert ["authorization" in head.lower() for head in server.heads] == [False, True, True] * 2


def test_a_second_leg_is_accepted_from_its_own_connection_alone() -> None:
    """A handshake's next leg on a connection that did not begin it is none, whoever sends it."""
    server = HttpServer(TokenScheme("Three", SHARED_KEY, ALICE, needs_connection=True))
    origin = Origin("http", "files.example", 80)

    def ask(token: bytes, connection: HttpConnection | None) -> Admitted | Refused:
        request = HttpRequest.received("GET", "/", origin, [encode_token("Three", token)])
        return authenticate_blocking(server, request, http(), connection)

    mine, other = HttpConnection(), HttpConnection()
    client = HandshakeMachine(SHARED_KEY.initiate(ALICE, None, http()))
    begun = ask(client.step().token or b"", mine)
    assert isinstance(begun, Refused)
    assert begun.continues
    answer = client.step(_token(begun))
    while answer.need is not None:
        answer = client.step()
    assert answer.token is not None
    for connection in (other, None):
        assert isinstance(ask(answer.token, connection), Refused)
        assert connection is None or connection.peer is None
    assert isinstance(ask(answer.token, mine), Admitted)
    assert isinstance(ask(answer.token, mine), Refused)  # and once


@pytest.mark.parametrize("field", [b"Via", b"forwarded", b"X-Forwarded-For"])
def test_what_a_proxy_passes_on_does_not_ride_on_a_connection_that_somebody_authenticated(field: bytes) -> None:
    """Such a connection may be shared by many, whoever authenticated it."""
    connection = HttpConnection()
    scope: Scope = {"type": "http", "http_version": "1.1", "headers": [], "state": {CONNECTION: connection}}
    assert connection_of(scope) is connection
    scope["headers"] = [(b"host", b"files.example"), (field, b"1.1 somebody")]
    assert connection_of(scope) is None


def test_what_stands_for_one_connection_stands_for_no_other() -> None:
    """A server that keeps it where all its connections are, in the state of its lifespan for example."""
    state = {CONNECTION: HttpConnection()}
    clients = [("192.0.2.1", 4711), ("192.0.2.1", 4712), ("192.0.2.2", 4711), None]
    scopes: list[Scope] = [
        {"type": "http", "http_version": "1.1", "headers": [], "state": dict(state), "client": client}
        for client in clients
    ]
    assert [connection_of(scope) is not None for scope in (*scopes, scopes[0])] == [True, False, False, False, True]


class _Tls:
    """What httpx shows of a connection: the server's certificate."""

    def __init__(self, certificate: bytes) -> None:
        self._certificate = certificate

    def get_extra_info(self, name: str) -> _Tls:
        return self

    def getpeercert(self, binary_form: bool) -> bytes:
        return self._certificate


class _Binding(OneLeg):
    """It binds where it is told to."""

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        outcome = yield from super().initiate(credential, target, options)
        assert isinstance(outcome.result, SecurityContext)
        outcome.result.bound = options.channel_bindings is not None
        return outcome


async def test_credentials_bound_to_one_certificate_that_reach_another_are_noticed() -> None:
    """httpx takes any connection for the request that answers a challenge: the next one may end at somebody between,
    with another certificate of the same name, to whom the binding to the first one says nothing.
    """
    authority = authority_of_tests()
    first, second = (_Tls(authority.leaf(["files.example"]).der) for _ in range(2))

    async def ask(answering: _Tls, options: Options | None = None) -> int:
        def answer(request: httpx.Request) -> httpx.Response:
            if any(name.lower() == b"authorization" for name, _ in request.headers.raw):
                headers = {"WWW-Authenticate": encode_token("One", b"proof")}
                return httpx.Response(200, headers=headers, extensions={"network_stream": answering})
            return httpx.Response(401, headers={"WWW-Authenticate": "One"}, extensions={"network_stream": first})

        auth = SecureAuth("https://files.example", TokenScheme("One", _Binding()), options=options)
        async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(answer)) as client:
            return (await client.get("https://files.example")).status_code

    assert await ask(first) == 200
    with pytest.raises(BadBindings, match="another certificate"):
        await ask(second)
    assert await ask(second, http(channel_bindings=ChannelBindings(b"tls-exporter:x"))) == 200  # the caller's own


def test_who_authenticated_a_connection_to_one_server_is_nobody_to_another() -> None:
    """Two applications on one connection, each with accounts and an `admit` of its own."""

    def deny(established: Established) -> None:
        raise NotAuthorized("not for you")

    scheme = TokenScheme("Three", SHARED_KEY, ALICE, needs_connection=True)
    public, private = HttpServer(scheme), HttpServer(scheme, admit=deny)
    connection = HttpConnection()

    def ask(server: HttpServer, token: bytes | None) -> Admitted | Refused:
        values = [] if token is None else [encode_token("Three", token)]
        request = HttpRequest.received("GET", "/", Origin("http", "files.example", 80), values)
        return authenticate_blocking(server, request, http(), connection)

    def begun(server: HttpServer) -> bytes:
        client = HandshakeMachine(SHARED_KEY.initiate(ALICE, None, http()))
        refused = ask(server, client.step().token)
        assert isinstance(refused, Refused)
        answer = client.step(_token(refused))
        while answer.need is not None:
            answer = client.step()
        assert answer.token is not None
        return answer.token

    assert isinstance(ask(public, begun(public)), Admitted)
    assert isinstance(ask(public, None), Admitted)
    refused = ask(private, None)
    assert isinstance(refused, Refused)
    assert refused.status == 401
    assert private.known(connection) is None
    assert isinstance(ask(public, None), Admitted)
    assert isinstance(ask(public, begun(private)), Refused)  # nor does one go on with another's handshake
    assert connection.peer is None


def _token(refused: Refused) -> bytes:
    from securestream.http.fields import parse_challenges

    token = parse_challenges(refused.fields[0].value)[0].token
    assert token is not None
    return token


@both
async def test_every_cut_response_fails_closed(how: str) -> None:
    whole = _response(200, PROOF)
    for cut in range(0, len(whole), 9):
        with scripted(_response(401, ASKS), whole[:cut] + ("" if cut else "Connection: close")) as server:
            async with _clients(server.origin, how) as client:
                with pytest.raises((httpx.TransportError, SecureStreamError)), anyio.fail_after(30):
                    await client.get(server.origin, timeout=0.2)


@pytest.mark.parametrize("scheme", [_one(), DigestClient(BOB, qops=(Qop.AUTH_INT,))], ids=str)
async def test_a_challenge_of_any_size_is_bounded(scheme: ClientScheme) -> None:
    """Before authentication: no more of a 401 is read than its bound, by a scheme that looks at contents, too."""
    digest_too = 'Digest realm="r", nonce="n", qop="auth-int", algorithm=SHA-256'
    head = _response(401, ASKS, f"WWW-Authenticate: {digest_too}").replace(
        "Content-Length: 0", "Content-Length: 1000000000"
    )
    with scripted(head + "x" * 3_000_000) as server:
        async with httpx.AsyncClient(transport=SecureTransport(server.origin, scheme)) as client:
            with pytest.raises(HandshakeError, match="octets"):
                await client.get(server.origin)
    assert server.credentials == []
