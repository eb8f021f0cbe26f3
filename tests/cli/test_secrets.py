"""No secret in what the commands print (SECURITY: secrets in reports)."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path

import pytest

from securestream.cli.demo.certificates import Authority
from securestream.registry import Registry
from securestream.services.nt_hash import nt_hash
from tests.cli.keys import seal_key
from tests.cli.processes import Running, run
from tests.cli.realm import ALICE, SERVICE, Realm

CANARY = "canary-PASSWORD-4711"
WRONG = "canary-WRONG-0815"


def forms(secret: str) -> list[bytes]:
    """What a secret may look like."""
    octets = [secret.encode(), secret.encode("utf-16-le"), nt_hash(secret)]
    return [
        form
        for each in octets
        for form in (each, each.hex().encode(), each.hex().upper().encode(), base64.b64encode(each)[:-4])
    ]


def check(*texts: bytes) -> None:
    for text in texts:
        for secret in (CANARY, WRONG):
            for form in forms(secret):
                assert form not in text
                assert repr(form)[2:-1].encode() not in text


@pytest.mark.parametrize("reporting", [("--verbose",), ("--log-json",), ("--verbose", "--log-json")])
def test_verbose_and_json_show_the_steps_of_ntlm_and_no_secret(
    tmp_path: Path, installed: None, reporting: tuple[str, ...]
) -> None:
    from securestream.services.accounts_sqlite import SqliteAccounts

    store = tmp_path / "accounts.db"
    SqliteAccounts(store).add("alice", CANARY)
    serve = ("serve", "127.0.0.1:0", "--package", "ntlm", "--accounts", str(store), "--echo")
    with Running(*serve, *reporting) as server:
        connect = ("connect", server.address, "--package", "ntlm", "--user", "alice", *reporting)
        right = run(*connect, stdin=b"data", password=CANARY)
        wrong = run(*connect, stdin=b"data", password=WRONG)
        assert (right.stdout, wrong.stdout) == (b"data", b"")
        weak = run(*connect, "--level", "sign", stdin=b"data", password=CANARY)
        assert weak.returncode == 1
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x01\0\0\x10NTLMSSP\0\3\0\0\0\xff\xff\xff\xff", b"\x16\x01"):
            with socket.create_connection(("127.0.0.1", server.port), 30) as plain:
                plain.sendall(garbage)
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(1000):
                    pass
        assert server.end() == 0
        served = server.everything()
    check(right.stderr, wrong.stderr, weak.stderr, served.encode())
    if "--verbose" in reporting:
        for kind in ("NEGOTIATE", "CHALLENGE", "AUTHENTICATE"):
            assert kind in right.stderr.decode()
            assert kind in served
    if "--log-json" in reporting:
        for line in (*served.splitlines(), *right.stderr.decode().splitlines()):
            assert json.loads(line)["event"]


def test_the_commands_of_kerberos_show_no_secret(tmp_path: Path, installed: None) -> None:
    if "kerberos" not in Registry.installed():
        pytest.skip("this installation of securestream has no Kerberos yet: pip install -e . again")
    new = tmp_path / "new"
    new.touch(mode=0o600)
    new.write_text(WRONG, encoding="utf-8")
    with Realm(tmp_path, CANARY) as realm:
        keys = [entry.key.contents.reveal() for entry in realm.kdc.entries("alice", SERVICE)]
        told: list[bytes] = []
        for arguments, password in (
            (("kinit", ALICE), WRONG),
            (("kinit", ALICE), CANARY),
            (("kvno", SERVICE, "nobody/there"), None),
            (("klist", "-e", "-f"), None),
            (("klist", "--json"), None),
            (("klist", "-k", "-e", "-t", realm.keytab(SERVICE)), None),
            (("kpasswd", ALICE, "--new-password-file", str(new)), "not " + CANARY),
            (("kpasswd", ALICE, "--new-password-file", str(new)), CANARY),
            (("kdestroy",), None),
        ):
            done = run(*arguments, password=password, environ=realm.environ)
            told += [done.stdout, done.stderr]
            assert b"Traceback" not in done.stderr
    check(*told)
    for key in keys:
        for form in (key, key.hex().encode(), base64.b64encode(key)[:-4]):
            assert all(form not in text.lower() for text in told)


def test_verbose_shows_the_records_of_tls_and_no_key(authority: Authority) -> None:
    pair = authority.issue("files.example", server=True)
    own = ("--certificate", str(pair.certificate), "--key", str(pair.key))
    with Running("serve", "127.0.0.1:0", "--package", "schannel", *own, "--echo", "--verbose") as server:
        done = run(
            *("connect", server.address, "--package", "schannel", "--ca", str(authority.file)),
            *("--target", "files.example", "--verbose"),
            stdin=b"data",
        )
        assert done.stdout == b"data"
        assert b"ClientHello" in done.stderr
        assert server.end() == 0
        assert "ServerHello" in server.everything()
        secret = "".join(pair.key.read_text().splitlines()[1:-1])
        assert secret[:32] not in server.everything()


def test_a_failing_key_shows_neither_itself_nor_its_password(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("files.example", server=True)
    seal_key(pair, "another password")
    password = tmp_path / "password"
    password.write_text(CANARY)
    password.chmod(0o600)
    done = run(
        *("serve", "127.0.0.1:0", "--package", "schannel", "--echo", "--certificate", str(pair.certificate)),
        *("--key", str(pair.key), "--password-file", str(password), "--verbose"),
    )
    assert done.returncode in (1, 2)
    check(done.stdout, done.stderr)
    assert done.stderr.count(b"\n") == 1
    assert pair.key.read_text().splitlines()[1].encode()[:32] not in done.stderr
