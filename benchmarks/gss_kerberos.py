"""MIT krb5 through python-gssapi: runs under Debian's python3, imports nothing of this project.

    python3 -I gss_kerberos.py TARGET  < requests > replies

Credentials, keytab and encryption type are those of the environment. Each line of input is a JSON request:
{"do": "seal" | "seal raw" | "handshake" | "negotiate", "size": octets, "times": n}; each reply has seconds.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

# Debian's package, which is not in the environment that checks the types
gssapi: Any = importlib.import_module("gssapi")
gss: Any = importlib.import_module("gssapi.raw")

FLAGS = ("integrity", "confidentiality", "replay_detection", "out_of_sequence_detection", "mutual_authentication")
SPNEGO = gss.OID.from_int_seq("1.3.6.1.5.5.2")


class Ends:
    """Both ends in one process; an initiator's and an acceptor's CPU seconds."""

    def __init__(self, target: str) -> None:
        self._name = gssapi.Name(target, gssapi.NameType.kerberos_principal)
        self._flags = sum(gss.RequirementFlag[flag] for flag in FLAGS)
        self._initiator = gss.acquire_cred(None, usage="initiate").creds
        self._acceptor = gss.acquire_cred(None, usage="accept").creds
        self.contexts = self._contexts(target)

    def _contexts(self, target: str) -> tuple[Any, Any]:
        client = gssapi.SecurityContext(name=self._name, usage="initiate", flags=self._flags)
        server = gssapi.SecurityContext(usage="accept")
        client.step(server.step(client.step()))
        return client, server

    def handshake(self, mechanism: Any = None) -> tuple[float, float]:
        """The seconds of each side."""
        clock, name, flags = time.thread_time, self._name, self._flags
        a = clock()
        first = gss.init_sec_context(name, self._initiator, None, mechanism, flags)
        b = clock()
        second = gss.accept_sec_context(first.token, self._acceptor)
        c = clock()
        gss.init_sec_context(name, self._initiator, first.context, mechanism, flags, input_token=second.token)
        d = clock()
        return b - a + d - c, c - b

    def seal(self, size: int, times: int) -> dict[str, float]:
        """Through `SecurityContext`."""
        client, server = self.contexts
        return measured(lambda data: client.wrap(data, True).message, server.unwrap, size, times)

    def seal_raw(self, size: int, times: int) -> dict[str, float]:
        """Through the raw calls."""
        client, server = self.contexts
        wrap, unwrap = gss.wrap, gss.unwrap
        return measured(
            lambda data: wrap(client, data, True, None).message, lambda token: unwrap(server, token), size, times
        )


def measured(seal: Callable[[bytes], Any], unseal: Callable[[Any], Any], size: int, times: int) -> dict[str, float]:
    """The seconds of sealing and of unsealing."""
    data = bytes(size)
    start = time.thread_time()
    tokens = [seal(data) for _ in range(times)]
    sealed = time.thread_time() - start
    start = time.thread_time()
    for token in tokens:
        unseal(token)
    return {"seal": sealed, "unseal": time.thread_time() - start}


def main() -> None:
    """Answer requests until the input ends."""
    ends = Ends(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        times = request["times"]
        if request["do"] in ("handshake", "negotiate"):
            mechanism = SPNEGO if request["do"] == "negotiate" else None
            sides = [ends.handshake(mechanism) for _ in range(times)]
            reply = {"initiator": sum(side[0] for side in sides), "acceptor": sum(side[1] for side in sides)}
        elif request["do"] == "seal":
            reply = ends.seal(request["size"], times)
        else:
            reply = ends.seal_raw(request["size"], times)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
