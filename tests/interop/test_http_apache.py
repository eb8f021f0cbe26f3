"""Our httpx client against Apache: mod_auth_gssapi with MIT Kerberos and gss-ntlmssp, mod_auth_digest; redirects."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from securestream.credentials import Password
from securestream.errors import InvalidToken, QualityNotMet
from securestream.http.httpx_auth import SecureAuth
from securestream.http.httpx_blocking import BlockingSecureTransport
from securestream.http.httpx_values import ESTABLISHED, PEER
from securestream.http.schemes import ClientScheme, ServerProof
from securestream.http.tokens import TokenScheme
from securestream.options import ContextFlags
from securestream.provider import Established, SecurityContext
from securestream_providers.digest import Algorithm, DigestClient
from securestream_providers.kerberos import EmbeddedKdc, Kerberos
from securestream_providers.krb5.keytab import write_keytab
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.core.http.live import LOCALHOST, trusting
from tests.interop.expected_http import HTTP, REDIRECTS
from tests.interop.matrix import Filler
from tests.interop.peers import apache as peer
from tests.interop.peers.accounts import DOMAIN

pytestmark = pytest.mark.interop

REALM = "EXAMPLE.COM"
USER = "alice"
PASSWORD = "correct horse"


@dataclass(frozen=True)
class Server:
    """The running Apache, and the realm that it has a keytab of."""

    apache: peer.Apache
    kdc: EmbeddedKdc
    version: str

    def origin(self, scheme: str = "http") -> str:
        """Of its first clear port, or of TLS."""
        return f"{scheme}://localhost:{self.apache.tls_port if scheme == 'https' else self.apache.port}"

    @contextmanager
    def client(self, scheme: ClientScheme, tls: str = "http", **settings: Any) -> Generator[httpx.Client, None, None]:
        """httpx over our transport."""
        transport = BlockingSecureTransport(
            self.origin(tls), scheme, verify=trusting(), services=self.kdc.services(), **settings
        )
        with httpx.Client(transport=transport) as client:
            yield client

    @contextmanager
    def auth(self, scheme: ClientScheme, tls: str = "http", **settings: Any) -> Generator[httpx.Client, None, None]:
        """httpx over its own transport with our authentication, which is for one leg."""
        auth = SecureAuth(self.origin(tls), scheme, services=self.kdc.services(), **settings)
        with httpx.Client(auth=auth, verify=trusting(), trust_env=False) as client:
            yield client

    def kerberos(self, password: str = PASSWORD, proof: ServerProof = "required") -> TokenScheme:
        """Negotiate with Kerberos."""
        package = Negotiate(Kerberos(config=self.kdc.config), Ntlm())
        return TokenScheme("Negotiate", package, Password(f"{USER}@{REALM}", password), server_proof=proof)


@pytest.fixture(scope="module")
def server(
    require: Callable[[ModuleType], str], tmp_path_factory: pytest.TempPathFactory
) -> Generator[Server, None, None]:
    version = require(peer)
    folder: Path = tmp_path_factory.mktemp("apache")
    kdc = EmbeddedKdc(REALM)
    kdc.add_principal(USER, PASSWORD)
    for service in ("HTTP/localhost", "other/localhost"):
        kdc.add_service(service)
    (folder / "keytab").write_bytes(write_keytab(kdc.entries("HTTP/localhost")))
    (folder / "krb5.conf").write_text(f"[libdefaults]\n  default_realm = {REALM}\n  dns_lookup_kdc = false\n")
    with peer.Apache(
        {USER: PASSWORD},
        keytab=folder / "keytab",
        krb5_config=folder / "krb5.conf",
        certificate=(LOCALHOST.pem, LOCALHOST.key_pem),
    ) as apache:
        yield Server(apache, kdc, version)


def negotiate_ntlm(password: str = PASSWORD, proof: ServerProof = "required") -> TokenScheme:
    """Negotiate with NTLM inside."""
    package = Negotiate(Ntlm(), ntlm="always")
    return TokenScheme("Negotiate", package, Password(f"{DOMAIN}\\{USER}", password), server_proof=proof)


def ntlm(password: str = PASSWORD) -> TokenScheme:
    """NTLM alone."""
    return TokenScheme("NTLM", Ntlm(), Password(f"{DOMAIN}\\{USER}", password))


def digest(password: str = PASSWORD, proof: ServerProof = "required") -> DigestClient:
    """Digest with MD5, which is all that this server does."""
    return DigestClient(Password(USER, password), algorithms=(Algorithm.MD5,), server_proof=proof)


def context_of(response: httpx.Response) -> SecurityContext:
    """The security context by which the response was authenticated."""
    established = response.extensions[ESTABLISHED]
    assert isinstance(established, Established)
    assert isinstance(established.result, SecurityContext)
    return established.result


def user_of(response: httpx.Response) -> str:
    """Whom the server saw; its response holds what is for users alone."""
    assert (response.status_code, response.content) == (200, peer.BODY)
    return str(response.headers["x-user"])


both = pytest.mark.parametrize("tls", ["http", "https"])


def suffix(tls: str) -> str:
    """What the cell of an exchange over TLS ends with."""
    return " https" if tls == "https" else ""


# --- Negotiate and NTLM ----------------------------------------------------------------------------------------------


@both
def test_negotiate_with_kerberos(server: Server, tls: str, matrix: Filler) -> None:
    """Inside TLS the token is bound to the certificate; the server's last token was verified."""
    url = server.origin(tls) + "/gssapi/x?y=z"
    for client_of in (server.client, server.auth):
        with client_of(server.kerberos(), tls) as client:
            for response in (client.get(url), client.post(url, content=b"abcde")):
                assert user_of(response) == f"{USER}@{REALM}"
                assert str(response.extensions[PEER]) == f"{REALM}\\HTTP/localhost"
                assert ContextFlags.MUTUAL in context_of(response).flags
    matrix.fill(
        HTTP, "Apache", server.version, "server", f"Negotiate, Kerberos{suffix(tls)}", "alice, and it proved itself"
    )


