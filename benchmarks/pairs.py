"""Both ends of each mechanism in memory: ours, pyspnego's, `ssl`'s, and the certificate that they use."""

from __future__ import annotations

import datetime
import functools
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from securestream.ambient import system_options
from securestream.credentials import Accounts, Credential, Password
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine
from securestream.options import Options
from securestream.provider import Established, SecurityContext, SecurityPackage, TargetName

USER = "alice"
PASSWORD = "a password for measuring"
HOST = "localhost"


def establish(
    client: HandshakeMachine, server: HandshakeMachine, services: Services
) -> tuple[Established, Established]:
    """Step two machines against each other until both are done."""
    ends: dict[HandshakeMachine, Established] = {}
    here, there, token = client, server, None
    while len(ends) < 2:
        step = respond_blocking(here, token, services)
        if step.established is not None:
            ends[here] = step.established
        token = step.token
        if token is None and there in ends:
            break
        here, there = there, here
    return ends[client], ends[server]


@functools.cache
def ntlm_package() -> SecurityPackage:
    """NTLM as it is by default."""
    from securestream_providers.ntlm import Ntlm

    return Ntlm()


class NtlmSetting:
    """What NTLM's handshakes need, made once as a program makes it."""

    def __init__(self) -> None:
        self.package = ntlm_package()
        self.password: Credential = Password(USER, PASSWORD)
        self.accounts: Credential = Accounts.memory(**{USER: PASSWORD})
        self.options: Options = system_options()
        self.services = Services()
        self.target = TargetName(f"host/{HOST}")

    def client(self) -> HandshakeMachine:
        """A fresh initiator."""
        return HandshakeMachine(self.package.initiate(self.password, self.target, self.options))

    def server(self) -> HandshakeMachine:
        """A fresh acceptor."""
        return HandshakeMachine(self.package.accept(self.accounts, self.options))


def ntlm_contexts() -> tuple[SecurityContext, SecurityContext]:
    """Our two ends of an NTLM session."""
    setting = NtlmSetting()
    client, server = establish(setting.client(), setting.server(), setting.services)
    assert isinstance(client.result, SecurityContext)
    assert isinstance(server.result, SecurityContext)
    return client.result, server.result


@functools.cache
def _user_file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="securestream-benchmarks-"))
    path = folder / "ntlm-users"
    path.write_text(f"DOM:{USER}:{PASSWORD}\n")
    return path


def ntlm_environment() -> dict[str, str]:
    """The variables by which pyspnego's and gss-ntlmssp's acceptors find the account."""
    return {"NTLM_USER_FILE": str(_user_file()), "LM_COMPAT_LEVEL": "5"}


def spnego_client(protocol: str = "ntlm") -> Any:
    """pyspnego's initiator before its handshake of ``ntlm`` or ``negotiate``."""
    import spnego

    options = getattr(spnego.NegotiateOptions, f"use_{protocol}")
    return spnego.client(f"DOM\\{USER}", PASSWORD, hostname=HOST, protocol=protocol, options=options)


def spnego_server(protocol: str = "ntlm") -> Any:
    """pyspnego's acceptor before its handshake of ``ntlm`` or ``negotiate``."""
    import spnego

    os.environ.update(ntlm_environment())
    return spnego.server(protocol=protocol, options=getattr(spnego.NegotiateOptions, f"use_{protocol}"))


def spnego_contexts() -> tuple[Any, Any]:
    """pyspnego's two ends of an NTLM session."""
    client, server = spnego_client(), spnego_server()
    server.step(client.step(server.step(client.step())))
    assert client.complete
    assert server.complete
    return client, server


@functools.cache
def certificate() -> Path:
    """A PEM file with a P-256 key and its self-signed certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = Path(tempfile.mkdtemp(prefix="securestream-benchmarks-")) / "localhost.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    path.chmod(0o600)
    return path


def server_context(pem: Path) -> ssl.SSLContext:
    """A server's context of `ssl` with TLS 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pem)
    return context


def client_context(pem: Path) -> ssl.SSLContext:
    """A client's context of `ssl` with TLS 1.3, which verifies the name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(pem)
    return context
