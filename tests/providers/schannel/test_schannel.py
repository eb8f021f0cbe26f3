"""Schannel as a package: both roles, principals, protocols, versions, sessions, names, reloading, key log."""

from __future__ import annotations

import os
import ssl
import stat
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from securestream.ambient import system_options
from securestream.credentials import Anonymous, Certificate, Credentials, Password
from securestream.errors import (
    CertificateRejected,
    ErrorKind,
    HandshakeError,
    NoCredentials,
    PeerRefused,
    TargetUnknown,
    Unsupported,
    UsageError,
)
from securestream.machine import HandshakeMachine
from securestream.options import Role
from securestream.principal import NameType, Principal
from securestream.provider import Capability
from securestream.records.base import EngineCapability
from securestream.records.endpoints import Engine, Recheck, server_endpoint
from securestream.records.files import revocation_lists
from securestream.records.settings import Presence, TlsSettings
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.providers.schannel.loopback import CA, CLIENT, ENGINES, LEAF, run

both = pytest.mark.parametrize("engine", ENGINES)
versions = pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
ISSUER = "CN=test authority"


def test_what_the_package_is() -> None:
    info = Schannel().info
    assert (info.name, info.rpc_id, info.max_token) == ("Schannel", 14, 24576)
    assert Capability.STREAM in info.capabilities


def test_a_server_needs_a_certificate_and_a_client_a_target() -> None:
    package = Schannel(trust=CA.pem)
    for useless in (None, Password("a", "b"), Anonymous()):
        assert package.usable(useless, Role.ACCEPTOR) is not None
        with pytest.raises(NoCredentials):
            HandshakeMachine(package.accept(useless, system_options())).step()
    assert package.usable(None, Role.INITIATOR) is None
    assert package.usable(Credentials(Password("a", "b"), CLIENT.credential), Role.INITIATOR) is None
    with pytest.raises(TargetUnknown):
        HandshakeMachine(package.initiate(None, None, system_options())).step()


@both
@versions
def test_both_ends_learn_who_the_other_is(engine: Engine, version: str) -> None:
    loop = run(
        Schannel(trust=CA.pem, engine=engine, maximum_version=version),  # type: ignore[arg-type]  # one of the names
        Schannel(trust=CA.pem, engine=engine, client_certificates="required"),
        client_credential=CLIENT.credential,
    )
    assert loop.client.established is not None
    assert loop.server.established is not None
    assert loop.client.established.peer == Principal("localhost", "Schannel", ISSUER, NameType.HOST)
    assert loop.server.established.peer == Principal("client.example", "Schannel", ISSUER, NameType.DNS)
    loop.say(b"data" * 10000)


@both
@pytest.mark.parametrize("wanted", ["none", "optional"])
def test_a_client_without_certificate_is_nobody(engine: Engine, wanted: Presence) -> None:
    loop = run(Schannel(trust=CA.pem, engine=engine), Schannel(trust=CA.pem, engine=engine, client_certificates=wanted))
    assert loop.server.established is not None
    assert not loop.server.established.peer.is_authenticated
    loop.say(b"data")


@both
def test_an_unverified_server_is_nobody(engine: Engine) -> None:
    loop = run(Schannel(verify="none", engine=engine), Schannel(engine=engine), target="other.example")
    assert loop.client.established is not None
    assert not loop.client.established.peer.is_authenticated


# --- client certificates ---------------------------------------------------------------------------------------------

NAMED = authority("named for UPNs")


def _peer(leaf: Certificate, **arguments: object) -> Principal | CertificateRejected:
    server = Schannel(trust=[CA.pem, NAMED.pem], client_certificates="required", **arguments)  # type: ignore[arg-type]  # keywords as the test gives them
    loop = run(Schannel(trust=CA.pem), server, client_credential=leaf)
    if loop.server.established is not None:
        return loop.server.established.peer
    assert isinstance(loop.server.error, CertificateRejected)
    return loop.server.error


def test_a_upn_counts_only_from_an_authority_named_for_it() -> None:
    ours = NAMED.leaf(["host.example"], usage=["client"], upn="alice@corp.example").credential
    theirs = CA.leaf(["host.example"], usage=["client"], upn="alice@corp.example").credential
    upn = Principal("alice@corp.example", "Schannel", "CN=named for UPNs", NameType.UPN)
    assert _peer(ours, upn_issuers=[NAMED.pem]) == upn
    assert _peer(ours) == Principal("host.example", "Schannel", "CN=named for UPNs", NameType.DNS)
    assert _peer(theirs, upn_issuers=[NAMED.pem]) == Principal("host.example", "Schannel", ISSUER, NameType.DNS)
    only = _peer(theirs, upn_issuers=[NAMED.pem], identities=["upn"])
    assert isinstance(only, CertificateRejected)
    assert only.kind is ErrorKind.CERTIFICATE_NAME


