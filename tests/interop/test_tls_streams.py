"""TlsStream with .NET's SslStream over TCP, on both event loops: several MB both ways at once, and a proved end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import anyio
import pytest

import securestream as ss
from securestream.records.endpoints import Engine
from securestream.streams._wrap import SecureStream
from securestream_providers.schannel import Schannel
from tests.interop.dotnet_streams import said
from tests.interop.expected_tls import TABLE
from tests.interop.matrix import Filler
from tests.interop.peers import dotnet
from tests.interop.test_tls_dotnet import environment, settings
from tests.interop.tls_ends import CA, CLIENT, LEAF, SIZES

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

engines = pytest.mark.parametrize("engine", ["stdlib", "pyopenssl"])


@pytest.fixture
def runtime(require: Callable[[ModuleType], str]) -> str:
    """The version of .NET."""
    return require(dotnet)


@engines
async def test_our_stream_to_a_server_of_dotnet(runtime: str, engine: Engine, tmp_path: Path, matrix: Filler) -> None:
    told = settings(tmp_path, "TLSv1.3", LEAF, requireCertificate=True)
    package = Schannel(trust=CA.pem, engine=engine)
    with dotnet.server(told, environment(tmp_path)) as (peer, port), anyio.fail_after(60):
        stream = await ss.connect(
            "127.0.0.1", port, package=package, credential=CLIENT.credential, target="host/localhost"
        )
        async with stream:
            for size in SIZES:
                data, received = os.urandom(size), bytearray()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(stream.send, data)
                    while len(received) < size:
                        received += await stream.receive()
                assert received == data
            assert stream.extra(ss.SecurityAttribute.peer).name == "localhost"
            assert isinstance(stream, ss.TlsStream)
            transport, trailing = await stream.unwrap()
            assert trailing == b""
            await transport.aclose()
        assert (await said(peer, "closed"))["total"] == sum(SIZES)
    matrix.fill(TABLE, dotnet.NAME, runtime, "server", f"stream {engine}", "echoed 0 to 3000000 octets")


@engines
async def test_our_listener_for_a_client_of_dotnet(
    runtime: str, engine: Engine, tmp_path: Path, matrix: Filler
) -> None:
    seen: list[ss.Principal] = []
    ended = anyio.Event()

    async def handle(stream: SecureStream) -> None:
        seen.append(stream.extra(ss.SecurityAttribute.peer))
        async for data in stream:
            await stream.send(data)
        if stream.extra(ss.SecurityAttribute.closure_authenticated):
            ended.set()

    package = Schannel(trust=CA.pem, engine=engine, client_certificates="required")
    listener = await ss.listen("127.0.0.1", 0, package=package, credential=LEAF.credential)
    with anyio.fail_after(60):
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle)
            told = settings(tmp_path, "TLSv1.3", CLIENT, sizes=list(SIZES))
            told |= {"role": "client", "port": listener.port, "target": "localhost"}
            with dotnet.start(told, environment(tmp_path)) as peer:
                for size in SIZES:
                    assert await said(peer, "echoed") == {"event": "echoed", "size": size, "right": True}
                await said(peer, "closed")
                await ended.wait()
            tasks.cancel_scope.cancel()
    assert [principal.name for principal in seen] == ["client.example"]
    matrix.fill(TABLE, dotnet.NAME, runtime, "client", f"stream {engine}", "echoed 0 to 3000000 octets")
