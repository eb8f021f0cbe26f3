"""gss-ntlmssp through python-gssapi's raw calls: runs under Debian's python3, imports nothing of this project.

    python3 -I gss_ntlmssp.py USER  < requests > replies

Each line of input is a JSON request: {"do": "seal" | "handshake" | "negotiate", "size": octets, "times": n}; each reply
has seconds.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

# Debian's package, which is not in the environment that checks the types
gss: Any = importlib.import_module("gssapi.raw")

NTLM = gss.OID.from_int_seq("1.3.6.1.4.1.311.2.2.10")
SPNEGO = gss.OID.from_int_seq("1.3.6.1.5.5.2")


def acquire(user: str, mechanism: Any) -> tuple[Any, Any, Any]:
    """The two credentials, from NTLM_USER_FILE, and the target."""
    name = gss.import_name(user.encode(), gss.NameType.user)
    initiator = gss.acquire_cred(name, None, [mechanism], "initiate").creds
    acceptor = gss.acquire_cred(None, None, [mechanism], "accept").creds
    return initiator, acceptor, gss.import_name(b"host@localhost", gss.NameType.hostbased_service)


def handshake(mechanism: Any, initiator: Any, acceptor: Any, target: Any) -> tuple[Any, Any, float, float]:
    """Both contexts, and the CPU seconds of each side."""
    flags = sum(gss.RequirementFlag[flag] for flag in ("integrity", "confidentiality", "replay_detection"))
    clock, client, server = time.thread_time, 0.0, 0.0
    ours, theirs, token = None, None, None
    while True:
        start = clock()
        ours = gss.init_sec_context(target, initiator, ours and ours.context, mechanism, flags, input_token=token)
        client += clock() - start
        if ours.token is None:
            break
        start = clock()
        theirs = gss.accept_sec_context(ours.token, acceptor, theirs and theirs.context)
        server += clock() - start
        token = theirs.token
        if token is None:
            break
    if ours.more_steps or theirs is None or theirs.more_steps:
        raise RuntimeError("the handshake is not complete")
    return ours.context, theirs.context, client, server


def main() -> None:
    """Answer requests until the input ends."""
    mechanisms = {"handshake": NTLM, "negotiate": SPNEGO}
    creds = {do: (mechanism, *acquire(sys.argv[1], mechanism)) for do, mechanism in mechanisms.items()}
    client, server, _, _ = handshake(*creds["handshake"])
    for line in sys.stdin:
        request = json.loads(line)
        times = request["times"]
        if request["do"] in creds:
            sides = [handshake(*creds[request["do"]])[2:] for _ in range(times)]
            reply = {"initiator": sum(side[0] for side in sides), "acceptor": sum(side[1] for side in sides)}
        else:
            data = bytes(request["size"])
            wrap, unwrap = gss.wrap, gss.unwrap
            start = time.thread_time()
            tokens = [wrap(client, data, True, None).message for _ in range(times)]
            sealed = time.thread_time() - start
            start = time.thread_time()
            for token in tokens:
                unwrap(server, token)
            reply = {"seal": sealed, "unseal": time.thread_time() - start}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
