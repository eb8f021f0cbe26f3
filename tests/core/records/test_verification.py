"""SECURITY rule 11: one table of certificates, one verdict and one kind of error on both engines."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from securestream.credentials import Certificate
from securestream.errors import CertificateRejected, ErrorKind, PeerRefused, UsageError
from securestream.options import Role
from securestream.records import pyopenssl
from securestream.records.endpoints import Engine
from securestream.records.names import canonical_host
from securestream.records.settings import TlsSettings
from securestream.records.stdlib_endpoints import StdlibClient, adopt_context
from tests.certificates import Authority, Pair, authority
from tests.core.records.pairs import CA, CLIENT, ENGINES, client_of, pair, server_of

OTHER = authority("another authority")
INTERMEDIATE = CA.authority()
SHORT = authority("no depth", path_length=0)
BELOW_SHORT = SHORT.authority("one too deep")
REVOKED = CA.leaf()
BELOW = INTERMEDIATE.leaf()


def _without_intermediate() -> Pair:
    return Pair(BELOW.certificate, BELOW.key)


@dataclass(frozen=True)
class Case:
    """A server's certificate, what is asked for, and the verdict: `None` is accepted."""

    name: str
    leaf: Pair
    verdict: ErrorKind | None
    host: str = "localhost"
    trust: tuple[Authority, ...] = (CA,)
    crls: tuple[bytes, ...] = ()
    crl_check: str = "chain"


NAME, TRUST = ErrorKind.CERTIFICATE_NAME, ErrorKind.CERTIFICATE_UNTRUSTED

CASES = [
    Case("right", CA.leaf(), None),
    Case("right among several", CA.leaf(["a.example", "localhost"]), None),
    Case("case does not count", CA.leaf(["LocalHost"]), None, "LOCALHOST"),
    Case("final dot does not count", CA.leaf(["host.example"]), None, "host.example."),
    Case("wrong name", CA.leaf(["other.example"]), NAME),
    Case("longer name", CA.leaf(["localhost.example"]), NAME),
    Case("parent's name", CA.leaf(["example.com"]), NAME, "www.example.com"),
    Case("wildcard", CA.leaf(["*.example.com"]), None, "www.example.com"),
    Case("wildcard covers one label", CA.leaf(["*.example.com"]), NAME, "a.b.example.com"),
    Case("wildcard covers no parent", CA.leaf(["*.example.com"]), NAME, "example.com"),
    Case("wildcard in the middle", CA.leaf(["www.*.com"]), NAME, "www.example.com"),
    Case("wildcard within a label", CA.leaf(["w*.example.com"]), NAME, "www.example.com"),
    Case("wildcard below the root", CA.leaf(["*.com"]), NAME, "example.com"),
    Case("wildcard alone", CA.leaf(["*"]), NAME, "localhost"),
    Case("IPv4", CA.leaf(["127.0.0.1"]), None, "127.0.0.1"),
    Case("wrong IPv4", CA.leaf(["127.0.0.1"]), NAME, "127.0.0.2"),
    Case("IPv6", CA.leaf(["::1"]), None, "::1"),
    Case("IPv6 in brackets", CA.leaf(["::1"]), None, "[0:0::1]"),
    Case("IPv4 as a DNS name", CA.leaf([], dns_ip=["127.0.0.1"]), NAME, "127.0.0.1"),
    Case("IPv6 as a DNS name", CA.leaf([], dns_ip=["::1"]), NAME, "::1"),
    Case("name against an address", CA.leaf(["127.0.0.1"]), NAME),
    Case("NUL in the name", CA.leaf(["localhost\0.evil.example"]), NAME),
    Case("NUL before the name", CA.leaf(["evil.example\0localhost"]), NAME),
    Case("common name only", CA.leaf([], common_name="localhost"), NAME),
    Case("common name beside another", CA.leaf(["other.example"], common_name="localhost"), NAME),
    Case("common name beside an address", CA.leaf(["127.0.0.1"], common_name="localhost"), NAME),
    Case("no name", CA.leaf([], common_name=""), NAME),
    Case("IDNA", CA.leaf(["xn--bcher-kva.example"]), None, "bücher.example"),
    Case("IDNA in upper case", CA.leaf(["xn--bcher-kva.example"]), None, "BÜCHER.example"),
    Case("IDNA, another name", CA.leaf(["xn--bcher-kva.example"]), NAME, "bucher.example"),
    Case("IDNA under a wildcard", CA.leaf(["*.example.com"]), None, "bücher.example.com"),
    Case("for clients", CA.leaf(usage=["client"]), ErrorKind.CERTIFICATE_USAGE),
    Case("for both", CA.leaf(usage=["client", "server"]), None),
    Case("without extended key usage", CA.leaf(usage=None), None),
    Case("expired", CA.leaf(expired=True), ErrorKind.CERTIFICATE_EXPIRED),
    Case("not yet valid", CA.leaf(not_yet_valid=True), ErrorKind.CERTIFICATE_EXPIRED),
    Case("another authority", OTHER.leaf(), TRUST),
    Case("either authority", OTHER.leaf(), None, trust=(CA, OTHER)),
    Case("below an intermediate", BELOW, None),
    Case("intermediate not sent", _without_intermediate(), TRUST),
    Case("deeper than allowed", BELOW_SHORT.leaf(), TRUST, trust=(SHORT,)),
    Case("as deep as allowed", SHORT.leaf(), None, trust=(SHORT,)),
    Case("signed by a leaf", Authority(CA.leaf().certificate, CA.leaf().key).leaf(), TRUST),
    Case("not revoked", CA.leaf(), None, crls=(CA.crl(REVOKED),)),
    Case("revoked", REVOKED, ErrorKind.CERTIFICATE_REVOKED, crls=(CA.crl(REVOKED),)),
    Case("list out of date", CA.leaf(), ErrorKind.REVOCATION_UNKNOWN, crls=(CA.crl(REVOKED, expired=True),)),
    Case("list of another authority", CA.leaf(), ErrorKind.REVOCATION_UNKNOWN, crls=(OTHER.crl(),)),
    Case("intermediate revoked", BELOW, ErrorKind.CERTIFICATE_REVOKED, crls=(CA.crl(INTERMEDIATE), INTERMEDIATE.crl())),
    Case("no list of the intermediate", BELOW, ErrorKind.REVOCATION_UNKNOWN, crls=(CA.crl(),)),
    Case("lists of the whole chain", BELOW, None, crls=(CA.crl(), INTERMEDIATE.crl())),
    Case("expired, for another name", CA.leaf(["other.example"], expired=True), NAME),
    Case("untrusted, for another name", OTHER.leaf(["other.example"]), TRUST),
    Case("revoked, for another name", REVOKED, NAME, "other.example", crls=(CA.crl(REVOKED),)),
    Case("the leaf's list alone", BELOW, None, crls=(INTERMEDIATE.crl(),), crl_check="leaf"),
]

