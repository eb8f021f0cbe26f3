"""The synchronous driver: handshake under one deadline, data, and what happens when either end misbehaves."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from examples.custom_provider import SharedKey, SharedKeyPackage
from securestream import blocking
from securestream.ambient import system_options
from securestream.blocking import SecureSocket
from securestream.drive import Services
from securestream.errors import (
    BadSignature,
    ContextExpired,
    ErrorKind,
    FramingError,
    HandshakeTimeout,
    LogonDenied,
    NotAuthorized,
    NotEncrypted,
    OutOfSequence,
    PeerGone,
    PeerRefused,
    QualityNotMet,
    UsageError,
)
from securestream.options import Limits, Options, Protection
from securestream.provider import Effect, Established, Handshake, SecurityContext
from tests.core.canaries import SETUPS
from tests.core.handshakes import ALICE, SHARED_KEY, established

WAIT = 10.0


class Serving:
    """A server in a thread that accepts one handshake on its end of a pair."""

    def __init__(self, sock: socket.socket, **arguments: Any) -> None:
        self.connection: SecureSocket | None = None
        self.error: BaseException | None = None
        self._sock = sock
        self._arguments: dict[str, Any] = {"credential": ALICE} | arguments
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            package = self._arguments.pop("package", SHARED_KEY)
            self.connection = SecureSocket.wrap_server(self._sock, package=package, **self._arguments)
        except BaseException as error:
            self.error = error

    def join(self) -> SecureSocket:
        self._thread.join(WAIT)
        if self.error is not None:
            raise self.error
        assert self.connection is not None
        return self.connection


@contextmanager
def sockets() -> Generator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    one.settimeout(WAIT)
    two.settimeout(WAIT)
    with one, two:
        yield one, two


@contextmanager
def connected(**arguments: Any) -> Generator[tuple[SecureSocket, SecureSocket]]:
    with sockets() as (one, two):
        serving = Serving(two, **arguments)
        client = SecureSocket.wrap_client(one, package=SHARED_KEY, credential=ALICE, **arguments)
        with client, serving.join() as server:
            yield client, server


def test_both_ends_authenticate_and_exchange_data() -> None:
    with connected() as (client, server):
        assert server.peer.name == "alice"
        client.sendall(b"ping")
        assert server.recv() == b"ping"
        server.sendall(b"pong")
        assert client.recv() == b"pong"
        assert client.protection is Protection.ENCRYPT_AND_SIGN


@pytest.mark.parametrize("protection", list(Protection))
@pytest.mark.parametrize("size", [0, 1, 64511, 64512, 64513, 1_000_000])
def test_any_size_at_any_protection(protection: Protection, size: int) -> None:
    data = os.urandom(size)
    with connected(protection=protection) as (client, server):

        def send() -> None:
            client.sendall(data)
            client.close()

        sender = threading.Thread(target=send)
        sender.start()
        received = b""
        while octets := server.recv(50_000):
            received += octets
        sender.join(WAIT)
        assert received == data


def test_recv_gives_no_more_than_asked_and_keeps_the_rest() -> None:
    with connected() as (client, server):
        client.sendall(b"abcdef")
        assert [server.recv(4), server.recv(4)] == [b"abcd", b"ef"]
        with pytest.raises(UsageError):
            server.recv(0)


def test_nothing_readable_of_the_data_is_on_the_wire() -> None:
    with sockets() as (one, relay_one), sockets() as (relay_two, two):
        seen: list[bytes] = []

        def relay(source: socket.socket, sink: socket.socket) -> None:
            while octets := source.recv(65536):
                seen.append(octets)
                sink.sendall(octets)

        ways = ((relay_one, relay_two), (relay_two, relay_one))
        relays = [threading.Thread(target=relay, args=way, daemon=True) for way in ways]
        for thread in relays:
            thread.start()
        serving = Serving(two)
        with SecureSocket.wrap_client(one, package=SHARED_KEY, credential=ALICE) as client, serving.join() as server:
            client.sendall(b"the plaintext of a message")
            assert server.recv() == b"the plaintext of a message"
        for thread in relays:
            thread.join(WAIT)
        assert b"plaintext" not in b"".join(seen)


def test_the_end_of_stream_is_empty_and_stays() -> None:
    with connected() as (client, server):
        client.sendall(b"last")
        client.close()
        assert [server.recv(), server.recv(), server.recv()] == [b"last", b"", b""]


def test_octets_read_before_the_handshake_are_handed_over() -> None:
    with sockets() as (one, two):
        clients: list[SecureSocket] = []
        thread = threading.Thread(
            target=lambda: clients.append(SecureSocket.wrap_client(one, package=SHARED_KEY, credential=ALICE))
        )
        thread.start()
        early = two.recv(7)
        with SecureSocket.wrap_server(two, package=SHARED_KEY, credential=ALICE, received=early) as server:
            thread.join(WAIT)
            assert server.peer.name == "alice"
            clients[0].close()


def test_unwrap_gives_the_socket_back() -> None:
    with connected() as (client, server):
        client.sendall(b"secret")
        assert server.recv() == b"secret"
        (plain_client, _), (plain_server, trailing) = client.unwrap(), server.unwrap()
        assert trailing == b""
        plain_client.sendall(b"plain")
        assert plain_server.recv(100) == b"plain"
        for end in (client, server):
            with pytest.raises(ContextExpired):
                end.sendall(b"x")


class TestRefusals:
    def test_a_wrong_key_is_refused_at_both_ends_and_both_sockets_are_closed(self) -> None:
        with sockets() as (one, two):
            serving = Serving(two)
            mallory = SharedKey("alice", bytes(32))
            with pytest.raises(LogonDenied):
                SecureSocket.wrap_client(one, package=SHARED_KEY, credential=mallory)
            with pytest.raises(PeerRefused) as caught:
                serving.join()
            assert caught.value.kind is ErrorKind.LOGON_DENIED
            assert (one.fileno(), two.fileno()) == (-1, -1)

    def test_less_protection_than_required_is_refused_before_data(self) -> None:
        with sockets() as (one, two):
            serving = Serving(two)
            weak = system_options(protection=Protection.SIGN)
            with pytest.raises(PeerRefused) as caught:
                SecureSocket.wrap_client(one, package=SHARED_KEY, credential=ALICE, options=weak)
            assert caught.value.kind is ErrorKind.QUALITY_NOT_MET
            assert caught.value.code == 1790
            with pytest.raises(QualityNotMet):
                serving.join()

    def test_more_protection_than_required_is_fine(self) -> None:
        with sockets() as (one, two):
            serving = Serving(two, options=system_options(protection=Protection.SIGN))
            with SecureSocket.wrap_client(one, package=SHARED_KEY, credential=ALICE), serving.join() as server:
                assert server.protection is Protection.ENCRYPT_AND_SIGN

    def test_admit_refuses_before_the_last_frame(self) -> None:
        def admit(outcome: Established) -> None:
            raise NotAuthorized(f"{outcome.peer} is not on the list")

        with sockets() as (one, two):
            serving = Serving(two, admit=admit)
            with pytest.raises(PeerRefused):
                SecureSocket.wrap_client(one, package=SHARED_KEY, credential=ALICE)
            with pytest.raises(NotAuthorized, match="alice"):
                serving.join()

    def test_a_peer_that_speaks_something_else(self) -> None:
        with sockets() as (one, two):
            one.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(FramingError):
                SecureSocket.wrap_server(two, package=SHARED_KEY, credential=ALICE)

    def test_a_peer_that_goes(self) -> None:
        with sockets() as (one, two):
            one.sendall(b"\x16\x01\x00")
            one.close()
            with pytest.raises(FramingError):
                SecureSocket.wrap_server(two, package=SHARED_KEY, credential=ALICE)

    def test_a_peer_that_says_nothing_and_goes(self) -> None:
        with sockets() as (one, two):
            one.close()
            with pytest.raises(PeerGone):
                SecureSocket.wrap_server(two, package=SHARED_KEY, credential=ALICE)


class TestDeadline:
    def test_a_silent_peer_does_not_hold_us(self) -> None:
        with sockets() as (one, two):
            begun = time.monotonic()
            with pytest.raises(HandshakeTimeout):
                SecureSocket.wrap_server(two, package=SHARED_KEY, credential=ALICE, handshake_timeout=0.2)
            assert time.monotonic() - begun < 5
            assert one.recv(100)[:1] == b"\x15", "and it is told"

    def test_a_peer_that_drips_octets_does_not_either(self) -> None:
        """The deadline spans the whole handshake, not each read."""
        with sockets() as (one, two):
            stop = threading.Event()

            def drip() -> None:
                one.sendall(b"\x16\x01\x00\x10\x00")  # 4096 octets: they would take more than a minute
                while not stop.wait(0.02):
                    try:
                        one.sendall(b"x")
                    except OSError:
                        return

            dripping = threading.Thread(target=drip)
            dripping.start()
            begun = time.monotonic()
            with pytest.raises(HandshakeTimeout):
                SecureSocket.wrap_server(two, package=SHARED_KEY, credential=ALICE, handshake_timeout=0.3)
            assert time.monotonic() - begun < 15
            stop.set()
            dripping.join(WAIT)

    def test_a_performer_that_comes_back_too_late_does_not_count(self) -> None:
        services = Services()
        services.register(Slow, blocking=lambda effect: time.sleep(0.3))
        with sockets() as (_, two), pytest.raises(HandshakeTimeout):
            SecureSocket.wrap_server(
                two, package=SlowPackage(), credential=ALICE, services=services, handshake_timeout=0.1
            )

    def test_the_sockets_own_time_out_is_kept_for_data(self) -> None:
        with sockets() as (one, two):
            one.settimeout(0.05)
            serving = Serving(two)
            with (
                SecureSocket.wrap_client(one, package=SHARED_KEY, credential=ALICE) as client,
                serving.join() as server,
            ):
                with pytest.raises(TimeoutError):
                    client.recv()
                server.sendall(b"late")
                assert client.recv() == b"late", "a time-out while receiving loses nothing"


class TestDamage:
    @contextmanager
    def attacked(
        self, protection: Protection = Protection.ENCRYPT_AND_SIGN
    ) -> Generator[tuple[_Attacker, SecureSocket]]:
        """A client whose sealed frames the test sends itself."""
        with connected(options=system_options(protection=protection)) as (client, server):
            yield _Attacker(client), server

    def test_an_altered_octet_ends_the_connection(self) -> None:
        with self.attacked() as (attacker, server):
            frame = bytearray(attacker.frame(b"transfer 10"))
            frame[-1] ^= 1
            attacker.send(bytes(frame) + attacker.frame(b"next"))
            for _ in range(2):
                with pytest.raises(BadSignature):
                    server.recv()
            with pytest.raises(BrokenPipeError):
                server.sendall(b"x")

    def test_a_frame_that_comes_twice_ends_it(self) -> None:
        with self.attacked() as (attacker, server):
            frame = attacker.frame(b"transfer 10")
            attacker.send(frame + frame)
            assert server.recv() == b"transfer 10"
            with pytest.raises(OutOfSequence):
                server.recv()

    def test_data_in_clear_is_refused_where_encryption_was_agreed(self) -> None:
        with self.attacked() as (attacker, server):
            attacker.send(attacker.frame(b"in clear", encrypt=False))
            with pytest.raises(NotEncrypted):
                server.recv()

    def test_encrypted_data_is_welcome_where_signing_was_agreed(self) -> None:
        """.NET 8 sends the same sealed Kerberos tokens at level Sign."""
        with self.attacked(Protection.SIGN) as (attacker, server):
            attacker.send(attacker.frame(b"sealed", encrypt=True))
            assert server.recv() == b"sealed"

    def test_an_empty_frame_is_skipped(self) -> None:
        with self.attacked() as (attacker, server):
            attacker.send(attacker.frame(b"") + attacker.frame(b"data"))
            assert server.recv() == b"data"

    def test_an_end_inside_a_frame_is_no_end_of_stream(self) -> None:
        with self.attacked() as (attacker, server):
            attacker.send(attacker.frame(b"cut off")[:-1])
            attacker.socket.shutdown(socket.SHUT_WR)
            with pytest.raises(FramingError):
                server.recv()


class _Attacker:
    def __init__(self, client: SecureSocket) -> None:
        inner = vars(client)
        self.socket: socket.socket = inner["_socket"]
        self._context: SecurityContext = vars(inner["_channel"])["_context"]

    def frame(self, data: bytes, *, encrypt: bool = True) -> bytes:
        sealed = self._context.wrap(data, encrypt=encrypt)
        return len(sealed).to_bytes(4, "little") + sealed

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)


class TestClosing:
    def test_it_is_idempotent_and_ends_every_use(self) -> None:
        with connected() as (client, _):
            client.close()
            client.close()
            uses: list[Callable[[], object]] = [lambda: client.sendall(b"x"), client.recv, client.unwrap]
            for use in uses:
                with pytest.raises(ContextExpired):
                    use()
            assert repr(client) == "<SecureSocket SharedKey closed>"

    def test_it_never_waits_for_a_peer_that_does_not_read(self) -> None:
        with connected() as (client, _):
            vars(client)["_socket"].settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.sendall(bytes(50_000_000))
            with pytest.raises(BrokenPipeError):
                client.sendall(b"x")
            begun = time.monotonic()
            client.close()
            assert time.monotonic() - begun < 1


class TestPackages:
    """The packages that come with securestream, over the synchronous driver."""

    @pytest.mark.parametrize("form", [f"{name} {form}" for name, forms in SETUPS.items() for form in forms])
    def test_each_exchanges_data_and_knows_its_peer(self, form: str) -> None:
        name, _, variant = form.partition(" ")
        setup = SETUPS[name][variant]()
        data = os.urandom(300_000)
        with sockets() as (one, two):
            serving = Serving(two, package=setup.acceptor, credential=setup.accepting)
            client = SecureSocket.wrap_client(
                one, package=setup.initiator, credential=setup.initiating, target="host/localhost"
            )
            with client, serving.join() as server:
                assert server.peer.is_authenticated
                assert server.protection is Protection.ENCRYPT_AND_SIGN
                for sender, receiver in ((client, server), (server, client)):
                    sending = threading.Thread(target=sender.sendall, args=(data,))
                    sending.start()
                    received = b""
                    while len(received) < len(data):
                        received += receiver.recv()
                    sending.join(WAIT)
                    assert received == data

    def test_the_end_of_tls_is_proved(self) -> None:
        with self.tls() as (client, server):
            client.sendall(b"last")
            client.close()
            assert [server.recv(), server.recv(), server.recv()] == [b"last", b"", b""]

    def test_tls_that_is_cut_off_is_no_end_of_stream(self) -> None:
        with self.tls() as (client, server):
            vars(client)["_socket"].shutdown(socket.SHUT_WR)
            for _ in range(2):
                with pytest.raises(FramingError, match="close_notify"):
                    server.recv()

    def test_tls_gives_the_socket_back_after_both_close_notifies(self) -> None:
        with self.tls() as (client, server):
            given: list[tuple[socket.socket, bytes]] = []
            thread = threading.Thread(target=lambda: given.append(client.unwrap()))
            thread.start()
            plain_server, trailing = server.unwrap()
            thread.join(WAIT)
            assert trailing == b""
            given[0][0].sendall(b"plain")
            assert plain_server.recv(100) == b"plain"

    @contextmanager
    def tls(self) -> Generator[tuple[SecureSocket, SecureSocket]]:
        setup = SETUPS["schannel"]["stdlib"]()
        with sockets() as (one, two):
            serving = Serving(two, package=setup.acceptor, credential=setup.accepting)
            arguments: dict[str, Any] = {"credential": setup.initiating, "target": "host/localhost"}
            with (
                SecureSocket.wrap_client(one, package=setup.initiator, **arguments) as client,
                serving.join() as server,
            ):
                yield client, server


@dataclass(frozen=True, repr=False)
class Slow(Effect[None]):
    """Takes its time."""


class SlowPackage(SharedKeyPackage):
    """Asks something first."""

    def accept(self, credential: Any, options: Options) -> Handshake:
        yield from Slow()
        return established()


def test_connect_opens_the_connection_itself() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        accepted: list[SecureSocket] = []

        def serve() -> None:
            sock, _ = listener.accept()
            accepted.append(SecureSocket.wrap_server(sock, package=SHARED_KEY, credential=ALICE))

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        with blocking.connect("127.0.0.1", port, package=SHARED_KEY, credential=ALICE) as client:
            thread.join(WAIT)
            with accepted[0] as server:
                client.sendall(b"hello")
                assert server.recv() == b"hello"


def test_the_address_of_the_peer_is_told_to_the_package_for_throttling() -> None:
    sources: list[str] = []

    class Watching(SharedKeyPackage):
        def accept(self, credential: Any, options: Options) -> Handshake:
            sources.append(options.source)
            return super().accept(credential, options)

    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as sock,
        pytest.raises(HandshakeTimeout),
    ):
        SecureSocket.wrap_server(sock, package=Watching(), credential=ALICE, handshake_timeout=0.05)
    assert sources == ["127.0.0.1"]


def test_limits_hold_before_anything_is_buffered() -> None:
    with sockets() as (one, two):
        one.sendall(b"\x16\x01\x00\xff\xff")
        options = Options(clock=lambda: datetime.now(UTC), random=os.urandom, limits=Limits(token_size=1000))
        with pytest.raises(FramingError, match="1000"):
            SecureSocket.wrap_server(two, package=SHARED_KEY, credential=ALICE, options=options)
