"""SaslStream: buffers within both limits, octets that came early, layers that are too weak, and its attributes."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from securestream.errors import (
    BadSignature,
    ContextExpired,
    FramingError,
    NotEncrypted,
    QualityNotMet,
    UsageError,
)
from securestream.options import ContextFlags, ImpersonationLevel, Protection, Role
from securestream.principal import Principal
from securestream.provider import Established
from securestream.sasl import Gssapi, GssLayer, NoLayer
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.sasl import SaslStream
from tests.core.sasl.ends import TARGET, Realm, kerberos, new_services, options
from tests.streams.pairs import (
    Foreign,
    both,
    closing,
    receive_all,
    receive_exactly,
    sasl_established,
    sasl_over,
    tcp_pair,
    tls_over,
)
from tests.streams.toy import ToyContext

pytestmark = pytest.mark.anyio

NONE, SIGN, SEAL = Protection.NONE, Protection.SIGN, Protection.ENCRYPT_AND_SIGN
LEVELS = (NONE, SIGN, SEAL)


def layer_of(stream: SaslStream) -> GssLayer:
    layer = stream.extra(SecurityAttribute.context)
    assert isinstance(layer, GssLayer)
    return layer


@pytest.mark.parametrize("level", LEVELS)
async def test_what_goes_on_the_wire(level: Protection) -> None:
    client, server = await tcp_pair()
    one, _ = sasl_over(client, server, level, 1017)
    async with closing(one, server):
        await one.send(b"x" * 2100)
        await one.send_eof()
        wire = await receive_all(server)
    if level is NONE:
        assert wire == b"x" * 2100
        return
    assert (b"x" * 100 in wire) is (level is SIGN)
    sizes: list[int] = []
    while wire:
        size = int.from_bytes(wire[:4], "big")
        sizes.append(size)
        wire = wire[4 + size :]
    assert sizes == [1017, 1017, 2100 - 2000 + 17]  # never more than the peer's buffer takes


@pytest.mark.parametrize("level", LEVELS)
async def test_octets_that_came_with_the_end_of_the_exchange_are_data(level: Protection) -> None:
    client, server = await tcp_pair()
    established = sasl_established(Role.INITIATOR, level)
    layer = established.result
    assert isinstance(layer, GssLayer)
    early = b"early" if level is NONE else len(layer.wrap(b"early")).to_bytes(4, "big")
    if level is not NONE:
        layer = sasl_established(Role.INITIATOR, level).result
        assert isinstance(layer, GssLayer)
        early += layer.wrap(b"early")
    _, other = sasl_over(client, server, level, received=early)
    async with closing(client, other):
        assert await other.receive() == b"early"


async def test_a_damaged_buffer_that_came_early_is_refused_at_the_first_receive() -> None:
    client, server = await tcp_pair()
    _, other = sasl_over(client, server, received=b"\0\0\0\1x")
    async with closing(client, other):
        with pytest.raises(BadSignature):
            await other.receive()


@pytest.mark.parametrize("level", [NONE, SIGN])
async def test_a_layer_that_is_too_weak_makes_no_stream(level: Protection) -> None:
    client, server = await tcp_pair()
    async with closing(client, server):
        with pytest.raises(QualityNotMet, match="ENCRYPT_AND_SIGN"):
            SaslStream(client, sasl_established(Role.INITIATOR, level), protection=SEAL)


async def test_another_outcome_makes_no_stream() -> None:
    client, server = await tcp_pair()
    outcome = Established(ToyContext(Role.INITIATOR, ContextFlags.NONE, bound=False), Principal("x", "Toy"))
    async with closing(client, server):
        with pytest.raises(UsageError, match="SASL"):
            SaslStream(client, outcome)


async def test_data_in_clear_is_refused_where_confidentiality_was_negotiated() -> None:
    client, server = await tcp_pair()
    _, other = sasl_over(client, server)
    clear = ToyContext(Role.INITIATOR, ContextFlags.NONE, bound=False).wrap(b"data", encrypt=False)
    async with closing(client, other):
        await client.send(len(clear).to_bytes(4, "big") + clear)
        with pytest.raises(NotEncrypted):
            await other.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await other.receive()


@pytest.mark.parametrize("size", [0, 65537, 0xFFFFFFFF])
async def test_a_length_that_was_not_agreed_breaks_the_stream(size: int) -> None:
    client, server = await tcp_pair()
    _, other = sasl_over(client, server)
    async with closing(client, other):
        await client.send(size.to_bytes(4, "big"))
        with pytest.raises(FramingError, match="65536 were agreed") as failed:
            await other.receive()
        assert other.has_raised(failed.value)


async def test_an_end_inside_a_buffer_is_a_broken_connection() -> None:
    client, server = await tcp_pair()
    _, other = sasl_over(client, server)
    async with closing(client, other):
        await client.send(b"\0\0\0\5abc")
        await client.send_eof()
        with pytest.raises(anyio.BrokenResourceError):
            await other.receive()


async def test_its_attributes() -> None:
    client, server = await tcp_pair()
    one, other = sasl_over(client, server, SIGN)
    async with closing(one, other):
        assert one.extra(SecurityAttribute.peer) == Principal("acceptor", "Toy")
        assert other.extra(SecurityAttribute.peer) == Principal("initiator", "Toy")
        assert one.extra(SecurityAttribute.package) == "SASL-TOY"
        assert one.extra(SecurityAttribute.protection) is SIGN
        assert one.extra(SecurityAttribute.target) == "host/files"
        assert other.extra(SecurityAttribute.target) is None
        assert ContextFlags.INTEGRITY in one.extra(SecurityAttribute.flags)
        assert ContextFlags.CONFIDENTIALITY not in one.extra(SecurityAttribute.flags)
        assert one.extra(SecurityAttribute.bound) is False
        assert one.extra(SecurityAttribute.impersonation) is ImpersonationLevel.IMPERSONATION
        assert one.extra(SecurityAttribute.closure_authenticated) is False
        assert one.extra(SecurityAttribute.negotiation, None) is None
        assert repr(one) == "<SaslStream SASL-TOY open>"


async def test_without_a_layer_the_tls_around_it_is_the_protection() -> None:
    plain: Any = Established(NoLayer("EXTERNAL", Role.INITIATOR), Principal("x", "Schannel"))
    client, server = await tls_over(*await tcp_pair())
    one = SaslStream(client, plain)
    async with closing(one, server):
        assert one.extra(SecurityAttribute.protection) is SEAL
        assert one.extra(SecurityAttribute.closure_authenticated) is True
        await server.send(b"data")
        assert await one.receive() == b"data"
    bare, other = await tcp_pair()
    two = SaslStream(bare, plain)
    async with closing(two, other):
        assert two.extra(SecurityAttribute.protection) is NONE


@pytest.mark.parametrize("level", [SIGN, SEAL])
async def test_a_mechanism_is_a_package_that_other_carriers_take_too(level: Protection) -> None:
    realm = Realm()
    client, server = await tcp_pair()
    one, other = await both(
        lambda: NegotiateStream.wrap_client(
            client, package=Gssapi(kerberos()), credential=realm.tickets(), target=TARGET, options=options(level, 1)
        ),
        lambda: NegotiateStream.wrap_server(
            server,
            package=Gssapi(kerberos()),
            credential=realm.keytab,
            options=options(level, 2),
            services=new_services(),
        ),
    )
    async with closing(one, other), anyio.create_task_group() as group:
        data = bytes(range(256)) * 1000
        group.start_soon(one.send, data)
        assert await receive_exactly(other, len(data)) == data
        assert other.extra(SecurityAttribute.package) == "GSSAPI"
        assert other.extra(SecurityAttribute.protection) is level


async def test_closing_drops_the_keys() -> None:
    client, server = await tcp_pair()
    one, other = sasl_over(client, server)
    layer = layer_of(one)
    async with closing(one, other):
        await one.aclose()
        with pytest.raises(ContextExpired):
            layer.wrap(b"data")
        assert "closed" in repr(one)


async def test_the_transport_is_given_back_with_what_was_read_too_far() -> None:
    client, server = await tcp_pair()
    one, other = sasl_over(client, Foreign(server))
    async with closing(client, server):
        layer = layer_of(one)
        await one.send(b"last")
        buffer = layer.wrap(b"after")
        await client.send(len(buffer).to_bytes(4, "big") + buffer[:-1])
        await client.send_eof()
        assert await other.receive() == b"last"
        transport, trailing = await other.unwrap()
        assert isinstance(transport, Foreign)
        rest = trailing + await receive_all(transport)
        assert rest == len(buffer).to_bytes(4, "big") + buffer[:-1]
        with pytest.raises(anyio.ClosedResourceError):
            await other.send(b"more")


async def test_unwrapping_loses_no_data() -> None:
    client, server = await tcp_pair()
    one, other = sasl_over(client, server)
    async with closing(one, other):
        await one.send(b"abcdef")
        assert await receive_exactly_some(other, 3) == b"abc"
        with pytest.raises(UsageError, match="data to receive"):
            await other.unwrap()
        assert await receive_exactly(other, 3) == b"def"


async def receive_exactly_some(stream: SaslStream, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        octets += await stream.receive(count - len(octets))
    return octets


async def test_two_readers_are_one_too_many_for_unwrapping() -> None:
    client, server = await tcp_pair()
    one, other = sasl_over(client, server)
    async with closing(one, other), anyio.create_task_group() as group:
        group.start_soon(other.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await other.unwrap()
        group.cancel_scope.cancel()
