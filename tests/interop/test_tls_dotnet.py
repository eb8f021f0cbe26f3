"""TLS with .NET's SslStream, both roles: versions, client certificates, protocols, payloads, and each refusal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from securestream.errors import CertificateRejected, ErrorKind, HandshakeError, PeerRefused, Truncated
from securestream.records.endpoints import Engine
from securestream.records.settings import Version
from securestream_providers.schannel import Schannel
from tests.certificates import Pair
from tests.interop.expected_tls import TABLE
from tests.interop.matrix import Filler
from tests.interop.peers import dotnet
from tests.interop.peers.process import Event
from tests.interop.tls_ends import CA, CLIENT, LEAF, OTHER, SIZES, OurServer, alert_of, call, engines, versions

pytestmark = pytest.mark.interop

NAMES = {"TLSv1.2": "Tls12", "TLSv1.3": "Tls13"}


@pytest.fixture
def runtime(require: Callable[[ModuleType], str]) -> str:
    """The version of .NET."""
    return require(dotnet)


def settings(folder: Path, version: Version, own: Pair | None, **more: object) -> dict[str, object]:
    """What .NET is told."""
    told: dict[str, object] = {"protocol": "tls", "versions": NAMES[version], **more}
    if own is not None:
        told |= {"certificate": str(own.write_pkcs12(folder / "dotnet.p12", "secret")), "certificatePassword": "secret"}
    return told


def environment(folder: Path) -> dict[str, str]:
    """Its trust in our authority."""
    authority = folder / "authority.pem"
    authority.write_bytes(CA.pem)
    return dotnet.trusting(authority, folder)


@engines
@versions
@pytest.mark.parametrize("mutual", [False, True])
def test_data_to_a_server_of_dotnet(
    runtime: str, engine: Engine, version: Version, mutual: bool, tmp_path: Path, matrix: Filler
) -> None:
    told = settings(tmp_path, version, LEAF, alpn=["echo"], requireCertificate=mutual)
    package = Schannel(trust=CA.pem, engine=engine, alpn=["other", "echo"])
    with dotnet.server(told, environment(tmp_path)) as (peer, port):
        with call(port, package, credential=CLIENT.credential if mutual else None) as client:
            assert (client.session.version, client.session.alpn) == (version, "echo")
            for size in SIZES:
                data = os.urandom(size)
                assert client.bounce(data) == data
            seen: Event = peer.expect("authenticated")
            assert seen["peer"] == ("CN=client" if mutual else None)
            client.stream.unwrap()[0].close()  # its close_notify came
        assert peer.expect("closed")["total"] == sum(SIZES)
    option = f"{version} {'mutual ' if mutual else ''}{engine}"
    matrix.fill(TABLE, dotnet.NAME, runtime, "server", option, "echoed 0 to 3000000 octets")


@engines
@versions
@pytest.mark.parametrize("mutual", [False, True])
def test_data_from_a_client_of_dotnet(
    runtime: str, engine: Engine, version: Version, mutual: bool, tmp_path: Path, matrix: Filler
) -> None:
    package = Schannel(trust=CA.pem, engine=engine, alpn=["echo"], client_certificates="required" if mutual else "none")
    with OurServer(package) as server:
        told = settings(tmp_path, version, CLIENT if mutual else None, alpn=["echo"], sizes=list(SIZES))
        told |= {"role": "client", "port": server.port, "target": "localhost"}
        with dotnet.start(told, environment(tmp_path)) as peer:
            assert peer.expect("authenticated")["alpn"] == "echo"
            for size in SIZES:
                assert peer.expect("echoed") == {"event": "echoed", "size": size, "right": True}
            outcome = server.outcome()
    assert outcome.error is None
    assert outcome.closed
    assert outcome.session is not None
    assert outcome.session.version == version
    assert outcome.peer is not None
    assert outcome.peer.name == ("client.example" if mutual else "")
    option = f"{version} {'mutual ' if mutual else ''}{engine}"
    matrix.fill(TABLE, dotnet.NAME, runtime, "client", option, "echoed 0 to 3000000 octets")


REFUSED_SERVERS: dict[str, tuple[Pair, ErrorKind]] = {
    "wrong name": (CA.leaf(["other.example"]), ErrorKind.CERTIFICATE_NAME),
    "expired": (CA.leaf(expired=True), ErrorKind.CERTIFICATE_EXPIRED),
    "untrusted": (OTHER.leaf(), ErrorKind.CERTIFICATE_UNTRUSTED),
    "revoked": (LEAF, ErrorKind.CERTIFICATE_REVOKED),
}


@engines
@pytest.mark.parametrize("why", REFUSED_SERVERS)
def test_a_server_of_dotnet_that_we_refuse(
    runtime: str, engine: Engine, why: str, tmp_path: Path, matrix: Filler
) -> None:
    leaf, kind = REFUSED_SERVERS[why]
    package = Schannel(trust=CA.pem, crls=[CA.crl(LEAF)] if why == "revoked" else [], engine=engine)
    with dotnet.server(settings(tmp_path, "TLSv1.3", leaf), environment(tmp_path)) as (peer, port):
        with pytest.raises(CertificateRejected) as refused, call(port, package):
            pass
        assert refused.value.kind is kind
        peer.expect("failed")
    matrix.fill(TABLE, dotnet.NAME, runtime, "server", f"{why}, refused", kind.name)


@engines
@versions
def test_a_server_of_dotnet_that_misses_our_certificate(
    runtime: str, engine: Engine, version: Version, tmp_path: Path, matrix: Filler
) -> None:
    told = settings(tmp_path, version, LEAF, requireCertificate=True)
    with (
        dotnet.server(told, environment(tmp_path)) as (_, port),
        call(port, Schannel(trust=CA.pem, engine=engine)) as client,
        pytest.raises(Truncated, match="without a close_notify"),  # .NET judges after the handshake, without alert
    ):
        client.stream.recv()
    option = f"{version} missing client certificate"
    matrix.fill(TABLE, dotnet.NAME, runtime, "server", option, "no alert, TRUNCATED")


REFUSED_CLIENTS: dict[str, tuple[Pair | None, ErrorKind]] = {
    "missing client certificate": (None, ErrorKind.CERTIFICATE_REQUIRED),
    "expired": (CA.leaf(["c"], usage=["client"], expired=True), ErrorKind.CERTIFICATE_EXPIRED),
    "untrusted": (OTHER.leaf(["c"], usage=["client"]), ErrorKind.CERTIFICATE_UNTRUSTED),
    "revoked": (CLIENT, ErrorKind.CERTIFICATE_REVOKED),
}


@engines
@pytest.mark.parametrize("why", REFUSED_CLIENTS)
def test_a_client_of_dotnet_that_we_refuse(
    runtime: str, engine: Engine, why: str, tmp_path: Path, matrix: Filler
) -> None:
    own, kind = REFUSED_CLIENTS[why]
    crls = [CA.crl(CLIENT)] if why == "revoked" else []
    with OurServer(Schannel(trust=CA.pem, crls=crls, engine=engine, client_certificates="required")) as server:
        told = settings(tmp_path, "TLSv1.3", own, sizes=[1])
        told |= {"role": "client", "port": server.port, "target": "localhost"}
        with dotnet.start(told, environment(tmp_path)):
            outcome = server.outcome()
    assert isinstance(outcome.error, HandshakeError)
    assert outcome.error.kind is kind
    matrix.fill(TABLE, dotnet.NAME, runtime, "client", f"{why}, refused", kind.name)


@engines
def test_a_client_of_dotnet_that_refuses_us(runtime: str, engine: Engine, tmp_path: Path, matrix: Filler) -> None:
    with OurServer(Schannel(engine=engine), CA.leaf(["other.example"]).credential) as server:
        told = settings(tmp_path, "TLSv1.3", None, sizes=[1], role="client", port=server.port, target="localhost")
        with dotnet.start(told, environment(tmp_path)) as peer:
            assert "RemoteCertificateNameMismatch" in peer.expect("certificate")["errors"]
            outcome = server.outcome()
    assert isinstance(outcome.error, Truncated)  # .NET judges after the handshake, without alert
    assert "without a close_notify" in str(outcome.error)
    matrix.fill(TABLE, dotnet.NAME, runtime, "client", "wrong name, refused by it", "no alert, TRUNCATED")


@engines
def test_a_client_of_dotnet_that_is_cut_off(runtime: str, engine: Engine, tmp_path: Path, matrix: Filler) -> None:
    with OurServer(Schannel(engine=engine)) as server:
        told = settings(tmp_path, "TLSv1.3", None, sizes=[1000], truncate=True)
        told |= {"role": "client", "port": server.port, "target": "localhost"}
        with dotnet.start(told, environment(tmp_path)) as peer:
            peer.expect("echoed")
            outcome = server.outcome()
    assert not outcome.closed
    assert isinstance(outcome.error, Truncated)
    assert "without a close_notify" in str(outcome.error)
    matrix.fill(TABLE, dotnet.NAME, runtime, "client", "truncation", "TRUNCATED")


@engines
def test_a_client_of_dotnet_of_other_protocols(runtime: str, engine: Engine, tmp_path: Path, matrix: Filler) -> None:
    with OurServer(Schannel(engine=engine, alpn=["ours"])) as server:
        told = settings(tmp_path, "TLSv1.3", None, alpn=["theirs"], sizes=[1])
        told |= {"role": "client", "port": server.port, "target": "localhost"}
        with dotnet.start(told, environment(tmp_path)) as peer:
            outcome = server.outcome()
            peer.expect("failed")
    assert isinstance(outcome.error, HandshakeError)
    assert outcome.error.kind is ErrorKind.ALPN_MISMATCH
    matrix.fill(TABLE, dotnet.NAME, runtime, "client", "no common protocol", ErrorKind.ALPN_MISMATCH.name)


@engines
def test_a_server_of_dotnet_of_other_protocols(runtime: str, engine: Engine, tmp_path: Path, matrix: Filler) -> None:
    told = settings(tmp_path, "TLSv1.3", LEAF, alpn=["theirs"])
    with (
        dotnet.server(told, environment(tmp_path)) as (_, port),
        pytest.raises(PeerRefused) as refused,
        call(port, Schannel(trust=CA.pem, engine=engine, alpn=["ours"])),
    ):
        pass
    seen = alert_of(refused.value)
    assert seen == "alert 120, ALPN_MISMATCH"
    matrix.fill(TABLE, dotnet.NAME, runtime, "server", "no common protocol", seen)
