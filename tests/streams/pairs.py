"""Pairs of connected streams: transports, and secure streams over them."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import anyio
from anyio.abc import ByteStream

from securestream.options import Protection, Role, required_flags
from securestream.principal import Principal
from securestream.provider import Established
from securestream.sasl import GssLayer
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.sasl import SaslStream
from securestream.streams.tls import TlsStream
from securestream.streams.transport import TcpStream
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.streams.toy import ALICE, Toy, ToyContext

T = TypeVar("T")

AUTHORITY = authority("the streams' authority")
SERVER = AUTHORITY.leaf(["server.example"])

Pair = tuple[ByteStream, ByteStream]
PairMaker = Callable[[], Awaitable[Pair]]


class Foreign(ByteStream):
    """A byte stream of somebody else: passes everything on and is no `TcpStream`."""

    def __init__(self, below: ByteStream) -> None:
        self.below = below
        self.sent: list[bytes] = []

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self.below.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self.below.send(item)
        self.sent.append(bytes(item))

    async def send_eof(self) -> None:
        await self.below.send_eof()

    async def aclose(self) -> None:
        await self.below.aclose()


async def tcp_pair() -> tuple[TcpStream, TcpStream]:
    one, other = socket.socketpair()
    return TcpStream(one), TcpStream(other)


async def both(one: Callable[[], Awaitable[T]], other: Callable[[], Awaitable[Any]]) -> tuple[T, Any]:
    """The results of two concurrent calls."""
    results: dict[int, Any] = {}

    async def run(number: int, call: Callable[[], Awaitable[Any]]) -> None:
        results[number] = await call()

    async with anyio.create_task_group() as group:
        group.start_soon(run, 0, one)
        group.start_soon(run, 1, other)
    return results[0], results[1]


async def negotiate_over(
    client: ByteStream, server: ByteStream, protection: Protection = Protection.ENCRYPT_AND_SIGN, toy: Toy | None = None
) -> tuple[NegotiateStream, NegotiateStream]:
    package = toy or Toy()
    return await both(
        lambda: NegotiateStream.wrap_client(client, package=package, credential=ALICE, protection=protection),
        lambda: NegotiateStream.wrap_server(server, package=package, credential=ALICE, protection=protection),
    )


async def tls_over(
    client: ByteStream, server: ByteStream, *, standard_compatible: bool = True, **settings: Any
) -> tuple[TlsStream, TlsStream]:
    return await both(
        lambda: TlsStream.wrap_client(
            client,
            package=Schannel(trust=[AUTHORITY.pem], **settings),
            target="server.example",
            standard_compatible=standard_compatible,
        ),
        lambda: TlsStream.wrap_server(
            server, package=Schannel(), credential=SERVER.credential, standard_compatible=standard_compatible
        ),
    )


def sasl_established(
    role: Role, protection: Protection = Protection.ENCRYPT_AND_SIGN, buffer: int = 65536
) -> Established:
    """What a SASL mechanism around the toy gives."""
    context = ToyContext(role, required_flags(Protection.ENCRYPT_AND_SIGN), bound=False)
    layer = GssLayer("SASL-TOY", context, protection, peer_buffer=buffer, own_buffer=buffer)
    return Established(layer, Principal(role.other.value, "Toy"))


def sasl_over(
    client: ByteStream,
    server: ByteStream,
    protection: Protection = Protection.ENCRYPT_AND_SIGN,
    buffer: int = 65536,
    received: bytes = b"",
) -> tuple[SaslStream, SaslStream]:
    """Two streams as they are once a SASL exchange is complete."""
    return (
        SaslStream(client, sasl_established(Role.INITIATOR, protection, buffer), target="host/files"),
        SaslStream(server, sasl_established(Role.ACCEPTOR, protection, buffer), received=received),
    )


async def negotiate_pair() -> Pair:
    return await negotiate_over(*await tcp_pair())


async def signed_pair() -> Pair:
    return await negotiate_over(*await tcp_pair(), Protection.SIGN)


async def bare_pair() -> Pair:
    return await negotiate_over(*await tcp_pair(), Protection.NONE)


async def foreign_pair() -> Pair:
    one, other = await tcp_pair()
    return await negotiate_over(Foreign(one), Foreign(other))


async def tls_pair() -> Pair:
    return await tls_over(*await tcp_pair())


async def foreign_tls_pair() -> Pair:
    one, other = await tcp_pair()
    return await tls_over(Foreign(one), Foreign(other))


async def nested_pair() -> Pair:
    return await negotiate_over(*await tls_over(*await tcp_pair()))


async def sasl_pair() -> Pair:
    return sasl_over(*await tcp_pair())


async def small_sasl_pair() -> Pair:
    one, other = await tcp_pair()
    return sasl_over(Foreign(one), Foreign(other), Protection.SIGN, 4096)


async def bare_sasl_pair() -> Pair:
    return sasl_over(*await tcp_pair(), Protection.NONE)


async def plain_pair() -> Pair:
    return await tcp_pair()


SEALED: dict[str, PairMaker] = {
    "negotiate": negotiate_pair,
    "tls": tls_pair,
    "negotiate in tls": nested_pair,
    "sasl": sasl_pair,
}
EVERY: dict[str, PairMaker] = {
    "tcp": plain_pair,
    "negotiate signed": signed_pair,
    "negotiate bare": bare_pair,
    "negotiate over a foreign stream": foreign_pair,
    "tls over a foreign stream": foreign_tls_pair,
    "sasl signed in small buffers over a foreign stream": small_sasl_pair,
    "sasl without a layer": bare_sasl_pair,
    **SEALED,
}


def closing(*streams: ByteStream) -> AsyncExitStack:
    """Closes the streams at the end of an ``async with``."""
    stack = AsyncExitStack()
    for stream in streams:
        stack.push_async_callback(anyio.aclose_forcefully, stream)
    return stack


async def receive_exactly(stream: ByteStream, count: int) -> bytes:
    octets = bytearray()
    while len(octets) < count:
        octets += await stream.receive()
    return bytes(octets)


async def receive_all(stream: ByteStream) -> bytes:
    octets = bytearray()
    try:
        while True:
            octets += await stream.receive()
    except anyio.EndOfStream:
        return bytes(octets)


def below(stream: ByteStream) -> TcpStream:
    """The transport below a secure stream, for a test that plays a peer of its own."""
    transport = getattr(stream, "_transport", None)
    assert isinstance(transport, TcpStream)
    return transport
