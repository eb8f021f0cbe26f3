"""httpx against the middleware on uvicorn, over real sockets: every scheme, with and without TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator

import httpx
import pytest

from securestream.errors import InvalidToken, Unsupported, UsageError
from securestream.http.asgi import AuthenticationMiddleware
from securestream.http.httpx_auth import SecureAuth
from securestream.http.httpx_blocking import BlockingSecureTransport
from securestream.http.httpx_transport import SecureTransport
from securestream.http.httpx_values import PEER
from securestream.http.performing import end_point_bindings
from securestream.http.schemes import ClientScheme
from securestream_providers.digest import DigestClient, Qop
from tests.core.http.live import AUTHORITY, LOCALHOST, WhoAmI, serving, trusting
from tests.core.http.peers import ALICE, BOB, WRONG, Realm, digest, ntlm

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def realm() -> Realm:
    return Realm()


@pytest.fixture(scope="module")
def app() -> WhoAmI:
    return WhoAmI()


@pytest.fixture(scope="module", params=["http", "https"])
def origin(request: pytest.FixtureRequest, realm: Realm, app: WhoAmI) -> Generator[str, None, None]:
    tls = LOCALHOST if request.param == "https" else None
    bindings = None if tls is None else end_point_bindings(tls.der)
    with serving(
        AuthenticationMiddleware(app, realm.offered(), bindings=bindings, services=realm.services), tls=tls
    ) as url:
        yield url


def _auth(origin: str, scheme: ClientScheme, realm: Realm, *, preemptive: bool = False) -> SecureAuth:
    return SecureAuth(origin, scheme, services=realm.services, preemptive=preemptive)


def _client(origin: str, scheme: ClientScheme, realm: Realm, *, preemptive: bool = False) -> httpx.AsyncClient:
    transport = SecureTransport(origin, scheme, verify=trusting(), services=realm.services, preemptive=preemptive)
    return httpx.AsyncClient(transport=transport)


def _authenticating(origin: str, scheme: ClientScheme, realm: Realm) -> httpx.AsyncClient:
    return httpx.AsyncClient(auth=_auth(origin, scheme, realm), verify=trusting())


async def test_auth_with_kerberos(origin: str, realm: Realm) -> None:
    async with httpx.AsyncClient(auth=_auth(origin, realm.as_(ALICE), realm), verify=trusting()) as client:
        for _ in range(2):
            response = await client.post(f"{origin}/x?y=z", content=b"abc")
            assert (response.status_code, response.text) == (200, "EXAMPLE.COM\\alice:3")
            assert str(response.extensions[PEER]) == "EXAMPLE.COM\\HTTP/localhost"


def test_auth_with_kerberos_blocking(origin: str, realm: Realm) -> None:
    with httpx.Client(auth=_auth(origin, realm.as_(ALICE), realm), verify=trusting()) as client:
        response = client.post(f"{origin}/x", content=b"abc")
        assert (response.status_code, response.text) == (200, "EXAMPLE.COM\\alice:3")
        assert str(response.extensions[PEER]) == "EXAMPLE.COM\\HTTP/localhost"


async def test_auth_with_digest(origin: str, realm: Realm) -> None:
    async with httpx.AsyncClient(auth=_auth(origin, digest(BOB), realm, preemptive=True), verify=trusting()) as client:
        first = await client.post(f"{origin}/x?y=z", content=b"abc")
        second = await client.get(f"{origin}/x")
        assert [(one.status_code, one.text) for one in (first, second)] == [(200, "bob:3"), (200, "bob:0")]
        assert len(first.history) == 1
        # with the nonce that it had; bound to a certificate, it waits until that is there
        assert len(second.history) == (1 if origin.startswith("https") else 0)


async def test_auth_before_the_server_asks(origin: str, realm: Realm) -> None:
    auth = _auth(origin, realm.as_(ALICE), realm, preemptive=True)
    async with httpx.AsyncClient(auth=auth, verify=trusting()) as client:
        response = await client.get(f"{origin}/x")
        assert response.status_code == 200
        assert len(response.history) == (1 if origin.startswith("https") else 0)  # the certificate comes first


async def test_auth_follows_a_redirect_inside_the_origin_anew(origin: str, realm: Realm, app: WhoAmI) -> None:
    app.scopes.clear()
    async with httpx.AsyncClient(auth=_auth(origin, realm.as_(ALICE), realm), verify=trusting()) as client:
        response = await client.get(f"{origin}/to//there", follow_redirects=True)
    assert (response.status_code, response.url.path) == (200, "/there/")
    credentials = [dict(scope["headers"])[b"authorization"] for scope in app.scopes]
    assert len(credentials) == len(set(credentials)) == 2


async def test_auth_leaves_several_legs_to_the_transport(origin: str, realm: Realm) -> None:
    with pytest.raises(UsageError, match="SecureTransport"):
        SecureAuth(origin, ntlm(BOB))
    async with httpx.AsyncClient(auth=_auth(origin, realm.as_(BOB), realm), verify=trusting()) as client:
        with pytest.raises(Unsupported, match="SecureTransport"):
            await client.get(f"{origin}/x")


async def test_auth_shows_a_refusal(origin: str, realm: Realm) -> None:
    async with httpx.AsyncClient(auth=_auth(origin, digest(WRONG), realm), verify=trusting()) as client:
        assert (await client.get(f"{origin}/x")).status_code == 401


@pytest.mark.parametrize("scheme", ["ntlm", "negotiate"])
async def test_transport_with_several_legs(origin: str, realm: Realm, app: WhoAmI, scheme: str) -> None:
    app.scopes.clear()
    async with _client(origin, ntlm(BOB) if scheme == "ntlm" else realm.as_(BOB), realm) as client:
        for size in (3, 0):
            response = await client.post(f"{origin}/x", content=b"a" * size)
            assert (response.status_code, response.text) == (200, f"bob:{size}")
    assert len({scope["client"][1] for scope in app.scopes}) == 1  # one connection, authenticated once
    assert [b"authorization" in dict(scope["headers"]) for scope in app.scopes] == [True, False]


@pytest.mark.parametrize("make", [_client, _authenticating])
async def test_a_challenge_that_may_not_be_answered_is_logged(
    origin: str, realm: Realm, caplog: pytest.LogCaptureFixture, make: Callable[..., httpx.AsyncClient]
) -> None:
    async with make(origin, DigestClient(BOB, qops=[Qop.AUTH_INT]), realm) as client:
        assert (await client.get(f"{origin}/x")).status_code == 401
    (told,) = [record.getMessage() for record in caplog.records if record.name.startswith("securestream.http.httpx")]
    assert "Digest (algorithm=SHA-256 qop=auth)" in told


async def test_transport_with_one_leg(origin: str, realm: Realm) -> None:
    async with _client(origin, realm.as_(ALICE), realm) as client:
        response = await client.get(f"{origin}/to//there", follow_redirects=True)
        assert (response.status_code, response.text) == (200, "EXAMPLE.COM\\alice:0")
        assert str(response.extensions[PEER]) == "EXAMPLE.COM\\HTTP/localhost"
    async with _client(origin, digest(BOB), realm) as client:
        assert (await client.get(f"{origin}/x")).text == "bob:0"


async def test_transport_before_the_server_asks(origin: str, realm: Realm, app: WhoAmI) -> None:
    """The transport knows the certificate when it has connected, so that the first request may hold a token."""
    for scheme in (realm.as_(ALICE), ntlm(BOB)):
        app.scopes.clear()
        async with _client(origin, scheme, realm, preemptive=True) as client:
            for _ in range(2):
                response = await client.get(f"{origin}/x")
                assert (response.status_code, len(response.history)) == (200, 0)
        expected = [True, False] if scheme.needs_connection else [True, True]  # a ticket is for one request
        assert [b"authorization" in dict(scope["headers"]) for scope in app.scopes] == expected


async def test_transport_authenticates_each_request_of_a_kept_connection(
    origin: str, realm: Realm, app: WhoAmI
) -> None:
    """A server that looks at requests, and not at connections, need not ask each time."""
    app.scopes.clear()
    async with _client(origin, digest(BOB), realm, preemptive=True) as client:
        for _ in range(3):
            assert (await client.get(f"{origin}/x")).status_code == 200
    credentials = [dict(scope["headers"])[b"authorization"] for scope in app.scopes]
    assert [value.partition(b"nc=")[2][:8] for value in credentials] == [b"00000001", b"00000002", b"00000003"]


async def test_transport_shows_a_refusal_and_goes_on(origin: str, realm: Realm) -> None:
    for scheme in (ntlm(WRONG), digest(WRONG)):
        async with _client(origin, scheme, realm) as client:
            for _ in range(2):
                response = await client.get(f"{origin}/x")
                assert response.status_code == 401
                assert PEER not in response.extensions


async def test_transport_streams_and_keeps_connections_apart(origin: str, realm: Realm, app: WhoAmI) -> None:
    """A connection whose response is being read is nobody else's."""
    app.scopes.clear()
    async with _client(origin, ntlm(BOB), realm) as client:
        async with client.stream("GET", f"{origin}/x") as one, client.stream("GET", f"{origin}/x") as other:
            assert (await one.aread(), await other.aread()) == (b"bob:0", b"bob:0")
        assert (await client.get(f"{origin}/x")).status_code == 200
    assert len({scope["client"][1] for scope in app.scopes}) == 2


