"""A handshake stepped by hand, without any I/O: for those who carry tokens in a protocol of their own.

``python examples/by_hand.py``
"""

from __future__ import annotations

import securestream as ss
from securestream.provider import TargetName
from securestream_providers.ntlm import Ntlm


def main() -> None:
    """Hand tokens from one end to the other until both are established, then seal a message."""
    package, options = Ntlm(), ss.system_options()
    target = TargetName("HTTP/intranet.example")
    credential = ss.Password(r"CORP\alice", "correct horse")
    accounts = ss.Accounts.memory(alice="correct horse")
    client = ss.HandshakeMachine(package.initiate(credential, target, options))
    server = ss.HandshakeMachine(package.accept(accounts, options))

    # `respond_blocking` performs what a handshake needs (here: the server's logon) until there is a token to send, or
    # the outcome. `await respond(...)` does the same in an event loop.
    at_client = ss.respond_blocking(client)
    while True:
        print("client:", package.describe_token(at_client.token or b""))
        at_server = ss.respond_blocking(server, at_client.token)
        if at_server.established is not None:
            break
        print("server:", package.describe_token(at_server.token or b""))
        at_client = ss.respond_blocking(client, at_server.token)

    print("the server sees", at_server.established.peer)
    sealed = context_of(at_client).wrap(b"a message")
    print(f"{len(sealed)} octets sealed are", context_of(at_server).unwrap(sealed))


def context_of(step: ss.Step) -> ss.SecurityContext:
    """The security context of the last step; a package of TLS would have a record connection instead."""
    if step.established is None or not isinstance(step.established.result, ss.SecurityContext):
        raise TypeError("there is no security context")
    return step.established.result


if __name__ == "__main__":
    main()
