"""Our httpx client against the Digest of lighttpd: SHA-256, SHA-512/256, hashed names, several challenges."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from types import ModuleType

import httpx
import pytest

from securestream.credentials import Password
from securestream.errors import QualityNotMet
from securestream.http.httpx_auth import SecureAuth
from securestream.http.httpx_values import PEER
from securestream.http.schemes import ServerProof
from securestream_providers.digest import Algorithm, DigestClient
from securestream_providers.digest.algorithms import CLIENT_ALGORITHMS
from tests.interop.expected_http import HTTP, LIGHTTPD_ALGORITHMS
from tests.interop.http_ends import NAMES, PASSWORD, USER
from tests.interop.matrix import Filler
from tests.interop.peers import lighttpd as peer

pytestmark = pytest.mark.interop


@dataclass(frozen=True)
class Server:
    """The running server."""

    origin: str
    version: str

    def get(
        self,
        path: str,
        user: str = USER,
        password: str = PASSWORD,
        *,
        algorithms: Sequence[Algorithm] = tuple(Algorithm),
        server_proof: ServerProof = "when sent",
    ) -> httpx.Response:
        """The last response to a request; the ones before it are its history."""
        scheme = DigestClient(Password(user, password), algorithms=algorithms, server_proof=server_proof)
        with httpx.Client(auth=SecureAuth(self.origin, scheme), trust_env=False) as client:
            return client.get(f"{self.origin}/{path}/page?y=z")


@pytest.fixture(scope="module")
def server(require: Callable[[ModuleType], str]) -> Generator[Server, None, None]:
    version = require(peer)
    with peer.Lighttpd(NAMES) as lighttpd:
        yield Server(f"http://127.0.0.1:{lighttpd.port}", version)


def sent(response: httpx.Response) -> str:
    """The credentials of the request, which only what is sent shows."""
    fields = [value for name, value in response.request.headers.raw if name == b"Authorization"]
    return fields[0].decode("latin-1") if fields else ""


@pytest.mark.parametrize("token", LIGHTTPD_ALGORITHMS)
def test_digest(server: Server, token: str, matrix: Filler) -> None:
    response = server.get(token)
    assert (response.status_code, response.content) == (200, peer.BODY)
    assert f"algorithm={token}," in sent(response)
    assert f'username="{USER}"' in sent(response)
    matrix.fill(HTTP, "lighttpd", server.version, "server", f"Digest {token}", "the page")
    hashed = server.get(f"{token}-userhash")
    assert (hashed.status_code, hashed.content) == (200, peer.BODY)
    assert "userhash=true" in sent(hashed)
    assert f'"{USER}"' not in sent(hashed)
    matrix.fill(HTTP, "lighttpd", server.version, "server", f"Digest {token} userhash", "the page, name hashed")


def test_a_wrong_password(server: Server, matrix: Filler) -> None:
    refused = server.get("SHA-256", password="wrong")
    assert refused.status_code == 401
    assert len(refused.history) == 1  # once, not again and again
    matrix.fill(HTTP, "lighttpd", server.version, "server", "Digest, wrong password", "401")


def test_the_strongest_of_several_challenges(server: Server, matrix: Filler) -> None:
    """However the server sorts them; and MD5 is not for those who did not name it."""
    for algorithms, chosen in (
        (tuple(Algorithm), "SHA-512-256"),
        (CLIENT_ALGORITHMS, "SHA-512-256"),
        ((Algorithm.MD5, Algorithm.SHA_256), "SHA-256"),
        ((Algorithm.MD5,), "MD5"),
    ):
        response = server.get("all", algorithms=algorithms)
        assert response.status_code == 200
        assert f"algorithm={chosen}," in sent(response)
        assert len(response.history[0].headers.get_list("www-authenticate")) == 3
    refused = server.get("MD5", algorithms=CLIENT_ALGORITHMS)
    assert (refused.status_code, sent(refused)) == (401, "")
    matrix.fill(HTTP, "lighttpd", server.version, "server", "Digest, several challenges", "the strongest")


def test_a_name_in_utf_8(server: Server, matrix: Filler) -> None:
    """Plain it goes as ``username*``."""
    (name,) = (name for name in NAMES if not name.isascii())
    plain, hashed = (server.get(path, name, NAMES[name]) for path in ("SHA-256", "SHA-256-userhash"))
    assert plain.status_code == hashed.status_code == 200
    assert "username*=UTF-8''zo%C3%AB" in sent(plain)
    matrix.fill(HTTP, "lighttpd", server.version, "server", "Digest, name in UTF-8", "the page")


def test_a_server_that_proves_nothing_must_be_allowed_to(server: Server, matrix: Filler) -> None:
    with pytest.raises(QualityNotMet, match="server_proof"):
        server.get("SHA-256", server_proof="required")
    assert not server.get("SHA-256").extensions[PEER].name
    matrix.fill(HTTP, "lighttpd", server.version, "server", "Digest, without proof", "QualityNotMet")
