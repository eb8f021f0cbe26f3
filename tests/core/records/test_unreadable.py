"""A certificate that OpenSSL takes and `cryptography` does not is refused like any bad one."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from securestream.ambient import system_options
from securestream.errors import CertificateRejected
from securestream.machine import HandshakeMachine
from securestream.provider import TargetName
from securestream_providers.schannel import Schannel
from tests.certificates import authority

CA = authority("unreadable")
LEAF = CA.leaf(["localhost"])


@pytest.fixture
def server(tmp_path: Path) -> ssl.SSLContext:
    """A server whose certificate claims to be of a version that there is not; nobody checks its signature."""
    octets = LEAF.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    with pytest.raises(x509.InvalidVersion):
        x509.load_der_x509_certificate(octets)
    (tmp_path / "leaf.pem").write_text(ssl.DER_cert_to_PEM_cert(octets))
    (tmp_path / "key.pem").write_bytes(LEAF.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "key.pem")
    return context


def test_a_certificate_of_no_known_version_is_refused_by_name_and_not_by_a_stray_exception(
    server: ssl.SSLContext,
) -> None:
    client = Schannel(engine="pyopenssl", verify="none")
    machine = HandshakeMachine(client.initiate(None, TargetName("host/localhost"), system_options()))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(machine.step().token or b"")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with pytest.raises(CertificateRejected, match="cannot be read"):
        machine.step(outgoing.read())