def test_negotiate_before_the_server_asks(server: Server, matrix: Filler) -> None:
    with server.client(server.kerberos(), "https", preemptive=True) as client:
        for _ in range(2):
            response = client.get(server.origin("https") + "/gssapi/x")
            assert user_of(response) == f"{USER}@{REALM}"
    matrix.fill(HTTP, "Apache", server.version, "server", "Negotiate, preemptive", "alice")


def test_a_server_whose_proof_is_missing_is_not_believed(server: Server, matrix: Filler) -> None:
    for client_of in (server.client, server.auth):
        with client_of(server.kerberos()) as client, pytest.raises(InvalidToken, match="proves it"):
            client.get(server.origin() + "/gssapi-stripped/x")
    matrix.fill(HTTP, "Apache", server.version, "server", "Negotiate, proof removed", "InvalidToken")


def test_a_ticket_for_another_service_is_refused(server: Server, matrix: Filler) -> None:
    package = Negotiate(Kerberos(config=server.kdc.config), Ntlm())
    scheme = TokenScheme("Negotiate", package, Password(f"{USER}@{REALM}", PASSWORD), service="other")
    with server.client(scheme) as client:
        response = client.get(server.origin() + "/gssapi/x")
    assert response.status_code == 401
    assert PEER not in response.extensions
    matrix.fill(HTTP, "Apache", server.version, "server", "Negotiate, service unknown to the server", "401")


@both
@pytest.mark.parametrize(("option", "make"), [("Negotiate, NTLM", negotiate_ntlm), ("NTLM", ntlm)])
def test_ntlm(server: Server, tls: str, option: str, make: Callable[..., TokenScheme], matrix: Filler) -> None:
    """Several legs on one connection, which is then the user's: the second request goes without credentials."""
    with server.client(make(), tls) as client:
        first, second = (client.get(server.origin(tls) + "/ntlm/x") for _ in range(2))
    assert user_of(first) == user_of(second) == f"{DOMAIN}\\{USER}"
    assert first.headers["x-authorization"].startswith(option.partition(",")[0] + " ")
    assert second.headers["x-authorization"] == ""
    matrix.fill(HTTP, "Apache", server.version, "server", option + suffix(tls), "CORP\\alice, on one connection")


@pytest.mark.parametrize(("option", "make"), [("Negotiate, NTLM", negotiate_ntlm), ("NTLM", ntlm)])
def test_ntlm_with_a_wrong_password(
    server: Server, option: str, make: Callable[..., TokenScheme], matrix: Filler
) -> None:
    with server.client(make("wrong")) as client:
        for _ in range(2):
            response = client.get(server.origin() + "/ntlm/x")
            assert response.status_code == 401
            assert PEER not in response.extensions
    matrix.fill(HTTP, "Apache", server.version, "server", f"{option}, wrong password", "401")


# --- as a proxy ------------------------------------------------------------------------------------------------------

PROXIES: dict[str, tuple[str, Callable[[Server, str, ServerProof], ClientScheme]]] = {
    "Digest": ("digest", lambda _, password, proof: digest(password, proof)),
    "Negotiate, Kerberos": ("gssapi", lambda server, password, proof: server.kerberos(password, proof)),
    "Negotiate, NTLM": ("ntlm", lambda _, password, proof: negotiate_ntlm(password, proof)),
    "NTLM": ("ntlm", lambda _, password, __: ntlm(password)),
}
PROVING = [option for option in PROXIES if option != "NTLM"]  # which has no word of the server's at the end


