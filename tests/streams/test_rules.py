"""The rules of the streams, a test for each: ordering, states, closing, cancellation, ends, attributes, secrets.

Rule 5, the handshake, is in test_handshake.py, rule 12 in test_transport.py, damage on the way in test_damage.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from securestream.ambient import system_options
from securestream.credentials import Credential
from securestream.errors import (
    ContextExpired,
    UsageError,
)
from securestream.options import BindingPolicy, ContextFlags, Options, Protection
from securestream.provider import Handshake, TargetName
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.negotiate import NegotiateStream
from tests.streams.pairs import (
    SEALED,
    Foreign,
    PairMaker,
    below,
    both,
    closing,
    negotiate_over,
    negotiate_pair,
    receive_all,
    receive_exactly,
    tcp_pair,
    tls_over,
    tls_pair,
)
from tests.streams.toy import ALICE, Toy, ToyContext

pytestmark = pytest.mark.anyio

sealed_stream = pytest.mark.parametrize("make", SEALED.values(), ids=SEALED.keys())


class Slow(Foreign):
    """Gives way in every send, so that whatever is not one critical section shows."""

    async def send(self, item: bytes) -> None:
        half = len(item) // 2
        for part in (item[:half], item[half:]):
            for _ in range(3):
                await checkpoint()
            await self.below.send(part)


# 1. Seal and send are one critical section


@pytest.mark.parametrize("over", [negotiate_over, tls_over])
async def test_records_of_concurrent_senders_leave_in_the_order_of_their_numbers(
    over: Callable[..., Awaitable[tuple[ByteStream, ByteStream]]],
) -> None:
    client, server = await tcp_pair()
    one, other = await over(Slow(client), server)
    messages = [bytes((number,)) * 20_000 for number in range(20)]
    async with closing(one, other), anyio.create_task_group() as group:
        for message in messages:
            group.start_soon(one.send, message)
        received = await receive_exactly(other, 400_000)
        assert sorted(received[offset : offset + 20_000] for offset in range(0, 400_000, 20_000)) == messages


@sealed_stream
async def test_waiting_senders_are_served_in_their_order(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other), anyio.create_task_group() as group:
        group.start_soon(one.send, bytes(8 << 20))  # occupies the lock
        await anyio.wait_all_tasks_blocked()
        for number in range(10):
            group.start_soon(one.send, bytes((number,)))
            await anyio.wait_all_tasks_blocked()
        received = await receive_exactly(other, (8 << 20) + 10)
        assert received[-10:] == bytes(range(10))


# 2. Cancelled inside a send: broken; while waiting for its turn: nothing happened


@sealed_stream
async def test_a_send_cut_short_breaks_the_stream(make: PairMaker) -> None:
    one, other = await make()
    scope = anyio.CancelScope()

    async def send() -> None:
        with scope:
            await one.send(bytes(32 << 20))

    async with closing(one, other):
        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await anyio.wait_all_tasks_blocked()  # all that the system takes was sent
            scope.cancel()
        assert scope.cancelled_caught
        for operation in (lambda: one.send(b"x"), one.receive):
            with pytest.raises(anyio.BrokenResourceError):
                await operation()
        assert "broken" in repr(one)


@sealed_stream
async def test_cancelled_while_waiting_for_its_turn_nothing_happened(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other), anyio.create_task_group() as group:
        group.start_soon(one.send, bytes(8 << 20))
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.02) as scope:
            await one.send(b"never")
        assert scope.cancelled_caught
        group.start_soon(one.send, b"after")
        received = await receive_exactly(other, (8 << 20) + 5)
        assert received.endswith(b"\0after")


async def test_a_lock_given_to_a_cancelled_sender_goes_on_to_the_next() -> None:
    one, other = await negotiate_pair()
    async with closing(one, other), anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await one.send(b"never")

        async def first() -> None:
            await one.send(bytes(8 << 20))
            scope.cancel()  # the turn was just given to the task that is now cancelled

        group.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(cancelled)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(one.send, b"after")
        await anyio.wait_all_tasks_blocked()
        received = await receive_exactly(other, (8 << 20) + 5)
        assert received.endswith(b"\0after")


# 3. Receive never waits to send


async def test_receive_never_waits_to_send() -> None:
    client, server = await tcp_pair()
    stuck = Foreign(client)
    one, other = await tls_over(stuck, server)
    async with closing(one, other):
        await other.send(b"data")
        before = len(stuck.sent)
        assert await one.receive() == b"data"  # session tickets came with it
        assert len(stuck.sent) == before


# 6. Ends of stream


@pytest.mark.parametrize("make", [negotiate_pair, tls_pair], ids=["negotiate", "tls"])
async def test_an_end_inside_a_frame_is_no_proper_end(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other):
        transport = below(one)
        await transport.send(b"\x17\x03\x03\x00\x40cut off" if make is tls_pair else b"\x40\0\0\0cut off")
        await transport.send_eof()
        with pytest.raises(anyio.BrokenResourceError):
            await other.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await other.receive()


async def test_tls_without_close_notify_is_broken_unless_told_otherwise() -> None:
    one, other = await tls_pair()
    async with closing(one, other):
        assert other.extra(SecurityAttribute.closure_authenticated)
        await below(one).send_eof()
        with pytest.raises(anyio.BrokenResourceError):
            await other.receive()
    one, other = await tls_over(*await tcp_pair(), standard_compatible=False)
    async with closing(one, other):
        await below(one).send_eof()
        with pytest.raises(anyio.EndOfStream):
            await other.receive()
        assert not other.extra(SecurityAttribute.closure_authenticated)


# 7. aclose never waits, unwrap is polite


async def test_aclose_sends_close_notify_without_waiting_for_one() -> None:
    one, other = await tls_pair()
    async with closing(one, other):
        with anyio.fail_after(10):
            await one.aclose()
        with pytest.raises(anyio.EndOfStream):
            await other.receive()


async def test_unwrap_gives_the_transport_back_with_what_came_after_the_end() -> None:
    one, other = await tls_over(*await tcp_pair())

    async def server() -> tuple[ByteStream, bytes]:
        with pytest.raises(anyio.EndOfStream):
            await other.receive()
        transport, trailing = await other.unwrap()
        await transport.send(b"in clear")
        return transport, trailing

    async def client() -> tuple[ByteStream, bytes]:
        return await one.unwrap()

    (mine, trailing), (theirs, nothing) = await both(client, server)
    async with closing(mine, theirs):
        assert nothing == b""
        assert trailing + (b"" if trailing else await mine.receive()) == b"in clear"
        await mine.send(b"me too")
        assert await theirs.receive() == b"me too"
        with pytest.raises(anyio.ClosedResourceError):
            await one.send(b"x")


async def test_unwrap_refuses_to_drop_data() -> None:
    one, other = await tls_over(*await tcp_pair())
    async with closing(one, other):
        await one.send(b"unread")
        assert await other.receive(1) == b"u"
        with pytest.raises(UsageError, match="read it"):
            await other.unwrap()


# 8. Zero-length and large sends


@sealed_stream
async def test_an_empty_send_puts_nothing_on_the_wire(make: PairMaker) -> None:
    one, other = await make()
    async with closing(one, other):
        await one.send(b"")
        await one.aclose()
        assert await receive_all(other) == b""


async def test_large_sends_are_split_as_dot_net_splits_them() -> None:
    client, server = await tcp_pair()
    watched = Foreign(client)
    one, other = await negotiate_over(watched, server)
    async with closing(one, other), anyio.create_task_group() as group:
        watched.sent.clear()
        group.start_soon(one.send, bytes(150_000))
        await receive_exactly(other, 150_000)
    octets = b"".join(watched.sent)
    sizes: list[int] = []
    while octets:
        sizes.append(int.from_bytes(octets[:4], "little"))
        octets = octets[4 + sizes[-1] :]
    assert [size - 17 for size in sizes] == [64512, 64512, 20976]


async def test_a_frame_without_plaintext_is_passed_over() -> None:
    one, other = await negotiate_pair()
    async with closing(one, other):
        sealed = one.extra(SecurityAttribute.context).wrap(b"")
        await below(one).send(len(sealed).to_bytes(4, "little") + sealed)
        await one.send(b"something")
        assert await other.receive() == b"something"


# 9. Facts are typed attributes


async def test_facts_of_the_connection_are_typed_attributes() -> None:
    client, server = await tcp_pair()
    one, other = await both(
        lambda: NegotiateStream.wrap_client(client, package=Toy(), credential=ALICE, target="host/files"),
        lambda: NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE),
    )
    async with closing(one, other):
        assert other.extra(SecurityAttribute.peer).name == "alice"
        assert other.extra(SecurityAttribute.package) == "Toy"
        assert other.extra(SecurityAttribute.protection) is Protection.ENCRYPT_AND_SIGN
        assert ContextFlags.CONFIDENTIALITY in other.extra(SecurityAttribute.flags)
        assert one.extra(SecurityAttribute.target) == TargetName("host/files")
        assert other.extra(SecurityAttribute.target) is None
        assert not one.extra(SecurityAttribute.bound)
        assert not one.extra(SecurityAttribute.closure_authenticated)
        assert one.extra(anyio.abc.SocketAttribute.raw_socket) is client.extra(anyio.abc.SocketAttribute.raw_socket)


async def test_an_authentication_inside_tls_is_bound_to_it() -> None:
    outer = await tls_over(*await tcp_pair())
    one, other = await negotiate_over(*outer)
    async with closing(one, other):
        assert outer[0].extra(SecurityAttribute.channel_bindings) == outer[1].extra(SecurityAttribute.channel_bindings)
        assert one.extra(SecurityAttribute.bound)
        assert other.extra(SecurityAttribute.bound)
        assert one.extra(SecurityAttribute.tls_session).version == "TLSv1.3"
        assert one.extra(SecurityAttribute.package) == "Toy"
        assert one.extra(SecurityAttribute.closure_authenticated)


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        ({}, BindingPolicy.WHEN_ADVERTISED),
        ({"options": system_options()}, BindingPolicy.WHEN_ADVERTISED),
        ({"options": system_options(binding_policy=BindingPolicy.ALWAYS)}, BindingPolicy.ALWAYS),
        ({"binding_policy": BindingPolicy.WHEN_SUPPORTED}, BindingPolicy.WHEN_SUPPORTED),
    ],
    ids=str,
)
async def test_inside_our_own_tls_absent_bindings_are_refused_when_advertised(
    arguments: dict[str, Any], policy: BindingPolicy
) -> None:
    asked: list[Options] = []

    class Telling(Toy):
        def accept(self, credential: Credential | None, options: Options) -> Handshake:
            asked.append(options)
            return super().accept(credential, options)

    client, server = await tls_over(*await tcp_pair())
    one, other = await both(
        lambda: NegotiateStream.wrap_client(client, package=Toy(), credential=ALICE),
        lambda: NegotiateStream.wrap_server(server, package=Telling(), credential=ALICE, **arguments),
    )
    async with closing(one, other):
        assert asked[0].binding_policy is policy
        assert asked[0].channel_bindings == client.extra(SecurityAttribute.channel_bindings)


# 11. Keys are dropped at close; repr shows package and state only


async def test_keys_are_dropped_at_close() -> None:
    one, other = await negotiate_pair()
    contexts = [stream.extra(SecurityAttribute.context) for stream in (one, other)]
    async with closing(one, other):
        await one.aclose()
        await anyio.aclose_forcefully(other)
    for context in contexts:
        assert isinstance(context, ToyContext)
        assert context.discarded
        with pytest.raises(ContextExpired):
            context.wrap(b"x")


async def test_repr_shows_package_and_state_only() -> None:
    one, other = await negotiate_pair()
    async with closing(one, other):
        assert repr(one) == "<NegotiateStream Toy open>"
        await one.aclose()
        assert repr(one) == "<NegotiateStream Toy closed>"
