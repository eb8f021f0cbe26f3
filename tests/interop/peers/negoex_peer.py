"""MIT's SPNEGO with its NEGOEX test mechanism, one security context at a time, told what to do by JSON lines.

Runs under Debian's python3 with its python3-gssapi: it imports nothing of this project. Octets are hexadecimal. The
switches of the test mechanism are environment variables, which it reads at each step: a request may set them.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

# Debian's package, which is not in the environment that checks the types
gss: Any = importlib.import_module("gssapi.raw")

SPNEGO = gss.OID.from_int_seq("1.3.6.1.5.5.2")


class Peer:
    """The context under way, and the requests as methods."""

    def __init__(self) -> None:
        self.context: Any = None
        self.target: Any = None
        self.initiator = False
        self.switches: tuple[str, ...] = ()

    def begin(self, request: dict[str, Any]) -> dict[str, Any]:
        """Forget the context before; take a role, and switches."""
        for name in self.switches:
            del os.environ[name]
        os.environ.update(request["switches"])
        self.switches = tuple(request["switches"])
        self.context = None
        self.initiator = request["initiator"]
        self.target = gss.import_name(b"h@host", gss.NameType.hostbased_service)
        return {}

    def step(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take a token, or none at the start; give one, or none."""
        token = None if request["token"] is None else bytes.fromhex(request["token"])
        if self.initiator:
            result = gss.init_sec_context(self.target, None, self.context, SPNEGO, None, None, None, token)
        else:
            result = gss.accept_sec_context(token, None, self.context, None)
        self.context = result.context
        return {"token": None if result.token is None else result.token.hex(), "complete": not result.more_steps}


def main() -> None:
    """Answer requests until standard input ends."""
    peer = Peer()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"event": "reply", **getattr(peer, request["do"])(request)}
        except gss.GSSError as error:
            answer = {"event": "refused", "major": error.maj_code, "message": str(error)}
            answer["token"] = error.token.hex() if error.token else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
