"""The package Digest: what it says of itself, its HTTP schemes, and that SASL's mechanism is used by name alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from securestream.credentials import Password
from securestream.errors import Unsupported, UsageError
from securestream.extensions import Discouraged, TokenDescriber
from securestream.options import Options, Role
from securestream.provider import PackageInfo, SecurityPackage, TargetName, Unusable
from securestream.redaction import Secret
from securestream.sasl import ScramSha256
from securestream_providers.digest import Algorithm, Digest, Qop
from securestream_providers.digest.sasl import DigestMd5
from tests.providers.digest.ends import KEY, PASSWORD, REALM, Web, World, accounts, get, make_server

ALICE = Password("alice", PASSWORD)


def test_it_is_wdigest() -> None:
    package: SecurityPackage = Digest()
    assert (package.info.name, package.info.rpc_id) == ("WDigest", 21)


@pytest.mark.parametrize(
    "package",
    [
        Digest(),
        Digest(algorithms=[Algorithm.MD5]),
        Digest(qops=[Qop.AUTH_INT], userhash=True, key=Secret(KEY), algorithms=[Algorithm.SHA_512_256_SESS]),
    ],
)
def test_its_http_schemes_fit_each_other(package: Digest) -> None:
    world = World()
    web = Web(world, package.http_server(accounts(), REALM))
    client = package.http_client(ALICE)
    for _ in range(2):
        exchange = web.fetch(client, get())
        assert exchange.outcome.peer.name == REALM
        assert ("userhash=true" in exchange.sent[0]) is (package.userhash is True)
    assert repr(KEY) not in repr(package)


@pytest.mark.parametrize(
    ("userhash", "asks", "hashes"), [(None, False, True), (True, True, True), (False, False, False)]
)
def test_names_travel_hashed_where_a_server_asks_for_it(userhash: bool | None, asks: bool, hashes: bool) -> None:
    """RFC 7616 3.4.4; unless it is told otherwise, a server does not ask."""
    world, package = World(), Digest(userhash=userhash)
    challenges = package.http_server(accounts(), REALM).challenges(get(), world.options)
    assert ["userhash=true" in text for text in challenges] == [asks]
    exchange = Web(world, make_server(userhash=True)).fetch(package.http_client(ALICE), get())
    assert ("userhash=true" in exchange.sent[0]) is hashes


class Named:
    """Stands for a SASL mechanism."""

    info = replace(Digest().info, name="DIGEST-MD5")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def usable(self, credential: Any, role: Role) -> Unusable | None:
        return Unusable("the mechanism's own") if credential is None else None

    def initiate(self, credential: Any, target: TargetName | None, options: Options) -> Any:
        self.asked.append("initiate")

    def accept(self, credential: Any, options: Options) -> Any:
        self.asked.append("accept")


def test_outside_http_nothing_is_used_that_was_not_named() -> None:
    package, options = Digest(), World().options
    for role in Role:
        unusable = package.usable(ALICE, role)
        assert unusable is not None
        assert "weak and historic" in unusable.reason
    with pytest.raises(Unsupported, match="DigestMd5"):
        package.initiate(ALICE, None, options)
    with pytest.raises(Unsupported, match="DigestMd5"):
        package.accept(accounts(), options)


def test_a_named_mechanism_makes_the_handshakes() -> None:
    named, options = Named(), World().options
    package = Digest(sasl=named)
    assert package.usable(ALICE, Role.INITIATOR) is None
    assert package.usable(None, Role.ACCEPTOR) == Unusable("the mechanism's own")
    package.initiate(ALICE, None, options)
    package.accept(accounts(), options)
    assert named.asked == ["initiate", "accept"]
    assert isinstance(package.info, PackageInfo)


def test_no_other_mechanism_than_digest_md5_is_carried() -> None:
    with pytest.raises(UsageError, match=r"carries the SASL mechanism DIGEST-MD5 and no other: SCRAM-SHA-256"):
        Digest(sasl=ScramSha256())


def test_it_warns_of_the_mechanism_and_of_nothing_else() -> None:
    package: Discouraged = Digest(sasl=DigestMd5())
    assert isinstance(package, Discouraged)
    assert "weak and historic" in str(package.warning)
    assert Digest().warning is Digest(sasl=Named()).warning is None


@pytest.mark.parametrize(
    ("token", "line"),
    [
        (
            b'Digest realm="r", qop="auth,auth-int", algorithm=SHA-256, nonce="secret", stale=true',
            "Digest challenge: realm r, algorithm SHA-256, qop auth,auth-int, stale true",
        ),
        (
            b'Digest username="al\xc3\xa4", realm="r", nonce="secret", uri="/x", response="s", qop=auth, nc=00000001',
            "Digest response: user alä, realm r, qop auth, uri /x, nc 00000001",
        ),
        (b'digest username="1234", userhash=true, response="secret"', "Digest response: userhash true"),
        (b'rspauth="secret", qop=auth', "Digest proof of the server: qop auth"),
        (b"rspauth=secret", "Digest proof of the server"),
        (b'nonce="secret",charset=utf-8,maxbuf=65536', "Digest challenge: charset utf-8, maxbuf 65536"),
        (b"x=1", "Digest message"),
        (b"\xff\x00", "2 octets that are no Digest message"),
        (b"Digest", "6 octets that are no Digest message"),
    ],
)
def test_a_token_is_described_without_what_proves(token: bytes, line: str) -> None:
    package: TokenDescriber = Digest()
    assert package.describe_token(token) == line
