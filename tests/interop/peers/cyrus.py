"""Starts Cyrus SASL (libsasl2) in a process of its own; see cyrus_peer.py for the requests."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.interop.peers.foreign import Refused
from tests.interop.peers.places import CYRUS_PACKAGES
from tests.interop.peers.process import Event, JsonPeer

NAME = "Cyrus SASL"
PROGRAM = Path(__file__).with_name("cyrus_peer.py")
SASLPASSWD = "/usr/sbin/saslpasswd2"


@functools.cache
def version() -> str | None:
    """The version of Debian's libsasl2, or `None` where it, a plugin or its tools are missing."""
    query = ["dpkg-query", "--show", "--showformat=${Version} ${db:Status-Status}\n", *CYRUS_PACKAGES]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    if not all(line.endswith(" installed") for line in found) or not shutil.which(SASLPASSWD):
        return None
    return found[0].partition("+")[0].partition("-")[0]


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if version() else f"apt-get install {' '.join(CYRUS_PACKAGES)}"


def add_user(database: Path, user: str, password: str, realm: str) -> None:
    """Add an account to a database of libsasl2's, which is made if absent."""
    subprocess.run(
        [SASLPASSWD, "-c", "-p", "-f", database, "-u", realm, user],
        input=password.encode(),
        capture_output=True,
        check=True,
    )


class CyrusPeer:
    """One SASL connection after another.

    Args:
        options: of the library's configuration.
        environment: for Kerberos.
    """

    def __init__(self, options: Mapping[str, str], environment: Mapping[str, str] | None = None) -> None:
        self._process = JsonPeer([sys.executable, "-I", PROGRAM, json.dumps(dict(options))], environment)
        self.complete = False

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *caught: object) -> None:
        self.close()

    def _ask(self, **request: object) -> Event:
        answer = self._process.ask(request)
        if answer["event"] == "refused":
            raise Refused(str(answer["message"]), int(answer["code"]))
        return answer

    def client(self, service: str, host: str, **asked: Any) -> None:
        """Begin as a client.

        Args:
            service: of the server.
            host: of the server.
            asked: user, authzid, password, realm, min_ssf, max_ssf, max_buffer, success_data, bindings.
        """
        self._begin("client", service, host, asked)

    def server(self, service: str, host: str, **asked: Any) -> None:
        """Begin as a server.

        Args:
            service: its own.
            host: its own.
            asked: realm, min_ssf, max_ssf, max_buffer, success_data, bindings.
        """
        self._begin("server", service, host, asked)

    def _begin(self, role: str, service: str, host: str, asked: dict[str, Any]) -> None:
        self.complete = False
        bindings = asked.pop("bindings", None)
        if bindings is not None:
            asked["bindings"] = bindings.hex()
        self._ask(do=role, service=service, host=host, **asked)

    def start(self, mechanism: str, token: bytes | None = None) -> bytes | None:
        """The first step; a server is given the initial response, if there is one."""
        return self._stepped(self._ask(do="start", mechanism=mechanism, token=None if token is None else token.hex()))

    def step(self, token: bytes | None) -> bytes | None:
        """A further step."""
        return self._stepped(self._ask(do="step", token=None if token is None else token.hex()))

    def _stepped(self, answer: Event) -> bytes | None:
        self.complete = bool(answer["complete"])
        return None if answer["token"] is None else bytes.fromhex(answer["token"])

    def encode(self, data: bytes) -> bytes:
        """Protect data: the buffer with its length."""
        return bytes.fromhex(self._ask(do="encode", data=data.hex())["data"])

    def decode(self, octets: bytes) -> bytes:
        """Open buffers with their lengths."""
        return bytes.fromhex(self._ask(do="decode", data=octets.hex())["data"])

    def state(self) -> Event:
        """Who logged on ("user"), the layer's strength ("ssf"), the longest plaintext to send ("longest")."""
        return self._ask(do="state")
