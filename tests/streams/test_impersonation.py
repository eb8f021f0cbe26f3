"""How far a server may act as its client: what each end asks for, sees and refuses, over streams."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

import securestream as ss
from securestream.streams._wrap import SecureStream
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel

pytestmark = pytest.mark.anyio

Level = ss.ImpersonationLevel


async def meet(
    allowed: ss.ImpersonationLevel | None, demanded: ss.ImpersonationLevel | None
) -> tuple[ss.ImpersonationLevel, ss.ImpersonationLevel]:
    """Connect a client that allows a level to a server that demands one; the level that each of them sees."""
    seen: list[ss.ImpersonationLevel] = []
    arrived = anyio.Event()

    async def handle(stream: SecureStream) -> None:
        seen.append(stream.extra(ss.SecurityAttribute.impersonation))
        arrived.set()

    refusal: ss.PeerRefused | None = None
    accounts = ss.Accounts.memory(alice="secret")
    listener = await ss.listen("127.0.0.1", 0, package=Ntlm(), credential=accounts, impersonation=demanded)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        try:
            stream = await ss.connect(
                "127.0.0.1",
                listener.port,
                package=Ntlm(),
                credential=ss.Password("alice", "secret"),
                impersonation=allowed,
            )
            async with stream:
                seen.append(stream.extra(ss.SecurityAttribute.impersonation))
                await arrived.wait()
        except ss.PeerRefused as error:
            refusal = error
        tasks.cancel_scope.cancel()
    if refusal is not None:
        raise refusal
    return seen[0], seen[1]


async def test_a_client_allows_to_identify_it_and_no_more_unless_told() -> None:
    assert await meet(None, None) == (Level.IDENTIFICATION, Level.IDENTIFICATION)


async def test_a_client_allows_more_when_told() -> None:
    assert await meet(Level.IMPERSONATION, Level.IMPERSONATION) == (Level.IMPERSONATION, Level.IMPERSONATION)


async def test_a_client_that_allows_less_than_is_demanded_is_refused_and_told() -> None:
    with pytest.raises(ss.PeerRefused, match="impersonation level") as refused:
        await meet(Level.IDENTIFICATION, Level.IMPERSONATION)
    assert (refused.value.kind, refused.value.code) == (ss.ErrorKind.QUALITY_NOT_MET, 1790)


async def test_a_mechanism_that_cannot_delegate_does_not_pretend_to() -> None:
    with pytest.raises(ss.PeerRefused) as refused:
        await meet(Level.DELEGATION, Level.DELEGATION)
    assert refused.value.code == 1790


def test_a_blocking_socket_has_the_same_levels() -> None:
    here, there = socket.socketpair()
    accounts = ss.Accounts.memory(alice="secret")
    with ThreadPoolExecutor(1) as threads:
        accepted = threads.submit(
            ss.SecureSocket.wrap_server, there, package=Ntlm(), credential=accounts, impersonation=Level.IMPERSONATION
        )
        one = ss.SecureSocket.wrap_client(
            here, package=Ntlm(), credential=ss.Password("alice", "secret"), impersonation=Level.IMPERSONATION
        )
        with one, accepted.result() as other:
            assert one.impersonation is other.impersonation is Level.IMPERSONATION


@pytest.mark.parametrize("function", [ss.connect, ss.listen])
async def test_where_the_channel_is_tls_a_level_is_refused_rather_than_ignored(
    function: Callable[..., Awaitable[object]],
) -> None:
    with pytest.raises(ss.UsageError, match="no impersonation levels"):
        await function("127.0.0.1", 0, package=Schannel(), impersonation=Level.IMPERSONATION)
