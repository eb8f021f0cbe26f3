"""Arguments, and what cannot work: one sentence and a status."""

from __future__ import annotations

import errno
import json
import os
import runpy
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Self

import pytest

from securestream.cli import main
from securestream.cli.arguments import parser
from securestream.cli.demo.certificates import Authority
from securestream.cli.setup import package_of
from securestream.options import Role
from securestream.services.verifiers import VerifierKey
from tests.cli.processes import PASSWORD, run

SERVE = ("serve", "127.0.0.1:0", "--package")
ANYWHERE = ("serve", "0.0.0.0:0", "--package")
CONNECT = ("connect", "127.0.0.1:1", "--package")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*SERVE, "nosuch", "--echo"), "no package is called 'nosuch'"),
        ((*SERVE, "ntlm", "--echo"), "(--accounts FILE)"),
        ((*SERVE, "schannel", "--echo"), "(--certificate FILE --key FILE)"),
        (("serve", "192.0.2.1:0", "--package", "ntlm", "--echo", "--accounts", "STORE"), "listen on 192.0.2.1:0: "),
        ((*SERVE, "ntlm", "--echo", "--accounts", "/nonexistent/store"), "no account store /nonexistent/store"),
        ((*SERVE, "ntlm", "--echo", "--accounts", "x", "--certificate", "y"), "not both"),
        ((*SERVE, "ntlm", "--echo", "--keytab", "x"), "needs an account store"),
        ((*SERVE, "ntlm", "--echo", "--ccache", "x"), "(--accounts FILE)"),
        ((*SERVE, "ntlm", "--echo", "--accounts", "x", "--keytab", "y"), "--accounts or --keytab, not both"),
        ((*SERVE, "ntlm", "--echo", "--accounts", "STORE", "--realm", "R"), "--realm means nothing to NTLM"),
        ((*SERVE, "schannel", "--echo", "--keytab", "x"), "(--certificate FILE --key FILE)"),
        ((*SERVE, "schannel", "--echo", "--kdc", "[::1]:88"), "--kdc means nothing to Schannel"),
        ((*SERVE, "ntlm", "--echo", "--accounts", "STORE", "--framing", "raw"), "--framing nns"),
        ((*SERVE, "ntlm", "--echo", "--accounts", "STORE", "--ca", "x"), "--ca means nothing to NTLM"),
        ((*SERVE, "ntlm", "--exec", "'open", "--accounts", "STORE"), "cannot be read"),
        ((*SERVE, "schannel", "--echo", "--framing", "nns"), "its own framing"),
        ((*SERVE, "schannel", "--echo", "--level", "sign"), "always encrypts"),
        ((*SERVE, "schannel", "--echo", "--ntlm-mic", "optional"), "--ntlm-mic means nothing to Schannel"),
        ((*SERVE, "schannel", "--echo", "--allow", "alice"), "--ca FILE"),
        ((*SERVE, "schannel", "--echo", "--key", "k"), "--certificate FILE"),
        ((*ANYWHERE, "ntlm", "--exec", "prog", "--accounts", "STORE"), "--allow PRINCIPAL"),
        ((*ANYWHERE, "ntlm", "--forward", "127.0.0.1:1", "--accounts", "STORE"), "--allow PRINCIPAL"),
        ((*ANYWHERE, "schannel", "--exec", "prog"), "clients that prove who they are"),
        ((*ANYWHERE, "schannel", "--forward", "127.0.0.1:1", "--ca", "CA"), "--allow PRINCIPAL"),
        (("serve", "files.example:0", "--package", "ntlm", "--exec", "p", "--accounts", "STORE"), "--allow PRINCIPAL"),
        ((*SERVE, "negotiate", "--echo", "--accounts", "STORE", "--ca", "x"), "--ca means nothing to Negotiate"),
        ((*SERVE, "negotiate", "--echo", "--accounts", "STORE", "--certificate", "c"), "not both"),
        ((*SERVE, "negotiate", "--echo", "--keytab", "k", "--certificate", "c"), "not both"),
        ((*SERVE, "negotiate", "--echo", "--keytab", "k", "--ccache", "c"), "not both"),
        ((*SERVE, "negotiate", "--echo", "--accounts", "/nonexistent/store"), "no account store /nonexistent/store"),
        ((*SERVE, "negotiate", "--echo", "--accounts", "STORE", "--ntlm", "never"), "(--keytab FILE or --ccache NAME)"),
        ((*SERVE, "negotiate", "--echo", "--accounts", "STORE", "--framing", "raw"), "--framing nns"),
        ((*SERVE, "ntlm", "--echo", "--accounts", "STORE", "--ntlm", "always"), "--ntlm means nothing to NTLM"),
        ((*CONNECT, "negotiate", "--certificate", "CA", "--key", "CA"), "Negotiate cannot connect so: "),
        ((*CONNECT, "kerberos", "--ntlm", "never"), "--ntlm means nothing to Kerberos"),
        ((*CONNECT, "ntlm"), "(--user NAME)"),
        ((*CONNECT, "ntlm", "--user", "alice", "--certificate", "c"), "not both"),
        ((*CONNECT, "ntlm", "--user", "alice", "--ccache", "c"), "--user or --ccache, not both"),
        ((*CONNECT, "ntlm", "--keytab", "k", "--ccache", "c"), "--keytab or --ccache, not both"),
        ((*CONNECT, "ntlm", "--user", "alice", "--keytab", "k"), "(--user NAME)"),
        ((*CONNECT, "schannel", "--ccache", "c"), "(--certificate FILE --key FILE)"),
        ((*CONNECT, "ntlm", "--user", "alice", "--kdc", "kdc.example"), "--kdc means nothing to NTLM"),
        ((*CONNECT, "ntlm", "--user", "alice", "--listen", "0.0.0.0:0"), "--share-identity"),
        ((*CONNECT, "ntlm", "--user", "alice", "--listen", "[::]:0"), "--share-identity"),
        ((*CONNECT, "schannel", "--level", "none"), "always encrypts"),
        (
            (*CONNECT, "ntlm", "--user", "alice", "--password-file", "/nonexistent/file"),
            "/nonexistent/file: No such file",
        ),
        ((*SERVE, "schannel", "--echo", "--certificate", "CA"), "key"),
        ((*SERVE, "schannel", "--echo", "--certificate", "/nonexistent/pem"), "/nonexistent/pem"),
        (("accounts", "list", "--store", "/nonexistent/store"), "no account store"),
        (("accounts", "remove", "carol", "--store", "STORE"), "no account carol"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    arguments: tuple[str, ...],
    sentence: str,
    store: str,
    authority: Authority,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECURESTREAM_PASSWORD", "hunter2")
    places = {"STORE": store, "CA": str(authority.file)}
    status = main([places.get(argument, argument) for argument in arguments])
    told = capsys.readouterr()
    assert status in (1, 2)
    assert told.out == ""
    assert told.err.startswith("securestream: ")
    assert told.err.count("\n") == 1
    assert sentence in told.err
    assert "hunter2" not in told.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nosuch",),
        (*SERVE, "ntlm"),
        (*SERVE, "ntlm", "--echo", "--exec", "prog"),
        (*SERVE, "ntlm", "--echo", "--max-connections", "0"),
        (*SERVE, "ntlm", "--echo", "--level", "some"),
        ("serve", "9000", "--package", "ntlm", "--echo"),
        ("serve", "127.0.0.1:1", "--echo", "--ntlm", "sometimes"),
        (*CONNECT, "ntlm", "--handshake-timeout", "nan"),
        (*CONNECT, "kerberos", "--realm", "R", "--kdc", ""),
        (*CONNECT, "kerberos", "--realm", "R", "--kdc", "tcp/"),
        (*CONNECT, "kerberos", "--realm", "R", "--kdc", "kdc.example:port"),
        (*CONNECT, "kerberos", "--realm", "R", "--kdc", "::1:88"),
        (*CONNECT, "ntlm", "--user", "alice", "--password", "hunter2"),
        (*CONNECT, "ntlm", "--user", "alice", "--pass", "hunter2"),
        ("accounts", "add", "alice", "hunter2", "--store", "x"),
        ("accounts", "add", "alice", "--password=hunter2", "--store", "x"),
    ],
)
def test_arguments_that_are_none_are_refused_and_no_password_is_an_argument(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("securestream")
    assert told.endswith(" --help\n")
    assert told.count("\n") == 1


@pytest.mark.parametrize("command", [(), ("packages",), ("serve",), ("connect",), ("accounts",), ("accounts", "add")])
def test_each_command_has_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert "usage: securestream" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["serve", "connect"])
def test_a_port_in_use_is_told_with_its_address(
    command: str, store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURESTREAM_PASSWORD", "hunter2")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        if command == "serve":
            status = main(["serve", address, "--package", "ntlm", "--accounts", store, "--echo"])
        else:
            status = main([*CONNECT, "ntlm", "--user", "alice", "--listen", address])
    assert (status, capsys.readouterr().err) == (
        1,
        f"securestream: cannot listen on {address}: {os.strerror(errno.EADDRINUSE)}\n",
    )


def test_a_reader_that_has_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "securestream", "packages"], stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (128 + 13, b"")


