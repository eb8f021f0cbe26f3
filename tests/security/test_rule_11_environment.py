"""Rule 11: the environment names no key log, and what verifies nothing is refused unless that is said."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from securestream.channel_bindings import tls_server_end_point
from securestream.errors import CertificateRejected, Unsupported, UsageError
from securestream.options import Role
from securestream.records.endpoints import Engine
from securestream.records.settings import TlsSettings
from securestream.records.stdlib_endpoints import adopt_context
from securestream_providers.schannel import Schannel
from securestream_providers.schannel.identity import Mapping, client_principal
from tests.certificates import authority
from tests.providers.schannel.loopback import run

CA = authority("environment")
LEAF = CA.leaf(["localhost"])


@pytest.mark.parametrize("engine", ["stdlib", "pyopenssl"])
def test_sslkeylogfile_is_not_honoured(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a variable of ours must not read what we send."""
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    client, server = Schannel(engine=engine, trust=CA.pem), Schannel(engine=engine)
    run(client, server, server_credential=LEAF.credential).say(b"secret")
    assert not log.exists()


def test_a_default_context_under_sslkeylogfile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ssl.create_default_context` takes the variable; nobody who hands it in has named the file."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with pytest.raises(UsageError, match="key log"):
        adopt_context(ssl.create_default_context(), TlsSettings(), Role.INITIATOR)


def test_a_context_without_verification_is_refused_unless_that_is_said() -> None:
    def context(*, names: bool, mode: ssl.VerifyMode) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = names
        made.verify_mode = mode
        return made

    for bad in (
        context(names=False, mode=ssl.CERT_NONE),
        context(names=False, mode=ssl.CERT_REQUIRED),
        context(names=False, mode=ssl.CERT_OPTIONAL),
    ):
        with pytest.raises(UsageError, match='verify="none"'):
            adopt_context(bad, TlsSettings(), Role.INITIATOR)
        adopt_context(bad, TlsSettings(verify="none"), Role.INITIATOR)
    adopt_context(context(names=True, mode=ssl.CERT_REQUIRED), TlsSettings(), Role.INITIATOR)


def test_a_certificate_of_an_impossible_version_is_refused_by_the_family() -> None:
    """OpenSSL reads it where nothing is verified; cryptography raises an exception that is no ValueError."""
    der = bytearray(LEAF.der)
    der[der.index(bytes.fromhex("a003020102")) + 4] = 7
    with pytest.raises(Unsupported, match="cannot be read"):
        tls_server_end_point(bytes(der))
    with pytest.raises(CertificateRejected, match="cannot be read"):
        client_principal(bytes(der), Mapping())
