"""Kerberos with .NET's NegotiateStream over TCP, on both event loops (MS-NNS): its server takes raw Kerberos tokens."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import anyio
import pytest

import securestream as ss
from securestream.streams._wrap import SecureStream
from securestream_providers.kerberos import Kerberos
from tests.interop.dotnet_streams import DOTNET_LEVEL, PROTECTION, SIZES, echo, said
from tests.interop.expected_kerberos import LEVELS, STREAM
from tests.interop.matrix import Filler
from tests.interop.peers import dotnet, mit_tools
from tests.interop.peers.mit_kdc import MitKdc
from tests.interop.relay import relaying

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

PASSWORD = "alice's password"
TARGET = "HOST/localhost"


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of .NET."""
    require(mit_tools)
    return require(dotnet)


@pytest.fixture(scope="module")
def kdc(version: str, mit_kdc: MitKdc) -> MitKdc:
    """The realm with a user and the name that .NET gives its services."""
    mit_kdc.add_user("alice", f'"{PASSWORD}"')
    mit_kdc.add_service(TARGET)
    mit_kdc.add_service("HOST/other")
    return mit_kdc


async def call(
    port: int, kdc: MitKdc, protection: ss.Protection, *, password: str = PASSWORD, target: str = TARGET
) -> SecureStream:
    """Our client, connected."""
    return await ss.connect(
        "127.0.0.1",
        port,
        package=Kerberos(config=kdc.krb5_config()),
        credential=ss.Password(f"alice@{kdc.realm}", password),
        target=target,
        protection=protection,
    )


@pytest.mark.parametrize("level", LEVELS)
async def test_its_server_echoes_what_our_client_seals(level: str, version: str, kdc: MitKdc, matrix: Filler) -> None:
    settings = {"protocol": "negotiate", "level": DOTNET_LEVEL[level]}
    with dotnet.server(settings, kdc.environment()) as (peer, port), anyio.fail_after(60):
        async with await call(port, kdc, PROTECTION[level]) as stream:
            seen = await said(peer, "authenticated")
            assert seen["peer"] == f"alice@{kdc.realm}"
            assert (seen["signed"], seen["encrypted"], seen["mutual"]) == (True, level == "encrypt and sign", True)
            for size in SIZES:
                await echo(stream, size)
        assert (await said(peer, "closed"))["total"] == sum(SIZES)
    matrix.fill(STREAM, dotnet.NAME, version, "server", level, f"echoed 0 to {max(SIZES)} octets")


async def test_what_is_altered_on_the_way_is_refused_by_both(version: str, kdc: MitKdc, matrix: Filler) -> None:
    with dotnet.server({"protocol": "negotiate"}, kdc.environment()) as (peer, port), anyio.fail_after(60):
        async with relaying(port) as relay:
            async with await call(relay.port, kdc, ss.Protection.ENCRYPT_AND_SIGN) as stream:
                await echo(stream, 1000)
                relay.alter = "to client"
                await stream.send(b"altered on its way back")
                with pytest.raises(ss.BadSignature):
                    await stream.receive()
            await said(peer, "closed", "failed")
            async with await call(relay.port, kdc, ss.Protection.ENCRYPT_AND_SIGN) as stream:
                await echo(stream, 1000)
                relay.alter = "to server"
                await stream.send(b"altered on its way")
                assert (await said(peer, "failed"))["during"] == "data"
    matrix.fill(STREAM, dotnet.NAME, version, "server", "altered data", "refused by both")


async def test_its_refusal_of_a_ticket_for_another_service_is_understood(
    version: str, kdc: MitKdc, matrix: Filler
) -> None:
    environment = kdc.environment(keytab=kdc.folder / "service.keytab")
    kdc.keytab(kdc.folder / "service.keytab", TARGET)
    with dotnet.server({"protocol": "negotiate"}, environment) as (peer, port), anyio.fail_after(60):
        with pytest.raises(ss.PeerRefused):
            await call(port, kdc, ss.Protection.ENCRYPT_AND_SIGN, target="HOST/other")
        await said(peer, "failed")
    matrix.fill(STREAM, dotnet.NAME, version, "server", "ticket for another service", "its error frame")


async def test_its_refusal_of_too_little_protection_is_understood(version: str, kdc: MitKdc, matrix: Filler) -> None:
    settings = {"protocol": "negotiate", "level": "EncryptAndSign"}
    with dotnet.server(settings, kdc.environment()) as (peer, port), anyio.fail_after(60):
        with pytest.raises(ss.PeerRefused):
            await call(port, kdc, ss.Protection.NONE)
        await said(peer, "failed")
    matrix.fill(STREAM, dotnet.NAME, version, "server", "protection too low", "its error frame")