def test_the_mic_of_ntlm_is_given_up_only_by_name(store: str) -> None:
    for mic in ("required", "optional"):
        asked = parser().parse_args([*SERVE, "ntlm", "--echo", "--accounts", store, "--ntlm-mic", mic])
        assert getattr(package_of(asked, Role.ACCEPTOR), "mic") == mic  # noqa: B009  the protocol has no such attribute
    assert getattr(package_of(parser().parse_args([*SERVE, "ntlm", "--echo"]), Role.ACCEPTOR), "mic") == "required"  # noqa: B009  as above


@pytest.mark.parametrize(
    "kdc",
    [
        "kdc.example",
        "kdc.example:88",
        "[::1]",
        "[::1]:88",
        "tcp/kdc.example:88",
        "udp/kdc.example",
        "https://kdc.example/KdcProxy",
    ],
)
def test_a_kdc_is_named_with_or_without_port_and_transport(kdc: str) -> None:
    asked = parser().parse_args([*CONNECT, "kerberos", "--realm", "R", "--kdc", kdc, "--kdc", "other"])
    assert asked.kdc == [kdc, "other"]


def test_packages_are_found_by_their_entry_points(installed: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["packages", "--json"]) == 0
    listed = {package["name"]: package for package in json.loads(capsys.readouterr().out)}
    assert listed["NTLM"]["oids"] == ["1.3.6.1.4.1.311.2.2.10"]
    assert listed["NTLM"]["rpc_id"] == 10
    assert listed["Schannel"]["rpc_id"] == 14
    assert listed["Negotiate"]["mechanisms"] == ["Kerberos", "NTLM"]
    assert main(["packages"]) == 0
    told = capsys.readouterr().out
    assert "NTLM: " in told
    assert "    negotiates     Kerberos, NTLM\n" in told


