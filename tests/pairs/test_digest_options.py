"""HTTP Digest against itself in every combination of its options."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from securestream.credentials import Accounts
from securestream.options import ContextFlags
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream_providers.digest import Algorithm, Qop
from tests.providers.digest.ends import PASSWORD, REALM, Web, World, get, make_client, make_server, parameter

NAMES = ("alice", "CORP\\bob", "Jäsøn Doe", "\N{HEBREW LETTER ALEF}@example")
REQUESTS = (
    get(),
    get("/ü".encode().decode("latin-1"), method="POST", body=bytes(range(256))),
    get("h:443", method="CONNECT", proxy=True),
)


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    path: Path = tmp_path_factory.mktemp("accounts") / "accounts.db"
    store = MemoryAccounts() if request.param == "memory" else SqliteAccounts(path)
    for name in NAMES:
        store.add(name, PASSWORD, realms=[REALM])
    return Accounts(store)


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("qop", Qop)
@pytest.mark.parametrize("userhash", [False, True])
def test_combination(store: Accounts, algorithm: Algorithm, qop: Qop, userhash: bool) -> None:
    """Four requests a name: challenged, at once, with the next nonce in sight, with that nonce."""
    world = World()
    server = make_server(credential=store, algorithms=[algorithm], qops=[qop], userhash=userhash)
    for name, request in itertools.product(NAMES, REQUESTS):
        web, client = Web(world, server), make_client(name=name, algorithms=[algorithm], qops=[qop], userhash=userhash)
        exchanges = [web.fetch(client, request) for _ in range(2)]
        world.clock.advance(timedelta(minutes=4))
        exchanges += [web.fetch(client, request) for _ in range(2)]
        for exchange in exchanges:
            (sent,) = exchange.sent
            assert [parameter(sent, name) for name in ("algorithm", "qop")] == [algorithm.token, qop.value]
            assert ("userhash=true" in sent) is userhash
            assert exchange.outcome.result.flags is ContextFlags.MUTUAL  # type: ignore[union-attr]  # a context
        assert [str(outcome.peer) for outcome in web.served] == [name] * 4
        nonces = [parameter(exchange.sent[0], "nonce") for exchange in exchanges]
        assert len(set(nonces)) == (1 if algorithm.session else 2)
        assert not web.refused
