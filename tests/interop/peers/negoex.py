"""Starts MIT's NEGOEX with the mechanism that MIT tests it with; see negoex_peer.py for the requests."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.interop.peers import negoex_setup
from tests.interop.peers.foreign import Refused
from tests.interop.peers.places import SYSTEM_PYTHON
from tests.interop.peers.process import JsonPeer

NAME = "MIT NEGOEX"
PROGRAM = Path(__file__).with_name("negoex_peer.py")
FIRST, SECOND = "2.25.1414534758", "2.25.1175737388"
"""The OIDs of the two mechanisms, which are one and the same; MIT prefers the first."""
FIRST_OCTET, SECOND_OCTET = "102", "44"
"""How the switches of the mechanism name them: by the last octet of the OID."""


@functools.cache
def version() -> str | None:
    """The version of MIT's library, or `None` where it or its test mechanism is missing."""
    if not negoex_setup.ready():
        return None
    query = ["dpkg-query", "--show", "--showformat=${Version}", "libgssapi-krb5-2"]
    try:
        package = subprocess.run(query, capture_output=True, text=True, check=True)
        subprocess.run([SYSTEM_PYTHON, "-I", "-c", "import gssapi"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return package.stdout.partition("-")[0]


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if version() else "python3-gssapi and the mechanism: python -m tests.interop.install"


class NegoexPeer:
    """One security context of MIT's SPNEGO at a time.

    Args:
        folder: where its configuration may be written.
        mechanisms: which of the two it has, the preferred one first.
    """

    def __init__(self, folder: Path, mechanisms: tuple[str, ...] = (FIRST, SECOND)) -> None:
        configured = folder / "mech"
        lines = (f"negoextest {oid} {negoex_setup.LIBRARY}\n" for oid in mechanisms)
        configured.write_text("".join(lines), encoding="utf-8")
        realm = folder / "krb5.conf"
        realm.write_text("[libdefaults]\n default_realm = NONE.TEST\n dns_lookup_kdc = false\n", encoding="utf-8")
        environment = {"GSS_MECH_CONFIG": str(configured), "KRB5_CONFIG": str(realm), "KRB5CCNAME": "MEMORY:"}
        self._process = JsonPeer([SYSTEM_PYTHON, "-I", PROGRAM], {**environment, "KRB5_KTNAME": "MEMORY:none"})
        self.complete = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.close()

    def begin(self, *, initiator: bool, switches: Mapping[str, str]) -> None:
        """Begin a context.

        Args:
            initiator: which role.
            switches: of the mechanism: HOPS, KEY, INIT_FAIL and so on.
        """
        self.complete = False
        self._process.ask({"do": "begin", "initiator": initiator, "switches": dict(switches)})

    def step(self, token: bytes | None) -> bytes | None:
        """Take the other end's token (`None` at an initiator's start), give the next one if there is one.

        Raises:
            Refused: it says no; with the token that it owes.
        """
        answer = self._process.ask({"do": "step", "token": None if token is None else token.hex()})
        reply = None if answer["token"] is None else bytes.fromhex(answer["token"])
        if answer["event"] == "refused":
            raise Refused(str(answer["message"]), int(answer["major"]) & 0xFFFFFFFF, reply)
        self.complete = bool(answer["complete"])
        return reply
