"""`serve` and `connect` with Kerberos: keytabs, caches, passwords and KDCs, and what is told where one does not fit."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from securestream.ambient import system_options
from securestream.cli.demo.certificates import Authority
from securestream.credentials import Password
from securestream.drive import respond_blocking
from securestream.framing.base import TokenKind
from securestream.framing.nns import NnsFraming
from securestream.machine import HandshakeMachine
from securestream.provider import TargetName
from securestream.registry import Registry
from securestream_providers.kerberos import Kerberos
from securestream_providers.krb5.config import Krb5Config
from tests.cli.processes import PASSWORD, Running, run
from tests.cli.realm import ALICE, REALM, SEEN, SERVICE, Realm

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def realm(tmp_path: Path, installed: None) -> Iterator[Realm]:
    if "kerberos" not in Registry.installed():
        pytest.skip("this installation of securestream has no Kerberos yet: pip install -e . again")
    with Realm(tmp_path) as realm:
        yield realm


def serve(realm: Realm, *arguments: str) -> Running:
    keytab = realm.keytab(SERVICE)
    return Running(
        *("serve", "127.0.0.1:0", "--package", "kerberos", "--keytab", keytab, "--echo", *arguments),
        environ=realm.environ,
    )


def connect(
    realm: Realm,
    server: Running,
    *arguments: str,
    password: str | None = None,
    target: str = SERVICE,
    without: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[bytes]:
    environ = {name: value for name, value in realm.environ.items() if name not in without}
    return run(
        *("connect", server.address, "--package", "kerberos", "--target", target, *arguments),
        stdin=b"over kerberos",
        password=password,
        environ=environ,
    )


@BACKENDS
def test_a_password_opens_a_connection_and_the_server_sees_who_it_is(realm: Realm, backend: str) -> None:
    with serve(realm, "--backend", backend) as server:
        done = connect(realm, server, "--user", ALICE, "--backend", backend, password=PASSWORD)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"over kerberos", b"")
        assert server.line().startswith(f"{SEEN}  Kerberos  encrypted and signed  from 127.0.0.1:")
        assert server.end() == 0
        assert server.everything() == ""


def test_a_bare_name_is_of_the_default_realm(realm: Realm) -> None:
    with serve(realm) as server:
        assert connect(realm, server, "--user", "alice", password=PASSWORD).stdout == b"over kerberos"
        assert server.line().startswith(f"{SEEN}  ")


def test_a_keytab_logs_on_without_a_password(realm: Realm) -> None:
    own = realm.keytab("alice")
    with serve(realm) as server:
        for arguments in (("--keytab", own), ("--keytab", own, "--user", ALICE)):
            done = connect(realm, server, *arguments)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"over kerberos", b"")
            assert server.line().startswith(f"{SEEN}  ")


def test_realm_and_kdc_stand_for_a_krb5_conf(realm: Realm, tmp_path: Path) -> None:
    (tmp_path / "krb5.conf").write_text("", encoding="utf-8")
    with serve(realm, "--realm", REALM) as server:
        done = connect(
            realm,
            server,
            *("--realm", REALM, "--kdc", "127.0.0.1:1", "--kdc", realm.kdc_address, "--user", "alice"),
            password=PASSWORD,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"over kerberos", b"")


def test_servers_that_share_a_replay_cache_accept_a_token_once(realm: Realm, tmp_path: Path) -> None:
    package = Kerberos(config=Krb5Config(), realm=REALM, kdc=realm.kdc_address)
    handshake = package.initiate(Password(ALICE, PASSWORD), TargetName(SERVICE), system_options())
    token = respond_blocking(HandshakeMachine(handshake)).token
    assert token is not None
    cache = str(tmp_path / "replay.db")
    kinds: list[int] = []
    for _ in range(2):
        with serve(realm, "--replay-cache", cache) as server:
            host, _, port = server.address.rpartition(":")
            with socket.create_connection((host, int(port)), 10) as wire:
                wire.sendall(NnsFraming().token(TokenKind.IN_PROGRESS, token))
                kinds.append(wire.recv(1)[0])
    assert kinds == [0x14, 0x15], "done, then refused"


def test_a_wrong_password_is_one_sentence_before_the_server_hears_of_it(realm: Realm) -> None:
    with serve(realm) as server:
        done = connect(realm, server, "--user", ALICE, password="wrong")
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"securestream: ")
        assert done.stderr.count(b"\n") == 1
        assert b"SEC_E_LOGON_DENIED" in done.stderr
        assert b"wrong" not in done.stderr.replace(b"wrong password", b"").replace(b"password is wrong", b"")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--user", "nobody"), b"nobody"),
        (("--ccache", "FILE:/nonexistent/cache"), b"securestream kinit"),
        (("--keytab", "/nonexistent/keytab"), b"/nonexistent/keytab"),
        (("--user", ALICE, "--target", "host/elsewhere.example"), b"elsewhere.example"),
        (("--user", "alice", "--realm", "NO.SUCH.REALM", "--kdc", "127.0.0.1:1"), b"NO.SUCH.REALM"),
        (("--user", "alice", "--kdc", "127.0.0.1:1"), b"give realm"),
        ((), b""),
    ],
)
def test_what_cannot_be_had_is_one_sentence(realm: Realm, arguments: tuple[str, ...], told: bytes) -> None:
    with serve(realm) as server:
        done = connect(realm, server, *arguments, password=PASSWORD)
        assert done.returncode in (1, 2)
        assert done.stdout == b""
        assert done.stderr.startswith(b"securestream: ")
        assert done.stderr.count(b"\n") == 1
        assert told in done.stderr
        assert PASSWORD.encode() not in done.stderr


def test_tickets_serve_a_user_who_has_no_keytab(realm: Realm) -> None:
    realm.kdc.add_principal("bob", "the password of bob")
    cache = f"FILE:{realm.folder / 'bob'}"
    done = run("kinit", "-c", cache, f"bob@{REALM}", password="the password of bob", environ=realm.environ)
    assert (done.returncode, done.stderr) == (0, b"")
    serving = ("serve", "127.0.0.1:0", "--package", "kerberos", "--ccache", cache, "--echo")
    with Running(*serving, environ=realm.environ) as server:
        asked = ("--user", ALICE, "--user-to-user")
        done = connect(realm, server, *asked, password=PASSWORD, target=f"bob@{REALM}")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"over kerberos", b"")
        assert server.line().startswith(f"{SEEN}  ")


def test_user_to_user_means_nothing_to_other_packages(store: str) -> None:
    with Running("serve", "127.0.0.1:0", "--package", "ntlm", "--accounts", store, "--echo") as server:
        asked = ("--package", "ntlm", "--user", "bob", "--user-to-user")
        done = run("connect", server.address, *asked, password=PASSWORD)
    assert done.returncode == 2
    assert done.stderr == b"securestream: --user-to-user means nothing to NTLM: leave it out\n"


@pytest.mark.parametrize("content", [None, b"no keytab at all", b""])
def test_a_keytab_that_cannot_be_read_is_told_of_at_the_start(realm: Realm, content: bytes | None) -> None:
    path = realm.folder / "bad.keytab"
    if content is not None:
        path.touch(mode=0o600)
        path.write_bytes(content)
    done = run(
        *("serve", "127.0.0.1:0", "--package", "kerberos", "--keytab", str(path), "--echo"), environ=realm.environ
    )
    assert done.returncode in (1, 2)
    assert done.stdout == b""
    assert done.stderr.startswith(b"securestream: ")
    assert done.stderr.count(b"\n") == 1
    assert b"bad.keytab" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("serve", "127.0.0.1:0", "--echo", "--accounts", "STORE"), b"cannot serve so"),
        (("connect", "127.0.0.1:1", "--certificate", "CERTIFICATE"), b"--keytab FILE or --ccache NAME or --user NAME"),
    ],
)
def test_a_credential_that_means_nothing_to_kerberos_is_told_of(
    realm: Realm, store: str, authority: Authority, arguments: tuple[str, ...], told: bytes
) -> None:
    done = run(
        *({"STORE": store, "CERTIFICATE": str(authority.file)}.get(word, word) for word in arguments),
        *("--package", "kerberos"),
        environ=realm.environ,
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("reporting", [("--verbose",), ("--log-json",), ("--verbose", "--log-json")])
def test_verbose_and_json_show_the_steps_and_no_secret(realm: Realm, reporting: tuple[str, ...]) -> None:
    secrets = [entry.key.contents.reveal() for entry in realm.kdc.entries("alice", SERVICE)]
    with serve(realm, *reporting) as server:
        right = connect(realm, server, "--user", ALICE, *reporting, password=PASSWORD)
        wrong = connect(realm, server, "--user", ALICE, *reporting, password="canary-WRONG")
        assert (right.stdout, wrong.stdout) == (b"over kerberos", b"")
        assert server.end() == 0
        served = server.everything().encode()
    for text in (right.stderr, wrong.stderr, served):
        assert PASSWORD.encode() not in text
        assert b"canary-WRONG" not in text
        for secret in secrets:
            assert secret.hex().encode() not in text.lower()
            assert repr(secret)[2:-1].encode() not in text
    if "--verbose" in reporting:
        for kind in (b"AP-REQ", b"AP-REP"):
            assert kind in right.stderr
            assert kind in served
    if "--log-json" in reporting:
        for line in (*served.splitlines(), *right.stderr.splitlines()):
            assert json.loads(line)["event"]
