"""OpenSSL's and GnuTLS's command-line tools as TLS clients and servers: octets in and out through their pipes."""

from __future__ import annotations

import base64
import functools
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import pytest

from tests.certificates import Pair
from tests.interop.peers.namespace import Namespace
from tests.ports import free_port

TIMEOUT = 20.0


class Process:
    """A tool whose standard input and output are the plaintext."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.input: IO[bytes] = self._process.stdin
        self.output: IO[bytes] = self._process.stdout

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.input.write(view) :]

    def echo(self) -> None:
        """Give back, from now on and in a thread, whatever it receives."""

        def relay() -> None:
            with suppress(OSError, ValueError):
                while data := self.output.read(65536):
                    self.write(data)

        threading.Thread(target=relay, daemon=True).start()

    def bounce(self, data: bytes) -> bytes:
        """Write `data` and read as much."""
        writer = threading.Thread(target=self.write, args=(data,), daemon=True)
        writer.start()
        received = bytearray()
        while len(received) < len(data) and (part := self.output.read(65536)):
            received += part
        writer.join(TIMEOUT)
        return bytes(received)

    def end_input(self) -> None:
        """Close its standard input: it then closes the connection politely."""
        self.input.close()

    def kill(self) -> None:
        """End it with no chance to say so: its connection is cut."""
        self._process.kill()
        self._process.wait(TIMEOUT)

    def wait(self) -> int:
        return self._process.wait(TIMEOUT)

    def close(self) -> None:
        with suppress(OSError):
            self.input.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        self.output.close()


@contextmanager
def started(command: Sequence[str | Path], log: Path) -> Generator[Process]:
    """The process, for the time of a block."""
    process = Process(command, log)
    try:
        yield process
    finally:
        process.close()


@dataclass(frozen=True)
class Setup:
    """What one end of an exchange is told.

    Args:
        version: ``"TLSv1.2"`` or ``"TLSv1.3"``.
        own: its certificate.
        trusted: the authority that it trusts; a server then demands a client certificate.
        alpn: its protocols.
        name: the name that a client verifies.
        commands: whether a line of one letter is a command to the client, as s_client has them.
    """

    version: str = "TLSv1.3"
    own: Pair | None = None
    trusted: Pair | None = None
    alpn: tuple[str, ...] = ()
    name: str = "localhost"
    commands: bool = False


class ForeignTls:
    """A foreign implementation with both roles."""

    name: str
    tools: tuple[str, ...]
    package: str

    def missing(self) -> str | None:
        """What to install, or `None`."""
        return None if all(map(shutil.which, self.tools)) else f"apt-get install {self.package}"

    def version(self) -> str:
        return _version(self.tools[0])

    def server(self, folder: Path, setup: Setup) -> AbstractContextManager[tuple[Process, int]]:
        """A server that echoes, and its port."""
        raise NotImplementedError

    def payload(self, size: int) -> bytes:
        """Octets that its server echoes as they are."""
        return os.urandom(size)

    def client(self, folder: Path, port: int, setup: Setup) -> Sequence[str | Path]:
        """The command of a client."""
        raise NotImplementedError


@functools.cache
def _version(tool: str) -> str:
    argument = "version" if tool == "openssl" else "--version"
    text = subprocess.run([tool, argument], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", text)
    return found[0] if found else "?"


def _files(folder: Path, setup: Setup, who: str) -> tuple[Path | None, Path | None, Path | None]:
    """Certificate, key and authority, written."""
    certificate, key = (None, None) if setup.own is None else setup.own.write(folder, who)
    if setup.trusted is None:
        return certificate, key, None
    authority = folder / f"{who}-trusts.pem"
    authority.write_bytes(setup.trusted.pem)
    return certificate, key, authority


class OpenSsl(ForeignTls):
    name = "OpenSSL"
    tools = ("openssl",)
    package = "openssl"
    _flags: ClassVar[dict[str, str]] = {"TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}

    @contextmanager
    def server(self, folder: Path, setup: Setup) -> Generator[tuple[Process, int]]:
        certificate, key, authority = _files(folder, setup, "openssl-server")
        assert certificate is not None
        assert key is not None
        port = free_port()
        command: list[str | Path] = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}"]
        command += ["-cert", certificate, "-key", key]
        command += ["-cert_chain", certificate, self._flags[setup.version], "-verify_quiet", "-no_ign_eof"]
        if authority is not None:
            command += ["-CAfile", authority, "-Verify", "3", "-verify_return_error"]
        if setup.alpn:
            command += ["-alpn", ",".join(setup.alpn)]
        command += ["-quiet"]  # it hides the port as well as the commands that data would be taken for
        with started(command, folder / "openssl-server.log") as process:
            wait_for_listener(port)
            process.echo()
            yield process, port

    def client(self, folder: Path, port: int, setup: Setup) -> Sequence[str | Path]:
        certificate, key, authority = _files(folder, setup, "openssl-client")
        command: list[str | Path] = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", setup.name]
        command += [self._flags[setup.version], "-quiet", "-verify_quiet", "-no_ign_eof"]
        if not setup.commands:
            command += ["-nocommands"]
        if authority is not None:
            command += ["-CAfile", authority, "-verify_return_error", "-verify_hostname", setup.name]
        if certificate is not None and key is not None:
            command += ["-cert", certificate, "-key", key]
        if setup.alpn:
            command += ["-alpn", ",".join(setup.alpn)]
        return command


class GnuTls(ForeignTls):
    name = "GnuTLS"
    tools = ("gnutls-cli", "gnutls-serv")
    package = "gnutls-bin"
    _priorities: ClassVar[dict[str, str]] = {
        "TLSv1.2": "NORMAL:-VERS-ALL:+VERS-TLS1.2",
        "TLSv1.3": "NORMAL:-VERS-ALL:+VERS-TLS1.3",
    }

    @contextmanager
    def server(self, folder: Path, setup: Setup) -> Generator[tuple[Process, int]]:
        certificate, key, authority = _files(folder, setup, "gnutls-server")
        assert certificate is not None
        assert key is not None
        port = 4433
        command: list[str | Path] = ["gnutls-serv", "--echo", "--quiet", "--port", str(port)]
        command += ["--x509certfile", certificate, "--x509keyfile", key, "--priority", self._priorities[setup.version]]
        if authority is not None:
            command += ["--x509cafile", authority, "--require-client-cert", "--verify-client-cert"]
        else:
            command += ["--disable-client-cert"]
        for name in setup.alpn:
            command += ["--alpn", name]
        if setup.alpn:
            command += ["--alpn-fatal"]
        with closing(_namespace()) as inside:  # it listens on every interface, and cannot be told otherwise
            process = inside.run(Process, command, folder / "gnutls-server.log")
            try:
                inside.run(wait_for_listener, port)
                with inside.reachable(port) as outside:
                    yield process, outside
            finally:
                process.close()

    def payload(self, size: int) -> bytes:
        """gnutls-serv 3.7 echoes text, when a line of it is complete."""
        line = base64.b64encode(os.urandom(600))[: min(size, 800) - 1] + b"\n" if size else b""
        return (line * (size // len(line) + 1))[-size:] if size else b""

    def client(self, folder: Path, port: int, setup: Setup) -> Sequence[str | Path]:
        certificate, key, authority = _files(folder, setup, "gnutls-client")
        command: list[str | Path] = ["gnutls-cli", "--port", str(port), "--priority", self._priorities[setup.version]]
        command += ["--logfile", folder / "gnutls-client-messages.log", "--sni-hostname", setup.name]
        if authority is not None:
            command += ["--x509cafile", authority, "--verify-hostname", setup.name]
        else:
            command += ["--insecure"]
        if certificate is not None and key is not None:
            command += ["--x509certfile", certificate, "--x509keyfile", key]
        for name in setup.alpn:
            command += ["--alpn", name]
        return [*command, "127.0.0.1"]


def _namespace() -> Namespace:
    try:
        return Namespace()
    except OSError as error:
        pytest.skip(f"gnutls-serv listens on every interface, and there is no network namespace for it: {error}")


def wait_for_listener(port: int) -> None:
    """Until a socket listens on `port`, without connecting to it: a tool that serves one would count that."""
    wanted = f":{port:04X} "
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        for table in ("/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"):
            with suppress(OSError):
                for line in Path(table).read_text().splitlines():
                    fields = line.split()
                    if len(fields) > 3 and fields[1].endswith(wanted.strip()) and fields[3] == "0A":
                        return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


OPENSSL = OpenSsl()
GNUTLS = GnuTls()
