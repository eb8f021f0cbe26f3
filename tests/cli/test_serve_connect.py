"""`securestream serve` and `securestream connect`, as processes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from securestream.cli.demo.certificates import Authority
from securestream.cli.serve import remote_address
from securestream.services.nt_hash import nt_hash
from tests.cli.keys import seal_key
from tests.cli.pairs import MemoryStream
from tests.cli.processes import PASSWORD, Running, run
from tests.ports import free_port

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
ALICE = ("--package", "ntlm", "--user", r"CORP\alice")


def ntlm(store: str, *arguments: str) -> tuple[str, ...]:
    return ("serve", "127.0.0.1:0", "--package", "ntlm", "--accounts", store, *arguments)


def schannel(authority: Authority, *arguments: str) -> tuple[str, ...]:
    pair = authority.issue("files.example", server=True)
    return (
        *("serve", "127.0.0.1:0", "--package", "schannel"),
        *("--certificate", str(pair.certificate), "--key", str(pair.key), *arguments),
    )


@BACKENDS
@pytest.mark.parametrize(
    ("level", "sentence"), [("encrypt", "encrypted and signed"), ("sign", "signed"), ("none", "not protected")]
)
def test_ntlm_echoes_at_each_level_and_one_line_tells_of_it(
    store: str, backend: str, level: str, sentence: str
) -> None:
    with Running(*ntlm(store, "--echo", "--level", level, "--backend", backend)) as server:
        data = os.urandom(300_000)
        done = run(
            *("connect", server.address, *ALICE, "--level", level, "--backend", backend), stdin=data, password=PASSWORD
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == data
        line = server.line()
        assert line.startswith(f"CORP\\alice  NTLM  {sentence}  from 127.0.0.1:")
        assert server.end() == 0
        assert server.everything() == ""


def test_a_samba_password_file_serves_too(tmp_path: Path, installed: None) -> None:
    file = tmp_path / "smbpasswd"
    file.write_text(f"carol:1000:{'X' * 32}:{nt_hash(PASSWORD).hex().upper()}:[U          ]:LCT-00000000:\n")
    file.chmod(0o600)
    with Running(*ntlm(f"smbpasswd:{file}", "--echo")) as server:
        done = run("connect", server.address, "--package", "ntlm", "--user", "carol", stdin=b"x", password=PASSWORD)
        assert (done.stdout, done.stderr) == (b"x", b"")


@BACKENDS
def test_tls_echoes_between_certificates(authority: Authority, backend: str) -> None:
    client = authority.issue("alice.clients.example", server=False)
    ca = ("--ca", str(authority.file))
    with Running(*schannel(authority, *ca, "--echo", "--backend", backend)) as server:
        done = run(
            *("connect", server.address, "--package", "schannel", *ca, "--target", "files.example"),
            *("--certificate", str(client.certificate), "--key", str(client.key), "--backend", backend),
            stdin=b"hello",
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")
        line = server.line()
        assert line.startswith("CN=securestream demo authority\\alice.clients.example  Schannel  encrypted and signed")
        assert server.end(signal.SIGINT) == 0


def test_a_wrong_password_is_one_sentence_and_the_server_serves_on(store: str) -> None:
    with Running(*ntlm(store, "--echo")) as server:
        wrong = run("connect", server.address, *ALICE, stdin=b"x", password="wrong horse")
        assert wrong.returncode == 1
        assert wrong.stdout == b""
        assert wrong.stderr.startswith(b"securestream: ")
        assert wrong.stderr.count(b"\n") == 1
        assert b"SEC_E_LOGON_DENIED" in wrong.stderr
        assert b"wrong horse" not in wrong.stderr
        assert server.error().startswith("127.0.0.1 refused: ")
        right = run("connect", server.address, *ALICE, stdin=b"x", password=PASSWORD)
        assert right.stdout == b"x"


def test_a_client_that_wants_less_than_the_server_is_refused(store: str) -> None:
    with Running(*ntlm(store, "--echo")) as server:
        done = run("connect", server.address, *ALICE, "--level", "sign", stdin=b"x", password=PASSWORD)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"SEC_E_QOP_NOT_SUPPORTED" in done.stderr
        assert "SEC_E_QOP_NOT_SUPPORTED" in server.error()


def test_only_who_is_allowed_is_admitted(store: str) -> None:
    with Running(*ntlm(store, "--echo", "--allow", r"CORP\alice")) as server:
        bob = run("connect", server.address, "--package", "ntlm", "--user", "bob", stdin=b"x", password=PASSWORD)
        assert (bob.returncode, bob.stdout) == (1, b"")
        assert "bob is not admitted" in server.error()
        alice = run("connect", server.address, *ALICE, stdin=b"x", password=PASSWORD)
        assert alice.stdout == b"x"


def test_a_program_learns_who_the_peer_is_and_no_password(store: str) -> None:
    script = "import json, os, resource, sys; print(json.dumps([dict(os.environ), resource.getrlimit(4)]))"
    command = f'{sys.executable} -c "{script}"'
    with Running(*ntlm(store, "--exec", command), environ={"SECURESTREAM_PASSWORD": "hunter2"}) as server:
        done = run("connect", server.address, *ALICE, password=PASSWORD)
        variables, core = json.loads(done.stdout)
        assert variables["SECURESTREAM_PEER"] == r"CORP\alice"
        assert variables["SECURESTREAM_PACKAGE"] == "NTLM"
        assert variables["SECURESTREAM_PROTECTION"] == "encrypt"
        assert variables["SECURESTREAM_PEER_ADDRESS"] == server.line().rpartition(" ")[2]
        assert b"hunter2" not in done.stdout
        assert core == [0, 0], "a crash of the server must write no core"


def test_a_program_that_is_not_there_ends_that_connection_alone(store: str) -> None:
    with Running(*ntlm(store, "--exec", "/nonexistent/program")) as server:
        for _ in range(2):
            assert run("connect", server.address, *ALICE, password=PASSWORD).stdout == b""
            assert "/nonexistent/program" in server.error()


class PlainEcho:
    """Echoes one connection after another, each after its end was seen: the half-close must arrive."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                end, _ = self.listener.accept()
            except OSError:
                return
            with end, contextlib.suppress(OSError):
                end.sendall(_all(end)[::-1])