def test_an_authority_of_the_same_name_is_not_the_one_that_was_named() -> None:
    impostor = authority("named for UPNs")
    leaf = impostor.leaf(["host.example"], usage=["client"], upn="alice@corp.example").credential
    server = Schannel(trust=impostor.pem, client_certificates="required", upn_issuers=[NAMED.pem], identities=["upn"])
    assert isinstance(run(Schannel(trust=CA.pem), server, client_credential=leaf).server.error, CertificateRejected)


def test_email_and_subject_count_only_when_named() -> None:
    leaf = CA.leaf([], usage=["client"], email="alice@example.org", common_name="Alice").credential
    assert isinstance(_peer(leaf), CertificateRejected)
    assert _peer(leaf, identities=["email"]) == Principal("alice@example.org", "Schannel", ISSUER, NameType.EMAIL)
    assert _peer(leaf, identities=["subject"]) == Principal("CN=Alice", "Schannel", ISSUER, NameType.SUBJECT)


def test_a_wildcard_is_nobodys_name() -> None:
    assert isinstance(_peer(CA.leaf(["*.example"], usage=["client"]).credential), CertificateRejected)


@both
@pytest.mark.parametrize("usage", [None, []])
def test_a_client_certificate_must_be_made_for_clients(engine: Engine, usage: list[str] | None) -> None:
    assert not usage
    leaf = CA.leaf(["c.example"], usage=None).credential
    loop = run(
        Schannel(trust=CA.pem, engine=engine),
        Schannel(trust=CA.pem, engine=engine, client_certificates="required"),
        client_credential=leaf,
    )
    assert isinstance(loop.server.error, CertificateRejected)
    assert loop.server.error.kind is ErrorKind.CERTIFICATE_USAGE


@both
@versions
def test_a_missing_client_certificate_has_its_own_kind(engine: Engine, version: str) -> None:
    loop = run(
        Schannel(trust=CA.pem, engine=engine, maximum_version=version),  # type: ignore[arg-type]  # one of the names
        Schannel(trust=CA.pem, engine=engine, client_certificates="required"),
    )
    assert isinstance(loop.server.error, CertificateRejected)
    assert loop.server.error.kind is ErrorKind.CERTIFICATE_REQUIRED
    assert loop.server.error.token
    assert isinstance(loop.client.error, PeerRefused)


# --- protocols, versions, groups -------------------------------------------------------------------------------------


@both
def test_alpn_prefers_as_the_server_does(engine: Engine) -> None:
    loop = run(
        Schannel(trust=CA.pem, engine=engine, alpn=["a", "b", "c"]), Schannel(engine=engine, alpn=["x", "c", "b"])
    )
    assert loop.client.connection.session.alpn == "c"
    assert loop.server.connection.session.alpn == "c"


@both
@versions
def test_alpn_without_overlap_is_fatal_at_both_ends(engine: Engine, version: str) -> None:
    client = Schannel(trust=CA.pem, engine=engine, alpn=["a"], maximum_version=version)  # type: ignore[arg-type]  # one of the names
    loop = run(client, Schannel(engine=engine, alpn=["b"]))
    assert isinstance(loop.server.error, HandshakeError)
    assert loop.server.error.kind is ErrorKind.ALPN_MISMATCH
    assert isinstance(loop.client.error, PeerRefused)
    assert (loop.client.error.kind, loop.client.error.code) == (ErrorKind.ALPN_MISMATCH, 120)


@both
def test_a_server_that_ignores_our_protocols_is_refused(engine: Engine) -> None:
    loop = run(Schannel(trust=CA.pem, engine=engine, alpn=["a"]), Schannel(engine=engine))
    assert isinstance(loop.client.error, HandshakeError)
    assert loop.client.error.kind is ErrorKind.ALPN_MISMATCH


@both
def test_a_client_without_protocols_goes_without(engine: Engine) -> None:
    loop = run(Schannel(trust=CA.pem, engine=engine), Schannel(engine=engine, alpn=["a"]))
    assert loop.server.connection.session.alpn is None


