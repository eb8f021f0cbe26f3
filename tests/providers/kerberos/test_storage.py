"""The edge of Kerberos to files and memory: which files, what of them is used, and what outlives what."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from argparse import ArgumentParser
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from securestream.cli.report import Report
from securestream.credentials import Anonymous, Credential, CredentialCache, Credentials, Keytab, Password
from securestream.drive import Services
from securestream.errors import NoCredentials, ServiceFailed, UsageError
from securestream_providers.kerberos.cli import kdestroy, klist
from securestream_providers.kerberos.credentials import Tickets
from securestream_providers.kerberos.effects import LoadConfiguration, LoadKeytab, RecallTickets, RememberTickets
from securestream_providers.kerberos.storage import locks
from securestream_providers.kerberos.storage.caches import (
    caches_of,
    destroy_cache,
    file_of,
    load_cache,
    store_cache,
    update_cache,
)
from securestream_providers.kerberos.storage.keytabs import add_to_keytab, load_keytab
from securestream_providers.kerberos.storage.names import cache_name, keytab_path
from securestream_providers.kerberos.storage.tickets import MOST_TICKETS, TicketsPerformer, with_tickets
from securestream_providers.krb5.ccache import read_ccache
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.keytab import write_keytab
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.tickets import CachedTicket, TicketCache
from tests.providers.krb5.files import ALICE, CACHE, ENTRIES, EVENING, SERVICE, ticket

CONFIG = Krb5Config(default_realm="EXAMPLE.COM")
TGT = ticket(tgs_name("EXAMPLE.COM"))
BOB = KerberosName("EXAMPLE.COM", ("bob",))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KRB5_CONFIG", "KRB5CCNAME", "KRB5_KTNAME", "KRB5_CLIENT_KTNAME"):
        monkeypatch.delenv(name, raising=False)


def remember(performer: TicketsPerformer, credential: Credential | None, *tickets: CachedTicket) -> None:
    performer.perform_blocking(RememberTickets(credential, CONFIG, ALICE, tickets))


def recall(performer: TicketsPerformer, credential: Credential | None) -> TicketCache | None:
    return performer.perform_blocking(RecallTickets(credential, CONFIG))


# --- configuration


def test_the_configuration_is_read_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "one.conf").write_text("[libdefaults]\nforwardable = true\n")
    (tmp_path / "d" / ".hidden.conf").write_text("nonsense\n")
    (tmp_path / "d" / "backup~").write_text("nonsense\n")
    (tmp_path / "a").write_text(f"includedir {tmp_path}/d\n[libdefaults]\ndefault_realm = A\n")
    (tmp_path / "b").write_text("[libdefaults]\ndefault_realm = B\nproxiable = true\n")
    monkeypatch.setenv(
        "KRB5_CONFIG", os.pathsep.join((str(tmp_path / "a"), str(tmp_path / "absent"), str(tmp_path / "b")))
    )
    performer = Services().performer_of(LoadConfiguration)
    config = performer.perform_blocking(LoadConfiguration())
    assert (config.default_realm, config.forwardable, config.proxiable) == ("A", True, True)


def test_a_changed_configuration_is_read_again_and_an_unchanged_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "krb5.conf"
    path.write_text("[libdefaults]\ndefault_realm = A\n")
    monkeypatch.setattr("securestream_providers.kerberos.storage.watched._RACY", -1)
    monkeypatch.setenv("KRB5_CONFIG", str(path))
    performer = Services().performer_of(LoadConfiguration)
    first = performer.perform_blocking(LoadConfiguration())
    assert anyio.run(performer.perform, LoadConfiguration()) is first
    path.write_text("[libdefaults]\ndefault_realm = BB\n")
    assert anyio.run(performer.perform, LoadConfiguration()).default_realm == "BB"


def test_a_file_that_was_just_written_is_read_again_in_case_it_changes_within_the_clocks_grain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "krb5.conf"
    path.write_text("[libdefaults]\ndefault_realm = A\n")
    monkeypatch.setenv("KRB5_CONFIG", str(path))
    performer = Services().performer_of(LoadConfiguration)
    first = performer.perform_blocking(LoadConfiguration())
    assert performer.perform_blocking(LoadConfiguration()) is not first


def test_a_damaged_configuration_fails_with_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "krb5.conf"
    path.write_text("[libdefaults]\nnonsense\n")
    monkeypatch.setenv("KRB5_CONFIG", str(path))
    with pytest.raises(ServiceFailed, match=r"krb5[.]conf, line 2"):
        Services().performer_of(LoadConfiguration).perform_blocking(LoadConfiguration())


def test_a_configuration_that_is_named_and_absent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_CONFIG", "/nonexistent/krb5.conf")
    with pytest.raises(ServiceFailed, match="check KRB5_CONFIG"):
        Services().performer_of(LoadConfiguration).perform_blocking(LoadConfiguration())


# --- names


def test_names_of_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.getuid()
    assert cache_name(None, CONFIG) == f"FILE:/tmp/krb5cc_{uid}"
    assert cache_name(None, replace(CONFIG, default_ccache_name="DIR:/x/%{uid}")) == f"DIR:/x/{uid}"
    monkeypatch.setenv("KRB5CCNAME", "/y")
    assert cache_name(None, CONFIG) == "FILE:/y"
    assert cache_name(CredentialCache("MEMORY:z"), CONFIG) == "MEMORY:z"
    for unusable in ("KEYRING:persistent:0", "KCM:", "FILE:", "FILE:%{nonsense}"):
        with pytest.raises(UsageError):
            cache_name(CredentialCache(unusable), CONFIG)


def test_names_of_keytabs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert keytab_path(None, CONFIG) == "/etc/krb5.keytab"
    assert keytab_path(None, replace(CONFIG, default_keytab_name="FILE:/a")) == "/a"
    monkeypatch.setenv("KRB5_KTNAME", "WRFILE:/b")
    assert keytab_path(Keytab(), CONFIG) == "/b"
    assert keytab_path(Keytab("/c"), CONFIG) == "/c"
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(tmp_path))
    assert keytab_path(None, CONFIG, initiating=True) == str(tmp_path)
    assert keytab_path(None, CONFIG) == "/b"
    with pytest.raises(UsageError):
        keytab_path(Keytab("MEMORY:x"), CONFIG)


# --- keytabs


def test_a_keytab_is_loaded_from_a_file_and_from_octets(tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    add_to_keytab(path, ENTRIES)
    performer = Services().performer_of(LoadKeytab)
    for credential in (Keytab(path), Keytab(octets=write_keytab(ENTRIES)), Credentials(Anonymous(), Keytab(str(path)))):
        assert performer.perform_blocking(LoadKeytab(credential, CONFIG)) == ENTRIES
        assert anyio.run(performer.perform, LoadKeytab(credential, CONFIG)) == ENTRIES


def test_a_keytab_with_new_keys_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    performer = Services().performer_of(LoadKeytab)
    add_to_keytab(path, ENTRIES[:1])
    assert performer.perform_blocking(LoadKeytab(Keytab(path), CONFIG)) == ENTRIES[:1]
    add_to_keytab(path, ENTRIES[1:])
    assert performer.perform_blocking(LoadKeytab(Keytab(path), CONFIG)) == ENTRIES


def test_a_keytab_stays_readable_for_its_group(tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    add_to_keytab(path, ENTRIES[:1])
    path.chmod(0o640)
    add_to_keytab(path, ENTRIES[1:])
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_missing_or_damaged_keytab_is_no_credential_and_a_damaged_one_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    with pytest.raises(NoCredentials, match="there is no keytab"):
        load_keytab(path)
    damaged = write_keytab(ENTRIES)[:-1]
    path.write_bytes(damaged)
    path.chmod(0o600)
    with pytest.raises(NoCredentials, match="record 3 at offset"):
        load_keytab(path)
    with pytest.raises(NoCredentials, match="record 3 at offset"):
        add_to_keytab(path, ENTRIES)
    assert path.read_bytes() == damaged


# --- caches in files and folders


def test_a_cache_file_is_made_filled_and_removed(tmp_path: Path) -> None:
    name = f"FILE:{tmp_path / 'cc'}"
    performer = TicketsPerformer()
    credential = CredentialCache(name)
    assert recall(performer, credential) is None
    remember(performer, credential, TGT)
    remember(performer, credential, ticket(SERVICE))
    found = recall(performer, credential)
    assert found == TicketCache(ALICE, (TGT, ticket(SERVICE)))
    assert (tmp_path / "cc").stat().st_mode & 0o777 == 0o600
    assert destroy_cache(name)
    assert not destroy_cache(name)
    assert os.listdir(tmp_path) == []


def test_the_default_cache_is_used_without_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'cc'}")
    store_cache(f"FILE:{tmp_path / 'cc'}", CACHE)
    assert recall(TicketsPerformer(), None) == CACHE


def test_a_folder_has_a_primary_cache_and_others(tmp_path: Path) -> None:
    folder = tmp_path / "caches"
    name = f"DIR:{folder}"
    assert load_cache(name) is None
    store_cache(name, CACHE)
    assert (folder / "primary").read_text() == "tkt\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    store_cache(f"DIR::{folder}/tktBOB", TicketCache(BOB))
    assert load_cache(name) == CACHE
    (folder / "primary").write_text("tktBOB\n")
    assert load_cache(name) == TicketCache(BOB)
    assert caches_of(name) == (f"DIR::{folder}/tkt", f"DIR::{folder}/tktBOB")


@pytest.mark.parametrize("primary", ["../x\n", "x\n", "tkt/../../x\n", "tkt\nx\n", ""])
def test_a_primary_that_leads_elsewhere_is_refused(tmp_path: Path, primary: str) -> None:
    folder = tmp_path / "caches"
    store_cache(f"DIR:{folder}", CACHE)
    (folder / "primary").write_text(primary)
    with pytest.raises(NoCredentials, match="names no cache"):
        load_cache(f"DIR:{folder}")
    with pytest.raises(UsageError):
        file_of(f"DIR::{folder}/primary")


def test_a_damaged_cache_is_no_credential_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cc"
    store_cache(f"FILE:{path}", CACHE)
    damaged = path.read_bytes()[:-1]
    path.write_bytes(damaged)
    performer = TicketsPerformer()
    with pytest.raises(NoCredentials, match="record 5 at offset"):
        recall(performer, CredentialCache(str(path)))
    with pytest.raises(NoCredentials, match="record 5 at offset"):
        remember(performer, CredentialCache(str(path)), TGT)
    assert path.read_bytes() == damaged


def test_an_empty_cache_file_is_one_that_is_to_be_filled(tmp_path: Path) -> None:
    path = tmp_path / "cc"
    path.touch(0o600)
    assert load_cache(f"FILE:{path}") is None
    remember(TicketsPerformer(), CredentialCache(str(path)), TGT)
    assert load_cache(f"FILE:{path}") == TicketCache(ALICE, (TGT,))


def test_a_cache_that_cannot_be_written_is_a_failed_service(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="cannot be written"):
        remember(TicketsPerformer(), CredentialCache(f"FILE:{tmp_path}/absent/cc"), TGT)


def test_tickets_of_another_client_do_not_enter_a_cache_but_a_new_logon_begins_anew(tmp_path: Path) -> None:
    name = f"FILE:{tmp_path / 'cc'}"
    store_cache(name, TicketCache(BOB))
    performer = TicketsPerformer()
    remember(performer, CredentialCache(name), ticket(SERVICE))
    assert load_cache(name) == TicketCache(BOB)
    remember(performer, CredentialCache(name), TGT)
    assert load_cache(name) == TicketCache(ALICE, (TGT,))


def test_configuration_entries_keep_their_places_when_tickets_change() -> None:
    added = with_tickets(CACHE, ALICE, [TGT], 2.0, (("pa_type", tgs_name("EXAMPLE.COM"), b"138"),))
    assert added is not None
    assert added.tickets == (CACHE.tickets[1], TGT)
    assert added.configuration == (
        CACHE.configuration[0],
        CACHE.configuration[2],
        ("pa_type", tgs_name("EXAMPLE.COM"), b"138"),
    )
    assert added.positions == ((0, 0), (1, 1), (2, 1))
    assert with_tickets(added, ALICE, [], 2.0, added.configuration[:1]) == added


def test_writers_in_threads_lose_no_ticket(tmp_path: Path) -> None:
    name = f"FILE:{tmp_path / 'cc'}"
    performer = TicketsPerformer()
    servers = [KerberosName.parse(f"HTTP/{number}@EXAMPLE.COM") for number in range(40)]

    def write(mine: list[KerberosName]) -> None:
        for server in mine:
            remember(performer, CredentialCache(name), ticket(server))

    remember(performer, CredentialCache(name), TGT)
    threads = [threading.Thread(target=write, args=(servers[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = load_cache(name)
    assert found is not None
    assert {entry.server for entry in found.tickets} == {TGT.server, *servers}


def test_a_lock_that_another_program_holds_is_waited_for_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    path = tmp_path / "cc"
    store_cache(f"FILE:{path}", CACHE)
    holder = (
        "import fcntl,sys; f=open(sys.argv[1],'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print('held',flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        monkeypatch.setattr(locks, "PATIENCE", 0.1)
        with pytest.raises(ServiceFailed, match="locked by another program"):
            load_cache(f"FILE:{path}")
        with pytest.raises(ServiceFailed, match="locked by another program"):
            update_cache(f"FILE:{path}", lambda cache: cache)
        monkeypatch.setattr(locks, "PATIENCE", 30.0)
        threading.Timer(0.2, process.stdin.close).start()
        assert load_cache(f"FILE:{path}") == CACHE


# --- memory


def test_tickets_of_a_password_live_as_long_as_it_does() -> None:
    performer = TicketsPerformer()
    one, other = Password("alice@EXAMPLE.COM", "x"), Password("alice@EXAMPLE.COM", "x")
    remember(performer, one, TGT)
    remember(performer, one, ticket(SERVICE))
    assert recall(performer, one) == TicketCache(ALICE, (TGT, ticket(SERVICE)))
    assert recall(performer, other) is None
    assert recall(TicketsPerformer(), one) is None
    del one
    gc.collect()
    assert not performer._memory._kept  # pyright: ignore[reportPrivateUsage]  looked into on purpose


def test_tickets_of_one_configuration_are_not_those_of_another() -> None:
    performer = TicketsPerformer()
    credential = Keytab(octets=b"")
    remember(performer, credential, TGT)
    other = RecallTickets(credential, Krb5Config(default_realm="OTHER"))
    assert performer.perform_blocking(other) is None


def test_the_tickets_in_memory_are_bounded_and_those_that_expire_first_go() -> None:
    performer = TicketsPerformer()
    credential = CredentialCache("MEMORY:x")
    password = Password("alice", "x")
    many = [
        ticket(KerberosName.parse(f"HTTP/{number}@EXAMPLE.COM"), end=EVENING + timedelta(seconds=number))
        for number in range(MOST_TICKETS + 10)
    ]
    for form in (credential, password):
        remember(performer, form, *many)
        found = recall(performer, form)
        assert found is not None
        assert found.tickets == tuple(many[10:])


def test_tickets_that_were_given_are_recalled() -> None:
    performer = TicketsPerformer()
    given = Tickets(CACHE)
    assert recall(performer, given) == CACHE
    remember(performer, given, TGT)
    found = recall(performer, given)
    assert found is not None
    assert set(map(id, CACHE.tickets)) <= set(map(id, found.tickets))


def test_recalling_and_remembering_are_one_performer_of_a_services() -> None:
    services = Services()
    assert services.performer_of(RecallTickets) is services.performer_of(RememberTickets)
    assert services.performer_of(RecallTickets) is not Services().performer_of(RecallTickets)


# --- commands


def execute(command: Any, *words: str) -> int:
    parser = ArgumentParser()
    command.add_arguments(parser)
    status: int = command.run(parser.parse_args(words), Report())
    return status


def test_klist_shows_a_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"FILE:{tmp_path / 'cc'}"
    store_cache(name, CACHE)
    assert execute(klist, "-e", "-f", name) == 0
    shown = capsys.readouterr().out
    for expected in (
        f"Ticket cache: {name}",
        "Default principal: alice@EXAMPLE.COM",
        str(SERVICE),
        "Flags: FI",
        "aes256",
    ):
        assert expected in shown
    assert "X-CACHECONF" not in shown
    assert execute(klist, "--json", name) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [entry["service"] for entry in facts["tickets"]] == ["krbtgt/EXAMPLE.COM@EXAMPLE.COM", str(SERVICE)]
    assert execute(klist, "-s", name) == 1
    fresh = replace(CACHE, tickets=(replace(TGT, end_time=EVENING.replace(year=2099)),), configuration=(), positions=())
    store_cache(name, fresh)
    assert execute(klist, "-s", name) == 0
    assert execute(klist, "-s", f"{name}.absent") == 1
    with pytest.raises(NoCredentials, match="run securestream kinit"):
        execute(klist, f"{name}.absent")


def test_klist_shows_a_keytab_and_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keytab"
    add_to_keytab(path, ENTRIES[:2])
    assert execute(klist, "-k", "-t", "-e", str(path)) == 0
    shown = capsys.readouterr().out
    assert " 258 " in shown
    assert str(SERVICE) in shown
    assert execute(klist, "-k", "--json", str(path)) == 0
    shown += capsys.readouterr().out
    assert bytes(range(16)).hex() not in shown


def test_kdestroy_removes_a_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = f"DIR:{tmp_path / 'caches'}"
    store_cache(folder, CACHE)
    store_cache(f"DIR::{tmp_path}/caches/tktB", CACHE)
    assert execute(kdestroy, "-A", "-c", folder) == 0
    assert caches_of(folder) == ()
    assert execute(kdestroy, "-c", folder) == 1
    assert "no credential cache" in capsys.readouterr().out
    assert execute(kdestroy, "-q", "-c", folder) == 1
    assert capsys.readouterr().out == ""


def test_what_is_written_is_of_version_4(tmp_path: Path) -> None:
    store_cache(f"FILE:{tmp_path / 'cc'}", CACHE)
    octets = (tmp_path / "cc").read_bytes()
    assert octets[:2] == b"\5\4"
    assert read_ccache(octets) == CACHE
