"""The listener: whatever clients do, others are served."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from securestream.credentials import Keytab
from securestream.drive import Services
from securestream.errors import (
    HandshakeTimeout,
    LogonDenied,
    NotAuthorized,
    PeerGone,
    PeerRefused,
    SecureStreamError,
    UsageError,
)
from securestream.provider import Effect, Established
from securestream.streams import transport as transport_module
from securestream.streams._dial import connect_tcp
from securestream.streams._wrap import SecureStream
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.connect import SecureConnectable, connect, listen
from securestream.streams.listeners import SecureListener
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.tls import TlsStream
from securestream.streams.transport import TcpListener
from securestream_providers.schannel import Schannel
from tests.ports import free_port
from tests.streams.pairs import AUTHORITY, SERVER, below, both, closing, receive_exactly
from tests.streams.toy import ALICE, MALLORY, Toy

pytestmark = pytest.mark.anyio

Handler = Callable[[SecureStream], Awaitable[object]]


async def echo(stream: SecureStream) -> None:
    while True:
        await stream.send(await stream.receive())


@asynccontextmanager
async def server(handler: Handler = echo, **arguments: Any) -> AsyncGenerator[SecureListener, None]:
    """A listener that serves while the block runs."""
    arguments.setdefault("package", Toy())
    arguments.setdefault("credential", ALICE)
    listener = await listen("127.0.0.1", 0, **arguments)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handler)
        yield listener
        group.cancel_scope.cancel()


async def talk(port: int, host: str = "127.0.0.1") -> None:
    """What an honest client does."""
    with anyio.fail_after(10):
        async with await connect(host, port, package=Toy(), credential=ALICE) as stream:
            await stream.send(b"hello")
            assert await receive_exactly(stream, 5) == b"hello"


async def test_connect_and_listen_in_five_lines() -> None:
    async with server() as listener:
        await talk(listener.port)


async def test_tls_by_the_same_functions() -> None:
    async with (
        server(package=Schannel(), credential=SERVER.credential) as listener,
        await connect(
            "127.0.0.1", listener.port, package=Schannel(trust=[AUTHORITY.pem]), target="host/server.example"
        ) as stream,
    ):
        assert isinstance(stream, TlsStream)
        await stream.send(b"hello")
        assert await receive_exactly(stream, 5) == b"hello"


async def test_a_connectable_gives_secure_streams() -> None:
    async with server() as listener:
        connectable = SecureConnectable(("127.0.0.1", listener.port), package=Toy(), credential=ALICE)
        async with await connectable.connect() as stream:
            assert stream.extra(SecurityAttribute.target) == "host/127.0.0.1"
        foreign = anyio.TCPConnectable("127.0.0.1", listener.port)
        async with await SecureConnectable(foreign, package=Toy(), credential=ALICE).connect() as stream:
            await stream.send(b"over anyio's own")
            assert await receive_exactly(stream, 16) == b"over anyio's own"


async def test_the_handlers_stream_is_authenticated_and_closed_after_it() -> None:
    seen: list[SecureStream] = []

    async def handler(stream: SecureStream) -> None:
        assert stream.extra(SecurityAttribute.peer).name == "alice"
        seen.append(stream)
        await stream.send(b"bye")

    async with server(handler) as listener:
        async with await connect("127.0.0.1", listener.port, package=Toy(), credential=ALICE) as stream:
            assert await stream.receive() == b"bye"
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
        assert "closed" in repr(seen[0])


async def test_wrong_passwords_stop_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "securestream")
    async with server() as listener:
        for _ in range(3):
            with pytest.raises(PeerRefused):
                await connect("127.0.0.1", listener.port, package=Toy(), credential=MALLORY)
        await talk(listener.port)
    assert caplog.text.count("SEC_E_LOGON_DENIED") == 3


async def test_a_server_that_lost_its_keytab_says_so_however_little_is_logged(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The client is told to look there; a wrong password is its own business."""
    caplog.set_level(logging.WARNING, "securestream")
    async with server() as listener:
        with pytest.raises(PeerRefused):
            await connect("127.0.0.1", listener.port, package=Toy(), credential=MALLORY)
    assert not caplog.text
    keytab = tmp_path / "keytab"
    keytab.write_bytes(b"\x05\x02")
    keytab.chmod(0o600)
    async with server(package="negotiate", credential=Keytab(keytab)) as listener:
        keytab.unlink()
        with pytest.raises(PeerRefused, match="look at the peer's log"):
            await connect("127.0.0.1", listener.port, package=Toy(), credential=ALICE)
    assert "there is no keytab" in caplog.text


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\x16",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x16\x01\x00\xff\xff" + bytes(70_000),
        b"\x16\x01\x00\x00\x03abc",
        b"\x14\x01\x00\x00\x00",
        b"\x15\x01\x00\x00\x08" + bytes(8),
        b"\x15\x01\x00\x00\x01x",
    ],
    ids=["nothing", "half", "http", "too long", "malformed", "done at once", "refused", "odd error"],
)
async def test_rubbish_stops_nobody(rubbish: bytes) -> None:
    async with server() as listener:
        async with await connect_tcp("127.0.0.1", listener.port) as stream:
            try:
                await stream.send(rubbish)
                await stream.send_eof()
                with anyio.fail_after(20):
                    while True:
                        await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass
        await talk(listener.port)


