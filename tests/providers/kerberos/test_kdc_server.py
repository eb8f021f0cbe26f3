"""A KDC's sockets: UDP, TCP and HTTPS, on both event loops, within bounds."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute

from securestream.errors import ServiceFailed, UsageError
from securestream_providers.kerberos import EmbeddedKdc
from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.kerberos.kdc.core import Kdc
from securestream_providers.kerberos.kdc.database_sqlite import SqlitePrincipals
from securestream_providers.kerberos.kdc.server import KdcServer, ServerLimits
from securestream_providers.krb5.config import KdcAddress
from securestream_providers.krb5.kkdcp import unwrap_proxied, wrap_proxied
from securestream_providers.krb5.messages import KrbError
from securestream_providers.krb5.numbers import ErrorCode
from tests.certificates import authority
from tests.ports import free_port
from tests.providers.kerberos.forged import REALM, Bench

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> SqlitePrincipals:
    """A store in a private folder."""
    tmp_path.chmod(0o700)
    return SqlitePrincipals(tmp_path / "kdc.db", realm=REALM)


LIMITS = ServerLimits(connections=8, connections_of_source=4, idle=60, requests=3)


@pytest.fixture
def limits() -> ServerLimits:
    return LIMITS


hasty = pytest.mark.parametrize("limits", [replace(LIMITS, idle=0.5)], ids=["hasty"])


@pytest.fixture
async def bench(limits: ServerLimits) -> AsyncIterator[Bench]:
    """A serving realm with alice."""
    made = Bench(limits=limits)
    made.kdc.add_principal("alice", "correct horse", etypes=(18,))
    async with made.kdc:
        yield made


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


async def _exactly(stream: anyio.abc.ByteReceiveStream, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += await stream.receive(size - len(found))
    return found


async def _by_tcp(port: int, *messages: bytes) -> list[bytes]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        found: list[bytes] = []
        for message in messages:
            await stream.send(_framed(message))
            found.append(await _exactly(stream, int.from_bytes(await _exactly(stream, 4), "big")))
        return found


async def test_datagrams_and_streams_at_one_port(bench: Bench) -> None:
    request, reply = bench.as_req("alice"), b""
    port = bench.kdc.server.port
    async with await anyio.create_connected_udp_socket("127.0.0.1", port) as datagrams:
        for _ in range(3):
            await datagrams.send(request)
            with anyio.fail_after(20):
                reply = await datagrams.receive()
            assert KrbError.decode(reply).error_code == ErrorCode.PREAUTH_REQUIRED
        await datagrams.send(reply)  # CVE-2002-2443
        await datagrams.send(b"noise")
        with anyio.move_on_after(0.2) as silence:
            await datagrams.receive()
        assert silence.cancelled_caught
    replies = await _by_tcp(port, request, bench.as_req("alice", bench.key("alice")))
    assert [reply[0] for reply in replies] == [0x7E, 0x6B]


async def test_a_reply_too_large_for_a_datagram_comes_by_tcp(bench: Bench) -> None:
    bench.kdc.add_principal("open", "correct horse", requires_preauth=False, groups=tuple(range(1000, 1200)))
    request = bench.as_req("open")
    async with await anyio.create_connected_udp_socket("127.0.0.1", bench.kdc.server.port) as datagrams:
        await datagrams.send(request)
        with anyio.fail_after(20):
            error = KrbError.decode(await datagrams.receive())
    assert error.error_code == ErrorCode.RESPONSE_TOO_BIG
    (reply,) = await _by_tcp(bench.kdc.server.port, request)
    assert reply[0] == 0x6B


@hasty
async def test_a_client_that_says_nothing_or_too_much_is_dropped(bench: Bench) -> None:
    for octets in (b"", b"\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\1x", _framed(b"x" * 100)[:50]):
        async with await anyio.connect_tcp("127.0.0.1", bench.kdc.server.port) as stream:
            if octets:
                await stream.send(octets)
            with anyio.fail_after(20), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
    request = bench.as_req("alice")
    with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await _by_tcp(bench.kdc.server.port, *[request] * 4)


@hasty
async def test_silent_clients_of_one_address_leave_room_and_the_server_serves_on(bench: Bench) -> None:
    port = bench.kdc.server.port
    idle = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(12)]
    with anyio.fail_after(20):
        while True:
            try:
                assert len(await _by_tcp(port, bench.as_req("alice"))) == 1
                break
            except (
                anyio.EndOfStream,
                anyio.BrokenResourceError,
            ):  # the silent ones still have the share of this address
                await anyio.sleep(0.1)
    for stream in idle:
        await stream.aclose()


async def test_a_bug_costs_one_request(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(request: bytes, **_: object) -> bytes | None:
        raise ZeroDivisionError

    server = bench.kdc.server
    monkeypatch.setattr(server.kdc, "handle", fails)
    with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await _by_tcp(server.port, b"")
    monkeypatch.undo()
    assert "127.0.0.1" in caplog.text
    assert len(await _by_tcp(server.port, bench.as_req("alice"))) == 1


async def test_the_configuration_points_at_the_ports(bench: Bench) -> None:
    config, server = bench.kdc.config, bench.kdc.server
    assert config.realms[REALM].kdcs == (KdcAddress("127.0.0.1", server.port),)
    assert config.realms[REALM].kpasswd_servers == (KdcAddress("127.0.0.1", server.password_port),)
    text = bench.kdc.krb5_conf(forwardable="true")
    assert f"kdc = 127.0.0.1:{server.port}" in text
    assert "forwardable = true" in text


async def test_without_sockets_it_performs_what_clients_ask_for() -> None:
    bench = Bench()
    bench.kdc.add_principal("alice", "correct horse", etypes=(18,))
    asked = KdcRequest(REALM, bench.as_req("alice"), bench.kdc.config)
    assert (await bench.kdc.services().performer_of(KdcRequest).perform(asked))[0] == 0x7E
    for effect in (
        KdcRequest("OTHER.EXAMPLE", b"", bench.kdc.config),
        KdcRequest(REALM, b"noise", bench.kdc.config, KdcService.PASSWORD),
    ):
        with pytest.raises(ServiceFailed):
            await bench.kdc.perform(effect)
    with pytest.raises(UsageError, match="does not serve"):
        _ = bench.kdc.server


async def _rest(stream: anyio.abc.ByteReceiveStream) -> bytes:
    """All that comes until the end."""
    found = b""
    with anyio.fail_after(10):
        while True:
            try:
                found += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return found


async def _post(port: int, head: str, body: bytes, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    stream: anyio.abc.ByteStream
    if context is None:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    else:
        stream = await anyio.connect_tcp(
            "127.0.0.1", port, ssl_context=context, tls_hostname="localhost", tls_standard_compatible=False
        )
    length = f"Content-Length: {len(body)}\r\n" if "length" not in head.lower() else ""
    async with stream:
        await stream.send(f"{head}\r\nHost: kdc\r\n{length}\r\n".encode() + body)
        found = await _rest(stream)
    top, _, rest = found.partition(b"\r\n\r\n")
    return int(top.split()[1]), rest


async def test_the_proxy_protocol_serves_its_own_realm() -> None:
    bench = Bench()
    bench.kdc.add_principal("alice", "correct horse", etypes=(18,))
    request = bench.as_req("alice")
    post = "POST /KdcProxy HTTP/1.1"
    async with KdcServer(bench.kdc.kdc, bench.kdc.passwords, plain_http=True, clock=bench.clock) as server:
        for realm in (None, REALM, REALM.lower()):
            status, body = await _post(server.https_port, post, wrap_proxied(request, realm))
            assert status == 200
            assert KrbError.decode(unwrap_proxied(body)[0]).error_code == ErrorCode.PREAUTH_REQUIRED
        for head, message, expected in (
            (post, wrap_proxied(request, "OTHER.EXAMPLE"), 403),
            (post, b"noise", 400),
            (post, wrap_proxied(b"noise", REALM), 400),
            ("GET /KdcProxy HTTP/1.1", b"", 404),
            ("POST /other HTTP/1.1", wrap_proxied(request), 404),
            ("POST /KdcProxy HTTP/1.1\r\nContent-Length: 99999999", b"", 400),
            ("POST /KdcProxy HTTP/1.1\r\nContent-Length: -1", b"", 400),
            ("POST /KdcProxy HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3", b"abc", 400),
        ):
            assert (await _post(server.https_port, head, message))[0] == expected
    with pytest.raises(UsageError, match="loopback"):
        KdcServer(bench.kdc.kdc, host="0.0.0.0", plain_http=True)


async def test_a_store_that_blocks_is_asked_in_threads(store: SqlitePrincipals) -> None:
    bench = Bench(database=store)
    bench.kdc.add_principal("alice", "correct horse", etypes=(18,))
    async with bench.kdc as kdc:
        request = bench.as_req("alice", bench.key("alice"))
        replies: list[bytes] = []

        async def ask() -> None:
            replies.extend(await _by_tcp(kdc.server.port, request))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask)
        assert [reply[0] for reply in replies] == [0x6B] * 4
        async with await anyio.create_connected_udp_socket("127.0.0.1", kdc.server.port) as datagrams:
            await datagrams.send(bench.as_req("alice"))
            with anyio.fail_after(20):
                assert (await datagrams.receive())[0] == 0x7E
    store.close()


async def test_a_port_that_is_taken_is_an_error(bench: Bench) -> None:
    port = bench.kdc.server.port
    with pytest.raises(OSError, match=r"."):
        async with EmbeddedKdc("B.EXAMPLE", port=port):
            pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=r"."):
            async with EmbeddedKdc("B.EXAMPLE", port=taken.getsockname()[1]):
                pass


async def test_it_ends_with_its_block_and_leaves_no_socket() -> None:
    port = free_port()
    async with EmbeddedKdc("B.EXAMPLE", port=port):
        pass
    with pytest.raises(OSError, match=r"."):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            stream.extra(SocketAttribute.remote_port)


def test_a_database_that_fails_is_an_error_of_the_service(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    store = SqlitePrincipals(tmp_path / "kdc.db", realm=REALM)
    bench = Bench(database=store)
    store.close()
    (tmp_path / "kdc.db").write_bytes(b"no database at all" * 100)
    broken = Kdc(store, REALM, lambda size: bytes(size))
    reply = broken.handle(bench.as_req("alice"), now=bench.clock.now, stream=True)
    assert reply is not None
    assert KrbError.decode(reply).error_code in (ErrorCode.SVC_UNAVAILABLE, ErrorCode.GENERIC)


async def test_the_proxy_protocol_over_tls(tmp_path: Path) -> None:
    issuer = authority()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*issuer.leaf().write(tmp_path))
    trusting = ssl.create_default_context(cadata=issuer.pem.decode())
    bench = Bench(https=served)
    bench.kdc.add_principal("alice", "correct horse", etypes=(18,))
    async with bench.kdc as kdc:
        port = kdc.server.https_port
        message = wrap_proxied(bench.as_req("alice"), REALM)
        status, body = await _post(port, "POST /KdcProxy HTTP/1.1", message, trusting)
        assert status == 200
        assert KrbError.decode(unwrap_proxied(body)[0]).error_code == ErrorCode.PREAUTH_REQUIRED
        async with await anyio.connect_tcp("127.0.0.1", port) as plain:  # who speaks no TLS is dropped
            await plain.send(b"POST /KdcProxy HTTP/1.1\r\n\r\n")
            await anyio.sleep(0.1)
            assert b"HTTP" not in await _rest(plain)
        assert (await _post(port, "POST /KdcProxy HTTP/1.1", message, trusting))[0] == 200


async def test_two_hundred_silent_clients_of_one_address_do_not_shut_another_out() -> None:
    """SECURITY rule 2: what strangers may hold is bounded for each address, so that one cannot take it all."""
    bench = Bench(limits=ServerLimits(idle=60))
    bench.kdc.add_principal("alice", "correct horse", etypes=(18,))
    request = bench.as_req("alice")
    async with bench.kdc as kdc:
        port = kdc.server.port
        silent = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(200)]
        with anyio.fail_after(20):
            async with await anyio.connect_tcp("127.0.0.1", port, local_host="127.0.0.2") as honest:
                await honest.send(_framed(request))
                size = int.from_bytes(await _exactly(honest, 4), "big")
                assert KrbError.decode(await _exactly(honest, size)).error_code == ErrorCode.PREAUTH_REQUIRED
        for stream in silent:
            await stream.aclose()
