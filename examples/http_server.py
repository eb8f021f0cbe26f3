"""A web service on uvicorn that knows who asks: ``python examples/http_server.py PORT [KEYTAB]``.

Kerberos with the keys of KEYTAB, NTLM in Negotiate and alone, and Digest; alice's password is SECURESTREAM_PASSWORD.
Port 0 is one of the system's choice. ``curl --ntlm`` wants ``Ntlm(oem="cp850", mic="optional")``: it writes names in a
code page, and sends no MIC. In a service of your own, behind TLS, give the middleware the ``bindings`` of the
certificate that clients see: ``end_point_bindings(certificate)``.
"""

from __future__ import annotations

import os
import socket
import sys

import uvicorn

import securestream as ss
from securestream.http import AuthenticationMiddleware, SecureH11Protocol, ServerScheme, TokenScheme
from securestream.http.asgi import PEER, Receive, Scope, Send
from securestream_providers.digest import DigestServer
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell the client who it is. Whatever comes here is authenticated."""
    peer: ss.Principal = scope[PEER]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"you are {peer} by {peer.package}\n".encode()})


def schemes(keytab: str | None) -> list[ServerScheme]:
    """What is offered, the best first."""
    accounts = ss.Accounts.memory(alice=os.environ["SECURESTREAM_PASSWORD"])
    forms = accounts if keytab is None else ss.Credentials(ss.Keytab(keytab), accounts)
    negotiate = Negotiate(Ntlm()) if keytab is None else Negotiate(Kerberos(), Ntlm())
    return [
        TokenScheme("Negotiate", negotiate, forms),
        TokenScheme("NTLM", Ntlm(), accounts),
        DigestServer(accounts, "example"),
    ]


def main() -> None:
    """Serve until interrupted."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each response waits for an acknowledgement
    print(f"http://localhost:{listener.getsockname()[1]}", flush=True)
    app = AuthenticationMiddleware(application, schemes(sys.argv[2] if len(sys.argv) > 2 else None))
    config = uvicorn.Config(app, http=SecureH11Protocol, lifespan="off", log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or not sys.argv[1].isdecimal():
        sys.exit(__doc__)
    if "SECURESTREAM_PASSWORD" not in os.environ:
        sys.exit("set SECURESTREAM_PASSWORD to alice's password")
    main()
