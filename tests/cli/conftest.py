"""What the tests of commands share: an account store, certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from securestream.cli.demo.certificates import Authority
from securestream.services.accounts_sqlite import SqliteAccounts
from tests.cli.processes import PASSWORD


@pytest.fixture
def store(tmp_path: Path, installed: None) -> str:
    r"""A store with CORP\alice and bob."""
    path = tmp_path / "accounts.db"
    accounts = SqliteAccounts(path)
    accounts.add(r"CORP\alice", PASSWORD)
    accounts.add("bob", PASSWORD)
    return str(path)


@pytest.fixture
def authority(tmp_path: Path, installed: None) -> Authority:
    """An authority whose files lie in the test's folder."""
    return Authority(tmp_path)
