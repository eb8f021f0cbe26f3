"""How streams perform handshakes: refusals are told, the transport is closed, further credentials, shapes, pieces."""

from __future__ import annotations

import itertools

import anyio
import pytest
from anyio.abc import ByteStream

from securestream.credentials import Credential
from securestream.errors import (
    FramingError,
    HandshakeTimeout,
    LogonDenied,
    NoCommonMechanism,
    PeerGone,
    PeerRefused,
    QualityNotMet,
    UsageError,
)
from securestream.options import ContextFlags, Options, Protection
from securestream.provider import Compute, Handshake, TargetName
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.negotiate import NegotiateStream
from tests.streams.pairs import (
    Foreign,
    both,
    closing,
    negotiate_over,
    receive_all,
    receive_exactly,
    tcp_pair,
)
from tests.streams.toy import ALICE, MALLORY, Toy

pytestmark = pytest.mark.anyio


async def test_a_refused_logon_is_told_to_the_client_and_both_transports_are_closed() -> None:
    client, server = await tcp_pair()

    async def connect() -> None:
        with pytest.raises(PeerRefused, match="0x8009030C"):
            await NegotiateStream.wrap_client(client, package=Toy(), credential=MALLORY)

    async def accept() -> None:
        with pytest.raises(LogonDenied):
            await NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE)

    await both(connect, accept)
    for transport in (client, server):
        with pytest.raises(anyio.ClosedResourceError):
            await transport.receive()


async def test_less_protection_than_required_is_told_by_1790_before_any_data() -> None:
    client, server = await tcp_pair()
    watched = Foreign(server)

    async def connect() -> None:
        with pytest.raises(PeerRefused) as refused:
            await NegotiateStream.wrap_client(
                client, package=Toy(withheld=ContextFlags.CONFIDENTIALITY), credential=ALICE, protection=Protection.SIGN
            )
        assert refused.value.code == 1790

    async def accept() -> None:
        with pytest.raises(QualityNotMet):
            await NegotiateStream.wrap_server(watched, package=Toy(), credential=ALICE)

    await both(connect, accept)
    assert watched.sent == [bytes.fromhex("1501000008fe06000000000000")]


async def test_a_silent_peer_ends_the_handshake_with_a_word_and_a_closed_transport() -> None:
    client, server = await tcp_pair()
    with pytest.raises(HandshakeTimeout):
        await NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE, handshake_timeout=0.05)
    assert (await _last_words(client))[:5] == bytes.fromhex("1501000008")


async def test_a_cancelled_handshake_tells_the_peer_and_closes() -> None:
    client, server = await tcp_pair()
    with anyio.move_on_after(0.05) as scope:
        await NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE)
    assert scope.cancelled_caught
    assert (await _last_words(client))[:5] == bytes.fromhex("1501000008")
    with pytest.raises(anyio.ClosedResourceError):
        await server.receive()


async def test_a_peer_that_goes_away_is_owed_nothing() -> None:
    client, server = await tcp_pair()
    await client.send_eof()
    with pytest.raises(PeerGone):
        await NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE)
    assert await _last_words(client) == b""


async def test_a_carrier_that_is_broken_is_closed_without_a_frame() -> None:
    client, server = await tcp_pair()
    await client.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(FramingError):
        await NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE)
    assert await _last_words(client) == b""


async def test_further_credentials_are_tried_over_the_same_connection() -> None:
    client, server = await tcp_pair()
    one, other = await both(
        lambda: NegotiateStream.wrap_client(client, package=Toy(), credential=[MALLORY, MALLORY, ALICE]),
        lambda: NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE, attempts=3),
    )
    async with closing(one, other):
        await one.send(b"in the end")
        assert await receive_exactly(other, 10) == b"in the end"


@pytest.mark.parametrize("negotiated", [False, True])
async def test_a_further_credential_is_tried_when_the_authority_refused_the_one_before(*, negotiated: bool) -> None:
    """As where a KDC refuses a password, of which the server never learns but by the error frame."""

    class Judged(Toy):
        """Its authority refuses Mallory at once."""

        def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
            if credential is MALLORY:
                return _denied(negotiated=negotiated)
            return super().initiate(credential, target, options)

    client, server = await tcp_pair()
    one, other = await both(
        lambda: NegotiateStream.wrap_client(client, package=Judged(), credential=[MALLORY, ALICE]),
        lambda: NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE, attempts=2),
    )
    async with closing(one, other):
        await one.send(b"in the end")
        assert await receive_exactly(other, 10) == b"in the end"


def _denied(*, negotiated: bool) -> Handshake:
    yield from Compute(lambda: None)
    denied = LogonDenied("the authority knows no such user, or no such password")
    if negotiated:
        raise NoCommonMechanism("nothing is left") from denied
    raise denied


async def test_attempts_are_counted() -> None:
    client, server = await tcp_pair()

    async def connect() -> None:
        with pytest.raises((PeerRefused, PeerGone)):
            await NegotiateStream.wrap_client(client, package=Toy(), credential=[MALLORY, MALLORY, ALICE])

    async def accept() -> None:
        with pytest.raises(LogonDenied):
            await NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE, attempts=2)

    await both(connect, accept)


async def test_nobody_may_allow_more_attempts_than_three() -> None:
    client, server = await tcp_pair()
    async with closing(client, server):
        with pytest.raises(UsageError, match="attempts"):
            await NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE, attempts=4)


@pytest.mark.parametrize(
    ("legs", "last", "protection"), list(itertools.product((0, 1, 2), (True, False), Protection)), ids=str
)
async def test_every_shape_of_handshake_ends_in_data(legs: int, last: bool, protection: Protection) -> None:
    one, other = await negotiate_over(*await tcp_pair(), protection, Toy(legs=legs, last_token=last))
    async with closing(one, other):
        assert one.extra(SecurityAttribute.protection) is protection
        await one.send(b"data")
        assert await receive_exactly(other, 4) == b"data"


async def test_octets_already_read_are_part_of_the_handshake() -> None:
    client, server = await tcp_pair()

    async def accept() -> NegotiateStream:
        early = await server.receive(7)
        return await NegotiateStream.wrap_server(server, package=Toy(), credential=ALICE, received=early)

    one, other = await both(lambda: NegotiateStream.wrap_client(client, package=Toy(), credential=ALICE), accept)
    async with closing(one, other):
        await one.send(b"data")
        assert await receive_exactly(other, 4) == b"data"


async def test_data_that_came_with_the_last_token_is_not_lost() -> None:
    client, server = await tcp_pair()
    held = bytearray()

    class Holding(Foreign):
        """Sends the done frame together with what follows it."""

        async def send(self, item: bytes) -> None:
            held.extend(item)
            if len(held) > len(item):
                await self.below.send(bytes(held))

    async def accept() -> NegotiateStream:
        stream = await NegotiateStream.wrap_server(Holding(server), package=Toy(), credential=ALICE)
        await stream.send(b"at once")
        return stream

    one, other = await both(lambda: NegotiateStream.wrap_client(client, package=Toy(), credential=ALICE), accept)
    async with closing(one, other):
        assert await one.receive() == b"at once"


async def _last_words(client: ByteStream) -> bytes:
    async with closing(client):
        return await receive_all(client)
