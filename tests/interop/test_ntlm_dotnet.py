"""NTLM with .NET's NegotiateStream over TCP, on both event loops (MS-NNS; MS-NLMP).

.NET on Linux takes its NTLM from gss-ntlmssp: its server understands raw NTLM at every level, and its client sends raw
NTLM, without a MIC, at level None alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Literal

import anyio
import pytest

import securestream as ss
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream.streams._wrap import SecureStream
from securestream_providers.ntlm import Ntlm
from tests.cli.processes import Running
from tests.interop.dotnet_streams import DOTNET_LEVEL, PROTECTION, SIZES, echo, said
from tests.interop.expected_ntlm import LEVELS, TABLE
from tests.interop.matrix import Filler
from tests.interop.peers import dotnet
from tests.interop.peers.accounts import DOMAIN, NAME, USER
from tests.interop.peers.process import Event, JsonPeer
from tests.interop.relay import relaying

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

LOGON_DENIED = 0x8009030C
INTERNAL_ERROR = 0x80090304
LEVEL_NOT_MET = 1790


@pytest.fixture
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of .NET."""
    return require(dotnet)


def codes(failure: Event) -> set[int]:
    """The native error codes in the chain of exceptions that .NET reports."""
    return {link["native"] for link in failure["chain"] if link["native"] is not None}


async def call(port: int, protection: ss.Protection, *passwords: str) -> SecureStream:
    """Our client, connected; it tries one password after the other."""
    return await ss.connect(
        "127.0.0.1",
        port,
        package=Ntlm(),
        credential=[ss.Password(NAME, password) for password in passwords],
        target="HOST/localhost",
        protection=protection,
    )


@pytest.mark.parametrize("level", LEVELS)
async def test_its_server_echoes_what_our_client_seals(
    level: str, version: str, password: str, ntlm_accounts: dict[str, str], matrix: Filler
) -> None:
    settings = {"protocol": "negotiate", "level": DOTNET_LEVEL[level]}
    with dotnet.server(settings, ntlm_accounts) as (peer, port), anyio.fail_after(60):
        async with await call(port, PROTECTION[level], password) as stream:
            seen = await said(peer, "authenticated")
            assert seen["peer"] == NAME
            assert (seen["signed"], seen["encrypted"]) == (True, level == "encrypt and sign")
            for size in SIZES:
                await echo(stream, size)
        assert (await said(peer, "closed"))["total"] == sum(SIZES)
    matrix.fill(TABLE, dotnet.NAME, version, "server", level, f"echoed 0 to {max(SIZES)} octets")


async def test_its_refusal_of_a_wrong_password_is_understood(
    version: str, ntlm_accounts: dict[str, str], matrix: Filler
) -> None:
    with dotnet.server({"protocol": "negotiate"}, ntlm_accounts) as (peer, port), anyio.fail_after(60):
        with pytest.raises(ss.PeerRefused) as refusal:
            await call(port, ss.Protection.ENCRYPT_AND_SIGN, "wrong")
        await said(peer, "failed")
    # gss-ntlmssp gives .NET no better reason
    assert refusal.value.code == INTERNAL_ERROR
    matrix.fill(TABLE, dotnet.NAME, version, "server", "wrong password", f"its error frame: {INTERNAL_ERROR:#010x}")


async def test_its_refusal_of_too_little_protection_is_understood(
    version: str, password: str, ntlm_accounts: dict[str, str], matrix: Filler
) -> None:
    settings = {"protocol": "negotiate", "level": "EncryptAndSign"}
    with dotnet.server(settings, ntlm_accounts) as (peer, port), anyio.fail_after(60):
        with pytest.raises(ss.PeerRefused) as refusal:
            await call(port, ss.Protection.NONE, password)
        await said(peer, "failed")
    assert refusal.value.code == LEVEL_NOT_MET
    matrix.fill(TABLE, dotnet.NAME, version, "server", "protection too low", f"its error frame: {LEVEL_NOT_MET}")


async def test_our_client_tries_again_over_the_same_connection(
    version: str, password: str, ntlm_accounts: dict[str, str], matrix: Filler
) -> None:
    settings = {"protocol": "negotiate", "attempts": 2}
    with dotnet.server(settings, ntlm_accounts) as (peer, port), anyio.fail_after(60):
        async with await call(port, ss.Protection.ENCRYPT_AND_SIGN, "wrong", password) as stream:
            assert (await said(peer, "failed"))["during"] == "attempt"
            assert (await said(peer, "authenticated"))["peer"] == NAME
            await echo(stream, 1000)
    matrix.fill(TABLE, dotnet.NAME, version, "server", "second attempt", "echoed 1000 octets")


async def test_what_is_altered_on_the_way_is_refused_by_both(
    version: str, password: str, ntlm_accounts: dict[str, str], matrix: Filler
) -> None:
    with dotnet.server({"protocol": "negotiate"}, ntlm_accounts) as (peer, port), anyio.fail_after(60):
        async with relaying(port) as relay:
            async with await call(relay.port, ss.Protection.ENCRYPT_AND_SIGN, password) as stream:
                await echo(stream, 1000)
                relay.alter = "to client"
                await stream.send(b"altered on its way back")
                with pytest.raises(ss.BadSignature):
                    await stream.receive()
            await said(peer, "closed", "failed")
            async with await call(relay.port, ss.Protection.ENCRYPT_AND_SIGN, password) as stream:
                await echo(stream, 1000)
                relay.alter = "to server"
                await stream.send(b"altered on its way")
                assert (await said(peer, "failed"))["during"] == "data"
    matrix.fill(TABLE, dotnet.NAME, version, "server", "altered data", "refused by both")


