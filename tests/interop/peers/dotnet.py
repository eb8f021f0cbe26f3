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
VERSION = DOTNET_VERSION


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if ready() else "the .NET 8 peer: python -m tests.interop.install"


def start(settings: Mapping[str, object], environment: Mapping[str, str] | None = None) -> JsonPeer:
    """Start one end; the caller closes it.

    Args:
        settings: as dotnet_peer.cs reads them: role, protocol, port, level, user, password, sizes, certificate...
        environment: further variables, such as `NTLM_USER_FILE` for its NTLM, or `SSL_CERT_FILE` for its trust.
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


def ntlm_environment(folder: Path, accounts: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Variables that give a process gss-ntlmssp's NTLM with these accounts: `{(domain, user): password}`."""
    file = folder / "ntlm-users"
    file.touch(mode=0o600)
    file.write_text("".join(f"{domain}:{user}:{password}\n" for (domain, user), password in accounts.items()))
    return {"NTLM_USER_FILE": str(file), "LM_COMPAT_LEVEL": "5"}
