"""TLS with the tools of OpenSSL and GnuTLS, both roles: data, close, truncation, and each refusal by its own kind."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from securestream.credentials import Credential
from securestream.errors import CertificateRejected, ErrorKind, HandshakeError, PeerRefused, Truncated
from securestream.records.endpoints import Engine
from securestream.records.settings import Version
from securestream_providers.schannel import Schannel
from tests.certificates import Pair
from tests.interop.expected_tls import TABLE
from tests.interop.matrix import Filler
from tests.interop.peers.tls import GNUTLS, OPENSSL, TIMEOUT, ForeignTls, Process, Setup, started
from tests.interop.tls_ends import CA, CLIENT, LEAF, OTHER, SIZES, OurServer, alert_of, call, engines, versions

pytestmark = pytest.mark.interop


@pytest.fixture(params=[OPENSSL, GNUTLS], ids=lambda peer: peer.name)
def peer(request: pytest.FixtureRequest) -> ForeignTls:
    """A foreign implementation."""
    chosen: ForeignTls = request.param
    if (wanted := chosen.missing()) is not None:
        pytest.skip(f"{chosen.name} is not here; install {wanted}")
    return chosen


def fill(matrix: Filler, peer: ForeignTls, role: str, option: str, seen: str) -> None:
    matrix.fill(TABLE, peer.name, peer.version(), role, option, seen)


# --- the peer is the server ------------------------------------------------------------------------------------------


@engines
@versions
@pytest.mark.parametrize("mutual", [False, True])
def test_data_to_a_foreign_server(
    peer: ForeignTls, engine: Engine, version: Version, mutual: bool, tmp_path: Path, matrix: Filler
) -> None:
    setup = Setup(version, LEAF, CA if mutual else None, ("echo",))
    package = Schannel(trust=CA.pem, engine=engine, alpn=["other", "echo"])
    credential = CLIENT.credential if mutual else None
    with peer.server(tmp_path, setup) as (_, port), call(port, package, credential=credential) as client:
        assert (client.session.version, client.session.alpn) == (version, "echo")
        for size in SIZES:
            data = peer.payload(size)
            assert client.bounce(data) == data
        _, trailing = client.stream.unwrap()
        assert trailing == b""
    fill(matrix, peer, "server", f"{version} {'mutual ' if mutual else ''}{engine}", "echoed 0 to 3000000 octets")


REFUSED_SERVERS: dict[str, tuple[Pair, ErrorKind]] = {
    "wrong name": (CA.leaf(["other.example"]), ErrorKind.CERTIFICATE_NAME),
    "expired": (CA.leaf(expired=True), ErrorKind.CERTIFICATE_EXPIRED),
    "untrusted": (OTHER.leaf(), ErrorKind.CERTIFICATE_UNTRUSTED),
    "revoked": (LEAF, ErrorKind.CERTIFICATE_REVOKED),
    "for clients": (CLIENT, ErrorKind.CERTIFICATE_USAGE),
}


@engines
@versions
@pytest.mark.parametrize("why", REFUSED_SERVERS)
def test_a_foreign_server_that_we_refuse(
    peer: ForeignTls, engine: Engine, version: Version, why: str, tmp_path: Path, matrix: Filler
) -> None:
    leaf, kind = REFUSED_SERVERS[why]
    crls = [CA.crl(LEAF)] if why == "revoked" else []
    with (
        peer.server(tmp_path, Setup(version, leaf)) as (_, port),
        pytest.raises(CertificateRejected) as refused,
        call(port, Schannel(trust=CA.pem, crls=crls, engine=engine)),
    ):
        pass
    assert refused.value.kind is kind
    fill(matrix, peer, "server", f"{why}, refused", kind.name)


MISSED = {  # only TLS 1.3 has an alert for it (RFC 8446 6.2)
    ("OpenSSL", "TLSv1.2"): "alert 40, ALGORITHM_MISMATCH",
    ("OpenSSL", "TLSv1.3"): "alert 116, CERTIFICATE_REQUIRED",
    ("GnuTLS", "TLSv1.2"): "alert 50, ILLEGAL_MESSAGE",  # 3.7.9 calls an empty Certificate a decode_error
    ("GnuTLS", "TLSv1.3"): "alert 116, CERTIFICATE_REQUIRED",
}


@engines
@versions
def test_a_foreign_server_that_misses_our_certificate(
    peer: ForeignTls, engine: Engine, version: Version, tmp_path: Path, matrix: Filler
) -> None:
    with (
        peer.server(tmp_path, Setup(version, LEAF, CA)) as (_, port),
        pytest.raises(PeerRefused) as refused,
        call(port, Schannel(trust=CA.pem, engine=engine)) as client,
    ):
        client.stream.recv()
    seen = alert_of(refused.value)
    assert seen == MISSED[peer.name, version]
    fill(matrix, peer, "server", f"{version} missing client certificate", seen)


@engines
def test_a_foreign_server_of_other_protocols(peer: ForeignTls, engine: Engine, tmp_path: Path, matrix: Filler) -> None:
    with (
        peer.server(tmp_path, Setup(own=LEAF, alpn=("theirs",))) as (_, port),
        pytest.raises(PeerRefused) as refused,
        call(port, Schannel(trust=CA.pem, engine=engine, alpn=["ours"])),
    ):
        pass
    seen = alert_of(refused.value)
    assert seen == "alert 120, ALPN_MISMATCH"
    fill(matrix, peer, "server", "no common protocol", seen)


@engines
@versions
def test_a_foreign_server_that_is_cut_off(
    peer: ForeignTls, engine: Engine, version: Version, tmp_path: Path, matrix: Filler
) -> None:
    package = Schannel(trust=CA.pem, engine=engine)
    with peer.server(tmp_path, Setup(version, LEAF)) as (process, port), call(port, package) as client:
        assert client.bounce(b"some text\n") == b"some text\n"
        process.kill()
        with pytest.raises(Truncated, match="without a close_notify"):
            client.stream.recv()
    fill(matrix, peer, "server", "truncation", "TRUNCATED")


def test_a_session_with_a_foreign_server_is_resumed(peer: ForeignTls, tmp_path: Path, matrix: Filler) -> None:
    package = Schannel(trust=CA.pem)
    with peer.server(tmp_path, Setup(own=LEAF)) as (_, port):
        resumed: list[bool] = []
        for _ in range(2):
            with call(port, package) as client:
                assert client.bounce(b"text\n") == b"text\n"
                resumed.append(client.session.resumed)
                client.stream.unwrap()[0].close()
    assert resumed == [False, True]
    fill(matrix, peer, "server", "resumption", "resumed")


# --- the peer is the client ------------------------------------------------------------------------------------------


@engines
@versions
@pytest.mark.parametrize("mutual", [False, True])
def test_data_from_a_foreign_client(
    peer: ForeignTls, engine: Engine, version: Version, mutual: bool, tmp_path: Path, matrix: Filler
) -> None:
    setup = Setup(version, CLIENT if mutual else None, CA, ("echo",))
    package = Schannel(trust=CA.pem, engine=engine, alpn=["echo"], client_certificates="required" if mutual else "none")
    with OurServer(package) as server, started(peer.client(tmp_path, server.port, setup), tmp_path / "log") as process:
        for size in SIZES[1:]:
            data = os.urandom(size)
            assert process.bounce(data) == data
        process.end_input()
        outcome = server.outcome()
    assert outcome.error is None
    assert outcome.closed  # by close_notify
    assert outcome.total == sum(SIZES)
    assert outcome.session is not None
    assert (outcome.session.version, outcome.session.alpn) == (version, "echo")
    assert outcome.session.server_name == "localhost"
    assert outcome.peer is not None
    assert outcome.peer.name == ("client.example" if mutual else "")
    fill(matrix, peer, "client", f"{version} {'mutual ' if mutual else ''}{engine}", "echoed 1 to 3000000 octets")


REFUSED_CLIENTS: dict[str, tuple[Pair | None, ErrorKind]] = {
    "missing client certificate": (None, ErrorKind.CERTIFICATE_REQUIRED),
    "expired": (CA.leaf(["c"], usage=["client"], expired=True), ErrorKind.CERTIFICATE_EXPIRED),
    "untrusted": (OTHER.leaf(["c"], usage=["client"]), ErrorKind.CERTIFICATE_UNTRUSTED),
    "revoked": (CLIENT, ErrorKind.CERTIFICATE_REVOKED),
    "for servers": (CA.leaf(["c"], usage=["server"]), ErrorKind.CERTIFICATE_USAGE),
}


@engines
@versions
@pytest.mark.parametrize("why", REFUSED_CLIENTS)
def test_a_foreign_client_that_we_refuse(
    peer: ForeignTls, engine: Engine, version: Version, why: str, tmp_path: Path, matrix: Filler
) -> None:
    own, kind = REFUSED_CLIENTS[why]
    package = Schannel(
        trust=CA.pem, crls=[CA.crl(CLIENT)] if why == "revoked" else [], engine=engine, client_certificates="required"
    )
    setup = Setup(version, own, CA)
    with (
        OurServer(package) as server,
        started(peer.client(tmp_path, server.port, setup), tmp_path / "log"),
    ):
        outcome = server.outcome()
    assert isinstance(outcome.error, HandshakeError)
    assert outcome.error.kind is kind
    fill(matrix, peer, "client", f"{why}, refused", kind.name)


REFUSED_BY_CLIENTS: dict[str, Credential] = {
    "wrong name, refused by it": CA.leaf(["other.example"]).credential,
    "expired, refused by it": CA.leaf(expired=True).credential,
    "untrusted, refused by it": OTHER.leaf().credential,
}
THEIR_ALERTS = {
    ("OpenSSL", "wrong name, refused by it"): "alert 42, CERTIFICATE_UNKNOWN",
    ("OpenSSL", "expired, refused by it"): "alert 45, CERTIFICATE_EXPIRED",
    ("OpenSSL", "untrusted, refused by it"): "alert 48, CERTIFICATE_UNTRUSTED",
    # gnutls-cli 3.7.9 says bad_certificate whatever it dislikes
    ("GnuTLS", "wrong name, refused by it"): "alert 42, CERTIFICATE_UNKNOWN",
    ("GnuTLS", "expired, refused by it"): "alert 42, CERTIFICATE_UNKNOWN",
    ("GnuTLS", "untrusted, refused by it"): "alert 42, CERTIFICATE_UNKNOWN",
}


@engines
@versions
@pytest.mark.parametrize("why", REFUSED_BY_CLIENTS)
def test_a_foreign_client_that_refuses_us(
    peer: ForeignTls, engine: Engine, version: Version, why: str, tmp_path: Path, matrix: Filler
) -> None:
    setup = Setup(version, None, CA)
    with (
        OurServer(Schannel(engine=engine), REFUSED_BY_CLIENTS[why]) as server,
        started(peer.client(tmp_path, server.port, setup), tmp_path / "log"),
    ):
        outcome = server.outcome()
    seen = alert_of(outcome.error)
    assert seen == THEIR_ALERTS[peer.name, why]
    fill(matrix, peer, "client", why, seen)


@engines
@versions
def test_a_foreign_client_that_is_cut_off(
    peer: ForeignTls, engine: Engine, version: Version, tmp_path: Path, matrix: Filler
) -> None:
    setup = Setup(version, None, CA)
    with (
        OurServer(Schannel(engine=engine)) as server,
        started(peer.client(tmp_path, server.port, setup), tmp_path / "log") as process,
    ):
        assert process.bounce(b"x" * 1000) == b"x" * 1000
        process.kill()
        outcome = server.outcome()
    assert not outcome.closed
    assert isinstance(outcome.error, Truncated)
    assert "without a close_notify" in str(outcome.error)
    fill(matrix, peer, "client", "truncation", "TRUNCATED")


@engines
def test_a_foreign_client_of_other_protocols(peer: ForeignTls, engine: Engine, tmp_path: Path, matrix: Filler) -> None:
    setup = replace(Setup(trusted=CA), alpn=("theirs",))
    with (
        OurServer(Schannel(engine=engine, alpn=["ours"])) as server,
        started(peer.client(tmp_path, server.port, setup), tmp_path / "log"),
    ):
        outcome = server.outcome()
    assert isinstance(outcome.error, HandshakeError)
    assert outcome.error.kind is ErrorKind.ALPN_MISMATCH
    fill(matrix, peer, "client", "no common protocol", ErrorKind.ALPN_MISMATCH.name)


def _wait_for(process: Process, words: str, times: int = 1) -> None:
    deadline = time.monotonic() + TIMEOUT
    while process.said().count(words) < times:
        assert time.monotonic() < deadline, process.said()
        time.sleep(0.02)


@pytest.fixture
def openssl() -> ForeignTls:
    """The implementation whose client takes commands."""
    if (wanted := OPENSSL.missing()) is not None:
        pytest.skip(f"{OPENSSL.name} is not here; install {wanted}")
    return OPENSSL


@engines
@pytest.mark.parametrize("command", [b"k\n", b"K\n"], ids=["theirs", "both"])
def test_a_foreign_client_changes_its_keys(
    openssl: ForeignTls, engine: Engine, command: bytes, tmp_path: Path, matrix: Filler
) -> None:
    setup = Setup(trusted=CA, commands=True)
    with (
        OurServer(Schannel(engine=engine)) as server,
        started(openssl.client(tmp_path, server.port, setup), tmp_path / "log") as process,
    ):
        for number in range(3):
            assert process.bounce(b"some text\n" * 5000) == b"some text\n" * 5000
            process.write(command)
            _wait_for(process, "KEYUPDATE", number + 1)  # a command is a read of its own
        assert process.bounce(b"more text\n") == b"more text\n"
        process.end_input()
        outcome = server.outcome()
    assert outcome.error is None
    assert outcome.closed
    fill(matrix, openssl, "client", "KeyUpdate", "data goes on")


@engines
def test_a_foreign_client_may_not_renegotiate(
    openssl: ForeignTls, engine: Engine, tmp_path: Path, matrix: Filler
) -> None:
    setup = Setup("TLSv1.2", trusted=CA, commands=True)
    with (
        OurServer(Schannel(engine=engine), timeout=3) as server,  # the refusal leaves with what is sent next
        started(openssl.client(tmp_path, server.port, setup), tmp_path / "log") as process,
    ):
        assert process.bounce(b"some text\n") == b"some text\n"
        process.write(b"R\n")
        _wait_for(process, "no renegotiation")
        outcome = server.outcome()
    assert outcome.total == len(b"some text\n")
    fill(matrix, openssl, "client", "renegotiation", "refused")
