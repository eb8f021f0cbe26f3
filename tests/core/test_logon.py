"""Logons by verifier: the same questions, the same work and the same words whatever the reason (SECURITY: logon)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from securestream.credentials import Accounts, Credentials, Password
from securestream.drive import Services
from securestream.errors import LogonDenied, NoCredentials
from securestream.logon import REFUSED, FindVerifier, LogonResult, VerifierLogon, find_locally, verify_locally
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream.services.failures import Throttle
from securestream.services.smbpasswd import SmbpasswdAccounts
from securestream.services.verifiers import SCRAM_SHA_256, VerifierKey, digest_verifier, user_hash
from tests.core.services.contract import HERE, NOW

REALM = "r"
KIND = "digest-SHA-256"
Store = MemoryAccounts | SqliteAccounts


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    throttle = Throttle(3)
    store = (
        MemoryAccounts(throttle=throttle)
        if request.param == "memory"
        else SqliteAccounts(tmp_path / "a.db", throttle=throttle)
    )
    for name in ("alice", "closed", "hammered"):
        store.add(name, "pw", realms=[REALM])
    store.disable("closed")
    return store


def logon(store: Store, user: str, password: str = "pw", *, hashed: bool = False) -> VerifierLogon[str]:
    def prove(verifier: bytes) -> str | None:
        right = digest_verifier(KIND, "alice" if hashed else user, REALM, password)
        return "proved" if verifier == right else None

    sent = user_hash(KIND, user, REALM).hex() if hashed else user
    return VerifierLogon(Accounts(store), sent, KIND, REALM, prove, HERE, NOW, "Test", hashed)


def test_the_right_password_gives_principal_and_proof(store: Store) -> None:
    for hashed in (False, True):
        result = verify_locally(logon(store, "alice", hashed=hashed))
        assert (result.principal.name, result.principal.package, result.proof) == ("alice", "Test", "proved")


def hammer(store: Store) -> None:
    for _ in range(3):
        store.failed("hammered", store.find("hammered", "", HERE, NOW), HERE, NOW)


def counting(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return method(*args, **kwargs)

        return call

    for name in ("find", "find_hashed", "throttled", "verifier", "failed", "succeeded"):
        monkeypatch.setattr(store, name, counted(name, getattr(store, name)))
    return calls


@pytest.mark.parametrize("hashed", [False, True])
def test_every_refusal_asks_the_same_questions_and_says_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, hashed: bool
) -> None:
    hammer(store)
    calls = counting(store, monkeypatch)
    asked = [logon(store, user, hashed=hashed) for user in ("nobody", "closed", "hammered")]
    asked.append(logon(store, "alice", "wrong", hashed=hashed))
    seen = set[tuple[str, ...]]()
    for one in asked:
        calls.clear()
        proofs: list[int] = []

        def prove(verifier: bytes, one: VerifierLogon[str] = one, proofs: list[int] = proofs) -> str | None:
            proofs.append(len(verifier))
            return one.prove(verifier)

        with pytest.raises(LogonDenied) as refused:
            verify_locally(VerifierLogon(one.credential, one.user, KIND, REALM, prove, HERE, NOW, "Test", hashed))
        assert str(refused.value) == REFUSED
        assert proofs == [32], "the response is tested once, against a decoy, too"
        seen.add(tuple(calls))
    assert seen == {("find_hashed" if hashed else "find", "throttled", "verifier", "failed")}


def test_wrong_passwords_throttle_and_an_account_without_verifier_is_never_wrong(store: Store) -> None:
    for _ in range(3):
        with pytest.raises(LogonDenied):
            verify_locally(logon(store, "alice", "wrong"))
    with pytest.raises(LogonDenied):
        verify_locally(logon(store, "alice"))
    store.add_hash("bob", bytes(16))
    for _ in range(3):
        with pytest.raises(LogonDenied):
            verify_locally(logon(store, "bob"))
    assert not store.throttled("bob", store.find("bob", "", HERE, NOW), HERE, NOW)


def test_what_stands_in_for_a_verifier_lets_nobody_in(store: Store) -> None:
    """Not even a response that it would prove."""
    store.add_hash("bob", bytes(16))
    for user in ("bob", "nobody"):
        asked = VerifierLogon(Accounts(store), user, KIND, REALM, lambda _: "proved", HERE, NOW, "Test")
        with pytest.raises(LogonDenied):
            verify_locally(asked)


def test_a_logon_that_lost_against_parallel_failures_is_refused(store: Store) -> None:
    asked = logon(store, "alice")

    def prove(verifier: bytes) -> str | None:
        for _ in range(3):
            store.failed("alice", store.find("alice", "", HERE, NOW), HERE, NOW)
        return asked.prove(verifier)

    with pytest.raises(LogonDenied):
        verify_locally(VerifierLogon(asked.credential, "alice", KIND, REALM, prove, HERE, NOW, "Test"))


def test_a_locked_account_is_refused_until_the_lock_ends(tmp_path: Path) -> None:
    from securestream.services.failures import Lockout

    lockout = Lockout(failures=2, window=timedelta(minutes=5), duration=timedelta(minutes=5))
    store = MemoryAccounts(throttle=None, lockout=lockout)
    store.add("alice", "pw")
    for _ in range(2):
        with pytest.raises(LogonDenied):
            verify_locally(logon(store, "alice", "wrong"))
    with pytest.raises(LogonDenied):
        verify_locally(logon(store, "alice"))


def test_unknown_users_have_stable_parameters_of_the_usual_form(store: Store) -> None:
    def parameters(user: str) -> bytes:
        return find_locally(FindVerifier(Accounts(store), user, SCRAM_SHA_256, "", HERE, NOW)).parameters

    unknown = {parameters(name) for name in ("nobody", "NOBODY", r"ANY\nobody")}
    assert len(unknown) == 1
    known = parameters("alice")
    assert len(known) == len(unknown.pop())
    store.add("nobody", "pw")
    assert parameters("nobody") == parameters("NOBODY")
    account = store.find("alice", "", HERE, NOW)
    verifier = store.verifier(account, VerifierKey(SCRAM_SHA_256))
    assert verifier is not None
    assert verifier.reveal().startswith(known)
    assert verifier.reveal() != known


@pytest.mark.parametrize("credential", [None, Password("alice", "pw"), Credentials()])
def test_without_accounts_the_logon_says_what_to_give(credential: Any) -> None:
    def prove(verifier: bytes) -> str | None:
        return None

    with pytest.raises(NoCredentials, match="Accounts"):
        verify_locally(VerifierLogon(credential, "alice", KIND, REALM, prove, HERE, NOW, "Test"))


def test_a_store_without_verifiers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "smbpasswd"
    path.touch(0o600)
    with pytest.raises(NoCredentials, match="keeps no verifiers"):
        find_locally(FindVerifier(Accounts(SmbpasswdAccounts(path)), "alice", SCRAM_SHA_256, "", HERE, NOW))


def test_the_default_performer_answers_asynchronously_and_blocking(store: Store) -> None:
    services = Services()
    asked = logon(store, "alice")
    performer = services.performer_of(VerifierLogon)
    assert performer is services.performer_of(FindVerifier)

    async def ask() -> LogonResult[str]:
        result: LogonResult[str] = await performer.perform(asked)
        return result

    assert anyio.run(ask).proof == "proved"
    assert performer.perform_blocking(asked).proof == "proved"


def test_no_verifier_is_shown(store: Store) -> None:
    secret = digest_verifier(KIND, "alice", REALM, "pw")
    asked = logon(store, "alice")
    assert "prove" not in repr(asked)
    shown: Callable[[object], str] = repr
    for value in (asked, verify_locally(asked), store):
        assert secret.hex() not in shown(value)
        assert hashlib.sha256(secret).hexdigest() not in shown(value)
