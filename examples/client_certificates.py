"""TLS with certificates at both ends: ``python examples/client_certificates.py FOLDER``.

FOLDER holds authority.pem, server.pem with server.key (for the name files.example), client.pem with client.key.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from anyio.abc import TaskStatus

import securestream as ss
from securestream_providers.schannel import Schannel


async def handler(stream: ss.NegotiateStream | ss.TlsStream) -> None:
    """Greet a client by the name in its certificate."""
    peer = stream.extra(ss.SecurityAttribute.peer)
    await stream.send(f"hello {peer.name}, whom {peer.authority} vouches for".encode())


async def serve(folder: Path, *, task_status: TaskStatus[int]) -> None:
    """Demand certificates of our authority."""
    package = Schannel(trust=folder / "authority.pem", client_certificates="required")
    own = ss.Certificate(folder / "server.pem", folder / "server.key")
    async with await ss.listen("127.0.0.1", 0, package=package, credential=own) as listener:
        task_status.started(listener.port)
        await listener.serve(handler)


async def main(folder: Path) -> None:
    """Run both ends."""
    package = Schannel(trust=folder / "authority.pem")
    own = ss.Certificate(folder / "client.pem", folder / "client.key")
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(serve, folder)
        async with await ss.connect(
            "127.0.0.1", port, package=package, credential=own, target="files.example"
        ) as stream:
            session = stream.extra(ss.SecurityAttribute.tls_session)
            print(session.version, (await stream.receive()).decode())
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    anyio.run(main, Path(sys.argv[1]))
