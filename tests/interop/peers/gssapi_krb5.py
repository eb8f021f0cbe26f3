"""Starts python-gssapi on MIT's Kerberos in a process of its own; see gssapi_peer.py for the requests."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.interop.peers import mit_tools
from tests.interop.peers.foreign import Refused
from tests.interop.peers.gssapi import PROGRAM
from tests.interop.peers.places import SYSTEM_PYTHON
from tests.interop.peers.process import Event, JsonPeer

NAME = "python-gssapi"
MUTUAL: Final = "mutual_authentication"
DELEGATE: Final = "delegate_to_peer"
DCE_STYLE: Final = "dce_style"
PROTECTED: Final = ("integrity", "confidentiality", "replay_detection", "out_of_sequence_detection")


@functools.cache
def version() -> str | None:
    """The version of MIT's library under python-gssapi, or `None` where something of it is missing."""
    try:
        subprocess.run([SYSTEM_PYTHON, "-I", "-c", "import gssapi"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return mit_tools.version()


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if version() else f"{mit_tools.missing() or 'apt-get install'} python3-gssapi"


class KerberosPeer:
    """One security context of MIT's Kerberos at a time, with the tickets and keys of an environment.

    Args:
        environment: as `MitTools.environment` gives it.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = JsonPeer([SYSTEM_PYTHON, "-I", PROGRAM], environment)
        self.complete = False
        self.flags: frozenset[str] = frozenset()
        self.delegated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _ask(self, **request: object) -> Event:
        answer = self._process.ask(request)
        if answer["event"] == "refused":
            owed = answer["token"]
            token = None if owed is None else bytes.fromhex(owed)
            raise Refused(str(answer["message"]), int(answer["major"]) & 0xFFFFFFFF, token)
        return answer

    def initiate(
        self,
        target: str,
        *,
        flags: Iterable[str] = (MUTUAL, *PROTECTED),
        bindings: bytes | None = None,
        lifetime: int | None = None,
        delegated: bool = False,
    ) -> None:
        """Begin as an initiator.

        Args:
            target: ``service@host``.
            flags: names of gssapi.RequirementFlag.
            bindings: application data of the channel bindings.
            lifetime: seconds asked for.
            delegated: with the credential that was delegated to the context before.
        """
        self._ask(
            do="initiate",
            mechanism="krb5",
            target=target,
            flags=list(flags),
            bindings=None if bindings is None else bindings.hex(),
            lifetime=lifetime,
            delegated=delegated,
        )

    def accept(self, *, bindings: bytes | None = None) -> None:
        """Begin as an acceptor."""
        self._ask(do="accept", mechanism="krb5", bindings=None if bindings is None else bindings.hex())

    def step(self, token: bytes | None) -> bytes | None:
        """Take the other end's token (`None` at an initiator's start), give the next one if there is one."""
        answer = self._ask(do="step", token=None if token is None else token.hex())
        self.complete = bool(answer["complete"])
        self.flags = frozenset(answer["flags"])
        self.delegated = bool(answer["delegated"])
        reply: str | None = answer["token"]
        return None if reply is None else bytes.fromhex(reply)

    def peer(self) -> str:
        """Who initiated, as ``name@REALM``."""
        return str(self._ask(do="inquire")["initiator"])

    def session_key(self) -> bytes:
        """The key of the context."""
        return bytes.fromhex(self._ask(do="inquire")["key"])

    def wrap(self, data: bytes, *, encrypt: bool = True) -> bytes:
        """Seal, or only sign."""
        return bytes.fromhex(self._ask(do="wrap", data=data.hex(), encrypt=encrypt)["token"])

    def unwrap(self, token: bytes) -> tuple[bytes, bool]:
        """Open; the data, and whether it was sealed."""
        answer = self._ask(do="unwrap", token=token.hex())
        return bytes.fromhex(answer["data"]), bool(answer["encrypted"])

    def sign(self, data: bytes) -> bytes:
        """The MIC of `data`."""
        return bytes.fromhex(self._ask(do="sign", data=data.hex())["token"])

    def verify(self, data: bytes, signature: bytes) -> None:
        """Check a MIC; raises `Refused`."""
        self._ask(do="verify", data=data.hex(), token=signature.hex())

    def wrap_iov(self, buffers: Sequence[tuple[str, bytes | None]]) -> tuple[bytes, ...]:
        """Seal buffers, (name of gssapi.IOVBufferType, octets or `None` for what is to be made)."""
        return self._iov("wrap_iov", buffers)

    def unwrap_iov(self, buffers: Sequence[tuple[str, bytes | None]]) -> tuple[bytes, ...]:
        """Check and open buffers."""
        return self._iov("unwrap_iov", buffers)

    def _iov(self, do: str, buffers: Sequence[tuple[str, bytes | None]]) -> tuple[bytes, ...]:
        asked = [(kind, None if octets is None else octets.hex()) for kind, octets in buffers]
        return tuple(bytes.fromhex(octets) for octets in self._ask(do=do, buffers=asked)["buffers"])

    def export(self) -> bytes:
        """Give the context away."""
        return bytes.fromhex(self._ask(do="export")["context"])

    def revive(self, context: bytes) -> None:
        """Take over a context that another process exported."""
        self._ask(do="revive", context=context.hex())

    def store_delegated(self, ccache: Path) -> None:
        """Write what was delegated to a credential cache."""
        self._ask(do="store", ccache=f"FILE:{ccache}")

    def attributes(self) -> tuple[str, ...]:
        """The attributes of the initiator's name: the buffers of its PAC."""
        return tuple(self._ask(do="attributes")["attributes"])

    def lifetime(self) -> int:
        """Seconds that the context has left."""
        return int(self._ask(do="lifetime")["lifetime"])
