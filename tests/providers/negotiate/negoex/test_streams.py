"""Packages from elsewhere, negotiated by NEGOEX on a connection, at every level of protection."""

from __future__ import annotations

import anyio
import pytest

import securestream as ss
from examples.anonymous_provider import AnonymousPackage
from examples.custom_provider import SharedKeyPackage
from securestream.credentials import Anonymous, Credential, Credentials
from securestream_providers.negotiate import Negotiate
from tests.core.handshakes import ALICE

pytestmark = pytest.mark.anyio
BOTH = Negotiate(SharedKeyPackage(), AnonymousPackage())
SIZE = 200_000


@pytest.mark.parametrize("level", ss.Protection)
@pytest.mark.parametrize(("credential", "chosen"), [(ALICE, "SharedKey"), (Anonymous(), "Anonymous-X25519")])
async def test_the_clients_credential_chooses(level: ss.Protection, credential: Credential, chosen: str) -> None:
    known = Credentials(ALICE, Anonymous())
    seen: list[str] = []

    async def serve(stream: ss.NegotiateStream | ss.TlsStream) -> None:
        seen.append(stream.extra(ss.SecurityAttribute.package))
        async for data in stream:
            await stream.send(data)

    async with (
        await ss.listen("127.0.0.1", 0, package=BOTH, credential=known, protection=level) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        async with await ss.connect(
            "127.0.0.1", listener.port, package=BOTH, credential=credential, protection=level
        ) as stream:
            assert stream.extra(ss.SecurityAttribute.protection) >= level
            report = stream.extra(ss.SecurityAttribute.negotiation)
            assert report is not None
            assert report.chosen is not None
            assert report.chosen.mechanism == chosen
            assert len(report.mechanisms) == 2, "the other one is in the report, with the reason"
            await stream.send(bytes(SIZE))
            got = 0
            while got < SIZE:
                got += len(await stream.receive())
        tasks.cancel_scope.cancel()
    assert seen == [chosen]