def _all(end: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    received = bytearray()
    while data := end.recv(65536):
        received += data
    return bytes(received)


@BACKENDS
def test_two_commands_make_a_tunnel_with_half_close(store: str, backend: str) -> None:
    echo = PlainEcho()
    data = os.urandom(1_000_000)
    with (
        echo.listener,
        Running(*ntlm(store, "--forward", f"127.0.0.1:{echo.port}", "--backend", backend)) as server,
        Running(
            *("connect", server.address, *ALICE, "--listen", "127.0.0.1:0", "--backend", backend),
            environ={"SECURESTREAM_PASSWORD": PASSWORD},
        ) as client,
    ):
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", client.port), 30) as plain:
                plain.sendall(data)
                plain.shutdown(socket.SHUT_WR)
                assert _all(plain) == data[::-1]
            assert server.line().startswith(r"CORP\alice  NTLM")
        assert client.end() == 0
        assert server.end() == 0


def test_a_tunnel_whose_far_end_is_down_goes_on(store: str) -> None:
    port = free_port()
    with Running(*ntlm(store, "--forward", f"127.0.0.1:{port}")) as server:
        for _ in range(2):
            done = run("connect", server.address, *ALICE, password=PASSWORD)
            assert done.stdout == b""
            assert server.error().startswith(r"CORP\alice from 127.0.0.1:")


def test_one_connection_more_than_allowed_waits_its_turn(store: str) -> None:
    variables = {"SECURESTREAM_PASSWORD": PASSWORD}
    with Running(*ntlm(store, "--echo", "--max-connections", "1")) as server:
        connect = ("connect", server.address, *ALICE)
        with Running(*connect, environ=variables, listens=False) as first:
            server.line()
            with Running(*connect, environ=variables, listens=False) as second:
                second.write("second\n")
                first.write("first\n")
                assert first.line() == "first"
                time.sleep(1.5)
                assert server.out.empty()
                assert second.out.empty()
                assert first.end_input() == 0
                assert second.line() == "second"
                assert server.line().startswith("CORP")
                assert second.end_input() == 0


@pytest.mark.parametrize(("by", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@BACKENDS
def test_a_signal_ends_a_client_that_waits_for_its_terminal(
    store: str, backend: str, by: signal.Signals, status: int
) -> None:
    with (
        Running(*ntlm(store, "--echo")) as server,
        Running(
            *("connect", server.address, *ALICE, "--backend", backend),
            environ={"SECURESTREAM_PASSWORD": PASSWORD},
            listens=False,
        ) as client,
    ):
        server.line()
        assert client.end(by) == status
        assert client.everything() == ""


def test_ipv6_stands_in_brackets(store: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        address, expected = "127.0.0.1:0", "127.0.0.1:"
    else:
        address, expected = "[::1]:0", "[::1]:"
    with Running("serve", address, "--package", "ntlm", "--accounts", store, "--echo") as server:
        assert server.address.startswith(expected)
        done = run("connect", server.address, *ALICE, stdin=b"x", password=PASSWORD)
        assert done.stdout == b"x"
        assert expected in server.line()


def test_an_untrusted_or_wrongly_named_server_is_not_talked_to(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "another authority")
    with Running(*schannel(authority, "--echo")) as server:
        connect = ("connect", server.address, "--package", "schannel", "--target", "files.example")
        untrusted = run(*connect, "--ca", str(other.file), stdin=b"secret")
        assert (untrusted.returncode, untrusted.stdout) == (1, b"")
        assert b"SEC_E_UNTRUSTED_ROOT" in untrusted.stderr
        wrong = run(*connect[:4], "--ca", str(authority.file), "--target", "other.example", stdin=b"secret")
        assert (wrong.returncode, wrong.stdout) == (1, b"")
        assert b"CERT_E_CN_NO_MATCH" in wrong.stderr
        right = run(*connect, "--ca", str(authority.file), stdin=b"x")
        assert right.stdout == b"x"
        for _ in range(2):
            assert "refused" in server.error()


def test_a_client_without_a_certificate_is_refused_where_one_is_demanded(authority: Authority) -> None:
    ca = ("--ca", str(authority.file))
    with Running(*schannel(authority, *ca, "--echo")) as server:
        done = run(
            *("connect", server.address, "--package", "schannel", *ca, "--target", "files.example"), stdin=b"secret"
        )
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.count(b"\n") == 1
        assert "refused" in server.error()


def test_the_password_of_a_key_comes_from_a_file(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("files.example", server=True)
    seal_key(pair, "of the key")
    password = tmp_path / "password"
    password.write_text("of the key\n")
    password.chmod(0o600)
    serve = ("serve", "127.0.0.1:0", "--package", "schannel", "--echo", "--certificate", str(pair.certificate))
    with Running(*serve, "--key", str(pair.key), "--password-file", str(password)) as server:
        done = run(
            *("connect", server.address, "--package", "schannel", "--ca", str(authority.file)),
            *("--target", "files.example"),
            stdin=b"x",
        )
        assert (done.stdout, done.stderr) == (b"x", b"")


def test_a_client_that_resets_at_once_does_not_end_the_server(store: str) -> None:
    """The system forgets a peer's address with its connection: asking for it must not be an error of the server."""

    class Reset(MemoryStream):
        @property
        def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
            def forgotten() -> Any:
                raise OSError(errno.ENOTCONN, "not connected")

            return {SocketAttribute.remote_address: forgotten}

    async def ask() -> None:
        for stream in (Reset(), MemoryStream()):
            assert remote_address(stream) == "an address that is gone"
            stream.close_everything()

    anyio.run(ask)
    with Running(*ntlm(store, "--echo")) as server:
        for _ in range(5):
            process = Running(
                *("connect", server.address, *ALICE), environ={"SECURESTREAM_PASSWORD": PASSWORD}, listens=False
            )
            with process:
                server.line()
                process.process.kill()
        assert run("connect", server.address, *ALICE, stdin=b"x", password=PASSWORD).stdout == b"x"


def test_nobody_there_is_one_sentence(installed: None) -> None:
    port = free_port()
    done = run("connect", f"127.0.0.1:{port}", *ALICE, password=PASSWORD)
    assert done.returncode == 1
    assert done.stderr.startswith(b"securestream: ")
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_an_address_in_use_is_one_sentence(store: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", address, "--package", "ntlm", "--accounts", store, "--echo")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


def test_a_peer_that_speaks_something_else_ends_alone(store: str) -> None:
    with Running(*ntlm(store, "--echo")) as server:
        with socket.create_connection(("127.0.0.1", server.port), 30) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            plain.settimeout(30)
            while plain.recv(1000):
                pass
        assert server.error().startswith("127.0.0.1 refused: ")
        assert run("connect", server.address, *ALICE, stdin=b"x", password=PASSWORD).stdout == b"x"
