"""requests, httpx and aiohttp with their own Digest as clients of our HTTP server."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from typing import Any, NamedTuple

import httpx
import pytest

from securestream_providers.digest import Algorithm
from tests.interop.expected_http import COMMON, HTTP, UNCOMMON
from tests.interop.http_ends import COMMON_FIRST, PASSWORD, SHORT, UNCOMMON_FIRST, USER, Seen, Sites, both, digest_path
from tests.interop.matrix import Filler

pytestmark = pytest.mark.interop

aiohttp: Any = pytest.importorskip("aiohttp", reason="aiohttp is not here; install pip install aiohttp")
requests: Any = pytest.importorskip("requests", reason="requests is not here; install pip install requests")


@pytest.fixture(scope="module")
def origin() -> Generator[str, None, None]:
    with both(Sites()) as origins:
        yield origins["http"]


class Client(ABC):
    """A client whose user has a name and a password; it remembers what servers said."""

    name: str
    version: str

    @abstractmethod
    def __init__(self, password: str) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Close its connections."""

    @abstractmethod
    def fetch(self, url: str, content: bytes | None = None) -> list[Any]:
        """The responses, of which the last one is the answer."""

    def seen(self, url: str, content: bytes | None = None) -> Seen | int:
        """What the application saw, or the status where it was not asked."""
        answer = self.fetch(url, content)[-1]
        return Seen.parse(answer.content) if answer.status_code == 200 else int(answer.status_code)


class Requests(Client):
    """requests."""

    name = "requests"
    version: str = requests.__version__

    def __init__(self, password: str) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = requests.auth.HTTPDigestAuth(USER, password)

    def close(self) -> None:
        self._session.close()

    def fetch(self, url: str, content: bytes | None = None) -> list[Any]:
        answer = self._session.request("GET" if content is None else "POST", url, data=content, timeout=10)
        return [*answer.history, answer]


class Httpx(Client):
    """httpx."""

    name = "httpx"
    version = httpx.__version__

    def __init__(self, password: str) -> None:
        auth = httpx.DigestAuth(USER, password)
        self._client = httpx.Client(auth=auth, trust_env=False, follow_redirects=True)

    def close(self) -> None:
        self._client.close()

    def fetch(self, url: str, content: bytes | None = None) -> list[Any]:
        answer = self._client.request("GET" if content is None else "POST", url, content=content)
        return [*answer.history, answer]


class Answer(NamedTuple):
    """A response of aiohttp's, as the others have it."""

    status_code: int
    headers: Any
    content: bytes


class Aiohttp(Client):
    """aiohttp, in an event loop of its own."""

    name = "aiohttp"
    version: str = aiohttp.__version__

    def __init__(self, password: str) -> None:
        self._runner = asyncio.Runner()
        self._answers: list[Answer] = []
        self._session = self._runner.run(self._open(password))

    async def _open(self, password: str) -> Any:
        digest = aiohttp.DigestAuthMiddleware(USER, password)
        return aiohttp.ClientSession(middlewares=(digest, self._note))

    async def _note(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        answer = await handler(request)
        content = await answer.read() if answer.status == 200 else b""
        self._answers.append(Answer(answer.status, answer.headers, content))
        return answer

    def close(self) -> None:
        self._runner.run(self._session.close())
        self._runner.close()

    def fetch(self, url: str, content: bytes | None = None) -> list[Any]:
        self._answers = []
        self._runner.run(self._fetch(url, content))
        return self._answers

    async def _fetch(self, url: str, content: bytes | None) -> None:
        async with self._session.request("GET" if content is None else "POST", url, data=content):
            pass


@pytest.fixture
def client(kind: type[Client]) -> Generator[Client, None, None]:
    """With the right password."""
    with closing(kind(PASSWORD)) as made:
        yield made


clients = pytest.mark.parametrize("kind", [Requests, Httpx, Aiohttp])


def algorithm_of(token: str) -> Algorithm:
    """An algorithm by its token."""
    found = Algorithm.named(token)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "token"),
    [*((Requests, token) for token in COMMON[:3]), *((kind, token) for kind in (Httpx, Aiohttp) for token in COMMON)],
)
@pytest.mark.parametrize("qops", ["auth", "auth,auth-int"])
def test_digest(origin: str, client: Client, token: str, qops: str, matrix: Filler) -> None:
    """The nonce is good for several requests, each with its count."""
    url = f"{origin}{digest_path((algorithm_of(token),), qops)}/x?y=z"
    for asked in (2, 1, 1):
        responses = client.fetch(url)
        assert Seen.parse(responses[-1].content) == Seen(USER, "WDigest", 0)
        assert len(responses) == asked
    assert client.seen(url, b"abcde") == Seen(USER, "WDigest", 5)
    matrix.fill(HTTP, client.name, client.version, "client", f"Digest {token}", "alice")


