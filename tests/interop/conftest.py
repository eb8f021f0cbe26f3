"""Fixtures of the tests against foreign implementations."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.interop.peers import mit_kdc as mit
from tests.interop.peers import samba_ad
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


@pytest.fixture(scope="module")
def mit_kdc(require: Callable[[ModuleType], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[mit.MitKdc]:
    """A running, empty realm of MIT Kerberos with a password server; the tests of a module add their principals."""
    require(mit)
    with mit.MitKdc(tmp_path_factory.mktemp("mit"), kpasswd=True) as kdc:
        yield kdc


@pytest.fixture(scope="session")
def samba_domain(require: Callable[[ModuleType], str]) -> Iterator[samba_ad.SambaDomain]:
    """The domain of a Samba domain controller, one for the run: 10 to 20 seconds. Tests leave its passwords alone."""
    require(samba_ad)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # its sockets want a short path
        try:
            running = samba_ad.SambaDomain(Path(folder))
        except PermissionError:
            pytest.skip("this process may make no network namespace: run the tests as root")
        with running:
            yield running