def test_accounts_are_added_listed_changed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from securestream.services.accounts_sqlite import SqliteAccounts

    store = str(tmp_path / "accounts.db")

    def accounts(*arguments: str, password: str = "") -> int:
        if password:
            monkeypatch.setenv("SECURESTREAM_PASSWORD", password)
        return main(["accounts", *arguments, "--store", store])

    assert accounts("add", r"CORP\alice", password="one") == 0
    assert accounts("add", "bob", password="two") == 0
    assert accounts("list") == 0
    assert capsys.readouterr().out.splitlines() == [r"CORP\alice", "bob"]

    assert accounts("add", r"corp\ALICE", password="three") == 2, "a typing error must not change a password"
    assert "--replace" in capsys.readouterr().err
    before = _hash_of(SqliteAccounts(store))
    assert accounts("add", r"CORP\alice", "--replace", password="three") == 0
    assert _hash_of(SqliteAccounts(store)) != before

    assert accounts("add", "carol", "--realm", "one", "--realm", "two", password="pw") == 0
    kept = SqliteAccounts(store)
    carol = kept.find("carol", "", "", datetime.now(UTC))
    for realm, is_kept in (("one", True), ("two", True), ("three", False)):
        assert (kept.verifier(carol, VerifierKey("digest-SHA-256", realm)) is not None) is is_kept
    assert accounts("remove", "carol") == 0

    SqliteAccounts(store).disable("bob")
    assert accounts("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[1] == {"name": "bob", "domain": "", "disabled": True, "locked_until": None, "sid": None}
    assert accounts("remove", "bob") == 0
    assert accounts("list") == 0
    assert capsys.readouterr().out.splitlines() == [r"CORP\alice"]


def _hash_of(store: object) -> bytes:
    from datetime import UTC, datetime

    from securestream.services.accounts_sqlite import SqliteAccounts

    assert isinstance(store, SqliteAccounts)
    account = store.find("alice", "CORP", "", datetime.now(UTC))
    assert account is not None
    return account.nt_hash.reveal()


def test_an_account_without_a_password_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURESTREAM_PASSWORD", "")
    assert main(["accounts", "add", "alice", "--store", str(tmp_path / "accounts.db")]) == 2
    assert "empty" in capsys.readouterr().err


def test_a_listing_shows_no_secret(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    from securestream.services.nt_hash import nt_hash

    for arguments in (["list"], ["list", "--json"]):
        assert main(["accounts", *arguments, "--store", store]) == 0
        listing = capsys.readouterr().out.lower()
        assert PASSWORD not in listing
        assert nt_hash(PASSWORD).hex() not in listing


def test_python_m_securestream_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["securestream", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("securestream", run_name="__main__")
    assert end.value.code == 0


def test_the_distribution_installs_the_command(installed: None) -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="securestream")
    assert script.load() is main


def test_errors_for_machines_are_objects(store: str) -> None:
    done = run("connect", "127.0.0.1:1", "--package", "ntlm", "--user", "alice", "--log-json", password=PASSWORD)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"] == "error"


def test_a_name_that_leads_beyond_this_machine_is_refused_once_it_is_known(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ``localhost`` resolves to: the address that is bound decides."""
    from securestream.cli import serve

    class Listener:
        addresses: ClassVar[list[tuple[str, int]]] = [("127.0.0.1", 1), ("192.0.2.1", 1)]

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            return

    async def listen(*_: object, **__: object) -> Listener:
        return Listener()

    monkeypatch.setattr(serve, "listen", listen)
    arguments = ["serve", "localhost:0", "--package", "ntlm", "--accounts", store, "--exec", "program"]
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "192.0.2.1:1, beyond this machine, needs --allow" in told.err
