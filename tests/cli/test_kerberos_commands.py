"""kinit, klist, kvno, kdestroy and kpasswd against the embedded KDC, and `kdc` itself, as a user runs them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from securestream.cli.provided import Commands
from securestream_providers.krb5.ccache import read_ccache
from securestream_providers.krb5.keytab import read_keytab
from tests.cli.processes import PASSWORD, Running, run
from tests.cli.realm import ALICE, REALM, SEEN, SERVICE, Realm

NEEDED = ("kinit", "klist", "kvno", "kdestroy", "kpasswd", "kdc")


@pytest.fixture(scope="module", autouse=True)
def commands(installed: None) -> None:
    if missing := [name for name in NEEDED if name not in Commands.installed()]:
        pytest.skip(f"this installation of securestream is older than {', '.join(missing)}: pip install -e . again")


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with Realm(tmp_path) as realm:
        yield realm


def asked(realm: Realm, *arguments: str, password: str | None = None) -> str:
    """What a command prints that does what it should."""
    done = run(*arguments, environ=realm.environ, password=password)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def refused(realm: Realm, *arguments: str, password: str | None = None) -> str:
    """The one sentence of a command that cannot."""
    done = run(*arguments, environ=realm.environ, password=password)
    check(done)
    return done.stderr.decode()


def check(done: subprocess.CompletedProcess[bytes]) -> None:
    assert done.returncode in (1, 2)
    assert done.stdout == b""
    assert done.stderr.startswith(b"securestream: ")
    assert done.stderr.count(b"\n") == 1


def test_log_on_fetch_list_and_destroy(realm: Realm) -> None:
    asked(realm, "kinit", ALICE, password=PASSWORD)
    assert realm.ccache.stat().st_mode & 0o777 == 0o600
    assert asked(realm, "kvno", SERVICE) == f"{SERVICE}@{REALM}: kvno = 1\n"
    assert asked(realm, "kvno", "-k", realm.keytab(SERVICE), SERVICE).endswith("keytab entry valid\n")
    listed = asked(realm, "klist")
    for text in (ALICE, f"krbtgt/{REALM}@{REALM}", f"{SERVICE}@{REALM}", str(realm.ccache)):
        assert text in listed
    cache = read_ccache(realm.ccache.read_bytes())
    assert str(cache.client) == ALICE
    assert [str(ticket.server) for ticket in cache.tickets] == [f"krbtgt/{REALM}@{REALM}", f"{SERVICE}@{REALM}"]
    for ticket in cache.tickets:
        assert ticket.key.contents.reveal().hex() not in listed
    asked(realm, "kdestroy")
    assert not realm.ccache.exists()
    refused(realm, "klist")
    assert "kinit" in refused(realm, "kvno", SERVICE)


def test_tickets_of_kinit_open_connections(realm: Realm) -> None:
    asked(realm, "kinit", "alice", password=PASSWORD)
    keytab = realm.keytab(SERVICE)
    serve = ("serve", "127.0.0.1:0", "--package", "kerberos", "--keytab", keytab, "--echo")
    with Running(*serve, environ=realm.environ) as server:
        connect = ("connect", server.address, "--package", "kerberos", "--target", SERVICE)
        for arguments in ((), ("--ccache", f"FILE:{realm.ccache}"), ("--ccache", str(realm.ccache))):
            done = run(*connect, *arguments, stdin=b"tickets", environ=realm.environ)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"tickets", b"")
            assert server.line().startswith(f"{SEEN}  ")
        asked(realm, "kdestroy")
        check(run(*connect, environ=realm.environ))


def test_a_keytab_logs_on(realm: Realm) -> None:
    asked(realm, "kinit", "-k", "-t", realm.keytab("alice"), ALICE)
    assert ALICE in asked(realm, "klist")
    listed = asked(realm, "klist", "-k", realm.keytab(SERVICE))
    assert f"{SERVICE}@{REALM}" in listed
    for entry in realm.kdc.entries(SERVICE):
        assert entry.key.contents.reveal().hex() not in listed


def test_a_password_file_logs_on_and_one_that_is_open_to_others_does_not(realm: Realm) -> None:
    file = realm.folder / "password"
    file.write_text(PASSWORD + "\n", encoding="utf-8")
    file.chmod(0o600)
    asked(realm, "kinit", "--password-file", str(file), ALICE)
    file.chmod(0o644)
    assert str(file) in refused(realm, "kinit", "--password-file", str(file), ALICE)


def test_a_wrong_password_or_an_unknown_name_is_one_sentence_and_leaves_no_cache(realm: Realm) -> None:
    told = refused(realm, "kinit", ALICE, password="canary-WRONG")
    assert "SEC_E_LOGON_DENIED" in told
    assert "canary" not in told
    assert "nobody" in refused(realm, "kinit", "nobody", password=PASSWORD)
    assert not realm.ccache.exists()


def test_a_ticket_is_renewed(realm: Realm) -> None:
    asked(realm, "kinit", "-r", "1d", "-l", "1h", ALICE, password=PASSWORD)
    (before,) = read_ccache(realm.ccache.read_bytes()).tickets
    asked(realm, "kinit", "-R")
    (after,) = read_ccache(realm.ccache.read_bytes()).tickets
    assert before.renew_till == after.renew_till
    assert before.ticket != after.ticket


def test_fast_armors_a_log_on(realm: Realm) -> None:
    armor = f"FILE:{realm.folder / 'armor'}"
    realm.kdc.add_principal("bob", "another password")
    asked(realm, "kinit", "-c", armor, ALICE, password=PASSWORD)
    asked(realm, "kinit", "-T", armor, f"bob@{REALM}", password="another password")
    assert f"bob@{REALM}" in asked(realm, "klist")


def test_a_password_is_changed(realm: Realm) -> None:
    file = realm.folder / "new"
    file.write_text("a new password\n", encoding="utf-8")
    file.chmod(0o600)
    told = asked(realm, "kpasswd", ALICE, "--new-password-file", str(file), password=PASSWORD)
    assert "a new password" not in told
    refused(realm, "kinit", ALICE, password=PASSWORD)
    asked(realm, "kinit", ALICE, password="a new password")


def test_no_kdc_is_one_sentence(realm: Realm) -> None:
    told = refused(realm, "kinit", "alice", "--realm", "NOWHERE.EXAMPLE", "--kdc", "127.0.0.1:1", password=PASSWORD)
    assert "NOWHERE.EXAMPLE" in told


def test_a_kdc_of_one_s_own_from_an_empty_folder(tmp_path: Path) -> None:
    database = str(tmp_path / "principals.db")
    own = ("--database", database, "--realm", "OWN.EXAMPLE")
    keytab = str(tmp_path / "service.keytab")
    for arguments, password in (
        (("add", "alice", *own), PASSWORD),
        (("add", "host/files.example", "--random-key", *own), None),
        (("ktadd", "host/files.example", "--keytab", keytab, *own), None),
    ):
        done = run("kdc", *arguments, password=password)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {str(entry.principal) for entry in read_keytab(Path(keytab).read_bytes())} == {
        "host/files.example@OWN.EXAMPLE"
    }
    for name in (database, f"{database}.key", keytab):
        assert Path(name).stat().st_mode & 0o777 == 0o600
    check(run("kdc", "add", "alice", *own, password="another"))
    listed = json.loads(run("kdc", "list", "--json", *own).stdout)
    assert {"alice@OWN.EXAMPLE", "host/files.example@OWN.EXAMPLE"} <= {principal["name"] for principal in listed}
    with Running("kdc", *own, "--listen", "127.0.0.1:0", listens=False) as kdc:
        words = kdc.line().replace(",", "").split()
        (address,) = [word for word in words if word.startswith("127.0.0.1:")]
        cache = f"FILE:{tmp_path / 'tickets'}"
        where = ("-c", cache, "--realm", "OWN.EXAMPLE", "--kdc", address)
        (tmp_path / "empty.conf").touch()
        environ = {"KRB5_CONFIG": str(tmp_path / "empty.conf")}
        done = run("kinit", "alice", *where, password=PASSWORD, environ=environ)
        assert (done.returncode, done.stderr) == (0, b"")
        done = run("kvno", "host/files.example", *where, environ=environ)
        assert done.stdout.startswith(b"host/files.example@OWN.EXAMPLE: kvno = 2")
        assert kdc.end() == 0
        assert PASSWORD not in kdc.everything()


@pytest.mark.parametrize("arguments", [("list",), ("add", "alice"), ("remove", "alice"), ()])
def test_a_kdc_without_a_database_says_so(arguments: tuple[str, ...], tmp_path: Path) -> None:
    check(run("kdc", *arguments, password=PASSWORD))
    if arguments[:1] != ("add",):
        check(run("kdc", *arguments, "--database", str(tmp_path / "absent.db"), password=PASSWORD))
    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize("command", NEEDED)
def test_none_takes_a_password_as_an_argument(command: str) -> None:
    for argument in ("--password=hunter2", "--pass=hunter2"):
        done = run(command, argument)
        assert done.returncode == 2
        assert b"hunter2" not in done.stderr or b"unrecognized" in done.stderr
