"""Starts .NET's NegotiateStream and SslStream; see dotnet_peer.cs for the settings and events."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.interop.peers.dotnet_setup import ENVIRONMENT, ready
from tests.interop.peers.places import DOTNET_HOST, DOTNET_PROGRAM, DOTNET_RUNTIME_CONFIG, DOTNET_VERSION
from tests.interop.peers.process import JsonPeer

NAME = ".NET"


def version() -> str | None:
    """The version of the runtime, or `None` where it is missing."""
    return DOTNET_VERSION if ready() else None


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if ready() else "the .NET 8 peer: python -m tests.interop.install"


def start(settings: Mapping[str, object], environment: Mapping[str, str] | None = None) -> JsonPeer:
    """Start one end; the caller closes it.

    Args:
        settings: as dotnet_peer.cs reads them: role, protocol, port, level, user, password, sizes, certificate...
        environment: further variables: `accounts.ntlm_environment` for its NTLM, `trusting` for its TLS.
    """
    program = (DOTNET_HOST, "exec", "--runtimeconfig", DOTNET_RUNTIME_CONFIG, DOTNET_PROGRAM, json.dumps(settings))
    return JsonPeer(program, {**ENVIRONMENT, **(environment or {})})


@contextmanager
def server(
    settings: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> Generator[tuple[JsonPeer, int]]:
    """A server on a free port of 127.0.0.1, with that port; it echoes until the block is left."""
    with start({"role": "server", **settings}, environment) as peer:
        yield peer, int(peer.expect("listening")["port"])


def trusting(authorities: Path, folder: Path) -> dict[str, str]:
    """Variables by which its TLS trusts `authorities` (a PEM file) alone; `folder` is private to the test."""
    return {"SSL_CERT_FILE": str(authorities), "SSL_CERT_DIR": str(folder / "no-certificates"), "HOME": str(folder)}
