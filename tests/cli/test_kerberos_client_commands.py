"""``kinit``, ``kvno`` and ``kpasswd`` against the embedded KDC."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest

from securestream.cli.report import Report
from securestream.errors import LogonDenied, NoCredentials, TargetUnknown, UsageError
from securestream_providers.kerberos.cli import kinit, kpasswd, kvno, running
from securestream_providers.kerberos.storage.caches import load_cache
from securestream_providers.krb5.numbers import TicketFlags
from securestream_providers.krb5.tickets import TicketCache
from tests.cli.processes import PASSWORD
from tests.cli.realm import ALICE, REALM, SERVICE, Realm


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """A running realm."""
    with Realm(tmp_path_factory.mktemp("realm")) as made:
        yield made


@pytest.fixture(autouse=True)
def _environment(realm: Realm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in realm.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/cc")
    monkeypatch.setenv("SECURESTREAM_PASSWORD", PASSWORD)


def command(module: ModuleType, *words: str) -> str:
    """What a command prints."""
    parser, out = ArgumentParser(), StringIO()
    module.add_arguments(parser)
    assert module.run(parser.parse_args(words), Report(out, out, verbose=True)) == 0
    return out.getvalue()


def cache(tmp_path: Path) -> TicketCache:
    found = load_cache(f"FILE:{tmp_path}/cc")
    assert found is not None
    return found


def test_kinit_logs_on_by_password(tmp_path: Path) -> None:
    assert "krbtgt" in command(kinit, ALICE, "-l", "1h", "-f")
    (ticket,) = cache(tmp_path).tickets
    assert str(ticket.client) == ALICE
    assert ticket.flags & TicketFlags.FORWARDABLE
    assert ticket.end_time <= datetime.now(UTC) + timedelta(hours=1, minutes=1)


def test_kinit_takes_a_wrong_password_for_what_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECURESTREAM_PASSWORD", "wrong")
    with pytest.raises(LogonDenied, match="alice"):
        command(kinit, ALICE)
    assert not (tmp_path / "cc").exists()


def test_kinit_logs_on_with_a_keytab(realm: Realm, tmp_path: Path) -> None:
    command(kinit, "-k", "-t", realm.keytab(SERVICE))
    assert cache(tmp_path).client.components == ("host", "files.example")


def test_kinit_renews(tmp_path: Path) -> None:
    command(kinit, ALICE, "-l", "1h", "-r", "1d")
    before = cache(tmp_path).tickets[0]
    command(kinit, "-R")
    assert cache(tmp_path).tickets[0].ticket != before.ticket


def test_kinit_requires_fast_with_an_armor_cache(realm: Realm, tmp_path: Path) -> None:
    command(kinit, "-k", "-t", realm.keytab(SERVICE), "-c", f"{tmp_path}/armor")
    command(kinit, ALICE, "-T", f"{tmp_path}/armor")
    assert str(cache(tmp_path).client) == ALICE


def test_kinit_finds_a_kdc_that_is_named(realm: Realm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty.conf").write_text("")
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "empty.conf"))
    command(kinit, "alice", "--realm", REALM, "--kdc", realm.kdc_address)
    assert str(cache(tmp_path).client) == ALICE


def test_kvno_fetches_and_keeps_service_tickets(realm: Realm, tmp_path: Path) -> None:
    command(kinit, ALICE)
    assert "kvno = 1" in command(kvno, SERVICE)
    assert any(ticket.server.components == ("host", "files.example") for ticket in cache(tmp_path).tickets)
    assert "keytab entry valid" in command(kvno, "-k", realm.keytab(SERVICE), SERVICE)
    with pytest.raises(TargetUnknown, match="nothing"):
        command(kvno, "host/nothing.example")


def test_kvno_gets_a_user_to_user_ticket(realm: Realm, tmp_path: Path) -> None:
    command(kinit, "-k", "-t", realm.keytab(SERVICE), "-c", f"{tmp_path}/peer")
    command(kinit, ALICE)
    command(kvno, "--u2u", f"{tmp_path}/peer", SERVICE)
    assert any(ticket.is_session_key for ticket in cache(tmp_path).tickets)


def test_kvno_asks_in_a_users_name(realm: Realm) -> None:
    command(kinit, "-k", "-t", realm.keytab(SERVICE))
    assert SERVICE in command(kvno, "-U", "alice", SERVICE)


def test_without_a_cache_kvno_says_what_to_do() -> None:
    with pytest.raises(NoCredentials, match="kinit"):
        command(kvno, SERVICE)


def test_kpasswd_changes_the_password(realm: Realm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    realm.kdc.add_principal("carol", "the first of carol")
    new = tmp_path / "new"
    new.touch(mode=0o600)
    new.write_text("the second of carol\n")
    monkeypatch.setenv("SECURESTREAM_PASSWORD", "the first of carol")
    assert "changed" in command(kpasswd, f"carol@{REALM}", "--new-password-file", str(new))
    monkeypatch.setenv("SECURESTREAM_PASSWORD", "the second of carol")
    command(kinit, f"carol@{REALM}")


def test_a_cache_in_memory_would_end_with_the_command() -> None:
    with pytest.raises(UsageError, match="memory"):
        command(kinit, ALICE, "-c", "MEMORY:x")


@pytest.mark.parametrize(
    ("text", "hours"), [("10h", 10), ("1d", 24), ("1d12h", 36), ("3600", 1), ("8:30", 8.5), ("60m", 1), ("1d 2h", 26)]
)
def test_durations_are_written_as_in_krb5_conf(text: str, hours: float) -> None:
    assert running.lifetime(text, "-l") == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "0", "soon", "-1h", "h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        running.lifetime(text, "-l")
