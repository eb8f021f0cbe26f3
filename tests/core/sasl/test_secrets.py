"""SECURITY 1: no failure of a SASL exchange shows a secret, or keeps one in the frames of its traceback."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from securestream.credentials import Accounts, Credential, Password
from securestream.options import Options, Protection, Role
from securestream.provider import Handshake, PackageInfo, SecurityPackage, TargetName, Unusable
from securestream.sasl import Gs2Krb5, Gssapi, GssSpnego, ScramSha256
from securestream.services.accounts import name_key
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.verifiers import SCRAM_ITERATIONS, salt_of
from tests.core.canaries import PASSWORD, Attempt, Setup, frames, kerberos, negotiated, ntlm
from tests.core.test_secrets import failures

ROOT = Path(__file__).resolve().parents[3]
CLEARED = (ROOT / "providers", ROOT / "securestream" / "sasl", ROOT / "securestream" / "services")


@dataclass(frozen=True)
class Bare:
    """A mechanism without a layer, of which none is asked."""

    mechanism: SecurityPackage

    @property
    def info(self) -> PackageInfo:
        return self.mechanism.info

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return self.mechanism.usable(credential, role)

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        return self.mechanism.initiate(credential, target, replace(options, protection=Protection.NONE))

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        return self.mechanism.accept(credential, replace(options, protection=Protection.NONE))


def scram() -> Setup:
    store = MemoryAccounts()
    store.add("alice", PASSWORD)
    salt = salt_of(store.decoy.reveal(), name_key("alice"))
    secrets: dict[str, str | bytes] = {"password": PASSWORD, "wrong password": PASSWORD[::-1]}
    for name, password in (("", PASSWORD), ("wrong ", PASSWORD[::-1])):
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
        client = hmac.digest(salted, b"Client Key", "sha256")
        secrets |= {f"{name}salted password": salted, f"{name}client key": client}
        secrets |= {f"{name}stored key": hashlib.sha256(client).digest()}
        secrets |= {f"{name}server key": hmac.digest(salted, b"Server Key", "sha256")}
    package = Bare(ScramSha256())
    wrong = Password("alice", PASSWORD[::-1])
    return Setup(package, Password("alice", PASSWORD), package, Accounts(store), secrets, wrong)


def around(setup: Setup, mechanism: Callable[[SecurityPackage], SecurityPackage]) -> Setup:
    """The same inside a SASL mechanism."""
    return replace(setup, initiator=mechanism(setup.initiator), acceptor=mechanism(setup.acceptor))


SETUPS: dict[str, Callable[[], Setup]] = {
    "SCRAM": scram,
    "GSSAPI": lambda: around(kerberos(), Gssapi),
    "GS2-KRB5": lambda: around(kerberos(), lambda package: Bare(Gs2Krb5(package))),
    "GSS-SPNEGO": lambda: around(negotiated(ntlm()), GssSpnego),
}
by_setup = pytest.mark.parametrize("make", SETUPS.values(), ids=SETUPS)


@by_setup
def test_no_failure_reports_a_secret_or_keeps_one(make: Callable[[], Setup], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failed = walked = 0
    for name, attempt in failures(make):
        failed += bool(attempt.errors)
        for where, text in [*attempt.reports(), ("the log", caplog.text)]:
            assert not attempt.canaries.found_in(text), f"{name}: {where}: {text}"
        for error in attempt.errors:
            for frame in frames(error):
                path = Path(frame.f_code.co_filename)
                if any(folder in path.parents for folder in CLEARED):
                    walked += 1
                    assert not frame.f_locals, f"{name}: {path.name} {frame.f_code.co_name}: {list(frame.f_locals)}"
    assert failed > 20
    assert walked > 20


@by_setup
def test_success_shows_no_secret_either(make: Callable[[], Setup], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    attempt = Attempt(make()).run()
    assert len(attempt.established) == 2
    for where, text in [*attempt.reports(), ("the log", caplog.text)]:
        assert not attempt.canaries.found_in(text), f"{where}: {text}"
