"""CredSSP: handshakes with NTLM inside, beside pyspnego's."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import pairs
from benchmarks.measure import OURS, Effort, Section, micro, ratio
from benchmarks.sides import Handshakes, compare_sides, ours, pyspnego
from securestream.ambient import system_options
from securestream.credentials import Accounts, Certificate, Credentials, Password
from securestream.drive import Services
from securestream.machine import HandshakeMachine
from securestream.provider import SecurityPackage, TargetName
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.negotiate import Negotiate
from securestream_providers.schannel import Schannel

SPNEGO: Final = "pyspnego"
BARE: Final = "securestream, TLS alone"


@functools.cache
def _certificate() -> tuple[Path, bytes]:
    """A certificate with a key of RSA, which alone pyspnego binds to, in a PEM file; and that key as it binds to it."""
    from spnego.tls import generate_tls_certificate

    certificate, key, public_key = generate_tls_certificate()
    folder = Path(tempfile.mkdtemp(prefix="securestream-benchmarks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "credssp.pem"
    path.touch(mode=0o600)
    path.write_bytes(certificate + key)
    return path, public_key


def _ours() -> dict[str, Handshakes]:
    path, _ = _certificate()
    tls, own, negotiate = Schannel(verify="none"), Schannel(), Negotiate(pairs.ntlm_package())
    client: SecurityPackage = CredSsp(
        negotiate, tls, delegation=Delegation(f"TERMSRV/{pairs.HOST}", unproven_hosts="accepted")
    )
    server: SecurityPackage = CredSsp(negotiate, own)
    password, accounts = Password(pairs.USER, pairs.PASSWORD), Accounts.memory(**{pairs.USER: pairs.PASSWORD})
    certificate = Certificate(path)
    serving = Credentials(certificate, accounts)
    options, services, target = system_options(), Services(), TargetName(f"TERMSRV/{pairs.HOST}")
    return {
        OURS: ours(
            lambda: HandshakeMachine(client.initiate(password, target, options)),
            lambda: HandshakeMachine(server.accept(serving, options)),
            services,
        ),
        BARE: ours(
            lambda: HandshakeMachine(tls.initiate(None, target, options)),
            lambda: HandshakeMachine(own.accept(certificate, options)),
            services,
        ),
    }


@functools.cache
def _tls(usage: str) -> Any:
    """pyspnego's settings of TLS, made once as a program makes them."""
    from spnego.tls import default_tls_context

    made = default_tls_context(usage)
    if usage == "accept":
        path, made.public_key = _certificate()
        made.context.load_cert_chain(path)
    return made


def _client() -> Any:
    """pyspnego's initiator before its handshake."""
    import spnego

    return spnego.client(
        f"DOM\\{pairs.USER}",
        pairs.PASSWORD,
        pairs.HOST,
        "TERMSRV",
        protocol="credssp",
        options=spnego.NegotiateOptions.use_negotiate,
        credssp_tls_context=_tls("initiate"),
    )


def _server() -> Any:
    """pyspnego's acceptor before its handshake."""
    import spnego

    os.environ.update(pairs.ntlm_environment())
    options = spnego.NegotiateOptions.use_negotiate
    return spnego.server(protocol="credssp", options=options, credssp_tls_context=_tls("accept"))


def handshakes(effort: Effort) -> Section:
    """The rows of CredSSP handshakes."""
    runs = {**_ours(), SPNEGO: pyspnego(_client, _server)}
    series, sides = compare_sides(runs, effort)
    section = Section(
        "CredSSP: handshakes, CPU µs",
        ("", "initiator", "acceptor", "both", f"× {OURS}"),
        notes=[
            "Version 6 over TLS 1.3 with a certificate of RSA that nobody verifies, NTLMv2 in SPNEGO, a password.",
            "*TLS alone*: the same TLS without CredSSP inside; the difference is what CredSSP costs.",
            "pyspnego takes a name and a password for each connection, and computes an LM hash that it does not use.",
        ],
    )
    for name, both in series.items():
        times = ratio(series, name, OURS)
        parts = [micro(half) for half in sides[name]]
        section.rows.append((name, *parts, micro(both), "–" if times is None else f"{times:.2f}"))
    return section
