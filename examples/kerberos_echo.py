"""An echo service over Kerberos, its KDC in the same program. ``python examples/kerberos_echo.py [asyncio|trio]``."""

from __future__ import annotations

import sys

import anyio
from anyio.abc import TaskStatus

import securestream as ss
from securestream_providers.kerberos import EmbeddedKdc, Kerberos


async def handler(stream: ss.NegotiateStream | ss.TlsStream) -> None:
    """Serve one client, which is authenticated already."""
    print("the server sees", stream.extra(ss.SecurityAttribute.peer))
    async for data in stream:
        await stream.send(data)


async def serve(package: Kerberos, keytab: ss.Keytab, *, task_status: TaskStatus[int]) -> None:
    """Listen on a port of the system's choice and tell it."""
    async with await ss.listen("127.0.0.1", 0, package=package, credential=keytab) as listener:
        task_status.started(listener.port)
        await listener.serve(handler)


async def main() -> None:
    """Run the KDC and both ends."""
    async with EmbeddedKdc("EXAMPLE.COM") as kdc, anyio.create_task_group() as tasks:
        kdc.add_principal("alice", "correct horse")
        package = Kerberos(config=kdc.config)
        port = await tasks.start(serve, package, kdc.add_service("echo/files.example.com"))
        for password in ("correct horse", "wrong"):
            alice = ss.Password("alice@EXAMPLE.COM", password)
            try:
                stream = await ss.connect(
                    "127.0.0.1", port, package=package, credential=alice, target="echo/files.example.com"
                )
            except ss.LogonDenied as error:
                print("a wrong password:", error.kind.sspi)
                continue
            async with stream:
                await stream.send(b"hello")
                print("the echo is", await stream.receive(), "from", stream.extra(ss.SecurityAttribute.peer))
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["asyncio"], ["trio"]):
        sys.exit(__doc__)
    anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
