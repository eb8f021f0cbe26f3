"""Level None where the mechanism is negotiated: both ends frame data alike, by what was established."""

from __future__ import annotations

import anyio
import pytest

import securestream as ss
from securestream.provider import SecurityPackage
from securestream.streams._wrap import SecureStream
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 800  # more than three frames


@pytest.mark.parametrize(
    ("package", "protection"),
    [
        pytest.param(Negotiate(Ntlm()), ss.Protection.SIGN, id="in SPNEGO"),
        pytest.param(Ntlm(), ss.Protection.NONE, id="bare"),
    ],
)
async def test_inside_spnego_the_integrity_that_its_mic_needs_protects_the_data_too(
    package: SecurityPackage, protection: ss.Protection
) -> None:
    """As .NET's server at level None has it: it takes signed frames where the mechanism gives integrity."""
    seen: list[ss.Protection] = []

    async def echo(stream: SecureStream) -> None:
        seen.append(stream.extra(ss.SecurityAttribute.protection))
        async for data in stream:
            await stream.send(data)

    listener = await ss.listen(
        "127.0.0.1",
        0,
        package=Negotiate(Ntlm()),
        credential=ss.Accounts.memory(alice="secret"),
        protection=ss.Protection.NONE,
    )
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        stream = await ss.connect(
            "127.0.0.1",
            listener.port,
            package=package,
            credential=ss.Password("alice", "secret"),
            protection=ss.Protection.NONE,
        )
        async with stream:
            seen.append(stream.extra(ss.SecurityAttribute.protection))
            received = bytearray()
            async with anyio.create_task_group() as sending:
                sending.start_soon(stream.send, DATA)
                while len(received) < len(DATA):
                    received += await stream.receive()
            assert received == DATA
        tasks.cancel_scope.cancel()
    assert seen == [protection, protection]