@asynccontextmanager
async def our_server(
    password: str, protection: ss.Protection, *, mic: Literal["required", "optional"] = "optional"
) -> AsyncGenerator[tuple[int, list[ss.Principal]]]:
    """Our echo server, with its port and whom it saw."""
    seen: list[ss.Principal] = []

    async def handle(stream: SecureStream) -> None:
        seen.append(stream.extra(ss.SecurityAttribute.peer))
        async for data in stream:
            await stream.send(data)

    accounts = ss.Accounts.memory(**{NAME: password})
    listener = await ss.listen("127.0.0.1", 0, package=Ntlm(mic=mic), credential=accounts, protection=protection)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield listener.port, seen
        tasks.cancel_scope.cancel()


def client(port: int, password: str, accounts: dict[str, str], level: str) -> JsonPeer:
    """Its client, which speaks raw NTLM at level None."""
    settings = {
        "role": "client",
        "protocol": "negotiate",
        "port": port,
        "user": USER,
        "domain": DOMAIN,
        "password": password,
        "target": "HOST/localhost",
        "level": DOTNET_LEVEL[level],
        "sizes": SIZES,
    }
    return dotnet.start(settings, accounts)


async def test_our_server_echoes_to_its_client_without_protection(
    version: str, password: str, ntlm_accounts: dict[str, str], matrix: Filler
) -> None:
    with anyio.fail_after(60):
        async with our_server(password, ss.Protection.NONE) as (port, seen):
            with client(port, password, ntlm_accounts, "none") as peer:
                state = await said(peer, "authenticated")
                assert (state["signed"], state["encrypted"]) == (False, False)
                for size in SIZES:
                    assert await said(peer, "echoed") == {"event": "echoed", "size": size, "right": True}
                await said(peer, "closed")
        assert [(principal.name, principal.authority) for principal in seen] == [(USER, DOMAIN)]
    matrix.fill(TABLE, dotnet.NAME, version, "client", "none", f"echoed 0 to {max(SIZES)} octets")


async def refused(port: int, password: str, accounts: dict[str, str]) -> set[int]:
    """The codes by which its client learns that our server refused it."""
    with client(port, password, accounts, "none") as peer:
        failure = await said(peer, "failed")
    assert failure["during"] == "handshake"
    return codes(failure)


async def test_it_understands_our_refusal_of_a_wrong_password(
    version: str, password: str, ntlm_accounts: dict[str, str], matrix: Filler
) -> None:
    with anyio.fail_after(60):
        async with our_server(password, ss.Protection.NONE) as (port, seen):
            assert await refused(port, "wrong", ntlm_accounts) == {LOGON_DENIED}
        assert not seen
    matrix.fill(TABLE, dotnet.NAME, version, "client", "wrong password", f"our error frame: {LOGON_DENIED:#010x}")


async def test_it_understands_our_refusal_of_too_little_protection(
    version: str, password: str, ntlm_accounts: dict[str, str], matrix: Filler
) -> None:
    with anyio.fail_after(60):
        async with our_server(password, ss.Protection.ENCRYPT_AND_SIGN) as (port, seen):
            assert await refused(port, password, ntlm_accounts) == {LEVEL_NOT_MET}
        assert not seen
    matrix.fill(TABLE, dotnet.NAME, version, "client", "protection too low", f"our error frame: {LEVEL_NOT_MET}")


async def test_our_server_refuses_its_missing_mic_unless_told_otherwise(
    version: str, password: str, ntlm_accounts: dict[str, str], matrix: Filler
) -> None:
    with anyio.fail_after(60):
        async with our_server(password, ss.Protection.NONE, mic="required") as (port, seen):
            await refused(port, password, ntlm_accounts)
        assert not seen
    matrix.fill(TABLE, dotnet.NAME, version, "client", "MIC required", "sends none: refused")


async def test_the_command_serves_its_client_when_told_that_the_mic_is_optional(
    version: str, password: str, ntlm_accounts: dict[str, str], matrix: Filler, tmp_path: Path
) -> None:
    SqliteAccounts(tmp_path / "accounts.db").add(NAME, password)
    store = ("--accounts", str(tmp_path / "accounts.db"))
    arguments = ("serve", "127.0.0.1:0", "--package", "ntlm", "--level", "none", "--echo", *store)
    with Running(*arguments, "--ntlm-mic", "optional") as command, anyio.fail_after(60):
        with client(command.port, password, ntlm_accounts, "none") as peer:
            await said(peer, "authenticated")
            await said(peer, "closed")
        assert command.line().startswith(f"{NAME}  NTLM  not protected  from 127.0.0.1:")
    with Running(*arguments) as command, anyio.fail_after(60):
        await refused(command.port, password, ntlm_accounts)
    matrix.fill(TABLE, dotnet.NAME, version, "client", "serve --ntlm-mic optional", "served, and refused without")
