"""Digest bound to the certificate, over real TLS: our clients of httpx against the middleware, and one that cannot."""

from __future__ import annotations

from collections.abc import Callable, Generator

import httpx
import pytest

from securestream.ambient import system_options
from securestream.channel_bindings import ChannelBindings
from securestream.errors import BadBindings
from securestream.http.asgi import AuthenticationMiddleware, Scope
from securestream.http.httpx_auth import SecureAuth
from securestream.http.httpx_blocking import BlockingSecureTransport
from securestream.http.httpx_transport import SecureTransport
from securestream.http.httpx_values import ESTABLISHED
from securestream.http.performing import end_point_bindings
from securestream.options import BindingPolicy, Options, Protection
from securestream.provider import Established, SecurityContext
from securestream_providers.digest import DigestServer
from tests.core.http.live import AUTHORITY, LOCALHOST, WhoAmI, serving, trusting
from tests.core.http.peers import BOB, Realm, digest

pytestmark = pytest.mark.anyio
BINDINGS = end_point_bindings(LOCALHOST.der)
REALM = Realm()


def _options(policy: BindingPolicy) -> Options:
    return system_options(protection=Protection.NONE, binding_policy=policy)


class Site:
    """One server in TLS, whose policy and bindings a test sets."""

    def __init__(self) -> None:
        self.app = WhoAmI()
        self.policy = BindingPolicy.ALWAYS
        self.bindings = BINDINGS
        self.digest = DigestServer(REALM.accounts, "example")
        self.origin = ""

    async def __call__(self, scope: Scope, receive: object, send: object) -> None:
        middleware = AuthenticationMiddleware(
            self.app, [self.digest], options=_options(self.policy), bindings=self.bindings
        )
        await middleware(scope, receive, send)  # type: ignore[arg-type]  # ASGI's callables

    @property
    def was_bound(self) -> list[bool]:
        """Of the requests that reached the application, as the server sees it."""
        return [_is_bound(scope["securestream.established"]) for scope in self.app.scopes]


@pytest.fixture(scope="module")
def running() -> Generator[Site, None, None]:
    site = Site()
    with serving(site, tls=LOCALHOST) as site.origin:
        yield site


@pytest.fixture
def site(running: Site) -> Site:
    running.app.scopes.clear()
    running.policy, running.bindings = BindingPolicy.ALWAYS, BINDINGS
    return running


def _is_bound(established: Established) -> bool:
    assert isinstance(established.result, SecurityContext)
    return established.result.bound


def _by_auth(origin: str) -> httpx.Client:
    return httpx.Client(auth=SecureAuth(origin, digest(BOB)), verify=trusting())


def _by_transport(origin: str) -> httpx.Client:
    return httpx.Client(transport=BlockingSecureTransport(origin, digest(BOB), verify=trusting()))


@pytest.mark.parametrize("make", [_by_auth, _by_transport])
@pytest.mark.parametrize("policy", BindingPolicy)
def test_blocking_clients_are_bound_at_both_ends(
    site: Site, make: Callable[[str], httpx.Client], policy: BindingPolicy
) -> None:
    site.policy = policy
    bound = policy is not BindingPolicy.NEVER
    with make(site.origin) as client:
        for _ in range(2):
            response = client.post(f"{site.origin}/x", content=b"abc")
            assert (response.status_code, response.text) == (200, "bob:3")
            assert _is_bound(response.extensions[ESTABLISHED]) is bound
    assert site.was_bound == [bound, bound]


@pytest.mark.parametrize("preemptive", [False, True])
async def test_clients_are_bound_at_both_ends(site: Site, preemptive: bool) -> None:
    """The transport, which has the certificate before its first request, needs no further challenge."""
    transport = SecureTransport(site.origin, digest(BOB), verify=trusting(), preemptive=preemptive)
    auth = SecureAuth(site.origin, digest(BOB), preemptive=preemptive)
    async with (
        httpx.AsyncClient(transport=transport) as one,
        httpx.AsyncClient(auth=auth, verify=trusting()) as other,
    ):
        for client in (one, one, other, other):
            response = await client.get(f"{site.origin}/x")
            assert response.status_code == 200
            assert _is_bound(response.extensions[ESTABLISHED])
    assert site.was_bound == [True] * 4
    counts = [dict(scope["headers"])[b"authorization"].partition(b"nc=")[2][:8] for scope in site.app.scopes]
    assert counts == [b"00000001", b"00000002" if preemptive else b"00000001", b"00000001", b"00000001"]


@pytest.mark.parametrize(("policy", "status"), [(BindingPolicy.WHEN_ADVERTISED, 200), (BindingPolicy.ALWAYS, 401)])
def test_a_client_that_knows_no_bindings(site: Site, policy: BindingPolicy, status: int) -> None:
    """httpx's own Digest."""
    site.policy = policy
    with httpx.Client(auth=httpx.DigestAuth(BOB.user, BOB.password.reveal()), verify=trusting()) as client:
        assert client.get(f"{site.origin}/x").status_code == status
    assert site.was_bound == [False] * (status == 200)


@pytest.mark.parametrize("policy", [BindingPolicy.WHEN_SUPPORTED, BindingPolicy.WHEN_ADVERTISED, BindingPolicy.ALWAYS])
def test_a_channel_that_is_not_the_servers_is_refused(site: Site, policy: BindingPolicy) -> None:
    """The server's own bindings are of another certificate than the client sees: somebody is in between."""
    site.policy = policy
    site.bindings = end_point_bindings(AUTHORITY.leaf(["localhost"]).der)
    for make in (_by_auth, _by_transport):
        with make(site.origin) as client:
            assert client.get(f"{site.origin}/x").status_code == 401
    assert site.app.scopes == []


def test_a_client_that_demands_bindings_of_a_server_that_does_not_ask(site: Site) -> None:
    site.policy = BindingPolicy.NEVER
    auth = SecureAuth(site.origin, digest(BOB), options=_options(BindingPolicy.ALWAYS))
    with (
        httpx.Client(auth=auth, verify=trusting()) as client,
        pytest.raises(BadBindings, match="the server does not ask for them"),
    ):
        client.get(f"{site.origin}/x")
    assert site.app.scopes == []
    site.policy = BindingPolicy.WHEN_ADVERTISED
    with httpx.Client(auth=auth, verify=trusting()) as client:
        assert client.get(f"{site.origin}/x").status_code == 200


async def test_bindings_that_the_caller_gave_are_used(site: Site) -> None:
    """In place of those of the certificate, behind a proxy that ends TLS for example."""
    given = ChannelBindings(b"tls-server-end-point:elsewhere")
    site.bindings = given
    options = system_options(protection=Protection.NONE, channel_bindings=given)
    transport = SecureTransport(site.origin, digest(BOB), verify=trusting(), options=options)
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(f"{site.origin}/x")).status_code == 200
    assert site.was_bound == [True]
