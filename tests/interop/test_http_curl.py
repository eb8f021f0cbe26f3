"""curl as the client of our HTTP server: Negotiate with MIT Kerberos, NTLM, Digest."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from securestream.credentials import Keytab
from securestream_providers.digest import Algorithm
from securestream_providers.kerberos import Kerberos
from tests.core.http.live import AUTHORITY
from tests.interop.expected_http import COMMON, HTTP, UNCOMMON
from tests.interop.http_ends import (
    COMMON_FIRST,
    NAMES,
    PASSWORD,
    UNCOMMON_FIRST,
    USER,
    Seen,
    Sites,
    both,
    digest_path,
)
from tests.interop.matrix import Filler
from tests.interop.peers import curl as peer
from tests.interop.peers import mit_kdc as mit

pytestmark = pytest.mark.interop

ACCOUNT = f"{USER}:{PASSWORD}"


@dataclass(frozen=True)
class Ends:
    """curl, with a Kerberos ticket of the user's, and our servers."""

    curl: peer.Curl
    origins: Mapping[str, str]
    version: str

    def seen(self, *arguments: str, path: str, scheme: str = "http") -> list[Seen | int]:
        """What the application saw of two requests, or the status where it was not asked."""
        return self.all_seen(*arguments, paths=[f"{path}/{number}?x=y" for number in range(2)], scheme=scheme)

    def all_seen(self, *arguments: str, paths: Sequence[str], scheme: str = "http") -> list[Seen | int]:
        """`seen` for one request to each of `paths`, in one process."""
        urls = [self.origins[scheme] + path for path in paths]
        return [Seen.parse(one.body) if one.status == 200 else one.status for one in self.curl.fetch(*arguments, *urls)]