both = pytest.mark.parametrize("engine", ENGINES)
versions = pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])


@both
@versions
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_table_of_server_certificates(engine: Engine, version: str, case: Case) -> None:
    trust = tuple(one.pem for one in case.trust)
    client = client_of(engine, trust=trust, crls=case.crls, crl_check=case.crl_check, maximum_version=version)
    made = pair(client, server_of(engine, case.leaf.credential), canonical_host(case.host)).run()
    if case.verdict is None:
        assert made.client.error is None
        return
    assert isinstance(made.client.error, CertificateRejected)
    assert made.client.error.kind is case.verdict
    assert isinstance(made.server.error, PeerRefused)  # the alert went out
    assert made.server.connection.data_to_send() == b""


EXPECTED_ALERTS = {
    "wrong name": (42, ErrorKind.CERTIFICATE_UNKNOWN),
    "wrong IPv4": (42, ErrorKind.CERTIFICATE_UNKNOWN),
    "NUL in the name": (42, ErrorKind.CERTIFICATE_UNKNOWN),
    "expired": (45, ErrorKind.CERTIFICATE_EXPIRED),
    "another authority": (48, ErrorKind.CERTIFICATE_UNTRUSTED),
    "revoked": (44, ErrorKind.CERTIFICATE_REVOKED),
    "for clients": (43, ErrorKind.CERTIFICATE_USAGE),
}


@both
@pytest.mark.parametrize("case", [case for case in CASES if case.name in EXPECTED_ALERTS], ids=lambda case: case.name)
def test_the_peer_learns_why(engine: Engine, case: Case) -> None:
    made = pair(client_of(engine, crls=case.crls), server_of(engine, case.leaf.credential), case.host).run()
    assert isinstance(made.server.error, PeerRefused)
    assert (made.server.error.code, made.server.error.kind) == EXPECTED_ALERTS[case.name]


def _without_internals(connection: object, host: str) -> bool:
    return False


@pytest.mark.parametrize("case", [case for case in CASES if case.verdict is NAME], ids=lambda case: case.name)
def test_a_pyopenssl_without_the_internals_that_we_use_gives_no_certificate_another_name(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyopenssl, "verify_within_openssl", _without_internals)
    client, server = client_of("pyopenssl", crls=case.crls), server_of("pyopenssl", case.leaf.credential)
    made = pair(client, server, canonical_host(case.host)).run()
    assert isinstance(made.client.error, CertificateRejected)


