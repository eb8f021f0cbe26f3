"""MIT's tools and python-gssapi in a realm whose only KDC is ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from anyio.from_thread import start_blocking_portal

from securestream_providers.kerberos import EmbeddedKdc
from securestream_providers.kerberos.kdc.policy import KdcPolicy, Lockout
from securestream_providers.krb5.keytab import write_keytab
from tests.interop.peers import gssapi_krb5, mit_tools
from tests.interop.peers.gssapi_krb5 import DELEGATE, MUTUAL, PROTECTED, KerberosPeer
from tests.interop.peers.mit_tools import ETYPES, MitTools, ToolFailed

REALM = "OURS.TEST"
PASSWORD = "alice's password"
SERVICE, FRONT, BACK = "echo/server.ours.test", "HTTP/front.ours.test", "cifs/back.ours.test"


class Ours:
    """Our realm and MIT's tools in it."""

    def __init__(self, folder: Path, kdc: EmbeddedKdc) -> None:
        self.kdc = kdc
        self.tools = MitTools(folder, REALM, kdc.server.port, kdc.server.password_port)

    def keytab(self, name: str, *principals: str) -> Path:
        """A keytab file."""
        file = self.tools.folder / name
        file.write_bytes(write_keytab(self.kdc.entries(*principals)))
        return file

    def fails(self, tool: str, *arguments: str | Path, stdin: str = "", cache: Path | None = None) -> str:
        """What a tool says that fails."""
        done = self.tools.run(tool, *arguments, stdin=stdin, cache=cache, check=False)
        assert done.returncode
        return done.stderr + done.stdout