@pytest.fixture(scope="module")
def ends(require: Callable[[ModuleType], str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Ends, None, None]:
    version = require(peer)
    require(mit)
    folder = tmp_path_factory.mktemp("mit")
    authority = folder / "authority.pem"
    authority.write_bytes(AUTHORITY.pem)
    with mit.MitKdc(folder) as kdc:
        kdc.add_user(USER, f'"{PASSWORD}"')
        kdc.add_service("HTTP/localhost")
        kdc.kinit(USER, PASSWORD)
        sites = Sites(Keytab(kdc.default_keytab), Kerberos(config=kdc.krb5_config()))
        with both(sites) as origins:
            yield Ends(peer.Curl(authority, kdc.environment()), origins, version)


def expect(package: str, content: int = 0) -> list[Seen]:
    """What two requests of the user are seen as."""
    return [Seen(USER, package, content)] * 2


# --- Negotiate and NTLM ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_negotiate(ends: Ends, scheme: str, matrix: Filler) -> None:
    """One leg a request; curl verifies the server's token."""
    login = ("--negotiate", "--user", ":")
    assert ends.seen(*login, path="/negotiate", scheme=scheme) == expect("Kerberos")
    assert ends.seen(*login, "--data", "abcde", path="/negotiate", scheme=scheme) == expect("Kerberos", 5)
    suffix = " https" if scheme == "https" else ""
    matrix.fill(HTTP, "curl", ends.version, "client", f"Negotiate, Kerberos{suffix}", "alice by Kerberos")


def test_negotiate_without_bindings_where_they_are_demanded(ends: Ends, matrix: Filler) -> None:
    """This curl binds to no channel, and that is what a server finds out that demands it."""
    assert ends.seen("--negotiate", "--user", ":", path="/bound", scheme="https") == [401, 401]
    matrix.fill(HTTP, "curl", ends.version, "client", "Negotiate, Kerberos https, unbound refused", "401")


def test_negotiate_without_a_ticket(ends: Ends, tmp_path: Path, matrix: Filler) -> None:
    poor = peer.Curl(ends.curl.authority, {**ends.curl.environment, "KRB5CCNAME": str(tmp_path / "none")})
    assert [one.status for one in poor.fetch("--negotiate", "--user", ":", f"{ends.origins['http']}/negotiate/x")] == [
        401
    ]
    matrix.fill(HTTP, "curl", ends.version, "client", "Negotiate, no ticket", "401")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_ntlm(ends: Ends, scheme: str, matrix: Filler) -> None:
    """Three legs on one connection, which is then the user's."""
    login = ("--ntlm", "--user", ACCOUNT)
    assert ends.seen(*login, path="/ntlm", scheme=scheme) == expect("NTLM")
    assert ends.seen(*login, "--data", "abcde", path="/ntlm", scheme=scheme) == expect("NTLM", 5)
    first, second = ends.curl.fetch(*login, *(f"{ends.origins[scheme]}/ntlm/{number}" for number in range(2)))
    assert (first.connections, second.connections) == (1, 0)
    suffix = " https" if scheme == "https" else ""
    matrix.fill(HTTP, "curl", ends.version, "client", f"NTLM{suffix}", "alice by NTLM, on one connection")


def test_ntlm_refusals(ends: Ends, matrix: Filler) -> None:
    assert ends.seen("--ntlm", "--user", f"{USER}:wrong", path="/ntlm") == [401, 401]
    matrix.fill(HTTP, "curl", ends.version, "client", "NTLM, wrong password", "401")
    assert ends.seen("--ntlm", "--user", ACCOUNT, path="/bound-ntlm", scheme="https") == [401, 401]
    matrix.fill(HTTP, "curl", ends.version, "client", "NTLM https, unbound refused", "401")


def test_the_strongest_of_all(ends: Ends, matrix: Filler) -> None:
    """Negotiate with a ticket, otherwise what the password is good for."""
    assert ends.seen("--anyauth", "--user", ":", path="/all") == expect("Kerberos")
    without = ("--digest", "--ntlm", "--user", ACCOUNT)
    assert ends.seen(*without, path="/all") == expect("WDigest")
    matrix.fill(HTTP, "curl", ends.version, "client", "the strongest of all", "Kerberos, then Digest")


PROXIED = {"negotiate": ("Kerberos", ":"), "ntlm": ("NTLM", ACCOUNT), "digest": ("WDigest", ACCOUNT)}


@pytest.mark.parametrize("scheme", PROXIED)
def test_as_a_proxy(ends: Ends, scheme: str, matrix: Filler) -> None:
    """407, and the Proxy- fields; what is asked for is in absolute form."""
    package, user = PROXIED[scheme]
    urls = [f"http://{scheme}.example/{number}?x=y" for number in range(2)]
    through = ("--noproxy", "", "--proxy", ends.origins["http"], f"--proxy-{scheme}")
    answers = ends.curl.fetch(*through, "--proxy-user", user, "--data", "abcde", *urls)
    assert [Seen.parse(one.body) for one in answers] == [Seen(USER, package, 5)] * 2
    if scheme != "negotiate":
        (refused, _) = ends.curl.fetch(*through, "--proxy-user", f"{USER}:wrong", *urls)
        assert refused.status == 407
    matrix.fill(HTTP, "curl", ends.version, "client", f"{scheme} to a proxy", f"{USER} by {package}")


# --- Digest ----------------------------------------------------------------------------------------------------------

DIGEST = ("--digest", "--user", ACCOUNT)


def algorithm_of(token: str) -> Algorithm:
    """An algorithm by its token."""
    found = Algorithm.named(token)
    assert found is not None
    return found


def algorithms(tokens: Sequence[str]) -> list[tuple[Algorithm]]:
    """Algorithms by their tokens, each as all that a server offers."""
    found = [Algorithm.named(token) for token in tokens]
    assert all(found)
    return [(one,) for one in found if one is not None]


def test_digest(ends: Ends, matrix: Filler) -> None:
    paths = [digest_path(one, qops) for one in algorithms(COMMON) for qops in ("auth", "auth,auth-int")]
    assert ends.all_seen(*DIGEST, paths=paths) == [Seen(USER, "WDigest", 0)] * len(paths)
    assert ends.all_seen(*DIGEST, "--data", "abcde", paths=paths) == [Seen(USER, "WDigest", 5)] * len(paths)
    for token in COMMON:
        matrix.fill(HTTP, "curl", ends.version, "client", f"Digest {token}", "alice")


def test_digest_with_marked_nonces(ends: Ends, matrix: Filler) -> None:
    """Under TLS the server asks for bindings by a marker in its nonces, which curl gives back, and knows no more of."""
    paths = [digest_path(one) for one in algorithms(COMMON)]
    assert ends.all_seen(*DIGEST, paths=paths, scheme="https") == [Seen(USER, "WDigest", 0)] * len(paths)
    assert ends.seen(*DIGEST, path="/digest-marked") == expect("WDigest")
    done = ends.curl.run(*DIGEST, "--verbose", ends.origins["https"] + paths[0])
    (sent,) = re.findall(r"^> Authorization: (.*)", done.stderr, re.MULTILINE)
    assert 'nonce="+Upgraded+v1' in sent
    assert "channel-binding" not in sent
    matrix.fill(HTTP, "curl", ends.version, "client", "Digest https, marked nonce", "alice, unbound")
    assert ends.seen(*DIGEST, path="/bound-digest", scheme="https") == [401, 401]
    matrix.fill(HTTP, "curl", ends.version, "client", "Digest https, unbound refused", "401")


def test_digest_with_hashed_names(ends: Ends, matrix: Filler) -> None:
    urls = [ends.origins["http"] + digest_path(one, userhash=True) for one in algorithms(COMMON)]
    done = ends.curl.run(*DIGEST, "--verbose", *urls)
    assert re.findall(r"^< HTTP/1.1 (\d+)", done.stderr, re.MULTILINE) == ["401", "200"] * len(COMMON)
    sent = re.findall(r"^> Authorization: (.*)", done.stderr, re.MULTILINE)
    assert ["userhash=true" in one and f'"{USER}"' not in one for one in sent] == [True] * len(COMMON)
    for token in COMMON:
        matrix.fill(HTTP, "curl", ends.version, "client", f"Digest {token} userhash", "alice, hashed")


def test_digest_of_contents(ends: Ends, matrix: Filler) -> None:
    """curl hashes an empty content always, which is right for requests without one; others we refuse."""
    paths = [digest_path(one, "auth-int") for one in algorithms(COMMON)]
    assert ends.all_seen(*DIGEST, paths=paths) == [Seen(USER, "WDigest", 0)] * len(paths)
    assert ends.all_seen(*DIGEST, "--data", "abcde", paths=paths) == [401] * len(paths)
    for token in COMMON:
        matrix.fill(HTTP, "curl", ends.version, "client", f"Digest {token} auth-int", "alice; with content refused")


def test_digest_that_curl_computes_otherwise(ends: Ends, matrix: Filler) -> None:
    """curl 7.88 takes SHA-256 in its place."""
    assert ends.all_seen(*DIGEST, paths=[digest_path(one) for one in algorithms(UNCOMMON)]) == [401, 401]
    for token in UNCOMMON:
        matrix.fill(HTTP, "curl", ends.version, "client", f"Digest {token}, refused", "401")


def test_digest_with_several_challenges(ends: Ends, matrix: Filler) -> None:
    """curl answers the first one that it knows by name, and so an unfortunate server keeps it out."""
    assert ends.seen(*DIGEST, path=digest_path(COMMON_FIRST)) == expect("WDigest")
    assert ends.seen(*DIGEST, path=digest_path(UNCOMMON_FIRST)) == [401, 401]
    matrix.fill(HTTP, "curl", ends.version, "client", "Digest, several challenges", "the first one")


def test_digest_with_a_stale_nonce(ends: Ends, matrix: Filler) -> None:
    """The nonce has expired when curl follows a redirect with it; it takes the new one."""
    done = ends.curl.run(*DIGEST, "--verbose", "--location", f"{ends.origins['http']}/digest-short/slow")
    assert re.findall(r"^< HTTP/1.1 (\d+)", done.stderr, re.MULTILINE) == ["401", "307", "401", "200"]
    assert done.stderr.count("stale=true") == 1
    assert Seen.parse(done.stdout) == Seen(USER, "WDigest", 0)
    matrix.fill(HTTP, "curl", ends.version, "client", "Digest, stale nonce", "a new one, and alice")


def test_digest_with_a_wrong_password(ends: Ends, matrix: Filler) -> None:
    wrong = ("--digest", "--user", f"{USER}:wrong")
    assert ends.seen(*wrong, path=digest_path((Algorithm.SHA_256,))) == [401, 401]
    unknown = ("--digest", "--user", f"nobody:{PASSWORD}")
    assert ends.seen(*unknown, path=digest_path((Algorithm.SHA_256,))) == [401, 401]
    matrix.fill(HTTP, "curl", ends.version, "client", "Digest, wrong password", "401")


def test_digest_of_unusual_names(ends: Ends, matrix: Filler) -> None:
    paths = [digest_path((Algorithm.SHA_256,), userhash=userhash) for userhash in (False, True)]
    for name, password in NAMES.items():
        seen = ends.all_seen("--digest", "--user", f"{name}:{password}", paths=paths)
        assert seen == [Seen(name, "WDigest", 0)] * 2
    matrix.fill(HTTP, "curl", ends.version, "client", "Digest, names in UTF-8 and quoted", "by their names")
