"""The name and the protocols that a ClientHello asks for, read before an engine sees it (RFC 8446 4.1.2).

The acceptor chooses its certificate by that name, and each name has tickets of its own, so that no session crosses
names. Whatever is malformed is given to the engine, which knows the right alert, and then refused.
"""

from __future__ import annotations

from dataclasses import dataclass

HANDSHAKE = 22
CLIENT_HELLO = 1
SERVER_NAME = 0
ALPN = 16
LONGEST = 65536
"""Octets that are looked at; a longer ClientHello is the engine's to refuse."""


@dataclass(frozen=True)
class ClientHello:
    """What is asked for.

    Args:
        server_name: the SNI name in lower case, or `None`.
        alpn: the offered protocols; `None` where the extension is absent.
        session_id: the session that TLS 1.2 may resume (RFC 5246 7.3), empty for none; `None` where the hello could not
            be read.
    """

    server_name: str | None = None
    alpn: tuple[str, ...] | None = None
    session_id: bytes | None = b""

    @property
    def readable(self) -> bool:
        """Whether we could read it."""
        return self.session_id is not None


_UNREADABLE = ClientHello(session_id=None)


class _Malformed(Exception):
    pass


class _Reader:
    """Reads length-prefixed fields; running over the end is `_Malformed`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise _Malformed
        part, self._at = self._data[self._at : end], end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        return _Reader(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


class HelloReader:
    """Reads a ClientHello from however many pieces. Each octet is looked at once: a peer that dribbles gains nothing.

    `received` is all that came, for the engine.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self._at = 0
        self._message = bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """What the ClientHello asks for; `None` when more octets are needed to tell."""
        received, message = self.received, self._message
        received += data
        while not self._is_whole():
            header = received[self._at : self._at + 5]
            if (header and header[0] != HANDSHAKE) or (message and message[0] != CLIENT_HELLO):
                return _UNREADABLE
            if len(received) > LONGEST:
                return _UNREADABLE
            end = self._at + 5 + int.from_bytes(header[3:5], "big")
            if len(header) < 5 or len(received) < end:
                return None
            if end == self._at + 5:
                return _UNREADABLE
            message += received[self._at + 5 : end]
            self._at = end
        try:
            return _parse(_Reader(bytes(message[4 : 4 + int.from_bytes(message[1:4], "big")])))
        except (_Malformed, UnicodeDecodeError):
            return _UNREADABLE

    def _is_whole(self) -> bool:
        message = self._message
        return len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big")


def read_client_hello(data: bytes) -> ClientHello | None:
    """What the ClientHello at the beginning of `data` asks for; `None` when more octets are needed to tell."""
    return HelloReader().feed(data)


def _parse(hello: _Reader) -> ClientHello:
    hello.take(2 + 32)  # legacy_version, random
    session_id = hello.vector(1).rest()
    hello.vector(2)  # cipher_suites
    hello.vector(1)  # legacy_compression_methods
    name: str | None = None
    alpn: tuple[str, ...] | None = None
    extensions = hello.vector(2) if hello else _Reader(b"")
    while extensions:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind == SERVER_NAME:
            name = _server_name(body)
        elif kind == ALPN:
            alpn = tuple(_protocols(body))
    return ClientHello(name, alpn, session_id)


def _server_name(body: _Reader) -> str | None:
    """RFC 6066 3: a list with at most one host_name (0)."""
    names = body.vector(2)
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == 0:
            return name.rest().decode("ascii").lower().removesuffix(".")
    return None


def _protocols(body: _Reader) -> list[str]:
    """RFC 7301 3.1."""
    names: list[str] = []
    protocols = body.vector(2)
    while protocols:
        names.append(protocols.vector(1).rest().decode("utf-8"))
    return names
