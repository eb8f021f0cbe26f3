"""TlsTunnel: an inner protocol through TLS, inside a handshake."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from securestream.ambient import system_options
from securestream.errors import (
    CertificateRejected,
    HandshakeError,
    InvalidToken,
    LimitExceeded,
    PeerGone,
    PeerRefused,
    UsageError,
)
from securestream.machine import HandshakeMachine
from securestream.principal import unauthenticated
from securestream.provider import Effect, Established, Handshake, TargetName
from securestream.records.base import HandshakeCompleted, PlainData, RecordConnection
from securestream.records.endpoints import Engine
from securestream.records.settings import Version
from securestream.records.tunnel import TlsTunnel
from securestream_providers.schannel import Schannel
from tests.core.handshakes import script
from tests.core.records.pairs import CA, ENGINES, LEAF, client_of, pair, server_of

both = pytest.mark.parametrize("engine", ENGINES)


def asking(connection: RecordConnection, heard: list[bytes]) -> Handshake:
    tunnel = TlsTunnel(connection)
    heard.append((yield from tunnel.exchange(b"first")))
    heard.append((yield from tunnel.exchange(b"second")))
    return Established(connection, unauthenticated("test"), tunnel.last(b"goodbye"))


def answering(connection: RecordConnection, heard: list[bytes]) -> Handshake:
    tunnel = TlsTunnel(connection)
    heard.append((yield from tunnel.exchange()))
    heard.append((yield from tunnel.exchange(heard[-1].upper())))
    return Established(connection, unauthenticated("test"), tunnel.last(heard[-1].upper()))


@both
def test_an_inner_protocol_runs_in_lock_step(engine: Engine) -> None:
    made = pair(engine, engine)
    asked: list[bytes] = []
    answered: list[bytes] = []
    client = HandshakeMachine(asking(made.client.connection, asked))
    server = HandshakeMachine(answering(made.server.connection, answered))
    step = client.step()
    reply = server.step(step.token)
    while step.established is None:
        step = client.step(reply.token)
        if reply.established is None:
            reply = server.step(step.token)
    assert asked == [b"FIRST", b"SECOND"]
    assert answered == [b"first", b"second"]
    made.server.connection.receive_data(step.token or b"")
    assert made.server.connection.next_event() == PlainData(b"goodbye")


def _listening(connection: RecordConnection, limit: int = 65536) -> Generator[Effect[Any], Any, Established]:
    tunnel = TlsTunnel(connection, limit=limit)
    yield from tunnel.exchange()
    return Established(connection, unauthenticated("test"))


@both
def test_a_failed_handshake_owes_its_alert(engine: Engine) -> None:
    made = pair(client_of(engine), server_of(engine, CA.leaf(["other"]).credential))
    client = HandshakeMachine(asking(made.client.connection, []))
    server = HandshakeMachine(answering(made.server.connection, []))
    reply = server.step(client.step().token)
    with pytest.raises(CertificateRejected) as refused:
        client.step(reply.token)
    assert refused.value.token
    with pytest.raises(PeerRefused):
        server.step(refused.value.token)


def _open(engine: Engine, limit: int = 65536) -> tuple[HandshakeMachine, RecordConnection]:
    """A machine whose tunnel listens, complete, and the peer's connection."""
    made = pair(engine, engine)
    machine = HandshakeMachine(_listening(made.server.connection, limit))
    client = made.client.connection
    client.start()
    step = machine.step(client.data_to_send())
    client.receive_data(step.token or b"")
    client.next_event()
    step = machine.step(client.data_to_send())
    client.receive_data(step.token or b"")
    return machine, client


@both
def test_a_damaged_record_is_an_invalid_token(engine: Engine) -> None:
    machine, client = _open(engine)
    client.send(b"precious")
    wire = bytearray(client.data_to_send())
    wire[-1] ^= 1
    with pytest.raises(InvalidToken) as invalid:
        machine.step(bytes(wire))
    assert invalid.value.token


@both
def test_a_closed_tunnel_is_a_peer_that_went(engine: Engine) -> None:
    machine, client = _open(engine)
    client.close()
    with pytest.raises(PeerGone):
        machine.step(client.data_to_send())


@both
def test_one_exchange_brings_no_more_than_its_limit(engine: Engine) -> None:
    machine, client = _open(engine, limit=1000)
    client.send(b"x" * 1001)
    with pytest.raises(LimitExceeded):
        machine.step(client.data_to_send())