CLIENT_CASES: list[tuple[str, Pair, tuple[bytes, ...], ErrorKind | None]] = [
    ("right", CLIENT, (), None),
    ("expired", CA.leaf(["c"], usage=["client"], expired=True), (), ErrorKind.CERTIFICATE_EXPIRED),
    ("another authority", OTHER.leaf(["c"], usage=["client"]), (), ErrorKind.CERTIFICATE_UNTRUSTED),
    ("revoked", CLIENT, (CA.crl(CLIENT),), ErrorKind.CERTIFICATE_REVOKED),
    ("no list", CLIENT, (OTHER.crl(),), ErrorKind.REVOCATION_UNKNOWN),
    ("for servers", CA.leaf(["c"], usage=["server"]), (), ErrorKind.CERTIFICATE_USAGE),
]


@both
@versions
@pytest.mark.parametrize(("name", "leaf", "crls", "verdict"), CLIENT_CASES, ids=[case[0] for case in CLIENT_CASES])
def test_the_table_of_client_certificates(
    engine: Engine, version: str, name: str, leaf: Pair, crls: tuple[bytes, ...], verdict: ErrorKind | None
) -> None:
    server = server_of(engine, client_certificates="required", crls=crls)
    made = pair(client_of(engine, leaf.credential, maximum_version=version), server).run()
    if verdict is None:
        assert made.server.error is None
        return
    assert isinstance(made.server.error, CertificateRejected)
    assert made.server.error.kind is verdict
    assert isinstance(made.client.error, PeerRefused)  # under TLS 1.3 after its own handshake was complete


@both
def test_verification_is_given_up_only_by_name(engine: Engine) -> None:
    made = pair(client_of(engine, verify="none"), server_of(engine, OTHER.leaf(["other"], expired=True).credential))
    made.run()
    assert made.client.error is None


# --- contexts handed in ----------------------------------------------------------------------------------------------


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=CA.pem.decode())
    return context


def _no_name(context: ssl.SSLContext) -> None:
    context.check_hostname = False


def _no_verification(context: ssl.SSLContext) -> None:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


def _optional(context: ssl.SSLContext) -> None:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_OPTIONAL


@pytest.mark.parametrize("loosen", [_no_name, _no_verification, _optional])
def test_a_context_that_verifies_less_is_refused_unless_that_is_said(loosen: Callable[[ssl.SSLContext], None]) -> None:
    context = _context()
    loosen(context)
    with pytest.raises(UsageError, match='verify="none"'):
        StdlibClient(TlsSettings(), context=context)
    StdlibClient(TlsSettings(verify="none"), context=context)


def test_a_context_for_the_other_role_is_refused() -> None:
    with pytest.raises(UsageError, match="other role"):
        adopt_context(_context(), TlsSettings(), Role.ACCEPTOR)


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.crls and case.trust == (CA,)], ids=lambda case: case.name
)
def test_a_context_handed_in_gives_the_same_verdicts(case: Case) -> None:
    client = StdlibClient(TlsSettings(), context=_context())
    made = pair(client, server_of("stdlib", case.leaf.credential), canonical_host(case.host)).run()
    kind = None if made.client.error is None else made.client.error.kind  # type: ignore[attr-defined]  # of the family
    assert kind is case.verdict


def test_a_context_with_a_key_log_nobody_named_is_refused(tmp_path: Path) -> None:
    context = _context()
    context.keylog_filename = str(tmp_path / "keys")
    with pytest.raises(UsageError, match="key_log"):
        StdlibClient(TlsSettings(), context=context)


# --- certificates of our own -----------------------------------------------------------------------------------------


@both
def test_a_key_that_does_not_fit_is_said_at_once(engine: Engine) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        server_of(engine, Certificate(CA.leaf().pem, CA.leaf().key_pem))


@both
def test_a_file_that_is_not_there_is_said_at_once(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        server_of(engine, Certificate(tmp_path / "absent.pem", tmp_path / "absent.key"))
    with pytest.raises(UsageError, match="cannot be read"):
        client_of(engine, trust=tmp_path / "absent.pem")
    with pytest.raises(UsageError, match="no PEM"):
        client_of(engine, trust=b"nothing")
    with pytest.raises(UsageError, match="revocation"):
        client_of(engine, crls=(b"nothing",))


@pytest.mark.parametrize("host", ["", " ", "a\0b", ".", "ü" * 70 + ".example"])
def test_what_is_no_name_is_no_target(host: str) -> None:
    with pytest.raises(UsageError):
        canonical_host(host)