@pytest.fixture(scope="module")
def ours(require: Callable[[ModuleType], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    """A realm of ours, served from a thread."""
    require(mit_tools)
    policy = KdcPolicy(etypes=(18, 17, 20, 19, 26, 25, 23))
    kdc = EmbeddedKdc(REALM, policy=policy)
    kdc.add_principal("alice", PASSWORD, aliases=("alice@people.test",))
    for etype in ETYPES:
        kdc.add_principal(f"only{etype}", PASSWORD, etypes=(etype,))
    kdc.add_service(SERVICE)
    kdc.add_service(FRONT, trusted_to_auth=True, delegate_to=(BACK,))
    kdc.add_service(BACK, ok_as_delegate=True)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(kdc):
        yield Ours(tmp_path_factory.mktemp("ours"), kdc)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A credential cache of this test."""
    return tmp_path / "ccache"


def test_kinit_and_kvno(ours: Ours, cache: Path) -> None:
    tools = ours.tools
    tools.kinit("alice", PASSWORD, "-f", "-p", cache=cache)
    tools.run("kvno", "-k", ours.keytab("service.keytab", SERVICE), SERVICE, cache=cache)
    listed = tools.run("klist", "-f", "-e", cache=cache).stdout
    assert f"Default principal: alice@{REALM}" in listed
    assert "Flags: FPRIA" in listed  # renewable since MIT asks for more than ten hours, and for that in their place
    assert f"{SERVICE}@{REALM}" in listed


@pytest.mark.parametrize("etype", ETYPES)
def test_kinit_with_each_encryption_type(ours: Ours, cache: Path, etype: int) -> None:
    ours.tools.kinit(f"only{etype}", PASSWORD, cache=cache)
    keytab = ours.keytab(f"only{etype}.keytab", f"only{etype}")
    ours.tools.run("kinit", "-k", "-t", keytab, f"only{etype}", cache=cache)
    ours.tools.run("kvno", SERVICE, cache=cache)


def test_wrong_unknown_and_canonical_names(ours: Ours, cache: Path) -> None:
    assert "Password incorrect" in ours.fails("kinit", "alice", stdin="wrong\n", cache=cache)
    assert "not found in Kerberos database" in ours.fails("kinit", "nobody", stdin="wrong\n", cache=cache)
    ours.tools.kinit("alice@people.test", PASSWORD, "-E", cache=cache)
    assert f"Default principal: alice@{REALM}" in ours.tools.run("klist", cache=cache).stdout
    assert "not found in Kerberos database" in ours.fails("kvno", "echo/nowhere", cache=cache)


def test_fast_with_an_armor_ticket(ours: Ours, cache: Path, tmp_path: Path) -> None:
    armor = tmp_path / "armor"
    ours.tools.run("kinit", "-k", "-t", ours.keytab("front.keytab", FRONT), FRONT, cache=armor)
    trace = tmp_path / "trace"
    ours.tools.kinit("alice", PASSWORD, "-T", armor, cache=cache, environment={"KRB5_TRACE": str(trace)})
    told = trace.read_text()
    assert "FAST armor key" in told
    assert "encrypted_challenge" in told or "encrypted challenge" in told
    ours.tools.run("kvno", SERVICE, cache=cache)
    assert "Password incorrect" in ours.fails("kinit", "-T", armor, "alice", stdin="wrong\n", cache=cache)


def test_renewal(ours: Ours, cache: Path) -> None:
    ours.tools.kinit("alice", PASSWORD, "-l", "1h", "-r", "2h", cache=cache)
    ours.tools.run("kinit", "-R", cache=cache)
    assert "Flags: FR" in ours.tools.run("klist", "-f", cache=cache).stdout
    ours.tools.kinit("alice", PASSWORD, "-l", "1h", cache=cache)
    assert "KDC can't fulfill requested option" in ours.fails("kinit", "-R", cache=cache)


def test_user_to_user(ours: Ours, cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    ours.tools.kinit("only18", PASSWORD, cache=other)
    ours.tools.kinit("alice", PASSWORD, cache=cache)
    ours.tools.run("kvno", "--u2u", other, "only18", cache=cache)
    assert "valid for user2user only" in ours.fails("kvno", "only18", cache=cache)


def test_a_service_in_a_users_name(ours: Ours, cache: Path) -> None:
    keytab = ours.keytab("front.keytab", FRONT)
    ours.tools.run("kinit", "-f", "-k", "-t", keytab, FRONT, cache=cache)
    ours.tools.run("kvno", "-k", keytab, "-U", "alice", FRONT, cache=cache)
    back = ours.keytab("back.keytab", FRONT, BACK)
    ours.tools.run("kvno", "-k", back, "-U", "alice", "-P", BACK, cache=cache)
    refused = ours.fails("kvno", "-k", back, "-U", "alice", "-P", SERVICE, cache=cache)
    assert "KDC can't fulfill requested option" in refused
    assert "not found" in ours.fails("kvno", "-U", "nobody", FRONT, cache=cache)


def test_kpasswd(ours: Ours, cache: Path) -> None:
    ours.kdc.add_principal("changing", PASSWORD)
    new = "another password"
    done = ours.tools.run("kpasswd", "changing", stdin=f"{PASSWORD}\n{new}\n{new}\n")
    assert "Password changed" in done.stdout
    with pytest.raises(ToolFailed, match="Password incorrect"):
        ours.tools.kinit("changing", PASSWORD, cache=cache)
    ours.tools.kinit("changing", new, cache=cache)
    short = ours.tools.run("kpasswd", "changing", stdin=f"{new}\nabc\nabc\n", check=False)
    assert "at least 8 characters" in short.stdout + short.stderr


def test_an_expired_password_is_changed_by_kinit(ours: Ours, cache: Path) -> None:
    ours.kdc.add_principal("expired", PASSWORD)
    ours.kdc.change("expired", password_expires=ours.kdc.clock())
    new = "another password"
    ours.tools.run("kinit", "expired", stdin=f"{PASSWORD}\n{new}\n{new}\n", cache=cache)
    ours.tools.kinit("expired", new, cache=cache)


def test_a_locked_account(require: Callable[[ModuleType], str], tmp_path: Path) -> None:
    require(mit_tools)
    kdc = EmbeddedKdc(REALM, policy=KdcPolicy(lockout=Lockout(2)))
    kdc.add_principal("alice", PASSWORD)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(kdc):
        locked = Ours(tmp_path, kdc)
        for _ in range(2):
            assert "Password incorrect" in locked.fails("kinit", "alice", stdin="wrong\n")
        assert "revoked" in locked.fails("kinit", "alice", stdin=f"{PASSWORD}\n")


def test_referrals_to_another_realm(require: Callable[[ModuleType], str], tmp_path: Path) -> None:
    require(mit_tools)
    other = EmbeddedKdc("OTHER.TEST")
    kdc = EmbeddedKdc(REALM, policy=KdcPolicy(host_realms={".other.test": "OTHER.TEST"}))
    kdc.add_principal("alice", PASSWORD)
    kdc.trust("OTHER.TEST", "between us", inbound=False)
    other.trust(REALM, "between us", outbound=False)
    other.add_service("host/far.other.test")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(other),
        portal.wrap_async_context_manager(kdc),
    ):
        here = Ours(tmp_path, kdc)
        here.tools.configuration_file.write_text(kdc.krb5_conf(other))
        here.tools.kinit("alice", PASSWORD)
        here.tools.run("kvno", "host/far.other.test@OTHER.TEST")
        here.tools.run("kvno", "-C", "host/far.other.test")
        assert "krbtgt/OTHER.TEST@OURS.TEST" in here.tools.run("klist").stdout


def test_python_gssapi_at_both_ends_with_nothing_but_our_kdc(
    ours: Ours, cache: Path, require: Callable[[ModuleType], str], tmp_path: Path
) -> None:
    require(gssapi_krb5)
    ours.tools.kinit("alice", PASSWORD, "-f", cache=cache)
    client_side = ours.tools.environment(cache=cache)
    server_side = ours.tools.environment(cache=tmp_path / "none", keytab=ours.keytab("gss.keytab", SERVICE, BACK))
    for target, delegate in (("echo@server.ours.test", False), ("cifs@back.ours.test", True)):
        with KerberosPeer(client_side) as client, KerberosPeer(server_side) as server:
            client.initiate(target, flags=(MUTUAL, *PROTECTED, *((DELEGATE,) if delegate else ())))
            server.accept()
            client.step(server.step(client.step(None)))
            assert client.complete
            assert server.complete
            assert server.peer() == f"alice@{REALM}"
            assert server.unwrap(client.wrap(b"over our tickets")) == (b"over our tickets", True)
            assert client.unwrap(server.wrap(b"and back")) == (b"and back", True)
            assert server.delegated is delegate
            assert any("logon-info" in one for one in server.attributes())


def test_the_command_serves_mit_tools_over_a_database(require: Callable[[ModuleType], str], tmp_path: Path) -> None:
    require(mit_tools)
    tmp_path.chmod(0o700)
    command = [sys.executable, "-m", "securestream", "kdc"]
    database = ["--database", str(tmp_path / "kdc.db")]
    environment = {**os.environ, "SECURESTREAM_PASSWORD": PASSWORD}

    def manage(*arguments: str) -> str:
        asked = [*command, *arguments, *database]
        return subprocess.run(asked, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    manage("add", "--realm", REALM, "alice")
    manage("add", "--random-key", SERVICE)
    keytab = tmp_path / "service.keytab"
    manage("ktadd", "--keytab", str(keytab), SERVICE)
    assert f"{SERVICE}@{REALM} kvno 2 service" in manage("list")
    with subprocess.Popen(
        [*command, *database, "--listen", "127.0.0.1:0"], env=environment, stdout=subprocess.PIPE, text=True
    ) as serving:
        try:
            assert serving.stdout is not None
            words = serving.stdout.readline().split()
            port, kpasswd_port = int(words[6].rstrip(",").rpartition(":")[2]), int(words[-1])
            tools = MitTools(tmp_path, REALM, port, kpasswd_port)
            tools.kinit("alice", PASSWORD)
            tools.run("kvno", "-k", keytab, SERVICE)
            tools.run("kpasswd", "alice", stdin=f"{PASSWORD}\nanother password\nanother password\n")
            tools.kinit("alice", "another password")
        finally:
            serving.terminate()
            serving.wait(20)
    assert serving.returncode == 0