@pytest.mark.parametrize("option", PROXIES)
def test_as_a_proxy(server: Server, option: str, matrix: Filler) -> None:
    """CONNECT is authenticated to the proxy, and the request within to the server."""
    name, make = PROXIES[option]
    proxy = f"http://localhost:{server.apache.proxies[name]}"
    for tls in ("http", "https"):
        scheme = make(server, PASSWORD, "when sent")
        with server.client(server.kerberos(), tls, proxy=proxy, proxy_schemes=[scheme]) as client:
            for _ in range(2):
                assert user_of(client.get(server.origin(tls) + "/gssapi/x")) == f"{USER}@{REALM}"
    with server.client(server.kerberos(), proxy=proxy) as client, pytest.raises(httpx.ProxyError, match="407"):
        client.get(server.origin() + "/gssapi/x")
    matrix.fill(HTTP, "Apache", server.version, "server", f"{option} to a proxy", "through it, to the server")


@pytest.mark.parametrize("option", PROVING)
def test_a_proxy_that_proves_nothing_is_not_believed(server: Server, option: str) -> None:
    """Its answer to CONNECT has no fields."""
    name, make = PROXIES[option]
    proxy = f"http://localhost:{server.apache.proxies[name]}"
    scheme = make(server, PASSWORD, "required")
    with (
        server.client(server.kerberos(), proxy=proxy, proxy_schemes=[scheme]) as client,
        pytest.raises((InvalidToken, QualityNotMet), match="when sent"),
    ):
        client.get(server.origin() + "/gssapi/x")


@pytest.mark.parametrize("option", [option for option in PROXIES if option != "Negotiate, Kerberos"])
def test_as_a_proxy_with_a_wrong_password(server: Server, option: str) -> None:
    name, make = PROXIES[option]
    proxy = f"http://localhost:{server.apache.proxies[name]}"
    scheme = make(server, "wrong", "when sent")
    with (
        server.client(server.kerberos(), proxy=proxy, proxy_schemes=[scheme]) as client,
        pytest.raises(httpx.ProxyError, match="407"),
    ):
        client.get(server.origin() + "/gssapi/x")


# --- Digest ----------------------------------------------------------------------------------------------------------


def sent(response: httpx.Response, name: str) -> str:
    """A parameter of the credentials that the server was sent; empty where there are none."""
    found = re.search(rf'{name}="?([^",]*)', str(response.headers["x-authorization"]))
    return "" if found is None else found[1]


def test_digest(server: Server, matrix: Filler) -> None:
    url = server.origin() + "/digest/x?y=z"
    for client_of in (server.client, server.auth):
        with client_of(digest()) as client:
            for response in (client.get(url), client.post(url, content=b"abcde")):
                assert user_of(response) == USER
                assert str(response.extensions[PEER]) == peer.REALM
                assert "rspauth=" in response.headers["authentication-info"]
                assert ContextFlags.MUTUAL in context_of(response).flags
    matrix.fill(HTTP, "Apache", server.version, "server", "Digest MD5", "alice, and it proved itself")


def test_digest_that_may_not_use_md5_sends_nothing(server: Server, matrix: Filler) -> None:
    with server.client(DigestClient(Password(USER, PASSWORD))) as client:
        response = client.get(server.origin() + "/digest/x")
    assert response.status_code == 401
    assert response.headers["x-authorization"] == ""
    matrix.fill(HTTP, "Apache", server.version, "server", "Digest MD5, not named", "401, nothing sent")


def test_digest_with_a_wrong_password(server: Server, matrix: Filler) -> None:
    for client_of in (server.client, server.auth):
        with client_of(digest("wrong")) as client:
            response = client.get(server.origin() + "/digest/x")
        assert response.status_code == 401
        assert sent(response, "nc") == "00000001"  # once, not again and again
        assert PEER not in response.extensions
    matrix.fill(HTTP, "Apache", server.version, "server", "Digest MD5, wrong password", "401")


def test_digest_counts_its_requests(server: Server, matrix: Filler) -> None:
    """The server demands that counts grow."""
    for client_of in (server.client, server.auth):
        with client_of(digest(), preemptive=True) as client:
            responses = [client.get(f"{server.origin()}/digest/{number}") for number in range(4)]
        assert {user_of(response) for response in responses} == {USER}
        assert [sent(response, "nc") for response in responses] == [f"{count:08x}" for count in range(1, 5)]
        assert len({sent(response, "nonce") for response in responses}) == 1
        assert len({sent(response, "cnonce") for response in responses}) == 4
    matrix.fill(HTTP, "Apache", server.version, "server", "Digest MD5, nonce counts", "1, 2, 3, 4")


