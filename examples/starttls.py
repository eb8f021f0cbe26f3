"""STARTTLS: an open connection becomes a TLS one, and a plain one again. ``python examples/starttls.py FOLDER``.

FOLDER holds authority.pem, and server.pem with server.key for the name files.example.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

import securestream as ss
from securestream_providers.schannel import Schannel


async def serve_one(plain: SocketStream, folder: Path) -> None:
    """Speak in clear until the client says STARTTLS."""
    lines = BufferedByteReceiveStream(plain)
    while await lines.receive_until(b"\n", 100) != b"STARTTLS":
        await plain.send(b"say STARTTLS\n")
    # What was read beyond that line belongs to TLS: pass it on, or somebody may have slipped a command in.
    own = ss.Certificate(folder / "server.pem", folder / "server.key")
    secure = await ss.TlsStream.wrap_server(plain, credential=own, received=lines.buffer)
    await secure.send(b"now in secret\n")
    transport, trailing = await secure.unwrap()  # waits for the client's close_notify
    await transport.send(b"in clear again" + trailing)
    await transport.aclose()


async def serve(folder: Path, *, task_status: TaskStatus[int]) -> None:
    """Listen on a port of the system's choice and tell it."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener:
        task_status.started(listener.extra(SocketAttribute.local_port))
        await listener.serve(lambda plain: serve_one(plain, folder))


async def main(folder: Path) -> None:
    """Run both ends."""
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(serve, folder)
        plain = await anyio.connect_tcp("127.0.0.1", port)
        await plain.send(b"HELLO\n")
        print((await plain.receive()).decode().strip())
        await plain.send(b"STARTTLS\n")
        package = Schannel(trust=folder / "authority.pem")
        secure = await ss.TlsStream.wrap_client(plain, package=package, target="files.example")
        print((await secure.receive()).decode().strip())
        transport, trailing = await secure.unwrap()
        print((trailing or await transport.receive()).decode())
        await transport.aclose()
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    anyio.run(main, Path(sys.argv[1]))