async def test_a_client_that_resets_stops_nobody() -> None:
    async with server() as listener:
        for _ in range(5):
            raw = socket.create_connection(("127.0.0.1", listener.port))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raw.close()
        await talk(listener.port)


async def test_a_damaged_frame_in_the_handler_ends_that_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "securestream")

    async def in_groups(stream: SecureStream) -> None:
        async with anyio.create_task_group() as one, anyio.create_task_group() as two:
            one.start_soon(echo, stream)
            two.start_soon(anyio.sleep, 0)

    async with server(in_groups) as listener:
        async with await connect("127.0.0.1", listener.port, package=Toy(), credential=ALICE) as stream:
            await below(stream).send(b"\4\0\0\0oops")
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
        await talk(listener.port)
    assert "altered" in caplog.text


async def test_a_failed_handshake_inside_a_connection_ends_that_connection_only() -> None:
    async def inner(stream: SecureStream) -> None:
        async with await NegotiateStream.wrap_server(stream, package=Toy(), credential=ALICE) as sealed:
            await echo(sealed)

    tls = Schannel(trust=[AUTHORITY.pem])
    async with server(inner, package=Schannel(), credential=SERVER.credential) as listener:
        for credential in (MALLORY, ALICE):
            outer = await connect("127.0.0.1", listener.port, package=tls, target="server.example")
            async with closing(outer):
                if credential is MALLORY:
                    with pytest.raises(PeerRefused):
                        await NegotiateStream.wrap_client(outer, package=Toy(), credential=credential)
                else:
                    sealed = await NegotiateStream.wrap_client(outer, package=Toy(), credential=credential)
                    await sealed.send(b"hello")
                    assert await receive_exactly(sealed, 5) == b"hello"
                    await sealed.aclose()


@pytest.mark.parametrize("error", [ZeroDivisionError, anyio.EndOfStream, anyio.BrokenResourceError])
async def test_a_bug_of_the_handler_is_loud(error: type[Exception]) -> None:
    """Also one that looks like the end of a stream, but not of the connection's own."""

    async def handler(stream: SecureStream) -> None:
        raise error

    listener = await listen("127.0.0.1", 0, package=Toy(), credential=ALICE)

    async def client() -> None:
        async with await connect("127.0.0.1", listener.port, package=Toy(), credential=ALICE):
            pass

    async with listener:
        with pytest.raises(BaseExceptionGroup) as raised:
            await both(client, lambda: listener.serve(handler))
        assert raised.group_contains(error)


async def test_silent_clients_lose_their_slots_in_time() -> None:
    async with server(handshake_timeout=1, max_handshakes=2) as listener:
        silent = [await connect_tcp("127.0.0.1", listener.port) for _ in range(4)]
        async with closing(*silent):
            with anyio.fail_after(20):
                while True:
                    try:
                        await talk(listener.port)
                    except PeerGone:  # the silent ones still have the share of this address
                        await anyio.sleep(0.05)
                    else:
                        break


async def test_a_dribbling_client_does_not_stretch_its_time() -> None:
    async with server(handshake_timeout=0.3) as listener, await connect_tcp("127.0.0.1", listener.port) as stream:

        async def dribble() -> None:
            await stream.send(b"\x16\x01\x00\x10\x00")  # 4096 octets: they would take more than a minute
            while True:
                await stream.send(b"x")
                with anyio.move_on_after(0.02):
                    while True:
                        await stream.receive()

        started = time.monotonic()
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await dribble()
        assert time.monotonic() - started < 15


async def test_200_silent_clients_of_one_address_do_not_slow_honest_ones_of_another() -> None:
    async def honest(port: int) -> float:
        started = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(talk, port)
        return time.monotonic() - started

    async with server(max_handshakes=256, max_handshakes_per_source=16, handshake_timeout=30) as listener:
        await honest(listener.port)  # warms up
        quiet = await honest(listener.port)
        silent: list[socket.socket] = []
        for _ in range(200):
            raw = socket.socket()
            try:
                raw.bind(("127.0.0.2", 0))
            except OSError:
                raw.close()
                pytest.skip("this system has one loopback address only")
            raw.connect(("127.0.0.1", listener.port))
            silent.append(raw)
        try:
            await anyio.sleep(0.05)
            assert await honest(listener.port) < 2 * quiet + 10  # who holds a place holds it for 30 s
        finally:
            for raw in silent:
                raw.close()


async def test_connections_of_one_address_beyond_its_share_are_closed_at_once() -> None:
    async with server(max_handshakes_per_source=2) as listener:
        held = [await connect_tcp("127.0.0.1", listener.port) for _ in range(2)]
        async with closing(*held):
            await anyio.wait_all_tasks_blocked()
            async with await connect_tcp("127.0.0.1", listener.port) as third:
                with anyio.fail_after(10), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await third.receive()


