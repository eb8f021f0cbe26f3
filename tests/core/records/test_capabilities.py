"""What one engine has and the other declares that it has not: exporters, bindings, OCSP stapling; and two threads."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from securestream.channel_bindings import tls_server_end_point
from securestream.errors import CertificateRejected, ErrorKind, PeerRefused, Unsupported
from securestream.records import stdlib_endpoints
from securestream.records.base import EngineCapability
from securestream.records.endpoints import Engine
from securestream.records.ocsp import judge_response
from tests.certificates import Authority, Pair
from tests.core.records.pairs import CA, ENGINES, LEAF, client_of, pair, server_of

both = pytest.mark.parametrize("engine", ENGINES)
versions = pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])


@both
@versions
def test_both_ends_have_the_same_end_point_bindings(engine: Engine, version: str) -> None:
    made = pair(client_of(engine, maximum_version=version), server_of(engine)).run()
    expected = tls_server_end_point(LEAF.der)
    assert made.client.connection.channel_bindings("tls-server-end-point") == expected
    assert made.server.connection.channel_bindings("tls-server-end-point") == expected


@both
def test_tls_unique_is_one_value_below_tls_1_3_and_none_there(engine: Engine) -> None:
    made = pair(client_of(engine, maximum_version="TLSv1.2"), server_of(engine)).run()
    unique = made.client.connection.channel_bindings("tls-unique")
    assert unique == made.server.connection.channel_bindings("tls-unique")
    assert len(unique.application_data) == len(b"tls-unique:") + 12
    newer = pair(engine, engine).run()
    with pytest.raises(Unsupported):
        newer.client.connection.channel_bindings("tls-unique")


def test_resumption_is_declared_and_asking_an_engine_without_it_is_refused() -> None:
    for engine in ENGINES:
        connection = pair(engine, engine).client.connection
        if EngineCapability.RESUMPTION in connection.capabilities:
            client_of(engine, resumption=True)
            server_of(engine, resumption=True)
        else:
            with pytest.raises(Unsupported, match="resumes no sessions"):
                client_of(engine, resumption=True)
            with pytest.raises(Unsupported, match="resumes no sessions"):
                server_of(engine, resumption=True)


def test_a_client_looks_for_few_sessions_where_each_look_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdlib_endpoints, "SESSION_LEAKS", True)
    monkeypatch.setattr(stdlib_endpoints, "MAX_LEAKS", 3)
    client, server = client_of("stdlib"), server_of("stdlib")
    resumed: list[bool] = []
    for _ in range(6):
        made = pair(client, server).run()
        resumed.append(made.client.connection.session.resumed)
    assert resumed == [False, True, True, True, False, False]


@both
def test_exporters_agree_or_are_declared_absent(engine: Engine) -> None:
    made = pair(engine, engine).run()
    client, server = made.client.connection, made.server.connection
    if EngineCapability.EXPORTER not in client.capabilities:
        with pytest.raises(Unsupported, match="openssl"):
            client.channel_bindings("tls-exporter")
        return
    assert client.channel_bindings("tls-exporter") == server.channel_bindings("tls-exporter")
    one = client.export_keying_material(b"EXPERIMENTAL label", 48, b"context")
    assert one == server.export_keying_material(b"EXPERIMENTAL label", 48, b"context")
    assert one != server.export_keying_material(b"EXPERIMENTAL label", 48, b"another")
    older = pair(client_of(engine, maximum_version="TLSv1.2"), server_of(engine)).run()
    with pytest.raises(Unsupported, match=r"1\.3"):
        older.client.connection.channel_bindings("tls-exporter")


@both
def test_unknown_bindings_are_unsupported(engine: Engine) -> None:
    made = pair(engine, engine).run()
    with pytest.raises(Unsupported):
        made.client.connection.channel_bindings("tls-anything")


# --- OCSP stapling ---------------------------------------------------------------------------------------------------


def response(
    leaf: Pair,
    issuer: Authority,
    *,
    signer: Pair | None = None,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    age: timedelta = timedelta(hours=1),
    attach: bool = False,
) -> bytes:
    """An OCSP response about `leaf`."""
    signer = issuer if signer is None else signer
    now = datetime.now(UTC).replace(microsecond=0)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf.certificate,
        issuer=issuer.certificate,
        algorithm=hashes.SHA1(),
        cert_status=status,
        this_update=now - age,
        next_update=now - age + timedelta(days=1),
        revocation_time=now - age if status is ocsp.OCSPCertStatus.REVOKED else None,
        revocation_reason=None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if attach:
        builder = builder.certificates([signer.certificate])
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def _responder(issuer: Authority, *, allowed: bool) -> Pair:
    leaf = issuer.leaf(["responder.example"], usage=None)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING if allowed else ExtendedKeyUsageOID.SERVER_AUTH])
    builder = x509.CertificateBuilder(
        issuer_name=leaf.certificate.issuer,
        subject_name=leaf.certificate.subject,
        public_key=leaf.key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=leaf.certificate.not_valid_before_utc,
        not_valid_after=leaf.certificate.not_valid_after_utc,
    ).add_extension(usage, critical=False)
    return Pair(builder.sign(issuer.key, hashes.SHA256()), leaf.key)


UNKNOWN = ErrorKind.REVOCATION_UNKNOWN
STAPLES: dict[str, tuple[bytes, ErrorKind | None]] = {
    "good": (response(LEAF, CA), None),
    "good, by a responder": (response(LEAF, CA, signer=_responder(CA, allowed=True), attach=True), None),
    "by nobody's responder": (response(LEAF, CA, signer=_responder(CA, allowed=False), attach=True), UNKNOWN),
    "by the leaf itself": (response(LEAF, CA, signer=LEAF, attach=True), UNKNOWN),
    "revoked": (response(LEAF, CA, status=ocsp.OCSPCertStatus.REVOKED), ErrorKind.CERTIFICATE_REVOKED),
    "unknown": (response(LEAF, CA, status=ocsp.OCSPCertStatus.UNKNOWN), UNKNOWN),
    "out of date": (response(LEAF, CA, age=timedelta(days=3)), UNKNOWN),
    "about another": (response(CA.leaf(), CA), UNKNOWN),
    "a refusal": (
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER),
        UNKNOWN,
    ),
    "damaged": (response(LEAF, CA)[:-9] + b"damaged!!", UNKNOWN),
    "nonsense": (b"nonsense", UNKNOWN),
}


@pytest.mark.parametrize("name", STAPLES)
def test_the_verdict_on_a_response(name: str) -> None:
    staple, kind = STAPLES[name]
    if kind is None:
        judge_response(staple, LEAF.certificate, CA.certificate, datetime.now(UTC))
        return
    with pytest.raises(CertificateRejected) as rejected:
        judge_response(staple, LEAF.certificate, CA.certificate, datetime.now(UTC))
    assert rejected.value.kind is kind


UNSENT = ("about another", "nonsense")
"""What a server on OpenSSL 4 does not staple, since it sees that itself."""


@versions
@pytest.mark.parametrize("wanted", ["optional", "required"])
@pytest.mark.parametrize("name", [name for name in STAPLES if name not in UNSENT])
def test_a_stapled_response_is_judged(name: str, wanted: str, version: str, tmp_path: Path) -> None:
    staple, kind = STAPLES[name]
    file = tmp_path / "response.der"
    file.write_bytes(staple)
    client = client_of("pyopenssl", ocsp=wanted, maximum_version=version)
    made = pair(client, server_of("pyopenssl", ocsp_response=file)).run()
    if kind is None:
        assert made.client.error is None
        return
    assert isinstance(made.client.error, CertificateRejected)
    assert made.client.error.kind is kind
    assert isinstance(made.server.error, PeerRefused)
    assert made.server.error.code == 113


@versions
def test_a_server_that_staples_nothing(version: str) -> None:
    optional = pair(client_of("pyopenssl", ocsp="optional", maximum_version=version), "pyopenssl").run()
    assert optional.client.error is None
    required = pair(client_of("pyopenssl", ocsp="required", maximum_version=version), "pyopenssl").run()
    assert isinstance(required.client.error, CertificateRejected)
    assert required.client.error.kind is UNKNOWN


def test_an_unasked_response_is_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "response.der"
    file.write_bytes(STAPLES["revoked"][0])
    made = pair("pyopenssl", server_of("pyopenssl", ocsp_response=file)).run()
    assert made.client.error is None


# --- two threads -----------------------------------------------------------------------------------------------------


@both
def test_one_thread_may_send_while_another_receives(engine: Engine) -> None:
    made = pair(engine, engine).run()
    client, server = made.client.connection, made.server.connection
    blob = bytes(range(256)) * 256
    records: list[bytes] = []
    for _ in range(20):
        server.send(blob)
        records.append(server.data_to_send())
    sent: list[bytes] = []

    def send() -> None:
        for _ in range(20):
            client.send(blob)
            sent.append(client.data_to_send())

    sender = threading.Thread(target=send)
    sender.start()
    buffer, got = bytearray(1 << 17), bytearray()
    for record in records:
        client.receive_data(record)
        while count := client.read_into(buffer):
            got += buffer[:count]
    sender.join()
    assert got == blob * 20
    made.server.take(b"".join(sent))
    assert made.server.plain == blob * 20
