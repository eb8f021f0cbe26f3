"""An echo service that takes Kerberos and NTLM, and says which it was and why.

``python examples/negotiate_echo.py [asyncio|trio]``; the KDC runs in the same program and knows alice, the store of
accounts knows bob.
"""

from __future__ import annotations

import sys

import anyio
from anyio.abc import TaskStatus

import securestream as ss
from securestream_providers.kerberos import EmbeddedKdc, Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

SERVICE = "echo/files.example.com"


async def handler(stream: ss.NegotiateStream | ss.TlsStream) -> None:
    """Serve one client, which is authenticated already."""
    async for data in stream:
        await stream.send(data)


async def serve(package: Negotiate, keytab: ss.Keytab, *, task_status: TaskStatus[int]) -> None:
    """Listen on a port of the system's choice and tell it: the keytab is for Kerberos, the accounts are for NTLM."""
    credential = ss.Credentials(keytab, ss.Accounts.memory(bob="battery staple"))
    async with await ss.listen("127.0.0.1", 0, package=package, credential=credential) as listener:
        task_status.started(listener.port)
        await listener.serve(handler)


async def ask(port: int, package: Negotiate, user: str, password: str) -> None:
    """Connect, and tell what became of each mechanism."""
    credential = ss.Password(user, password)
    try:
        stream = await ss.connect("127.0.0.1", port, package=package, credential=credential, target=SERVICE)
    except ss.NoCommonMechanism as error:
        print(f"{user} is not connected:", *_lines(error.negotiation), sep="\n    ")
        return
    async with stream:
        await stream.send(b"hello")
        echo = await stream.receive()
        report = stream.extra(ss.SecurityAttribute.negotiation)
        print(
            f"{user} got {echo!r} back over {stream.extra(ss.SecurityAttribute.package)}:",
            *_lines(report),
            sep="\n    ",
        )


def _lines(report: ss.Negotiation | None) -> list[str]:
    return [] if report is None else [str(one) for one in report.mechanisms]


async def main() -> None:
    """Run the KDC and both ends."""
    async with EmbeddedKdc("EXAMPLE.COM") as kdc, anyio.create_task_group() as tasks:
        kdc.add_principal("alice", "correct horse")
        kerberos = Kerberos(config=kdc.config)
        careful, lenient = Negotiate(kerberos, Ntlm()), Negotiate(kerberos, Ntlm(), ntlm="always")
        port = await tasks.start(serve, careful, kdc.add_service(SERVICE))
        await ask(port, careful, "alice", "correct horse")
        await ask(port, careful, "bob", "battery staple")  # whoever forges the KDC's answer must not gain by that
        await ask(port, lenient, "bob", "battery staple")
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["asyncio"], ["trio"]):
        sys.exit(__doc__)
    anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
