"""One end of a NegotiateStream made of python-gssapi and blocking sockets: runs under Debian's python3 by itself.

    python3 -I gss_stream_end.py server WORK AMOUNT          prints its port, and at the end its figures
    python3 -I gss_stream_end.py client WORK AMOUNT PORT TARGET

The frames, the writes and the figures are those of ends.py; credentials are those of the environment. TARGET is
``service@host``, or ``user@service@host`` for the NTLM user of that name.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

# Debian's package, which is not in the environment that checks the types
gss: Any = importlib.import_module("gssapi.raw")

SPNEGO = gss.OID.from_int_seq("1.3.6.1.5.5.2")
FLAGS = ("integrity", "confidentiality", "replay_detection", "out_of_sequence_detection", "mutual_authentication")
IN_PROGRESS, DONE = 0x16, 0x14
WRITE, PIECE, READ = 65536, 64512, 262144
PING = bytes(100)


class Stream:
    """A connection, sealed after `negotiate`."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._buffer = bytearray(READ)
        self._context: Any = None
        self._rest = b""

    def negotiate(self, target: str | None) -> None:
        """The handshake ([MS-NNS] 2.2.1); an acceptor's without a target."""
        advance = acceptor() if target is None else initiator(target)
        step = advance(None, self._token() if target is None else None)
        while True:
            if step.token or target is None:
                self._send_token(IN_PROGRESS if step.more_steps else DONE, step.token or b"")
            if not step.more_steps:
                break
            step = advance(step.context, self._token())
        self._context = step.context

    def _send_token(self, kind: int, token: bytes) -> None:
        self._connection.sendall(bytes((kind, 1, 0)) + len(token).to_bytes(2, "big") + token)

    def _token(self) -> bytes:
        header = self._exactly(5)
        return self._exactly(int.from_bytes(header[3:], "big"))

    def _exactly(self, size: int) -> bytes:
        taken = b""
        while len(taken) < size:
            taken += self._connection.recv(size - len(taken))
        return taken

    def send(self, data: bytes) -> None:
        """Seal and send, in frames of at most 64512 octets as .NET makes them."""
        parts: list[bytes] = []
        for start in range(0, len(data), PIECE):
            sealed = gss.wrap(self._context, data[start : start + PIECE], True, None).message
            parts += [len(sealed).to_bytes(4, "little"), sealed]
        self._connection.sendall(b"".join(parts))

    def receive(self) -> int:
        """How many octets came: all of the frames that a read completes."""
        got = 0
        while not got:
            count = self._connection.recv_into(self._buffer)
            if not count:
                raise EOFError("the other end is gone")
            self._rest += memoryview(self._buffer)[:count]
            for sealed in self._frames():
                got += len(gss.unwrap(self._context, sealed).message)
        return got

    def _frames(self) -> Iterator[bytes]:
        at, rest = 0, self._rest
        while len(rest) - at >= 4:
            end = at + 4 + int.from_bytes(rest[at : at + 4], "little")
            if end > len(rest):
                break
            yield rest[at + 4 : end]
            at = end
        self._rest = rest[at:]


Advance = Callable[[Any, "bytes | None"], Any]
"""One step of a handshake: a context, or none yet, and the other end's token."""


def initiator(target: str) -> Advance:
    """The steps to ``service@host``."""
    who, host = target.rpartition("@")[::2]
    user, service = who.rpartition("@")[::2]
    name = gss.import_name(f"{service}@{host}".encode(), gss.NameType.hostbased_service)
    known = gss.import_name(user.encode(), gss.NameType.user) if user else None
    credentials = gss.acquire_cred(known, None, [SPNEGO], "initiate").creds
    flags = sum(gss.RequirementFlag[flag] for flag in FLAGS)

    def advance(context: Any, token: bytes | None) -> Any:
        return gss.init_sec_context(name, credentials, context, SPNEGO, flags, input_token=token)

    return advance


def acceptor() -> Advance:
    """The steps with the keys of the environment."""
    credentials = gss.acquire_cred(None, None, [SPNEGO], "accept").creds

    def advance(context: Any, token: bytes | None) -> Any:
        return gss.accept_sec_context(token, credentials, context)

    return advance


class Stopwatch:
    """Wall clock and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> NoReturn:
        """End the process with the figures."""
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        print(json.dumps({"wall": wall, "cpu": cpu}), flush=True)
        os._exit(0)


def bulk(stream: Stream, amount: int, *, client: bool) -> NoReturn:
    """`amount` octets from client to server."""
    if client:
        data = bytes(WRITE)
        stream.receive()
        watch = Stopwatch()
        for _ in range(amount // WRITE):
            stream.send(data)
        stream.receive()
        watch.stop()
    stream.send(b"!")
    watch = Stopwatch()
    while amount > 0:
        amount -= stream.receive()
    stream.send(b"!")
    watch.stop()


def ping(stream: Stream, amount: int, *, client: bool) -> NoReturn:
    """`amount` exchanges of 100 octets, after some that do not count."""
    watch = Stopwatch()
    for times in (50, amount):
        watch = Stopwatch()
        for _ in range(times):
            if client:
                stream.send(PING)
            rest = len(PING)
            while rest > 0:
                rest -= stream.receive()
            if not client:
                stream.send(PING)
    watch.stop()


def main() -> None:
    """Run one end."""
    role, work, amount, *rest = sys.argv[1:]
    if role == "client":
        connection, target = socket.create_connection(("127.0.0.1", int(rest[0]))), rest[1]
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            print(listener.getsockname()[1], flush=True)
            connection, target = listener.accept()[0], None
    stream = Stream(connection)
    stream.negotiate(target)
    {"bulk": bulk, "ping": ping}[work](stream, int(amount), client=role == "client")


if __name__ == "__main__":
    main()
