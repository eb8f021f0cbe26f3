"""`serve` and `connect` where nobody names a package: Negotiate, what it came to, and why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securestream.cli.arguments import parser
from securestream.cli.setup import package_of, served_credential
from securestream.credentials import Accounts, Credentials, Keytab
from securestream.errors import UsageError
from securestream.extensions import Negotiating
from securestream.options import Role
from securestream.provider import SecurityPackage
from securestream.registry import Registry
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.cli.processes import PASSWORD, Running, run
from tests.cli.realm import ALICE, REALM, SEEN, SERVICE, Realm

SAYS = b"over negotiate"
BLOCKED = ("--realm", REALM, "--kdc", "tcp/127.0.0.1:1")
"""A realm that is named, and whose KDC cannot be reached."""


@pytest.fixture
def realm(tmp_path: Path, installed: None) -> Iterator[Realm]:
    """alice is known to the KDC and to a store of accounts, bob to the store alone."""
    if "negotiate" not in Registry.installed():
        pytest.skip("this installation of securestream has no Negotiate yet: pip install -e . again")
    accounts = SqliteAccounts(tmp_path / "accounts.db")
    for name in ("alice", "bob"):
        accounts.add(name, PASSWORD)
    (tmp_path / "no-realm.conf").write_text("[libdefaults]\n dns_lookup_kdc = false\n", encoding="utf-8")
    with Realm(tmp_path) as realm:
        yield realm


def store(realm: Realm) -> str:
    return str(realm.folder / "accounts.db")


def serve(realm: Realm, *arguments: str) -> Running:
    """A server of both: the keytab and the accounts."""
    both = ("--keytab", realm.keytab(SERVICE), "--accounts", store(realm))
    action = () if "--exec" in arguments else ("--echo",)
    return Running("serve", "127.0.0.1:0", *both, *action, *arguments, environ=realm.environ)


def connect(
    realm: Realm, server: Running, *arguments: str, password: str | None = PASSWORD, configured: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """A client of the realm, or of none: `configured`."""
    own = {} if configured else {"KRB5_CONFIG": str(realm.folder / "no-realm.conf")}
    done = run(
        *("connect", server.address, "--target", SERVICE, *arguments),
        stdin=SAYS,
        password=password,
        environ=realm.environ | own,
    )
    assert PASSWORD.encode() not in done.stderr
    return done


def considered(event: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["mechanism"]: (one["verdict"], one["reason"]) for one in event["negotiation"]}


def test_one_server_takes_tickets_and_accounts_and_tells_which(realm: Realm) -> None:
    with serve(realm) as server:
        done = connect(realm, server, "--user", ALICE)
        assert (done.returncode, done.stdout, done.stderr) == (0, SAYS, b"")
        assert server.line().startswith(f"{SEEN}  Negotiate: Kerberos  encrypted and signed  from 127.0.0.1:")
        done = connect(realm, server, "--user", "bob", "--backend", "trio", configured=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, SAYS, b"")
        assert server.line().startswith("bob  Negotiate: NTLM  encrypted and signed  from 127.0.0.1:")
        for package, user, line in (
            ("kerberos", ALICE, f"{SEEN}  Negotiate: Kerberos  "),
            ("ntlm", "bob", "bob  Negotiate: NTLM  "),
        ):
            bare = connect(realm, server, "--package", package, "--user", user)
            assert bare.stdout == SAYS, "clients of either mechanism by itself are served, too"
            assert server.line().startswith(line)
        assert server.end() == 0
        assert server.everything() == ""


def test_without_a_name_it_is_whoever_has_run_kinit(realm: Realm) -> None:
    kinit = run("kinit", ALICE, password=PASSWORD, environ=realm.environ)
    assert (kinit.returncode, kinit.stderr) == (0, b"")
    with serve(realm) as server:
        done = connect(realm, server, password=None)
        assert (done.returncode, done.stdout, done.stderr) == (0, SAYS, b"")
        assert server.line().startswith(f"{SEEN}  Negotiate: Kerberos  ")


def test_why_ntlm_is_told_line_by_line_and_to_machines_as_a_list(realm: Realm) -> None:
    command = f"{sys.executable} -c \"import os; print(os.environ['SECURESTREAM_PACKAGE'])\""
    with serve(realm, "--exec", command, "--log-json") as server:
        told = connect(realm, server, "--user", "bob", "--verbose", configured=False)
        assert told.stdout.split() == [b"NTLM"], "a program learns which mechanism proved its peer"
        lines = told.stderr.decode().splitlines()
        (why,) = [line for line in lines if line.startswith("Kerberos: passed over: ")]
        assert "bob" in why
        assert lines.index(why) + 1 == lines.index("NTLM: chosen")
        assert lines[-1].startswith("connected to ")
        assert "NTLM, negotiated, with " in lines[-1]
        event = server.event()
        assert (event["package"], event["event"]) == ("NTLM", "connection")
        assert considered(event)["NTLM"][0] == "chosen"

        machine = connect(realm, server, "--user", "bob", "--verbose", "--log-json", configured=False)
        events = [json.loads(line) for line in machine.stderr.splitlines()]
        assert considered(events[-1])["NTLM"] == ("chosen", "")
        verdict, reason = considered(events[-1])["Kerberos"]
        assert (verdict, reason) == ("passed over", why.removeprefix("Kerberos: passed over: "))


def test_a_kdc_that_is_silent_gives_ntlm_only_to_who_asked_for_that(realm: Realm) -> None:
    with serve(realm) as server:
        for weakened in ((), ("--ntlm", "no-kdc")):
            done = connect(realm, server, "--user", "alice", *BLOCKED, *weakened)
            assert (done.returncode, done.stdout) == (1, b"")
            assert done.stderr.count(b"\n") == 1
            assert b"Kerberos: " in done.stderr
            assert REALM.encode() in done.stderr
            assert b"; NTLM: " in done.stderr
        done = connect(realm, server, "--user", "alice", *BLOCKED, "--ntlm", "never", "--log-json")
        (event,) = map(json.loads, done.stderr.splitlines())
        assert considered(event)["NTLM"] == ("passed over", 'policy forbids it: ntlm="never"')
        assert REALM in considered(event)["Kerberos"][1]
        done = connect(realm, server, "--user", "alice", *BLOCKED, "--ntlm", "always")
        assert (done.stdout, done.stderr) == (SAYS, b"")
        while not (line := server.line()).startswith("alice"):
            pass
        assert line.startswith("alice  Negotiate: NTLM  ")


def test_a_server_may_refuse_ntlm_though_it_has_accounts(realm: Realm) -> None:
    with serve(realm, "--ntlm", "never") as server:
        for package in ("negotiate", "ntlm"):
            done = connect(realm, server, "--package", package, "--user", "bob", configured=False)
            assert (done.returncode, done.stdout) == (1, b"")
            assert "SEC_E_" in server.error()
        assert connect(realm, server, "--user", ALICE).stdout == SAYS


def test_a_user_serves_with_tickets_and_is_asked_for_by_name(realm: Realm) -> None:
    realm.kdc.add_principal("bob", "the password of bob")
    cache = f"FILE:{realm.folder / 'bob'}"
    done = run("kinit", "-c", cache, f"bob@{REALM}", password="the password of bob", environ=realm.environ)
    assert (done.returncode, done.stderr) == (0, b"")
    with Running("serve", "127.0.0.1:0", "--ccache", cache, "--echo", environ=realm.environ) as server:
        done = connect(realm, server, "--user", ALICE, "--user-to-user", "--target", f"bob@{REALM}")
        assert (done.returncode, done.stdout, done.stderr) == (0, SAYS, b"")
        assert server.line().startswith(f"{SEEN}  Negotiate: Kerberos  ")


# --- from arguments to a package ----------------------------------------------------------------------------------


def mechanisms(*arguments: str) -> tuple[Negotiate, Kerberos, Ntlm]:
    role = Role.ACCEPTOR if arguments[0] == "serve" else Role.INITIATOR
    package = package_of(parser().parse_args(arguments), role)
    assert isinstance(package, Negotiate)
    kerberos, ntlm = package.mechanisms
    assert isinstance(kerberos, Kerberos)
    assert isinstance(ntlm, Ntlm)
    return package, kerberos, ntlm


def test_each_mechanism_gets_the_arguments_that_are_its_own(installed: None) -> None:
    package, kerberos, ntlm = mechanisms(
        *("serve", "127.0.0.1:0", "--echo", "--ntlm", "never", "--ntlm-mic", "optional", "--realm", "R.EXAMPLE"),
        *("--kdc", "kdc.example", "--service", "host/files.example"),
    )
    assert package.ntlm == "never"
    assert ntlm.mic == "optional"
    assert kerberos == Kerberos(realm="R.EXAMPLE", kdc=("kdc.example",), served=("host/files.example",))
    assert ntlm.served == ("host/files.example",)
    package, kerberos, ntlm = mechanisms("connect", "127.0.0.1:1", "--realm", "R.EXAMPLE", "--kdc", "kdc.example")
    assert package.ntlm is None
    assert kerberos == Kerberos(realm="R.EXAMPLE", kdc=("kdc.example",))
    assert ntlm.mic == "required"


def test_a_service_class_means_the_same_to_both_mechanisms(installed: None) -> None:
    _, _, ntlm = mechanisms("serve", "127.0.0.1:0", "--echo", "--service", "HOST")
    assert ntlm.serves("host/files.example")
    assert not ntlm.serves("HTTP/files.example")
    assert not ntlm.serves("hostile/files.example")
    assert not ntlm.serves("")


class Custom:
    """Negotiates NTLM alone, and takes no argument."""

    def __init__(self, *mechanisms: SecurityPackage) -> None:
        self.mechanisms = mechanisms or (Ntlm(),)
        self._inner = Negotiate(*self.mechanisms)
        self.info = self._inner.info
        self.usable, self.initiate, self.accept = self._inner.usable, self._inner.initiate, self._inner.accept

    def with_mechanisms(self, *mechanisms: SecurityPackage) -> Custom:
        return Custom(*mechanisms)


def test_what_no_mechanism_takes_is_refused_by_its_option() -> None:
    registry = Registry.of(Custom())
    assert isinstance(registry["negotiate"], Negotiating)
    for option, value in (("--realm", "R"), ("--kdc", "k"), ("--ntlm", "never")):
        asked = parser().parse_args(["serve", "127.0.0.1:0", "--echo", option, value])
        with pytest.raises(UsageError, match=f"{option} means nothing to Negotiate"):
            package_of(asked, Role.ACCEPTOR, registry)
    asked = parser().parse_args(["serve", "127.0.0.1:0", "--echo", "--ntlm-mic", "optional"])
    package = package_of(asked, Role.ACCEPTOR, registry)
    assert isinstance(package, Custom)
    (ntlm,) = package.mechanisms
    assert ntlm == Ntlm(mic="optional")


def test_a_server_s_credential_is_what_was_given_and_the_system_s_keytab_otherwise(realm: Realm) -> None:
    def given(*arguments: str) -> Any:
        asked = parser().parse_args(["serve", "127.0.0.1:0", "--echo", *arguments])
        return served_credential(asked, package_of(asked, Role.ACCEPTOR))

    keytab = realm.keytab(SERVICE)
    both = given("--keytab", keytab, "--accounts", store(realm))
    assert isinstance(both, Credentials)
    assert [type(form) for form in both] == [Keytab, Accounts]
    assert given("--keytab", keytab) == Keytab(keytab)
    assert isinstance(given("--accounts", store(realm)), Accounts)
    assert given() == Keytab()
    with pytest.raises(UsageError, match="a listener runs one package"):
        given("--package", "kerberos", "--keytab", keytab, "--accounts", store(realm))
