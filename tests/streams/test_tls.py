"""TLS over byte streams: upgrades, refusals, damage, and what is owed to the peer."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from anyio.abc import ByteStream

from securestream.credentials import Certificate
from securestream.errors import (
    CertificateRejected,
    ContextError,
    ErrorKind,
    HandshakeError,
    HandshakeTimeout,
    PeerGone,
    PeerRefused,
    UsageError,
)
from securestream.options import ContextFlags, Protection
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.tls import TlsStream
from securestream.streams.transport import TcpStream, loop_buffer
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.streams.pairs import (
    AUTHORITY,
    SERVER,
    Foreign,
    below,
    both,
    closing,
    receive_exactly,
    tcp_pair,
    tls_over,
)
from tests.streams.toy import ALICE, Toy

pytestmark = pytest.mark.anyio

CLIENT = Schannel(trust=[AUTHORITY.pem])


async def _wrap_server(transport: ByteStream, received: bytes = b"", package: Schannel | None = None) -> TlsStream:
    return await TlsStream.wrap_server(
        transport, package=package or Schannel(), credential=SERVER.credential, received=received
    )


async def test_an_open_stream_is_upgraded_and_given_back() -> None:
    client, server = await tcp_pair()
    async with closing(client, server):
        await client.send(b"STARTTLS\r\n")
        assert await receive_exactly(server, 10) == b"STARTTLS\r\n"
        await server.send(b"go ahead\r\n")
        assert await receive_exactly(client, 10) == b"go ahead\r\n"
        one, other = await tls_over(client, server)
        await one.send(b"secret")
        assert await other.receive() == b"secret"
        (client_again, nothing), (server_again, nothing_either) = await both(one.unwrap, other.unwrap)
        assert client_again is client
        assert server_again is server
        assert nothing == nothing_either == b""
        await client.send(b"in clear")
        assert await server.receive() == b"in clear"


async def test_octets_buffered_when_the_upgrade_begins_go_into_tls() -> None:
    client, server = await tcp_pair()

    async def accept() -> TlsStream:
        early = await server.receive()  # the ClientHello, read by whoever parsed the command before it
        return await _wrap_server(server, early)

    one, other = await both(lambda: TlsStream.wrap_client(client, package=CLIENT, target="server.example"), accept)
    async with closing(one, other):
        await one.send(b"data")
        assert await other.receive() == b"data"


async def test_commands_smuggled_behind_the_upgrade_refuse_it() -> None:
    """CVE-2011-0411: what a man in the middle put behind STARTTLS must never be read as if it came through TLS."""
    _, server = await tcp_pair()
    async with closing(_):
        with pytest.raises(HandshakeError):
            await _wrap_server(server, b"MAIL FROM:<mallory>\r\n")


async def test_a_refused_certificate_is_told_to_the_server_by_its_alert() -> None:
    client, server = await tcp_pair()

    async def connect() -> None:
        with pytest.raises(CertificateRejected) as refused:
            await TlsStream.wrap_client(
                client, package=Schannel(trust=[authority("other").pem]), target="server.example"
            )
        assert refused.value.kind is ErrorKind.CERTIFICATE_UNTRUSTED

    async def accept() -> None:
        with pytest.raises(PeerRefused):
            await _wrap_server(server)

    await both(connect, accept)


async def test_a_wrong_name_is_refused() -> None:
    client, server = await tcp_pair()

    async def connect() -> None:
        with pytest.raises(CertificateRejected) as refused:
            await TlsStream.wrap_client(client, package=CLIENT, target="host/other.example")
        assert refused.value.kind is ErrorKind.CERTIFICATE_NAME

    async def accept() -> None:
        with pytest.raises(PeerRefused):
            await _wrap_server(server)

    await both(connect, accept)


async def test_a_silent_client_is_closed_in_time() -> None:
    client, server = await tcp_pair()
    async with closing(client):
        with pytest.raises(HandshakeTimeout):
            await TlsStream.wrap_server(
                server, package=Schannel(), credential=SERVER.credential, handshake_timeout=0.05
            )
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await client.receive()


@pytest.mark.parametrize("rubbish", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x80" * 300])
async def test_rubbish_is_refused(rubbish: bytes) -> None:
    client, server = await tcp_pair()
    async with closing(client):
        await client.send(rubbish)
        await client.send_eof()
        with pytest.raises((HandshakeError, PeerGone)):
            await _wrap_server(server)


@pytest.mark.parametrize("position", [0, 1, 3, 5, 20, -1])
async def test_a_damaged_record_ends_the_connection_and_its_alert_leaves_with_the_close(position: int) -> None:
    client, server = await tcp_pair()
    watched, answers = Foreign(client), Foreign(server)
    one, other = await tls_over(watched, answers)
    async with closing(one, other):
        await one.send(b"before")
        assert await other.receive() == b"before"
        record = bytearray(_record(one, b"data"))
        record[position] ^= 0x40
        await client.send(bytes(record))
        if position == 3:  # a longer record: the rest never comes
            await client.send_eof()
        answers.sent.clear()
        with pytest.raises((ContextError, anyio.BrokenResourceError)):
            await other.receive()
        assert not answers.sent  # receive never sends
        with pytest.raises(anyio.BrokenResourceError):
            await other.receive()
        await other.aclose()
        if position != 3:
            assert answers.sent


async def test_data_before_damage_in_one_read_is_delivered_first() -> None:
    client, server = await tcp_pair()
    one, other = await tls_over(client, server)
    async with closing(one, other):
        good, bad = _record(one, b"good"), bytearray(_record(one, b"bad"))
        bad[-1] ^= 1
        await client.send(good + bytes(bad))
        assert await other.receive() == b"good"
        with pytest.raises(ContextError):
            await other.receive()


def _record(stream: TlsStream, data: bytes) -> bytes:
    connection = stream.extra(SecurityAttribute.record_connection)
    connection.send(data)
    return connection.data_to_send()


async def test_a_missing_client_certificate_is_told_by_the_first_receive_under_tls_1_3() -> None:
    client, server = await tcp_pair()
    package = Schannel(trust=[AUTHORITY.pem], client_certificates="required")

    async def connect() -> None:
        stream = await TlsStream.wrap_client(client, package=CLIENT, target="server.example")
        async with closing(stream):
            with pytest.raises(PeerRefused):
                await stream.receive()

    async def accept() -> None:
        with pytest.raises(HandshakeError):
            await _wrap_server(server, package=package)

    await both(connect, accept)


async def test_a_client_certificate_names_the_peer() -> None:
    client, server = await tcp_pair()
    package = Schannel(trust=[AUTHORITY.pem], client_certificates="required", upn_issuers=[AUTHORITY.pem])
    leaf = AUTHORITY.leaf((), usage=("client",), upn="alice@corp.example")
    credential: Certificate = leaf.credential
    one, other = await both(
        lambda: TlsStream.wrap_client(client, package=CLIENT, credential=credential, target="server.example"),
        lambda: _wrap_server(server, package=package),
    )
    async with closing(one, other):
        assert "alice@corp.example" in str(other.extra(SecurityAttribute.peer))


async def test_facts_of_a_tls_connection() -> None:
    one, other = await tls_over(*await tcp_pair())
    async with closing(one, other):
        assert one.extra(SecurityAttribute.tls_session).version == "TLSv1.3"
        assert one.extra(SecurityAttribute.alpn) is None
        assert one.extra(SecurityAttribute.protection) is Protection.ENCRYPT_AND_SIGN
        assert ContextFlags.CONFIDENTIALITY in other.extra(SecurityAttribute.flags)
        assert one.extra(SecurityAttribute.package) == "Schannel"
        assert repr(one) == "<TlsStream Schannel open>"
        await one.aclose()
        assert repr(one) == "<TlsStream Schannel closed>"
        with pytest.raises(anyio.ClosedResourceError):
            one.extra(SecurityAttribute.record_connection)


async def test_tls_1_2_cannot_end_one_direction() -> None:
    one, other = await tls_over(*await tcp_pair(), maximum_version="TLSv1.2")
    async with closing(one, other):
        assert one.extra(SecurityAttribute.tls_session).version == "TLSv1.2"
        with pytest.raises(UsageError, match=r"TLS 1\.2"):
            await one.send_eof()
        await one.send(b"still open")
        assert await receive_exactly(other, 10) == b"still open"


async def test_the_wrong_stream_for_a_package_says_so() -> None:
    client, server = await tcp_pair()
    async with closing(client, server):
        with pytest.raises(UsageError, match="raw framing"):
            await TlsStream.wrap_client(client, package=Toy(), credential=ALICE)
        with pytest.raises(UsageError, match="protocol of its own"):
            await NegotiateStream.wrap_client(server, package=CLIENT, target="server.example")


async def test_a_large_read_is_fed_in_parts_and_nothing_is_overwritten() -> None:
    client, server = await tcp_pair()
    watched = Foreign(client)
    one, other = await tls_over(watched, server)
    data = bytes(range(256)) * 1024
    async with closing(client, one, other):
        watched.sent.clear()
        watched.below = Discarding()
        for _ in range(3):
            await one.send(data)
        octets = b"".join(watched.sent)
        vars(other)["_transport"] = Giving(server, octets)
        assert await receive_exactly(other, 3 * len(data)) == 3 * data


class Discarding(Foreign):
    """Sends nowhere."""

    def __init__(self) -> None:
        self.sent = []

    async def send(self, item: bytes) -> None:
        return None

    async def aclose(self) -> None:
        return None


class Giving(TcpStream):
    """Gives prepared octets through the event loop's buffer, as large reads of a fast network would."""

    def __init__(self, stream: TcpStream, octets: bytes) -> None:
        self._stream = stream
        self._octets = octets

    async def receive_with(self, take: Callable[[memoryview], object]) -> None:
        buffer = loop_buffer()
        part, self._octets = self._octets[: len(buffer)], self._octets[len(buffer) :]
        buffer[: len(part)] = part
        take(buffer[: len(part)])

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_key_updates_and_tickets_are_no_events() -> None:
    one, other = await tls_over(*await tcp_pair())
    async with closing(one, other):
        for _ in range(3):
            await other.send(b"ping")
            assert await receive_exactly(one, 4) == b"ping"
            await one.send(b"pong")
            assert await receive_exactly(other, 4) == b"pong"
        assert below(one) is not below(other)
