"""Starts MIT's GSS-API with gss-ntlmssp in a process of its own; see gssapi_peer.py for the requests."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.interop.peers.foreign import Refused
from tests.interop.peers.places import SYSTEM_PYTHON
from tests.interop.peers.process import Event, JsonPeer

NAME = "gss-ntlmssp"
PROGRAM = Path(__file__).with_name("gssapi_peer.py")


@functools.cache
def version() -> str | None:
    """The version of Debian's gss-ntlmssp, or `None` where it or python3-gssapi is missing."""
    query = ["dpkg-query", "--show", "--showformat=${Version}", "gss-ntlmssp"]
    try:
        package = subprocess.run(query, capture_output=True, text=True, check=True)
        subprocess.run([SYSTEM_PYTHON, "-I", "-c", "import gssapi"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return package.stdout.partition("-")[0]


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if version() else "apt-get install gss-ntlmssp python3-gssapi"


class GssPeer:
    """One security context of MIT's GSS-API."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # isolated, or the folder of the program would shadow the system's modules
        self._process = JsonPeer([SYSTEM_PYTHON, "-I", PROGRAM], environment)
        self.complete = False
        self.flags: frozenset[str] = frozenset()

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _ask(self, **request: object) -> Event:
        answer = self._process.ask(request)
        if answer["event"] == "refused":
            raise Refused(str(answer["message"]), int(answer["major"]) & 0xFFFF0000)
        return answer

    def initiate(
        self, user: str, password: str, target: str, *, encrypt: bool = True, bindings: bytes | None = None
    ) -> None:
        """Begin as an initiator; see `ForeignEnd.initiate`."""
        flags = [
            "integrity",
            "replay_detection",
            "out_of_sequence_detection",
            *(["confidentiality"] if encrypt else []),
        ]
        self._ask(
            do="initiate",
            user=user,
            password=password,
            target=target,
            flags=flags,
            bindings=None if bindings is None else bindings.hex(),
        )

    def accept(self, *, bindings: bytes | None = None) -> None:
        """Begin as an acceptor."""
        self._ask(do="accept", bindings=None if bindings is None else bindings.hex())

    def step(self, token: bytes | None) -> bytes | None:
        """Take the other end's token (`None` at an initiator's start), give the next one if there is one."""
        answer = self._ask(do="step", token=None if token is None else token.hex())
        self.complete = bool(answer["complete"])
        self.flags = frozenset(answer["flags"])
        reply: str | None = answer["token"]
        return None if reply is None else bytes.fromhex(reply)

    def peer(self) -> str:
        r"""Who the acceptor sees, as ``DOMAIN\name``."""
        return str(self._ask(do="inquire")["initiator"])

    def session_key(self) -> bytes:
        """The exported session key."""
        return bytes.fromhex(self._ask(do="inquire")["key"])

    def wrap(self, data: bytes) -> bytes:
        """Seal."""
        return bytes.fromhex(self._ask(do="wrap", data=data.hex(), encrypt=True)["token"])

    def unwrap(self, token: bytes) -> bytes:
        """Open."""
        return bytes.fromhex(self._ask(do="unwrap", token=token.hex())["data"])

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`."""
        return bytes.fromhex(self._ask(do="sign", data=data.hex())["token"])

    def verify(self, data: bytes, signature: bytes) -> None:
        """Check a signature; raises `Refused`."""
        self._ask(do="verify", data=data.hex(), token=signature.hex())