@both
def test_old_versions_only_when_both_name_them(engine: Engine) -> None:
    old = Schannel(trust=CA.pem, engine=engine, minimum_version="TLSv1", maximum_version="TLSv1.1")
    refused = run(old, Schannel(engine=engine))
    assert isinstance(refused.server.error, HandshakeError)
    assert refused.server.error.kind is ErrorKind.ALGORITHM_MISMATCH
    with pytest.raises(UsageError):
        Schannel(minimum_version="TLSv1.3", maximum_version="TLSv1.2")


@both
def test_a_null_cipher_is_less_than_was_asked(engine: Engine) -> None:
    arguments = {"engine": engine, "ciphers": "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0", "maximum_version": "TLSv1.2"}
    loop = run(Schannel(trust=CA.pem, **arguments), Schannel(**arguments))  # type: ignore[arg-type]  # as above
    assert isinstance(loop.client.error, HandshakeError)
    assert loop.client.error.kind in (ErrorKind.QUALITY_NOT_MET, ErrorKind.ALGORITHM_MISMATCH)


@both
def test_one_group_by_name(engine: Engine) -> None:
    loop = run(Schannel(trust=CA.pem, engine=engine, group="secp384r1"), Schannel(engine=engine))
    if EngineCapability.POST_QUANTUM in loop.client.connection.capabilities:
        assert loop.client.connection.session.group == "secp384r1"
    with pytest.raises(Unsupported):
        run(Schannel(trust=CA.pem, engine=engine, group="nonsense"), Schannel(engine=engine))


def test_post_quantum_agreement_and_its_demand() -> None:
    demanding = Schannel(trust=CA.pem, engine="pyopenssl", post_quantum=True)
    loop = run(demanding, Schannel(engine="pyopenssl", post_quantum=True))
    assert loop.client.connection.session.group == "X25519MLKEM768"
    classic = run(demanding, Schannel(engine="pyopenssl", group="prime256v1"))
    assert isinstance(classic.client.error, HandshakeError)
    assert classic.client.error.kind is ErrorKind.ALGORITHM_MISMATCH


def test_what_an_engine_cannot_do_is_said_when_it_is_asked() -> None:
    asked: list[dict[str, Any]] = [{"post_quantum": True}, {"ocsp": "required"}, {"ocsp_response": "file"}]
    for arguments in asked:
        with pytest.raises(Unsupported, match="pyopenssl"):
            Schannel(engine="stdlib", **arguments)
    with pytest.raises(UsageError):
        Schannel(engine="another")  # type: ignore[arg-type]  # that is the point


def test_a_missing_engine_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    monkeypatch.delitem(sys.modules, "securestream.records.pyopenssl", raising=False)
    with pytest.raises(Unsupported, match=r"securestream\[openssl\]"):
        Schannel(engine="pyopenssl")


# --- sessions --------------------------------------------------------------------------------------------------------


@versions
def test_a_resumed_session_keeps_the_clients_identity(version: str) -> None:
    client = Schannel(trust=CA.pem, maximum_version=version)  # type: ignore[arg-type]  # one of the names
    server = Schannel(trust=CA.pem, client_certificates="required")
    first = run(client, server, client_credential=CLIENT.credential)
    first.say(b"tickets come with the first data")
    second = run(client, server, client_credential=CLIENT.credential)
    assert second.client.connection.session.resumed
    assert second.server.connection.session.resumed
    assert second.server.established is not None
    assert first.server.established is not None
    assert second.server.established.peer == first.server.established.peer
    second.say(b"data")


@versions
def test_a_session_crosses_no_names_no_listeners_and_no_credentials(version: str) -> None:
    leaf = CA.leaf(["one.example", "two.example"]).credential
    client = Schannel(trust=CA.pem, maximum_version=version)  # type: ignore[arg-type]  # one of the names
    server = Schannel()

    def resumed(package: Schannel, target: str, credential: Certificate | None = None) -> bool:
        loop = run(client, package, target=target, server_credential=leaf, client_credential=credential)
        loop.say(b"data")
        return loop.server.connection.session.resumed

    assert not resumed(server, "one.example")
    assert resumed(server, "one.example")
    assert not resumed(server, "two.example")
    assert not resumed(Schannel(), "one.example")
    assert not resumed(server, "one.example", CLIENT.credential)


