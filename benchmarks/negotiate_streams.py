"""NegotiateStream between two processes on loopback: ours, python-gssapi over the same frames, and .NET 8 itself."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks import pairs, streams
from benchmarks.ends import WRITE
from benchmarks.kerberos_realm import mit, realm, service
from benchmarks.measure import Effort, Section, Series, plain
from benchmarks.negotiate_ends import NEGOTIATE
from benchmarks.peers import gss_ntlmssp
from benchmarks.stream_ends import KERBEROS
from tests.interop.peers import dotnet_setup
from tests.interop.peers.places import DOTNET_HOST, DOTNET_RUNTIME_CONFIG, SYSTEM_PYTHON

MECHANISMS: Final = ("Kerberos", "NTLM")
GSSAPI: Final = "python-gssapi, blocking"
DOTNET: Final = ".NET"
ETYPE: Final = 18
_GSS_END: Final = Path(__file__).with_name("gss_stream_end.py")
_DOTNET_END: Final = Path(__file__).with_name("dotnet_end.cs")


@functools.cache
def _dotnet() -> Path | None:
    """The compiled program, or `None` where .NET is not installed."""
    if not dotnet_setup.downloaded():
        return None
    folder = Path(tempfile.mkdtemp(prefix="securestream-benchmarks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = folder / "dotnet_end.dll"
    dotnet_setup.compile_program(_DOTNET_END, program)
    return program


def _service() -> tuple[str, str]:
    """Class and host of the service of Kerberos."""
    name, _, host = service(ETYPE).partition("/")
    return name, host


def _contenders() -> list[str]:
    """Who is here; each has a mechanism in its name."""
    found: list[str] = []
    with_kerberos = KERBEROS in streams.environment() and mit(ETYPE) is not None
    for mechanism in MECHANISMS:
        if mechanism == "Kerberos" and not with_kerberos:
            continue
        found += [kind for kind in NEGOTIATE if kind.endswith(f", {mechanism}")]
        if mechanism == "Kerberos" or gss_ntlmssp() is not None:
            found.append(f"{GSSAPI}, {mechanism}")
            if _dotnet() is not None:
                found.append(f"{DOTNET}, {mechanism}")
    return found


def start(role: str, kind: str, work: str, amount: int, *more: int) -> subprocess.Popen[str]:
    """One end of a contender as a process; without the protocol of the others it is one of ours."""
    if kind in NEGOTIATE:
        return streams.start(role, kind, work, amount, *more)
    mechanism = kind.rpartition(", ")[2]
    words = [role, work, str(amount), *map(str, more)]
    name, host = _service() if mechanism == "Kerberos" else ("host", pairs.HOST)
    if kind.startswith(GSSAPI):
        user = rf"DOM\{pairs.USER}@" if mechanism == "NTLM" else ""
        words += [f"{user}{name}@{host}"] if role == "client" else []
        command = [str(SYSTEM_PYTHON), "-I", str(_GSS_END), *words]
    else:
        if role == "client":
            words += [f"{name}/{host}", *((pairs.USER, pairs.PASSWORD, "DOM") if mechanism == "NTLM" else ())]
        program = ("exec", "--runtimeconfig", str(DOTNET_RUNTIME_CONFIG), str(_dotnet()))
        command = [str(DOTNET_HOST), *program, *words]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment(mechanism)
    )


@functools.cache
def _environment(mechanism: str) -> Mapping[str, str]:
    """By which the libraries of MIT find tickets and keys, or else accounts of NTLM."""
    common = {**os.environ, **dotnet_setup.ENVIRONMENT}
    if mechanism == "NTLM":
        return {**common, **pairs.ntlm_environment(), "KRB5_CONFIG": os.devnull, "KRB5CCNAME": "MEMORY:none"}
    found = realm()
    assert found is not None
    return {**common, **found.environment(ETYPE)}


def _ratios(mechanism: str, what: str, series: Mapping[str, Series]) -> Iterator[str]:
    """What the others need, beside ours of their kind: .NET beside asyncio, blocking sockets beside blocking ones."""
    for other, kind in ((GSSAPI, "blocking"), (DOTNET, "asyncio")):
        theirs, ours = series.get(f"{other}, {mechanism}"), series.get(f"ours, {kind}, {mechanism}")
        if theirs is not None and ours is not None:
            yield f"{mechanism}, {what}: {other} needs {theirs.times(ours):.2f}× the CPU time of ours, {kind}."


def bulk(effort: Effort) -> Section:
    """The rows of bulk transfer."""
    amount = effort.megabytes * 1_000_000 // WRITE * WRITE
    found = streams.measure_all(_contenders(), "bulk", amount, max(3, effort.rounds // 2), start)
    section = Section(
        "NegotiateStream on loopback: two processes, SPNEGO, sealed, writes of 64 KiB",
        ("", "CPU s/GB, sender", "CPU s/GB, receiver", "MB/s by the busier end", "MB/s seen"),
        notes=[
            "Both ends are of the same implementation. python-gssapi speaks the same frames over blocking sockets.",
            ".NET seals by the same library as python-gssapi: MIT krb5, and gss-ntlmssp for NTLM.",
        ],
    )
    busier = {kind: streams.busier_end(sender, receiver) for kind, (_, sender, receiver) in found.items()}
    for kind, (wall, sender, receiver) in found.items():
        speeds = [Series([amount / 1e6 / value for value in series.figures]) for series in (busier[kind], wall)]
        cpu = [plain(series, 1e9 / amount) for series in (sender, receiver)]
        section.rows.append((kind, *cpu, *map(plain, speeds)))
    section.notes += [line for one in MECHANISMS for line in _ratios(one, "the busier end", busier)]
    return section


def ping_pong(effort: Effort) -> Section:
    """The rows of ping-pong."""
    exchanges = 500 * effort.rounds
    found = streams.measure_all(_contenders(), "ping", exchanges, max(3, effort.rounds // 2), start)
    section = Section(
        "NegotiateStream: ping-pong of 100 octets, CPU µs an exchange",
        ("", "both ends", "client", "server", "µs seen"),
        notes=[
            "Blocking sockets serve one connection in a thread; event loops, ours and .NET's, any number.",
        ],
    )
    both = {kind: streams.total(client, server) for kind, (_, client, server) in found.items()}
    for kind, (wall, client, server) in found.items():
        shown = (both[kind], client, server, wall)
        section.rows.append((kind, *(plain(series, 1e6 / exchanges) for series in shown)))
    section.notes += [line for one in MECHANISMS for line in _ratios(one, "both ends", both)]
    return section
