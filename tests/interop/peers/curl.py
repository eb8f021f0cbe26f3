"""curl as a client of HTTP that authenticates."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAME = "curl"
_MARK: Final = "\n@@"


def version() -> str:
    """Its version."""
    return _told().split()[1]


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    if shutil.which("curl") is None or any(one not in _told() for one in ("GSS-API", "NTLM", "SPNEGO")):
        return "apt-get install curl"
    return None


@functools.cache
def _told() -> str:
    """What it says of itself."""
    return subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Fetched:
    """The last response to one URL.

    Args:
        status: the status code.
        connections: how many connections were opened for it.
        body: its content.
    """

    status: int
    connections: int
    body: str


@dataclass(frozen=True)
class Curl:
    """A way to run it.

    Args:
        authority: a file with the certificates that it trusts.
        environment: further variables, such as those of a Kerberos realm.
    """

    authority: Path
    environment: Mapping[str, str]

    def fetch(self, *arguments: str) -> list[Fetched]:
        """The responses to the URLs among `arguments`, which are curl's own."""
        done = self.run("--write-out", _MARK + "%{http_code} %{num_connects}" + _MARK, *arguments)
        assert done.returncode == 0, done.stderr
        parts = done.stdout.split(_MARK)
        return [_fetched(body, numbers) for body, numbers in zip(parts[::2], parts[1::2], strict=False)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What becomes of curl with `arguments`."""
        always = ["--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--http1.1", "-H", "Expect:"]
        return subprocess.run(
            ["curl", *always, "--cacert", str(self.authority), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment},
            check=False,
        )


def _fetched(body: str, numbers: str) -> Fetched:
    status, connections = numbers.split()
    return Fetched(int(status), int(connections), body)
