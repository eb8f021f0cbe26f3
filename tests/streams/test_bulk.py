"""Hundreds of megabytes through each level of protection, sealed and signed by the mechanisms themselves."""

from __future__ import annotations

import hashlib
import os
from typing import Final

import anyio
import pytest

import securestream as ss
from securestream.provider import SecurityPackage
from securestream.streams._wrap import SecureStream
from securestream_providers.kerberos import EmbeddedKdc, Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

pytestmark = pytest.mark.anyio

PIECE: Final = os.urandom((1 << 20) + 7)  # no multiple of what a frame holds
PIECES: Final = 200
SPN: Final = "echo/files.example.com"
ACCOUNTS: Final = ss.Accounts.memory(alice="pw")


@pytest.fixture
def anyio_backend() -> str:
    """Once is enough: what could overflow is the mechanisms'."""
    return "asyncio"


async def move(package: SecurityPackage, alice: ss.Credential, serving: ss.Credential, level: ss.Protection) -> None:
    """Send everything to a server of the level, which answers with its digest once the client has ended."""

    async def digest(stream: SecureStream) -> None:
        seen = hashlib.blake2b()
        async for data in stream:
            seen.update(data)
        await stream.send(seen.digest())

    expected = hashlib.blake2b()
    async with (
        await ss.listen("127.0.0.1", 0, package=package, credential=serving, protection=level) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, digest)
        stream = await ss.connect(
            "127.0.0.1", listener.port, package=package, credential=alice, target=SPN, protection=level
        )
        async with stream:
            assert stream.extra(ss.SecurityAttribute.protection) is level
            for _ in range(PIECES):
                await stream.send(PIECE)
                expected.update(PIECE)
            await stream.send_eof()
            assert await stream.receive() == expected.digest()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("level", ss.Protection)
async def test_ntlm(level: ss.Protection) -> None:
    await move(Ntlm(), ss.Password("alice", "pw"), ACCOUNTS, level)


async def test_kerberos_in_spnego() -> None:
    async with EmbeddedKdc("EXAMPLE.COM") as kdc:
        kdc.add_principal("alice", "pw")
        keytab = kdc.add_service(SPN)
        package = Negotiate(Kerberos(config=kdc.config), Ntlm())
        await move(package, ss.Password("alice@EXAMPLE.COM", "pw"), keytab, ss.Protection.ENCRYPT_AND_SIGN)
