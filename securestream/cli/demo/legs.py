"""What an end asks of a third party, such as a KDC: requests and replies through a relay, over UDP and TCP.

The relay stands on one port of the loopback interface for both transports; it records, and alters when told to.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from securestream.cli.demo.wire import CLIENT, SERVER

PATIENCE = 10.0
"""Seconds that a reply may take."""

LARGEST = 1 << 20
UDP, TCP = "UDP", "TCP"

TAIL = 48
"""Octets at a message's end among which the altered one is: in Kerberos, those of a ciphertext or of a signed body."""


@dataclass(frozen=True)
class Message:
    """One request or reply.

    Args:
        sender: `CLIENT`, who asks, or `SERVER`.
        transport: `UDP` or `TCP`.
        octets: the message, without a length in front.
    """

    sender: str
    transport: str
    octets: bytes

    @property
    def kind(self) -> int:
        """Its first octet, which tells the kinds of message apart."""
        return self.octets[0] if self.octets else -1

    def flipped(self, from_end: int, bit: int) -> Message:
        """With one bit of one octet inverted, counted from 0 at the end."""
        octets = bytearray(self.octets)
        octets[max(0, len(octets) - 1 - from_end)] ^= 1 << bit
        return replace(self, octets=bytes(octets))


@dataclass(frozen=True)
class MessageFlip:
    """Which octet is altered: in every message of a kind, since a lost one is asked for again.

    Args:
        sender: whose.
        kind: see `Message.kind`.
        from_end: the octet, counted from 0 at the end.
        bit: 0 to 7.
    """

    sender: str
    kind: int
    from_end: int
    bit: int


class Leg:
    """A relay before a server of messages, which runs while it is entered.

    Args:
        name: what the server is, as the demonstration calls it.
        port: where it listens, on 127.0.0.1.
        transport: over which transport it must be asked.
        describe: one readable line on a message.
    """

    def __init__(self, name: str, port: int, transport: str, describe: Callable[[bytes], str]) -> None:
        self.name = name
        self.transport = transport
        self.describe = describe
        self.recorded: list[Message] = []
        self.altered = False
        self._flip: MessageFlip | None = None
        self._target = ("127.0.0.1", port)
        self._servers = self._bind()
        self.port: int = self._servers[0].socket.getsockname()[1]
        self._threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in self._servers]

    def _bind(self) -> tuple[_Streams, _Datagrams]:
        for _ in range(32):
            streams = _Streams(("127.0.0.1", 0), _stream_handler(self))
            try:
                return streams, _Datagrams(streams.server_address, _datagram_handler(self))
            except OSError:  # somebody has the number for datagrams
                streams.server_close()
        raise OSError("no port is free for both TCP and UDP")

    def begin(self, flip: MessageFlip | None = None) -> None:
        """Forget what was recorded, and alter from now on as `flip` says."""
        self.recorded, self.altered, self._flip = [], False, flip

    def _pass(self, message: Message) -> bytes:
        flip = self._flip
        if flip is not None and (message.sender, message.kind) == (flip.sender, flip.kind):
            message = message.flipped(flip.from_end, flip.bit)
            self.altered = True
        self.recorded.append(message)
        return message.octets

    def carry_datagram(self, request: bytes) -> bytes | None:
        """The reply to `request`, or `None` when none came."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.settimeout(PATIENCE)
            server.connect(self._target)
            try:
                server.send(self._pass(Message(CLIENT, UDP, request)))
                return self._pass(Message(SERVER, UDP, server.recv(1 << 16)))
            except OSError:
                return None

    def carry_stream(self, client: socket.socket) -> None:
        """Requests and replies, each behind its length in four octets, until one end has enough."""
        client.settimeout(PATIENCE)
        with socket.create_connection(self._target, PATIENCE) as server:
            while True:
                for source, sink, sender in ((client, server, CLIENT), (server, client, SERVER)):
                    octets = _receive(source)
                    if octets is None:
                        return
                    octets = self._pass(Message(sender, TCP, octets))
                    sink.sendall(len(octets).to_bytes(4, "big") + octets)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Streams(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


class _Datagrams(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False
    max_packet_size = 1 << 16


def _stream_handler(leg: Leg) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                leg.carry_stream(self.request)
            except OSError:  # an end that is gone ends its connection
                return

    return Handler


def _datagram_handler(leg: Leg) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request, own = self.request
            reply = leg.carry_datagram(request)
            if reply is not None:
                own.sendto(reply, self.client_address)

    return Handler


def _receive(end: socket.socket) -> bytes | None:
    header = _exactly(end, 4)
    size = 0 if header is None else int.from_bytes(header, "big")
    return None if header is None or size > LARGEST else _exactly(end, size)


def _exactly(end: socket.socket, size: int) -> bytes | None:
    octets = b""
    while len(octets) < size:
        more = end.recv(size - len(octets))
        if not more:
            return None
        octets += more
    return octets
