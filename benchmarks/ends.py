"""The two processes of a stream's measurement: one end each, connected by TCP on loopback.

    python -m benchmarks.ends server KIND WORK AMOUNT [CONNECTIONS]      prints its port, and at the end its figures
    python -m benchmarks.ends client KIND WORK AMOUNT PORT [CONNECTIONS]

WORK is ``bulk`` (AMOUNT octets from client to server in writes of 64 KiB), ``ping`` (AMOUNT exchanges of 100 octets) or
``idle`` (connections that are only held). The clock starts after the handshake. Figures are JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

WRITE = 65536
PING = bytes(100)
DONE = b"!"


@dataclass(frozen=True)
class Job:
    """What an end has to do.

    Args:
        client: which end it is.
        work: ``bulk``, ``ping`` or ``idle``.
        amount: octets or exchanges.
        port: where the server is; 0 at the server.
        connections: how many, for ``idle``.
        pem: the certificate.
    """

    client: bool
    work: str
    amount: int
    port: int
    connections: int
    pem: Path


Send: TypeAlias = Callable[[bytes], Awaitable[Any]]
Receive: TypeAlias = Callable[[], Awaitable[bytes]]


def announce(port: int) -> None:
    """Tell the parent where the server listens."""
    print(port, flush=True)


def wait_for_parent() -> None:
    """Block until the parent writes a line."""
    sys.stdin.readline()


def resident() -> int:
    """Octets of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def finish(**figures: float) -> NoReturn:
    """Print the figures and end, without waiting for anything that still hangs on an event loop."""
    print(json.dumps(figures), flush=True)
    os._exit(0)


class Stopwatch:
    """Wall clock and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> NoReturn:
        """End the process with the figures."""
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        finish(wall=wall, cpu=cpu)


async def work(job: Job, send: Send, receive: Receive) -> NoReturn:
    """Do the job over a connection."""
    if job.work == "bulk":
        await _bulk(job, send, receive)
    else:
        await _ping(job, send, receive)
    raise AssertionError("unreachable")


async def _bulk(job: Job, send: Send, receive: Receive) -> None:
    if job.client:
        data = bytes(WRITE)
        await receive()  # the server is ready
        watch = Stopwatch()
        for _ in range(job.amount // WRITE):
            await send(data)
        await receive()
        watch.stop()
    rest = job.amount
    await send(DONE)
    watch = Stopwatch()
    while rest > 0:
        rest -= len(await receive())
    await send(DONE)
    watch.stop()


async def _ping(job: Job, send: Send, receive: Receive) -> None:
    async def exchange(times: int) -> None:
        for _ in range(times):
            if job.client:
                await send(PING)
            rest = len(PING)
            while rest > 0:
                rest -= len(await receive())
            if not job.client:
                await send(PING)

    await exchange(50)
    watch = Stopwatch()
    await exchange(job.amount)
    watch.stop()


def work_blocking(job: Job, send: Callable[[bytes], Any], receive: Callable[[], int]) -> NoReturn:
    """`work` for blocking ends; `receive` gives a number of octets."""
    if job.work == "bulk":
        if job.client:
            data = bytes(WRITE)
            receive()
            watch = Stopwatch()
            for _ in range(job.amount // WRITE):
                send(data)
            receive()
            watch.stop()
        rest = job.amount
        send(DONE)
        watch = Stopwatch()
        while rest > 0:
            rest -= receive()
        send(DONE)
        watch.stop()
    for round_, times in enumerate((50, job.amount)):
        watch = Stopwatch()
        for _ in range(times):
            if job.client:
                send(PING)
            rest = len(PING)
            while rest > 0:
                rest -= receive()
            if not job.client:
                send(PING)
        if round_:
            watch.stop()
    raise AssertionError("unreachable")


def main() -> None:
    """Run one end."""
    role, kind, task, amount, *rest = sys.argv[1:]
    client = role == "client"
    port = int(rest.pop(0)) if client else 0
    connections = int(rest.pop(0)) if rest else 1
    pem = Path(os.environ["BENCHMARK_CERTIFICATE"])
    job = Job(client, task, int(amount), port, connections, pem)
    if task == "idle":
        from benchmarks import idle_ends

        idle_ends.run(kind, job)
    else:
        from benchmarks.negotiate_ends import NEGOTIATE
        from benchmarks.sasl_ends import SASL
        from benchmarks.stream_ends import STREAMS

        (STREAMS | NEGOTIATE | SASL)[kind](job)


if __name__ == "__main__":
    main()