@both
def test_no_tls_is_no_tunnel(engine: Engine) -> None:
    made = pair(engine, engine)
    machine = HandshakeMachine(_listening(made.server.connection))
    with pytest.raises(HandshakeError):
        machine.step(b"GET / HTTP/1.0\r\n\r\n")


def _messages(connection: RecordConnection, heard: list[bytes], *sizes: int) -> Handshake:
    """Hears messages of known sizes, and says so after each."""
    tunnel = TlsTunnel(connection)
    for size in sizes:
        heard.append((yield from tunnel.receive(size)))
        tunnel.send(b"heard")
    return Established(connection, unauthenticated("test"), tunnel.take())


@both
def test_what_follows_the_last_message_stays_in_the_connection(engine: Engine) -> None:
    made = pair(engine, engine)
    client, heard = made.client.connection, list[bytes]()
    machine = HandshakeMachine(_messages(made.server.connection, heard, 5, 3))
    client.start()
    client.receive_data(machine.step(client.data_to_send()).token or b"")
    client.next_event()
    client.send(b"firstsecond and more")
    step = machine.step(client.data_to_send())
    if step.established is None:  # under TLS 1.2 the server's last flight leaves first
        client.receive_data(step.token or b"")
        assert isinstance(client.next_event(), HandshakeCompleted)
        client.send(b"firstsecond and more")
        step = machine.step(client.data_to_send())
    assert step.established is not None
    assert heard == [b"first", b"sec"]
    assert made.server.connection.next_event() == PlainData(b"ond and more")
    client.receive_data(step.token or b"")
    assert client.next_event() == PlainData(b"heardheard")


@both
def test_a_message_of_known_size_may_come_in_pieces(engine: Engine) -> None:
    made = pair(engine, engine)
    client, heard = made.client.connection, list[bytes]()
    machine = HandshakeMachine(_messages(made.server.connection, heard, 4))
    client.start()
    client.receive_data(machine.step(client.data_to_send()).token or b"")
    client.next_event()
    step = machine.step(client.data_to_send())
    for octet in b"data":
        assert step.established is None
        client.send(bytes([octet]))
        step = machine.step(client.data_to_send())
    assert step.established is not None
    assert heard == [b"data"]


@both
def test_a_message_over_the_limit_is_refused_before_it_is_awaited(engine: Engine) -> None:
    made = pair(engine, engine)
    machine = HandshakeMachine(_messages(made.server.connection, [], 65537))
    with pytest.raises(LimitExceeded):
        machine.step()


@both
def test_a_tunnel_closed_within_a_message(engine: Engine) -> None:
    made = pair(engine, engine)
    client = made.client.connection
    machine = HandshakeMachine(_messages(made.server.connection, [], 4))
    client.start()
    client.receive_data(machine.step(client.data_to_send()).token or b"")
    client.next_event()
    client.send(b"da")
    machine.step(client.data_to_send())
    client.close()
    with pytest.raises(PeerGone):
        machine.step(client.data_to_send())


def _over(handshake: Handshake, plain: bytes, heard: list[bytes]) -> Handshake:
    tunnel = yield from TlsTunnel.over(handshake)
    tunnel.send(plain)
    heard.append((yield from tunnel.receive(len(plain))))
    assert tunnel.peer is not None
    return Established(tunnel.connection, tunnel.peer, tunnel.close())


@both
@pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])
def test_a_package_opens_the_tunnel_and_tells_whom_it_proved(engine: Engine, tls: Version) -> None:
    asked = system_options()
    heard: list[bytes] = []
    client = HandshakeMachine(
        _over(
            Schannel(trust=CA.pem, engine=engine, maximum_version=tls).initiate(None, TargetName("localhost"), asked),
            b"question",
            heard,
        )
    )
    server = HandshakeMachine(_over(Schannel(engine=engine).accept(LEAF.credential, asked), b"answer..", heard))
    step = client.step()
    reply = server.step(step.token)
    while step.established is None:
        step = client.step(reply.token)
        if reply.established is None:
            reply = server.step(step.token)
    assert sorted(heard) == [b"answer..", b"question"]
    assert str(step.established.peer) == "CN=test authority\\localhost"


def test_a_package_without_tls_opens_no_tunnel() -> None:
    machine = HandshakeMachine(_over(script(), b"", []))
    with pytest.raises(UsageError, match="Schannel"):
        machine.step()
