"""Fixtures of the tests against foreign implementations."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.interop.peers.accounts import DOMAIN, USER, ntlm_environment


@pytest.fixture
def password() -> str:
    """A password of this test."""
    return secrets.token_hex(8)


@pytest.fixture
def ntlm_accounts(tmp_path: Path, password: str) -> dict[str, str]:
    """Variables by which gss-ntlmssp, and pyspnego after it, know the account of the test."""
    return ntlm_environment(tmp_path, {(DOMAIN, USER): password})


@pytest.fixture(scope="session")
def require() -> Callable[[ModuleType], str]:
    """Skips unless a peer of tests.interop.peers is installed; gives its version."""

    def required(peer: ModuleType) -> str:
        if (wanted := peer.missing()) is not None:
            pytest.skip(f"{peer.NAME} is not here; install {wanted}")
        return str(peer.version())

    return required
