"""Connecting by TCP to the first address that answers (RFC 8305, Happy Eyeballs)."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import anyio

from securestream.streams._readiness import readiness_of
from securestream.streams.transport import TcpStream

ATTEMPT_DELAY = 0.25
"""Seconds before the next address is tried beside the one that has not answered (RFC 8305 5)."""


async def connect_tcp(host: str, port: int) -> TcpStream:
    """Connect to `host`; its addresses are tried in turn, families alternating, each `ATTEMPT_DELAY` after the last.

    Raises:
        anyio.ConnectionFailed: no address answered; the cause says why.

    Cancellation closes every attempt.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise anyio.ConnectionFailed(f"{host!r} cannot be resolved: {error.strerror or error}") from error
    winner: socket.socket | None = None
    failures: list[OSError] = []

    async def attempt(address: tuple[Any, ...], done: anyio.Event) -> None:
        nonlocal winner
        family, kind, protocol, _, sockaddr = address
        try:
            connected = await _connect(family, kind, protocol, sockaddr)
        except OSError as error:
            failures.append(error)
        else:
            if winner is None:
                winner = connected
                group.cancel_scope.cancel()
            else:
                connected.close()
        finally:
            done.set()

    try:
        async with anyio.create_task_group() as group:
            for address in _interleaved(found):
                done = anyio.Event()
                group.start_soon(attempt, address, done)
                with anyio.move_on_after(ATTEMPT_DELAY):
                    await done.wait()
    except BaseException:
        if winner is not None:
            winner.close()
        raise
    if winner is None:
        cause = failures[0] if len(failures) == 1 else ExceptionGroup("each address failed", failures)
        reason = failures[0].strerror if failures else "it has no address"
        raise anyio.ConnectionFailed(f"cannot connect to {host} port {port}: {reason}") from cause
    return TcpStream(winner)


async def _connect(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    raw = socket.socket(family, kind, protocol)
    try:
        raw.setblocking(False)
        code = raw.connect_ex(address)
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
            ready = readiness_of(raw)
            code = (await ready.until_writable(lambda: (raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),)))[0]
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        raw.close()
        raise
    return raw


def _interleaved(found: list[Any]) -> list[Any]:
    """Addresses with their families alternating, beginning with the resolver's first (RFC 8305 4)."""
    found = list(dict.fromkeys(found))
    first = [address for address in found if address[0] == found[0][0]]
    other = [address for address in found if address[0] != found[0][0]]
    mixed: list[Any] = []
    while first or other:
        mixed += first[:1] + other[:1]
        first, other = first[1:], other[1:]
    return mixed
