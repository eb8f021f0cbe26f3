"""The relay before a server of messages: what passes over UDP and TCP is recorded, and altered when asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from securestream.cli.demo import legs
from securestream.cli.demo.legs import TCP, UDP, Leg, Message, MessageFlip
from securestream.cli.demo.wire import CLIENT, SERVER
from tests.ports import free_port


def answer(request: bytes) -> bytes:
    return b"\x6d reply to " + request


@pytest.fixture
def leg() -> Iterator[Leg]:
    """A leg to a server that answers one stream and any datagram but an empty one."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as streams, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", port))

        def serve_stream() -> None:
            end, _ = streams.accept()
            with end, end.makefile("rb") as file:
                while header := file.read(4):
                    reply = answer(file.read(int.from_bytes(header, "big")))
                    end.sendall(len(reply).to_bytes(4, "big") + reply)

        def serve_datagrams() -> None:
            while True:
                request, source = datagrams.recvfrom(1 << 16)
                if request == b"end":
                    return
                datagrams.sendto(answer(request), source)

        threads = [threading.Thread(target=target, daemon=True) for target in (serve_stream, serve_datagrams)]
        for thread in threads:
            thread.start()
        with Leg("the server", port, UDP, lambda octets: str(len(octets))) as relay:
            yield relay
        datagrams.sendto(b"end", ("127.0.0.1", port))
        socket.create_connection(("127.0.0.1", port), 10).close()  # for a server that still waits for its stream
        for thread in threads:
            thread.join(10)


def ask_by_datagram(leg: Leg, request: bytes) -> bytes:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", leg.port))
        client.send(request)
        return client.recv(1 << 16)


def test_datagrams_and_streams_pass_on_one_port_and_are_recorded(leg: Leg) -> None:
    assert ask_by_datagram(leg, b"\x6c one") == answer(b"\x6c one")
    with socket.create_connection(("127.0.0.1", leg.port), 10) as client, client.makefile("rb") as file:
        for request in (b"\x6c two", b"\x6c three"):
            client.sendall(len(request).to_bytes(4, "big") + request)
            size = int.from_bytes(file.read(4), "big")
            assert file.read(size) == answer(request)
    assert leg.recorded == [
        Message(sender, transport, octets)
        for transport, request in ((UDP, b"\x6c one"), (TCP, b"\x6c two"), (TCP, b"\x6c three"))
        for sender, octets in ((CLIENT, request), (SERVER, answer(request)))
    ]
    assert not leg.altered


def test_every_message_of_a_kind_is_altered_and_no_other(leg: Leg) -> None:
    leg.begin(MessageFlip(CLIENT, 0x6C, 1, 0))
    assert ask_by_datagram(leg, b"\x6a first") == answer(b"\x6a first")
    seen = [leg.altered]
    for _ in range(2):
        assert ask_by_datagram(leg, b"\x6c first") == answer(b"\x6c firrt")
    assert [*seen, leg.altered] == [False, True]
    leg.begin(MessageFlip(SERVER, 0x6D, 1000, 7))
    assert ask_by_datagram(leg, b"x") == b"\xed" + answer(b"x")[1:]
    assert [message.sender for message in leg.recorded] == [CLIENT, SERVER]


def test_a_server_that_is_gone_answers_nothing_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legs, "PATIENCE", 0.2)
    port = free_port()
    with Leg("the server", port, UDP, lambda octets: "") as leg:
        assert leg.carry_datagram(b"request") is None
        with socket.create_connection(("127.0.0.1", leg.port), 10) as client:
            assert client.recv(1) == b""
        with socket.create_connection(("127.0.0.1", leg.port), 10) as client:
            assert client.recv(1) == b""


def test_a_length_beyond_reason_ends_the_connection(leg: Leg) -> None:
    with socket.create_connection(("127.0.0.1", leg.port), 10) as client:
        client.sendall(b"\xff\xff\xff\xff")
        assert client.recv(1) == b""
    assert leg.recorded == []


def test_an_empty_message_has_no_kind() -> None:
    assert Message(CLIENT, UDP, b"").kind == -1
