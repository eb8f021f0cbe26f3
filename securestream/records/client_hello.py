"""The name and the protocols that a ClientHello asks for, read before an engine sees it (RFC 8446 4.1.2).

The acceptor chooses its certificate by that name, and each name has tickets of its own, so that no session crosses
names. Whatever is malformed is left to the engine, which knows the right alert.
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
    """

    server_name: str | None = None
    alpn: tuple[str, ...] | None = None


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


def read_client_hello(data: bytes) -> ClientHello | None:
    """What the ClientHello at the beginning of `data` asks for; `None` when more octets are needed to tell."""
    message = bytearray()
    at = 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        header = data[at : at + 5]
        if (header and header[0] != HANDSHAKE) or (message and message[0] != CLIENT_HELLO) or len(data) > LONGEST:
            return ClientHello()
        length = int.from_bytes(header[3:5], "big")
        if len(header) < 5 or len(data) < at + 5 + length:
            return None
        message += data[at + 5 : at + 5 + length]
        at += 5 + length
        if not length:
            return ClientHello()
    try:
        return _parse(_Reader(bytes(message[4 : 4 + int.from_bytes(message[1:4], "big")])))
    except (_Malformed, UnicodeDecodeError):
        return ClientHello()


def _parse(hello: _Reader) -> ClientHello:
    hello.take(2 + 32)  # legacy_version, random
    hello.vector(1)  # legacy_session_id
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
    return ClientHello(name, alpn)


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
