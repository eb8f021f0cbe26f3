"""TLS with curl as the client of a small HTTP server of ours."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from securestream.blocking import SecureSocket
from securestream.credentials import Credential
from securestream.errors import CertificateRejected, ErrorKind
from securestream.records.endpoints import Engine
from securestream.records.settings import Version
from securestream_providers.schannel import Schannel
from tests.certificates import Pair
from tests.interop.expected_tls import TABLE
from tests.interop.matrix import Filler
from tests.interop.tls_ends import CA, CLIENT, LEAF, OTHER, TIMEOUT, alert_of, engines, versions

pytestmark = pytest.mark.interop


BODY = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def curl() -> str:
    """Its version."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not here; install apt-get install curl")
    text = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    return text.split()[1]


@dataclass
class Served:
    """What happened at the server."""

    port: int
    thread: threading.Thread | None = None
    peer: str | None = None
    error: Exception | None = None
    uploaded: bytearray = field(default_factory=bytearray)

    def wait(self) -> None:
        assert self.thread is not None
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()


@contextmanager
def http_server(package: Schannel, credential: Credential) -> Generator[Served]:
    """Answers one request with `BODY`, and keeps what was sent along."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
        served = Served(listener.getsockname()[1])

        def serve() -> None:
            try:
                connection, _ = listener.accept()
                connection.settimeout(TIMEOUT)
                with SecureSocket.wrap_server(
                    connection, package=package, credential=credential, handshake_timeout=TIMEOUT
                ) as stream:
                    served.peer = stream.peer.name
                    _answer(stream, served)
            except Exception as error:  # whatever it is, the test looks at it
                served.error = error

        served.thread = threading.Thread(target=serve, daemon=True)
        served.thread.start()
        yield served


def _answer(stream: SecureSocket, served: Served) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        if not (data := stream.recv()):
            raise EOFError("curl closed the connection without a request")
        request += data
    head, _, body = request.partition(b"\r\n\r\n")
    served.uploaded += body
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    wanted = int(fields.get(b"content-length", b"0"))
    while len(served.uploaded) < wanted:
        served.uploaded += stream.recv()
    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY))
    stream.sendall(BODY)


def run(folder: Path, port: int, version: Version, *more: str, own: Pair | None = None) -> tuple[int, bytes]:
    """curl's status, and the body that it received."""
    authority, output = folder / "authority.pem", folder / "output"
    authority.write_bytes(CA.pem)
    limits = {"TLSv1.2": ["--tlsv1.2", "--tls-max", "1.2"], "TLSv1.3": ["--tlsv1.3"]}[version]
    command = ["curl", "--silent", "--show-error", "--max-time", "15", "--noproxy", "*", "--http1.1", *limits]
    command += ["--cacert", str(authority), "--resolve", f"localhost:{port}:127.0.0.1", "--output", str(output)]
    command += ["--header", "Expect:", *more]
    if own is not None:
        certificate, key = own.write(folder, "curl")
        command += ["--cert", str(certificate), "--key", str(key)]
    done = subprocess.run([*command, f"https://localhost:{port}/"], capture_output=True, check=False)
    return done.returncode, output.read_bytes() if output.exists() else b""


@engines
@versions
@pytest.mark.parametrize("mutual", [False, True])
def test_curl_downloads_and_uploads(
    curl: str, engine: Engine, version: Version, mutual: bool, tmp_path: Path, matrix: Filler
) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(BODY[::-1])
    package = Schannel(
        trust=CA.pem, engine=engine, alpn=["http/1.1"], client_certificates="required" if mutual else "none"
    )
    with http_server(package, LEAF.credential) as served:
        status, body = run(
            tmp_path, served.port, version, "--data-binary", f"@{upload}", own=CLIENT if mutual else None
        )
        served.wait()
    assert (status, served.error) == (0, None)
    assert body == BODY
    assert served.uploaded == BODY[::-1]
    assert served.peer == ("client.example" if mutual else "")
    option = f"{version} {'mutual ' if mutual else ''}{engine}"
    matrix.fill(TABLE, "curl", curl, "client", option, "3000000 octets both ways")


REFUSALS: dict[str, tuple[Credential, str]] = {
    "wrong name": (CA.leaf(["other.example"]).credential, "no alert"),  # 7.88 judges it after the handshake, and closes
    "expired": (CA.leaf(expired=True).credential, "alert 45, CERTIFICATE_EXPIRED"),
    "untrusted": (OTHER.leaf().credential, "alert 48, CERTIFICATE_UNTRUSTED"),
}


@engines
@pytest.mark.parametrize("why", REFUSALS)
def test_curl_refuses_us(curl: str, engine: Engine, why: str, tmp_path: Path, matrix: Filler) -> None:
    credential, wanted = REFUSALS[why]
    with http_server(Schannel(engine=engine), credential) as served:
        status, body = run(tmp_path, served.port, "TLSv1.3")
        served.wait()
    assert (status, body) == (60, b"")
    seen = "no alert" if isinstance(served.error, EOFError) else alert_of(served.error)
    assert seen == wanted
    matrix.fill(TABLE, "curl", curl, "client", f"{why}, refused by it", f"status 60, {seen}")


@engines
@versions
def test_curl_without_a_certificate_is_refused(
    curl: str, engine: Engine, version: Version, tmp_path: Path, matrix: Filler
) -> None:
    package = Schannel(trust=CA.pem, engine=engine, client_certificates="required")
    with http_server(package, LEAF.credential) as served:
        status, _ = run(tmp_path, served.port, version)
        served.wait()
    assert status in (35, 52, 56)
    assert isinstance(served.error, CertificateRejected)
    assert served.error.kind is ErrorKind.CERTIFICATE_REQUIRED
    matrix.fill(TABLE, "curl", curl, "client", "missing client certificate, refused", served.error.kind.name)