async def test_the_server_that_cannot_tell_connections_apart_offers_one_leg_only(realm: Realm, app: WhoAmI) -> None:
    middleware = AuthenticationMiddleware(app, realm.offered(), services=realm.services)
    with serving(middleware, knows_connections=False) as origin:
        async with httpx.AsyncClient() as client:
            offered = (await client.get(origin)).headers.get_list("www-authenticate")
            assert [value.partition(" ")[0] for value in offered] == ["Negotiate", "Digest"]
        async with _client(origin, realm.as_(BOB), realm) as client:
            assert (await client.get(origin)).status_code == 401
        async with _client(origin, realm.as_(ALICE), realm) as client:
            assert (await client.get(origin)).status_code == 200


async def test_without_the_schemes_credential_nothing_is_sent(origin: str, realm: Realm) -> None:
    async with _client("http://elsewhere.example", ntlm(BOB), realm) as client:
        assert (await client.get(f"{origin}/x")).status_code == 401


def _strip(app: AuthenticationMiddleware) -> object:
    async def stripped(scope: dict[str, object], receive: object, send: object) -> None:
        async def without(message: dict[str, object]) -> None:
            if message.get("status") == 200:
                message = {**message, "headers": []}
            await send(message)  # type: ignore[operator]  # ASGI's callable

        await app(scope, receive, without)  # type: ignore[arg-type]  # ASGI's callables

    return stripped


