"""Streams between two processes on loopback: bulk, and ping-pong of 100 octets."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from benchmarks import kerberos, pairs
from benchmarks.ends import WRITE
from benchmarks.kerberos_realm import realm, service
from benchmarks.measure import Effort, Section, Series, Target, plain, take_turns
from benchmarks.ntlm import limit_of_sealing
from benchmarks.stream_ends import KERBEROS, STREAMS


@dataclass(frozen=True)
class Figures:
    """What two ends needed.

    Args:
        wall: seconds at the receiver.
        client: CPU seconds of the sender.
        server: CPU seconds of the receiver.
    """

    wall: float
    client: float
    server: float


@functools.cache
def environment() -> Mapping[str, str]:
    """What every end finds in its environment."""
    environment = {**os.environ, "BENCHMARK_CERTIFICATE": str(pairs.certificate())}
    if (found := realm()) is not None:
        ends = str(found.cache(18)), str(found.keytab), service(18)
        environment |= {**found.environment(18), KERBEROS: os.pathsep.join(ends)}
    return environment


def _contenders() -> list[str]:
    return [kind for kind in STREAMS if KERBEROS in environment() or not kind.startswith("our Kerberos")]


Start: TypeAlias = Callable[..., subprocess.Popen[str]]
"""Starts an end: its role, kind, work and amount, and what more it is told."""


def start(role: str, kind: str, work: str, amount: int, *more: int) -> subprocess.Popen[str]:
    """One end as a process."""
    command = [sys.executable, "-m", "benchmarks.ends", role, kind, work, str(amount), *map(str, more)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())


def line_of(process: subprocess.Popen[str]) -> str:
    """The process's next line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"an end of {process.args!r} ended with status {process.wait()}")
    return line


def measure(kind: str, work: str, amount: int, begin: Start = start) -> Figures:
    """Run both ends once."""
    server = begin("server", kind, work, amount)
    client = begin("client", kind, work, amount, int(line_of(server)))
    ends = [json.loads(line_of(end)) for end in (client, server)]
    for process in (client, server):
        process.communicate()
    return Figures(ends[1]["wall"], ends[0]["cpu"], ends[1]["cpu"])


def measure_all(
    kinds: Sequence[str], work: str, amount: int, rounds: int, begin: Start = start
) -> Mapping[str, tuple[Series, Series, Series]]:
    """Wall clock, the sender's CPU and the receiver's CPU of every contender."""
    found: dict[str, tuple[Series, Series, Series]] = {kind: (Series(), Series(), Series()) for kind in kinds}

    def turn(kind: str) -> float:
        figures = measure(kind, work, amount, begin)
        for series, figure in zip(found[kind], (figures.wall, figures.client, figures.server), strict=True):
            series.figures.append(figure)
        return figures.wall

    take_turns({kind: partial(turn, kind) for kind in found}, rounds)
    return found


def total(one: Series, other: Series) -> Series:
    """The sum of two series, round by round."""
    return Series([a + b for a, b in zip(one.figures, other.figures, strict=True)])


def busier_end(sender: Series, receiver: Series) -> Series:
    """Seconds of the end that has more to do: what a transfer takes when each end has a core to itself."""
    return Series([max(pair) for pair in zip(sender.figures, receiver.figures, strict=True)])


def bulk(effort: Effort) -> Section:
    """The rows of bulk transfer."""
    amount = effort.megabytes * 1_000_000 // WRITE * WRITE
    found = measure_all(_contenders(), "bulk", amount, max(3, effort.rounds // 2))
    section = Section(
        "Streams on loopback: two processes, writes of 64 KiB",
        ("", "CPU s/GB, sender", "CPU s/GB, receiver", "MB/s by the busier end", "MB/s seen"),
        notes=[
            "The clock starts after the handshake. All TLS is 1.3 with the cipher that OpenSSL prefers.",
            (
                "*By the busier end*: what the CPU time of the end that has more to do allows, a core for each. The "
                "ratios are made of it, since what was seen depends on who else uses the machine."
            ),
        ],
    )
    gigabytes = amount / 1e9
    busier = {kind: busier_end(sender, receiver) for kind, (_, sender, receiver) in found.items()}
    for kind, (wall, sender, receiver) in found.items():
        speeds = [Series([amount / 1e6 / value for value in series.figures]) for series in (busier[kind], wall)]
        cpu = [plain(series, 1 / gigabytes) for series in (sender, receiver)]
        section.rows.append((kind, *cpu, *map(plain, speeds)))
    for peer, backend, wanted in (
        ("anyio TLSStream", "asyncio", 2.5),
        ("asyncio TLS", "asyncio", 3.0),
        ("trio SSLStream", "trio", 2.0),
    ):
        reached = busier[peer].times(busier[f"our TlsStream, {backend}"])
        section.targets.append(Target(f"TLS bulk beside {peer}", wanted, reached))
        best = busier[peer].times(busier["blocking ssl"])
        section.notes.append(f"Blocking ssl, which no event loop slows down, reaches {best:.2f}× {peer} in this run.")
    _, sender, receiver = found["our TlsStream, asyncio"]
    cpu_ratio = total(sender, receiver).times(total(*found["blocking ssl"][1:]))
    section.targets.append(Target("TLS bulk, CPU of both ends beside blocking ssl", 1.2, cpu_ratio, "<="))
    limit = limit_of_sealing(WRITE, effort).median / WRITE * amount
    for name, end in (("sender", 1), ("receiver", 2)):
        part = limit / found["our NTLM, asyncio"][end].median * 100
        section.targets.append(Target(f"NTLM sealed bulk, part of the sealing limit, {name}", 80, part, unit=" %"))
    section.targets += _kerberos_targets(found, amount, effort)
    return section


def _kerberos_targets(
    found: Mapping[str, tuple[Series, Series, Series]], amount: int, effort: Effort
) -> Iterator[Target]:
    """Each end beside the limit of sealing, which is the slower direction."""
    limit = kerberos.limit_of_sealing(18, "seal", WRITE, effort).median / WRITE * amount
    ends = found.get("our Kerberos, asyncio")
    for name, end in (("sender", 1), ("receiver", 2)):
        part = None if ends is None else limit / ends[end].median * 100
        yield Target(f"Kerberos sealed bulk, part of the sealing limit, {name}", 80, part, unit=" %")


def ping_pong(effort: Effort) -> Section:
    """The rows of ping-pong."""
    exchanges = 500 * effort.rounds
    found = measure_all(_contenders(), "ping", exchanges, max(3, effort.rounds // 2))
    section = Section("Ping-pong of 100 octets on loopback, CPU µs an exchange", ("", "both ends", "client", "server"))
    both = {kind: total(client, server) for kind, (_, client, server) in found.items()}
    for kind, (_, client, server) in found.items():
        section.rows.append((kind, *(plain(series, 1e6 / exchanges) for series in (both[kind], client, server))))
    for peer, ours, wanted in (
        ("anyio TCP, 64 KiB reads", "our TCP, asyncio", 2.5),
        ("anyio TLSStream", "our TlsStream, asyncio", 2.0),
    ):
        section.targets.append(Target(f"ping-pong, {ours}, beside {peer}", wanted, both[peer].times(both[ours])))
    return section