def test_a_session_is_not_resumed_under_another_sni_name_even_by_a_client_that_tries() -> None:
    leaf = CA.leaf(["one.example", "two.example"]).credential
    server = Schannel()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=CA.pem.decode())
    session: ssl.SSLSession | None = None
    seen: list[bool] = []
    for name in ("one.example", "one.example", "two.example"):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
        machine = HandshakeMachine(server.accept(leaf, system_options()))
        machine.step()
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(machine.step(outgoing.read()).token or b"")
        incoming.write(machine.step(outgoing.read()).token or b"")
        with pytest.raises(ssl.SSLWantReadError):
            tls.read()
        seen.append(bool(tls.session_reused))
        session = tls.session
    assert seen == [False, True, False]


def test_resumption_can_be_switched_off() -> None:
    client, server = Schannel(trust=CA.pem), Schannel(resumption=False)
    for _ in range(2):
        loop = run(client, server)
        loop.say(b"data")
        assert not loop.client.connection.session.resumed


def test_a_certificate_that_expired_since_is_refused_on_resumption() -> None:
    loop = run(Schannel(trust=CA.pem), Schannel())
    loop.say(b"data")
    client = Schannel(trust=CA.pem)
    server = Schannel()
    run(client, server).say(b"data")
    session = run(client, server).client.connection.session
    assert session.resumed
    Recheck([])(session)
    with pytest.raises(CertificateRejected) as late:
        Recheck([], lambda: datetime.now(UTC) + timedelta(days=60))(session)
    assert late.value.kind is ErrorKind.CERTIFICATE_EXPIRED
    lists = revocation_lists(CA.crl(LEAF))
    with pytest.raises(CertificateRejected) as revoked:
        Recheck(lists)(session)
    assert revoked.value.kind is ErrorKind.CERTIFICATE_REVOKED
    with pytest.raises(CertificateRejected) as unknown:
        Recheck(revocation_lists(authority("else").crl()))(session)
    assert unknown.value.kind is ErrorKind.REVOCATION_UNKNOWN


# --- names and files -------------------------------------------------------------------------------------------------


@both
def test_the_name_asked_for_chooses_the_certificate(engine: Engine) -> None:
    one, two, wild = CA.leaf(["one.example"]), CA.leaf(["two.example"]), CA.leaf(["*.wild.example"])
    own = Credentials(one.credential, two.credential, wild.credential)
    client, server = Schannel(trust=CA.pem, engine=engine), Schannel(engine=engine)
    for target, leaf in (("one.example", one), ("two.example", two), ("any.wild.example", wild)):
        loop = run(client, server, server_credential=own, target=target)
        assert loop.client.connection.session.peer_certificate == leaf.der
        assert loop.server.connection.session.server_name == target
    unknown = run(client, server, server_credential=own, target="three.example")
    assert isinstance(unknown.client.error, CertificateRejected)
    assert unknown.client.error.kind is ErrorKind.CERTIFICATE_NAME


@both
def test_certificates_are_read_again_and_open_connections_go_on(engine: Engine, tmp_path: Path) -> None:
    old, new = CA.leaf(), CA.leaf()
    certificate, key = old.write(tmp_path)
    credential = Certificate(certificate, key)
    client, server = Schannel(trust=CA.pem, engine=engine), Schannel(engine=engine)
    before = run(client, server, server_credential=credential)
    assert before.client.connection.session.peer_certificate == old.der
    certificate.write_bytes(new.pem)  # half-way: the key is still the old one
    half = run(client, server, server_credential=credential)
    assert half.client.connection.session.peer_certificate == old.der
    key.write_bytes(new.key_pem)
    after = run(client, server, server_credential=credential)
    assert after.client.connection.session.peer_certificate == new.der
    for loop in (before, half, after):
        loop.say(b"still open")


