"""One request to one address, and its answer: UDP, TCP, and HTTPS proxies ([MS-KKDCP])."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import ByteStream

from securestream.errors import MalformedMessage
from securestream_providers.krb5.kkdcp import CONTENT_TYPE, unwrap_proxied, wrap_proxied

LARGEST_REPLY: Final = 1 << 20
"""Octets of a reply; one with many groups in its PAC has some tens of thousands."""

_LARGEST_DATAGRAM: Final = 65535
_LARGEST_HEAD: Final = 16384
_CHUNK: Final = 65536
_FIRST_REPEAT: Final = 1.0
_LONGEST_REPEAT: Final = 4.0


class NoAnswer(OSError):
    """What came is no answer; the next server may have one."""


async def ask_udp(host: str, port: int, message: bytes, is_answer: Callable[[bytes], bool]) -> bytes:
    """Ask by UDP, again and again until something that is an answer comes, or the caller cancels.

    The socket is connected: what another address sends never arrives.

    Raises:
        OSError: the address cannot be reached, or refuses.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        udp.connect((host, port))
        pause = _FIRST_REPEAT
        while True:
            udp.send(message)
            with anyio.move_on_after(pause):
                while True:
                    await anyio.wait_readable(udp)
                    try:
                        answer = udp.recv(_LARGEST_DATAGRAM)
                    except BlockingIOError:  # readable, but its checksum was wrong
                        continue
                    if is_answer(answer):
                        return answer
            pause = min(2 * pause, _LONGEST_REPEAT)


async def ask_tcp(host: str, port: int, message: bytes) -> bytes:
    """Ask by TCP: the length in four octets goes before either message (RFC 4120 7.2.2).

    Raises:
        OSError: the address cannot be reached, or its answer is cut off, too large, or has the reserved bit set.
    """
    async with await anyio.connect_tcp(host, port) as stream:
        await _send(stream, len(message).to_bytes(4, "big") + message)
        head = await _receive_exactly(stream, 4)
        size = int.from_bytes(head, "big")
        if not 0 < size <= LARGEST_REPLY:
            raise NoAnswer(f"it announces {size} octets, and {LARGEST_REPLY} are taken")
        return await _receive_exactly(stream, size)


def tls_context(anchors: tuple[str, ...]) -> ssl.SSLContext:
    """A context that verifies a proxy's certificate and name.

    Args:
        anchors: PEM files, each also with ``FILE:`` before its path; empty: the system's authorities.
    """
    context = ssl.create_default_context()
    if anchors:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies by default, and knows no authority yet
        for anchor in anchors:
            context.load_verify_locations(cafile=anchor.removeprefix("FILE:"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def ask_https(host: str, port: int, path: str, message: bytes, realm: str, context: ssl.SSLContext) -> bytes:
    """Ask through a proxy ([MS-KKDCP] 3.2.5).

    Raises:
        OSError: it cannot be reached, its certificate is not trusted, or what it answers is no proxied message.
    """
    body = wrap_proxied(message, realm)
    head = (
        f"POST /{path.lstrip('/')} HTTP/1.1\r\nHost: {_host_field(host, port)}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n"
    )
    async with await anyio.connect_tcp(
        host, port, tls=True, ssl_context=context, tls_standard_compatible=False
    ) as stream:
        await _send(stream, head.encode("ascii", "strict") + body)
        answer = await _http_body(_Buffered(stream))
    try:
        return unwrap_proxied(answer)[0]
    except MalformedMessage as problem:
        raise NoAnswer(f"its answer is no proxied Kerberos message: {problem}") from problem


def _host_field(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return shown if port == 443 else f"{shown}:{port}"


class _Buffered:
    """Lines and counted octets of a stream, each bounded."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def _more(self) -> bool:
        try:
            self._buffer += await self._stream.receive(_CHUNK)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return False
        return True

    async def until(self, mark: bytes, limit: int) -> bytes:
        """Everything before `mark`, which is passed over."""
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > limit or not await self._more():
                raise NoAnswer("it does not speak HTTP as it should")
        if end > limit:
            raise NoAnswer("it does not speak HTTP as it should")
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found

    async def exactly(self, size: int) -> bytes:
        """`size` octets."""
        while len(self._buffer) < size:
            if not await self._more():
                raise NoAnswer("its answer is cut off")
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    async def rest(self, limit: int) -> bytes:
        """Everything to the end."""
        while await self._more():
            if len(self._buffer) > limit:
                raise NoAnswer(f"its answer is larger than {limit} octets")
        return bytes(self._buffer)


async def _http_body(stream: _Buffered) -> bytes:
    """The body of an HTTP/1.1 response with status 200 (RFC 9112 6)."""
    lines = (await stream.until(b"\r\n\r\n", _LARGEST_HEAD)).decode("latin-1").split("\r\n")
    status = lines[0].split(" ", 2)
    if len(status) < 2 or not status[0].startswith("HTTP/1.") or status[1] != "200":
        shown = "".join(character for character in lines[0][:80] if character.isprintable())
        raise NoAnswer(f"it answers {shown!r}")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return await _chunked(stream)
    length = fields.get("content-length")
    if length is None:
        return await stream.rest(LARGEST_REPLY)
    if not (length.isascii() and length.isdigit()) or len(length) > 9 or int(length) > LARGEST_REPLY:
        raise NoAnswer(f"its answer is larger than {LARGEST_REPLY} octets")
    return await stream.exactly(int(length))


async def _chunked(stream: _Buffered) -> bytes:
    body = bytearray()
    while True:
        text = (await stream.until(b"\r\n", 128)).split(b";")[0].strip()
        try:
            size = int(text, 16)
        except ValueError:
            raise NoAnswer("it does not speak HTTP as it should") from None
        if size < 0 or len(body) + size > LARGEST_REPLY:
            raise NoAnswer(f"its answer is larger than {LARGEST_REPLY} octets")
        if size == 0:
            return bytes(body)
        body += await stream.exactly(size)
        await stream.until(b"\r\n", 0)


async def _send(stream: ByteStream, octets: bytes) -> None:
    try:
        await stream.send(octets)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError) as problem:
        raise NoAnswer("it ended the connection") from problem


async def _receive_exactly(stream: ByteStream, size: int) -> bytes:
    """`size` octets; no more is buffered than has come."""
    received = bytearray()
    while len(received) < size:
        try:
            received += await stream.receive(min(_CHUNK, size - len(received)))
        except (anyio.EndOfStream, anyio.BrokenResourceError) as problem:
            raise NoAnswer("its answer is cut off") from problem
    return bytes(received)