def test_digest_takes_the_next_nonce_and_replaces_a_stale_one(server: Server, matrix: Filler) -> None:
    with server.client(digest(), preemptive=True) as client:
        first, second = (client.get(server.origin() + "/digest-short/x") for _ in range(2))
        assert user_of(first) == user_of(second) == USER
        assert f'nextnonce="{sent(second, "nonce")}' in first.headers["authentication-info"]
        assert sent(second, "nc") == "00000001"
        matrix.fill(HTTP, "Apache", server.version, "server", "Digest MD5, next nonce", "used")
        time.sleep(3.1)
        third = client.get(server.origin() + "/digest-short/x")
        assert user_of(third) == USER
        assert f'nextnonce="{sent(third, "nonce")}' not in second.headers["authentication-info"]
        assert "nonce expired" in server.apache.errors
    matrix.fill(HTTP, "Apache", server.version, "server", "Digest MD5, stale nonce", "a new one, and alice")


def test_digest_verifies_the_servers_proof(server: Server, matrix: Filler) -> None:
    for client_of in (server.client, server.auth):
        with client_of(digest()) as client, pytest.raises(InvalidToken, match="rspauth"):
            client.get(server.origin() + "/digest-forged/x")
        with client_of(digest()) as client, pytest.raises(QualityNotMet, match="rspauth"):
            client.get(server.origin() + "/digest-stripped/x")
    matrix.fill(HTTP, "Apache", server.version, "server", "Digest MD5, proof forged", "InvalidToken")
    matrix.fill(HTTP, "Apache", server.version, "server", "Digest MD5, proof removed", "QualityNotMet")


# --- redirects -------------------------------------------------------------------------------------------------------

Make = Callable[[Server], ClientScheme]


def _digest(_: Server) -> ClientScheme:
    return digest()


def _ntlm(_: Server) -> ClientScheme:
    return ntlm()


AWAY: dict[str, tuple[str, Make]] = dict(
    zip(
        REDIRECTS[:6],
        (
            ("/away-digest", _digest),
            ("/digest-away/", _digest),
            ("/away-gssapi", Server.kerberos),
            ("/gssapi-away/", Server.kerberos),
            ("/away-tls", Server.kerberos),
            ("/away-ntlm", _ntlm),
        ),
        strict=True,
    )
)
"""Where a redirect begins, before or after the client authenticated, and what it has."""


@pytest.mark.parametrize("option", AWAY)
def test_a_redirect_to_another_origin_gets_nothing(server: Server, option: str, matrix: Filler) -> None:
    """The other port asks for what we have, with the same realm and the same key; it is another origin all the same."""
    path, make = AWAY[option]
    for client_of in (server.client,) if make is _ntlm else (server.client, server.auth):
        for preemptive in (False, True):
            if preemptive and make is not _digest and "after" not in option:
                continue  # a server that takes no notice of a token proves nothing: see below
            with client_of(make(server), preemptive=preemptive) as client:
                answer = client.get(server.origin() + path, follow_redirects=True)
                direct = client.get(answer.url)
            (redirect,) = (one for one in answer.history if one.status_code == 307)
            assert (redirect.headers["x-user"] != "") is ("after" in option)
            for refused in (answer, direct):
                assert refused.url.port in (server.apache.other_port, server.apache.tls_port)
                assert refused.status_code == 401
                assert option.partition(",")[0] in refused.headers["www-authenticate"]
                assert refused.headers["x-authorization"] == ""
                assert PEER not in refused.extensions
    matrix.fill(HTTP, "Apache", server.version, "server", option, "401, nothing sent")


def test_a_redirect_there_and_back_gets_nothing(server: Server, matrix: Filler) -> None:
    """Somebody else sent us to the origin with a request of his choice."""
    for client_of in (server.client, server.auth):
        with client_of(digest()) as client:
            answer = client.get(server.origin() + "/there", follow_redirects=True)
            assert (answer.status_code, answer.url.port) == (401, server.apache.port)
            assert [one.headers["x-authorization"] for one in (*answer.history, answer)] == ["", "", ""]
            assert user_of(client.get(server.origin() + "/digest/x")) == USER  # which the user asked for
    matrix.fill(HTTP, "Apache", server.version, "server", REDIRECTS[6], "401, nothing sent")


def test_a_server_that_takes_no_notice_of_a_token_is_not_believed(server: Server) -> None:
    with server.client(server.kerberos(), preemptive=True) as client, pytest.raises(InvalidToken, match="proves it"):
        client.get(server.origin() + "/away-gssapi", follow_redirects=True)