async def test_max_connections_waits_for_a_place() -> None:
    async with server(max_connections=1) as listener:
        first = await connect("127.0.0.1", listener.port, package=Toy(), credential=ALICE)
        async with anyio.create_task_group() as group:
            group.start_soon(talk, listener.port)
            await anyio.sleep(0.05)
            await first.aclose()


async def test_descriptors_running_out_pause_the_listener(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport_module, "_PAUSE", 0.01)
    trouble = [errno.EMFILE, errno.ECONNABORTED, errno.ENFILE]
    honest = vars(TcpListener)["_try_accept"]  # there is no gentler way to run out of descriptors

    def failing(self: TcpListener) -> Any:
        if trouble:
            raise OSError(trouble.pop(), "trouble")
        return honest(self)

    monkeypatch.setattr(TcpListener, "_try_accept", failing)
    async with server() as listener:
        await talk(listener.port)
    assert not trouble
    assert "cannot accept" in caplog.text


async def test_admit_refuses_before_the_last_token() -> None:
    def admit(established: Established) -> None:
        raise NotAuthorized(f"{established.peer} may not")

    async with server(admit=admit) as listener:
        with pytest.raises(PeerRefused):
            await connect("127.0.0.1", listener.port, package=Toy(), credential=ALICE)


async def test_handshake_errors_can_be_handled_otherwise() -> None:
    errors: list[tuple[Exception, str]] = []
    failed = anyio.Event()

    class Counting(SecureListener):
        async def handle_handshake_error(self, error: Exception, source: str) -> None:
            errors.append((error, source))
            failed.set()

    async with server(listener=Counting) as listener:
        with pytest.raises(SecureStreamError):
            await connect("127.0.0.1", listener.port, package=Toy(), credential=MALLORY)
        with anyio.fail_after(10):
            await failed.wait()
    assert [(type(error), source) for error, source in errors] == [(LogonDenied, "127.0.0.1")]


@dataclass(frozen=True, repr=False)
class Ask(Effect[object]):
    """An effect that takes its time."""


async def test_the_time_limit_spans_what_the_handshake_waits_for() -> None:
    services = Services()
    errors: list[Exception] = []
    failed = anyio.Event()

    class Counting(SecureListener):
        async def handle_handshake_error(self, error: Exception, source: str) -> None:
            errors.append(error)
            failed.set()

    async def slow(effect: Ask) -> object:
        await anyio.sleep(30)
        return None

    services.register(Ask, slow)
    async with server(package=Toy(need=Ask()), services=services, handshake_timeout=0.5, listener=Counting) as listener:
        with pytest.raises(PeerRefused):
            await connect("127.0.0.1", listener.port, package=Toy(), credential=ALICE)
        with anyio.fail_after(10):
            await failed.wait()
    assert isinstance(errors[0], HandshakeTimeout)


async def test_the_source_of_a_client_is_told_to_its_handshake() -> None:
    sources: list[str] = []

    class Telling(Toy):
        def accept(self, credential: Any, options: Any) -> Any:
            sources.append(options.source)
            return super().accept(credential, options)

    async with server(package=Telling()) as listener:
        await talk(listener.port)
    assert sources == ["", "127.0.0.1"]  # the first is a rehearsal, for nobody


async def test_closing_the_listener_ends_serve() -> None:
    port = free_port()
    listener = await listen("127.0.0.1", port, package=Toy(), credential=ALICE)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            await anyio.wait_all_tasks_blocked()
            await listener.aclose()
    with pytest.raises(OSError, match="cannot connect"):
        await connect("127.0.0.1", port, package=Toy(), credential=ALICE)
    with pytest.raises(anyio.ClosedResourceError):
        await listener.serve(echo)


@pytest.mark.parametrize(
    "wrong", [{"max_handshakes": 0}, {"attempts": 9}, {"handshake_timeout": 0}, {"credential": None}]
)
async def test_arguments_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"package": Toy(), "credential": ALICE, **wrong}
    with pytest.raises(UsageError):
        await listen("127.0.0.1", 0, **arguments)


async def test_every_address_of_a_name_is_listened_on() -> None:
    listener = await listen("localhost", 0, package=Toy(), credential=ALICE)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        for host, port in listener.addresses:
            await talk(port, host)
        group.cancel_scope.cancel()


async def test_the_peers_address_outlives_a_reset_and_ends_no_listener() -> None:
    """The system forgets the address of a connection that was reset; whoever logs it then must not end the server."""
    give, addresses = anyio.create_memory_object_stream[object](1)

    async def log(stream: SecureStream) -> None:
        try:
            await stream.receive()
        finally:
            raw = stream.extra(SocketAttribute.raw_socket)
            with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
                raw.getpeername()
            give.send_nowait((stream.extra(SocketAttribute.remote_address), stream.extra(SocketAttribute.remote_port)))

    async with give, addresses, server(log) as listener:
        for _ in range(2):
            client = await connect("127.0.0.1", listener.port, package=Toy(), credential=ALICE)
            raw = client.extra(SocketAttribute.raw_socket)
            own: tuple[str, int] = raw.getsockname()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await client.aclose()
            with anyio.fail_after(20):
                assert await addresses.receive() == (own, own[1])