async def test_a_server_that_proves_nothing_is_refused(realm: Realm, app: WhoAmI) -> None:
    with serving(_strip(AuthenticationMiddleware(app, realm.offered(), services=realm.services))) as origin:
        async with _client(origin, realm.as_(ALICE), realm) as client:
            with pytest.raises(InvalidToken, match="do not trust"):
                await client.get(origin)
        async with httpx.AsyncClient(auth=_auth(origin, realm.as_(ALICE), realm)) as client:
            with pytest.raises(InvalidToken, match="do not trust"):
                await client.get(origin)


def test_a_server_that_proves_nothing_is_refused_blocking(realm: Realm, app: WhoAmI) -> None:
    with (
        serving(_strip(AuthenticationMiddleware(app, realm.offered(), services=realm.services))) as origin,
        httpx.Client(auth=_auth(origin, realm.as_(ALICE), realm)) as client,
        pytest.raises(InvalidToken, match="do not trust"),
    ):
        client.get(origin)


async def test_tls_with_another_certificate_than_the_servers_is_refused(realm: Realm, app: WhoAmI) -> None:
    """The server's own bindings are of another certificate than the client sees: somebody is in between."""
    elsewhere = end_point_bindings(AUTHORITY.leaf(["localhost"]).der)
    middleware = AuthenticationMiddleware(app, realm.offered(), services=realm.services, bindings=elsewhere)
    with serving(middleware, tls=LOCALHOST) as origin:
        for scheme in (realm.as_(ALICE), ntlm(BOB), digest(BOB)):
            async with _client(origin, scheme, realm) as client:
                assert (await client.get(origin)).status_code == 401


async def test_a_server_that_nobody_verifies_is_refused_unless_that_is_said(realm: Realm, app: WhoAmI) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(UsageError, match='verify="none"'):
        SecureTransport("https://localhost", ntlm(BOB), verify=context)
    bindings = end_point_bindings(LOCALHOST.der)
    with serving(AuthenticationMiddleware(app, realm.offered(), bindings=bindings), tls=LOCALHOST) as origin:
        async with httpx.AsyncClient(transport=SecureTransport(origin, ntlm(BOB))) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(origin)
        async with httpx.AsyncClient(transport=SecureTransport(origin, ntlm(BOB), verify="none")) as client:
            assert (await client.get(origin)).status_code == 200


def test_blocking_transport(origin: str, realm: Realm, app: WhoAmI) -> None:
    app.scopes.clear()
    for scheme, seen in ((ntlm(BOB), "bob"), (realm.as_(ALICE), "EXAMPLE.COM\\alice"), (digest(BOB), "bob")):
        transport = BlockingSecureTransport(origin, scheme, verify=trusting(), services=realm.services)
        with httpx.Client(transport=transport) as client:
            for size in (3, 0):
                response = client.post(f"{origin}/x", content=b"a" * size)
                assert (response.status_code, response.text) == (200, f"{seen}:{size}")
            with client.stream("GET", f"{origin}/x") as streamed:
                assert b"".join(streamed.iter_raw()) == f"{seen}:0".encode()
        transport.close()


def test_blocking_transport_raises_what_the_other_does(realm: Realm, app: WhoAmI) -> None:
    with (
        serving(_strip(AuthenticationMiddleware(app, realm.offered(), services=realm.services))) as origin,
        httpx.Client(transport=BlockingSecureTransport(origin, realm.as_(ALICE), services=realm.services)) as client,
    ):
        with pytest.raises(InvalidToken, match="do not trust"):
            client.get(origin)
        with pytest.raises(httpx.ConnectError):
            client.get("http://localhost:9")
