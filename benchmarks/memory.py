"""Memory of idle TLS connections at the server."""

from __future__ import annotations

import json
from functools import partial

from benchmarks.idle_ends import SERVERS
from benchmarks.measure import Effort, Section, Target, plain, take_turns
from benchmarks.streams import line_of, start

CONNECTIONS = 400
_OURS = "our TlsStream, asyncio"


def _turn(kind: str) -> float:
    server = start("server", kind, "idle", 0, CONNECTIONS)
    client = start("client", kind, "idle", 0, int(line_of(server)), CONNECTIONS)
    octets: float = json.loads(line_of(server))["octets"]
    for process in (client, server):
        process.communicate("\n")
    return octets


def idle(effort: Effort) -> Section:
    """The rows of memory."""
    series = take_turns({kind: partial(_turn, kind) for kind in SERVERS}, max(3, effort.rounds // 2))
    section = Section(
        "Idle TLS 1.3 connections: the server's memory",
        ("", "KiB a connection"),
        notes=[f"Resident memory that {CONNECTIONS} connections add, after others have warmed the process up."],
    )
    section.rows += [(kind, plain(figures, 1 / 1024)) for kind, figures in series.items()]
    section.targets.append(Target("an idle TLS connection", 20, series[_OURS].median / 1024, "<=", " KiB"))
    return section