@pytest.mark.parametrize("kind", [Aiohttp])
@pytest.mark.parametrize("token", COMMON)
def test_digest_of_contents(origin: str, client: Client, token: str, matrix: Filler) -> None:
    """Of requests with content and without."""
    url = f"{origin}{digest_path((algorithm_of(token),), 'auth-int')}/x?y=z"
    for content in (None, b"abcde", b""):
        assert client.seen(url, content) == Seen(USER, "WDigest", len(content or b""))
    matrix.fill(HTTP, client.name, client.version, "client", f"Digest {token} auth-int", "alice, with content")


@pytest.mark.parametrize("kind", [Requests])
@pytest.mark.parametrize("token", [*COMMON[3:], *UNCOMMON])
def test_digest_that_requests_computes_otherwise(origin: str, client: Client, token: str, matrix: Filler) -> None:
    """requests 2 knows no session form but that of MD5, and nothing of SHA-512/256."""
    assert client.seen(origin + digest_path((algorithm_of(token),))) == 401
    matrix.fill(HTTP, client.name, client.version, "client", f"Digest {token}, refused", "401")


@clients
def test_a_marked_nonce(origin: str, client: Client, matrix: Filler) -> None:
    """By which the server asks for bindings: the client gives it back, and knows no more of it."""
    for _ in range(2):
        responses = client.fetch(f"{origin}/digest-marked/x")
        assert Seen.parse(responses[-1].content) == Seen(USER, "WDigest", 0)
        assert len(responses) == 1 or '"+Upgraded+v1' in responses[0].headers["www-authenticate"]
    matrix.fill(HTTP, client.name, client.version, "client", "Digest, marked nonce", "alice")


@clients
def test_several_challenges(origin: str, client: Client, matrix: Filler) -> None:
    assert client.seen(origin + digest_path(COMMON_FIRST)) == Seen(USER, "WDigest", 0)
    matrix.fill(HTTP, client.name, client.version, "client", "Digest, several challenges", "alice")


@pytest.mark.parametrize("kind", [Requests])
def test_requests_takes_the_last_of_several_challenges(origin: str, client: Client) -> None:
    """It joins them, and the parameters of the last one are what is left: so a server puts the common one last."""
    assert client.seen(origin + digest_path(UNCOMMON_FIRST)) == Seen(USER, "WDigest", 0)


@clients
def test_a_stale_nonce(origin: str, client: Client, matrix: Filler) -> None:
    """The nonce expires between two requests; the client takes the new one."""
    for stale in (False, True):
        if stale:
            time.sleep(1.5 * SHORT.total_seconds())
        first, second = client.fetch(f"{origin}/digest-short/x")
        assert ("stale=true" in first.headers["www-authenticate"]) is stale
        assert Seen.parse(second.content) == Seen(USER, "WDigest", 0)
    matrix.fill(HTTP, client.name, client.version, "client", "Digest, stale nonce", "a new one, and alice")


@clients
def test_a_wrong_password(origin: str, kind: type[Client], matrix: Filler) -> None:
    with closing(kind("wrong")) as client:
        assert client.seen(origin + digest_path((Algorithm.SHA_256,))) == 401
    matrix.fill(HTTP, kind.name, kind.version, "client", "Digest, wrong password", "401")
