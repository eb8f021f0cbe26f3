"""Rule 12: octets that a man in the middle puts before the upgrade are never data after it."""

from __future__ import annotations

import anyio
import pytest
from anyio.abc import ByteStream

from securestream.errors import HandshakeError, PeerGone, SecureStreamError
from securestream.options import Protection
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.tls import TlsStream
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.streams.pairs import closing, negotiate_over, receive_exactly, tcp_pair, tls_over

pytestmark = pytest.mark.anyio

CA = authority("starttls")
LEAF = CA.leaf(["server.example"])
COMMAND = b"STARTTLS\r\n"
INJECTED = b"DELETE EVERYTHING\r\n"


async def _client(transport: ByteStream, received: bytes = b"") -> TlsStream:
    package = Schannel(trust=CA.pem)
    return await TlsStream.wrap_client(transport, package=package, target="server.example", received=received)


async def _server(transport: ByteStream, received: bytes = b"") -> TlsStream:
    return await TlsStream.wrap_server(transport, package=Schannel(), credential=LEAF.credential, received=received)


async def _both(client: ByteStream, server: ByteStream, *, early: bytes = b"", late: bytes = b"") -> list[object]:
    """Upgrade both ends; what each came to."""
    results: list[object] = [None, None]

    async def run(number: int) -> None:
        try:
            results[number] = await (_client(client, late) if number == 0 else _server(server, early))
        except (SecureStreamError, anyio.BrokenResourceError) as error:
            results[number] = error

    async with anyio.create_task_group() as group:
        group.start_soon(run, 0)
        group.start_soon(run, 1)
    return results


async def test_what_follows_the_command_in_the_same_read_refuses_the_upgrade() -> None:
    """The man in the middle sends COMMAND and INJECTED in one segment; the server has read both."""
    client, server = await tcp_pair()
    async with closing(client, server):
        await client.send(COMMAND + INJECTED)
        line, _, rest = (await server.receive()).partition(b"\r\n")
        assert line + b"\r\n" == COMMAND
        ends = await _both(client, server, early=rest)
        assert isinstance(ends[1], HandshakeError)
        assert not isinstance(ends[0], TlsStream)


async def test_what_lies_unread_in_the_transport_refuses_the_upgrade() -> None:
    client, server = await tcp_pair()
    async with closing(client, server):
        await client.send(COMMAND + INJECTED)
        assert await server.receive(len(COMMAND)) == COMMAND  # the rest stays in the transport
        ends = await _both(client, server)
        assert isinstance(ends[1], HandshakeError)


async def test_a_servers_answer_that_was_put_before_the_upgrade_refuses_it_at_the_client() -> None:
    client, server = await tcp_pair()
    async with closing(client, server):
        ends = await _both(client, server, late=b"250 injected\r\n")
        assert isinstance(ends[0], HandshakeError)
        assert isinstance(ends[1], SecureStreamError)


async def test_the_first_octets_of_tls_that_were_read_too_early_belong_to_tls() -> None:
    client, server = await tcp_pair()
    streams: list[TlsStream] = []

    async def ask() -> None:
        await client.send(COMMAND)
        streams.append(await _client(client))

    async def grant() -> None:
        octets = await receive_exactly(server, len(COMMAND) + 1)
        streams.append(await _server(server, octets[len(COMMAND) :]))

    async with closing(client, server):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(grant)
        await streams[0].send(b"after")
        assert await streams[1].receive() == b"after"


@pytest.mark.parametrize("below", [Protection.ENCRYPT_AND_SIGN, Protection.NONE])
async def test_an_open_negotiate_stream_is_upgraded_and_its_unread_data_refuses_that(below: Protection) -> None:
    """Of a stream that is not protected itself a stranger's octets could be waiting."""
    client, server = await negotiate_over(*await tcp_pair(), below)
    async with closing(client, server):
        await client.send(INJECTED)
        ends = await _both(client, server)
        assert isinstance(ends[1], HandshakeError)


async def test_a_failed_upgrade_leaves_nothing_that_can_be_used() -> None:
    client, server = await tcp_pair()
    async with closing(client, server):
        await _both(client, server, early=INJECTED)
        for transport in (client, server):
            with pytest.raises(anyio.ClosedResourceError):
                await transport.send(b"in clear")


async def test_a_peer_that_hangs_up_within_the_upgrade_is_gone() -> None:
    client, server = await tcp_pair()
    async with closing(client, server):
        await client.aclose()
        with pytest.raises(PeerGone):
            await _server(server)


# --- whether the end is proved ---


async def test_only_tls_proves_the_end() -> None:
    client, server = await negotiate_over(*await tcp_pair())
    async with closing(client, server):
        assert not client.extra(SecurityAttribute.closure_authenticated)
        assert not server.extra(SecurityAttribute.closure_authenticated)
    inner, outer = await tls_over(*await tcp_pair())
    async with closing(inner, outer):
        assert inner.extra(SecurityAttribute.closure_authenticated)
        await outer.aclose()
        with pytest.raises(anyio.EndOfStream):
            await inner.receive()
        assert inner.extra(SecurityAttribute.closure_authenticated)


async def test_an_authentication_inside_tls_has_the_proved_end_of_its_channel() -> None:
    client, server = await negotiate_over(*await tls_over(*await tcp_pair()))
    async with closing(client, server):
        assert isinstance(client, NegotiateStream)
        assert client.extra(SecurityAttribute.closure_authenticated)


async def test_an_end_taken_without_proof_says_so() -> None:
    near, far = await tcp_pair()
    client, server = await tls_over(near, far, standard_compatible=False)
    async with closing(client, server):
        far.close()  # below TLS: anybody on the way can do that
        with pytest.raises(anyio.EndOfStream):
            await client.receive()
        assert not client.extra(SecurityAttribute.closure_authenticated)