@both
def test_a_revocation_list_is_read_again(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "list.pem"
    path.write_bytes(CA.crl())
    server = Schannel(trust=CA.pem, crls=[path], client_certificates="required", engine=engine)
    client = Schannel(trust=CA.pem, engine=engine)
    assert run(client, server, client_credential=CLIENT.credential).server.error is None
    path.write_bytes(CA.crl(CLIENT))
    refused = run(client, server, client_credential=CLIENT.credential)
    assert isinstance(refused.server.error, CertificateRejected)
    assert refused.server.error.kind is ErrorKind.CERTIFICATE_REVOKED


@both
def test_a_key_may_be_encrypted(engine: Engine) -> None:
    from securestream.redaction import Secret

    credential = Certificate(LEAF.pem, LEAF.encrypted_key_pem("open sesame"), Secret("open sesame"))
    run(Schannel(trust=CA.pem, engine=engine), Schannel(engine=engine), server_credential=credential).say(b"data")
    wrong = Certificate(LEAF.pem, LEAF.encrypted_key_pem("open sesame"), Secret("wrong"))
    with pytest.raises(UsageError):
        run(Schannel(trust=CA.pem, engine=engine), Schannel(engine=engine), server_credential=wrong)


@both
@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_key_log_is_explicit_and_private(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ambient, named = tmp_path / "ambient", tmp_path / "named"
    monkeypatch.setenv("SSLKEYLOGFILE", str(ambient))
    run(Schannel(trust=CA.pem, engine=engine, key_log=named), Schannel(engine=engine))
    assert not ambient.exists()
    assert stat.S_IMODE(named.stat().st_mode) == 0o600
    assert b"CLIENT_TRAFFIC_SECRET_0 " in named.read_bytes()
    named.chmod(0o644)
    with pytest.raises(UsageError, match="chmod"):
        run(Schannel(trust=CA.pem, engine=engine, key_log=named), Schannel(engine=engine))
    link = tmp_path / "link"
    link.symlink_to(ambient)
    with pytest.raises(UsageError):
        run(Schannel(trust=CA.pem, engine=engine, key_log=link), Schannel(engine=engine))
    assert not ambient.exists()


# --- contexts handed in ----------------------------------------------------------------------------------------------


def test_contexts_handed_in_work_in_both_roles(tmp_path: Path) -> None:
    client = ssl.create_default_context(cadata=CA.pem.decode())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*LEAF.write(tmp_path))
    loop = run(Schannel(client, alpn=["a"]), Schannel(server, alpn=["a"]), server_credential=None)
    assert loop.client.connection.session.alpn == "a"
    loop.say(b"data")


def test_settings_beside_a_context_are_refused() -> None:
    context = ssl.create_default_context()
    with pytest.raises(UsageError):
        Schannel(context, trust=CA.pem)
    with pytest.raises(UsageError):
        Schannel(context, engine="pyopenssl")
    loose = ssl.create_default_context()
    loose.check_hostname = False
    with pytest.raises(UsageError, match="verify"):
        run(Schannel(loose), Schannel())


def test_a_context_that_asks_for_certificates_gives_no_tickets(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*LEAF.write(tmp_path))
    context.load_verify_locations(cadata=CA.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    client, server = Schannel(trust=CA.pem), Schannel(context)
    for _ in range(2):
        loop = run(client, server, client_credential=CLIENT.credential, server_credential=None)
        loop.say(b"data")
        assert not loop.server.connection.session.resumed
        assert loop.server.established is not None
        assert loop.server.established.peer.name == "client.example"


@both
def test_the_systems_authorities_are_trusted_by_default(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(run(Schannel(engine=engine), Schannel(engine=engine)).client.error, CertificateRejected)
    (tmp_path / "authority.pem").write_bytes(CA.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    run(Schannel(engine=engine), Schannel(engine=engine)).say(b"data")


CANARY = "canary-9d1f4c"


@both
def test_a_failure_shows_no_key_and_no_password(engine: Engine) -> None:
    """SECURITY rule 1: not in the text of an error, a repr, or the locals of a traceback's frames."""
    from securestream.redaction import Secret

    encrypted = LEAF.encrypted_key_pem("another")
    credentials = [
        Certificate(LEAF.pem, encrypted, Secret(CANARY)),
        Certificate(LEAF.pem, CA.leaf().key_pem, Secret(CANARY)),
        Certificate(b"no certificate" + LEAF.key_pem, None, Secret(CANARY)),
    ]
    for credential in credentials:
        with pytest.raises(UsageError) as failure:
            server_endpoint(engine, TlsSettings(trust=CA.pem), [credential])
        shown = [repr(credential), str(failure.value)]
        error: BaseException | None = failure.value
        while error is not None:
            frames = traceback.TracebackException.from_exception(error, capture_locals=True)
            # the frame of this test holds the canary itself
            shown += [
                repr(frame.locals)
                for frame in frames.stack
                if frame.name != "test_a_failure_shows_no_key_and_no_password"
            ]
            error = error.__cause__ or error.__context__
        assert CANARY not in "".join(shown)
        assert "PRIVATE KEY" not in "".join(shown)
