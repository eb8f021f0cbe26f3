"""An echo service over NTLM: server and client in one program. ``python examples/echo.py [asyncio|trio]``."""

from __future__ import annotations

import sys

import anyio
from anyio.abc import TaskStatus

import securestream as ss


async def handler(stream: ss.NegotiateStream | ss.TlsStream) -> None:
    """Serve one client, which is authenticated already."""
    print("the server sees", stream.extra(ss.SecurityAttribute.peer))
    async for data in stream:
        await stream.send(data)


async def serve(*, task_status: TaskStatus[int]) -> None:
    """Listen on a port of the system's choice and tell it."""
    accounts = ss.Accounts.memory(alice="correct horse")
    async with await ss.listen("127.0.0.1", 0, package="ntlm", credential=accounts) as listener:
        task_status.started(listener.port)
        await listener.serve(handler)


async def main() -> None:
    """Run both ends."""
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(serve)
        alice = ss.Password("alice", "correct horse")
        async with await ss.connect("127.0.0.1", port, package="ntlm", credential=alice) as stream:
            await stream.send(b"hello")
            print("the echo is", await stream.receive())
        try:
            await ss.connect("127.0.0.1", port, package="ntlm", credential=ss.Password("alice", "wrong"))
        except ss.PeerRefused as refused:
            print("a wrong password:", refused.kind.sspi)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["asyncio"], ["trio"]):
        sys.exit(__doc__)
    anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
