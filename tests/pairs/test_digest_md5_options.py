"""SASL DIGEST-MD5 against itself in every combination of its options."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from securestream.credentials import Accounts, Password
from securestream.options import Protection
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream_providers.digest.sasl_crypto import Cipher
from securestream_providers.digest.sasl_sessions import Subsequent
from tests.core.sasl.ends import PASSWORD
from tests.providers.digest.sasl_ends import REALM, authenticate, client, converse, options, server, services

NAMES = ("alice", "CORP\\bob", "Jäsøn Doe", "\N{HEBREW LETTER ALEF}@example")


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    path: Path = tmp_path_factory.mktemp("accounts") / "accounts.db"
    store = MemoryAccounts() if request.param == "memory" else SqliteAccounts(path)
    for name in NAMES:
        store.add(name, PASSWORD, realms=[REALM])
    return Accounts(store)


@pytest.mark.parametrize("mine", Protection)
@pytest.mark.parametrize("theirs", Protection)
@pytest.mark.parametrize("authzid", ["", "self"])
def test_combination(store: Accounts, mine: Protection, theirs: Protection, authzid: str) -> None:
    """Every name, cipher and size of buffers; each exchange twice, the second one continued where that is possible."""
    agreed = max(mine, theirs)
    for name, cipher, buffer in itertools.product(NAMES, Cipher, (256, 65536)):
        identity = authzid and name
        one = client(ciphers=[cipher], max_buffer=buffer, authzid=identity, subsequent=Subsequent())
        other = server(max_buffer=buffer, subsequent=Subsequent())
        performing = services()
        for legs in (3, 3 if agreed else 2):
            met = authenticate(
                one,
                other,
                Password(name, PASSWORD),
                accepting=store,
                mine=options(mine, 1),
                theirs=options(theirs, 2),
                services=performing,
            )
            assert [layer.protection for layer in met.layers] == [agreed] * 2
            assert str(met.outcomes[1].peer) == name
            assert met.layers[1].authzid == identity
            assert len(met.tokens) == legs
            if agreed:
                converse(*met.layers, sizes=range(0, 230, 23))
