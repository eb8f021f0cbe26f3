"""The file RESULTS.md: what was measured, on what, against what."""

from __future__ import annotations

import importlib.metadata
import platform
import sqlite3
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Effort, Section, Target, table

_DISTRIBUTIONS = ("securestream", "anyio", "trio", "cryptography", "pyOpenSSL", "pyspnego", "pyasn1")


def report(sections: Sequence[Section], *, quick: bool) -> str:
    """The whole file."""
    head = [
        "# Ourselves beside the peers, in one run",
        "",
        (
            "Written by `python -m benchmarks`. The machine is shared and its speed wanders: each round measures every "
            "contender once, in changing order, and a ratio is the median of the rounds' ratios. Figures are medians "
            "± half the distance between the quartiles; read the ratios, not the figures."
        ),
    ]
    if quick:
        head += ["", "**A quick run: a few short rounds, for a first look only.**"]
    targets = [target for section in sections for target in section.targets]
    summary = table(("target", "wanted", "reached", ""), [target.row() for target in targets])
    parts = ["\n".join(head), "## Measured on\n\n" + table(("", ""), _machine()), "## Targets\n\n" + summary]
    return "\n\n".join([*parts, *(section.markdown() for section in sections)]) + "\n"


def _machine() -> list[tuple[str, str]]:
    from cryptography.hazmat.backends.openssl.backend import backend

    rows = [
        ("CPU", f"{_cpu()}, {len(_cpus())} used"),
        ("others on it", _load()),
        ("system", f"{platform.system()} {platform.release()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}"),
        ("OpenSSL of cryptography", backend.openssl_version_text()),
        ("OpenSSL of ssl", ssl.OPENSSL_VERSION),
    ]
    for name in _DISTRIBUTIONS:
        try:
            rows.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, "not installed"))
    rows.append(("gss-ntlmssp", _debian("gss-ntlmssp")))
    rows.append(("MIT krb5", _debian("krb5-kdc")))
    rows.append(("python-gssapi", _debian("python3-gssapi")))
    return rows


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cpus() -> Sequence[int]:
    import os

    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _load() -> str:
    import os

    if not hasattr(os, "getloadavg"):
        return "unknown"
    return f"load average {os.getloadavg()[1]:.1f} over 5 minutes; 1 to 2 of it is this run"


def _debian(package: str) -> str:
    query = ["dpkg-query", "--show", "--showformat=${Version}", package]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "not installed"


def asn1_section(effort: Effort) -> Section:
    """The rows of benchmarks/asn1.py."""
    from benchmarks import asn1

    rows = asn1.run(effort.seconds * effort.rounds)
    section = Section(
        "DER: messages of Kerberos and SPNEGO, µs",
        ("message", "octets", "decode", "encode", "pyasn1 decode", "pyasn1 encode", "decode ×", "encode ×"),
        notes=["The best of several rounds on each side."],
    )
    section.rows += [
        (
            row.message,
            str(row.octets),
            *(f"{value:.4g}" for value in (row.decode, row.encode, row.pyasn1_decode, row.pyasn1_encode)),
            f"{row.pyasn1_decode / row.decode:.0f}",
            f"{row.pyasn1_encode / row.encode:.0f}",
        )
        for row in rows
    ]
    first = rows[0]
    reached = first.pyasn1_decode / first.decode
    section.targets.append(Target(f"{first.message} decode beside pyasn1", asn1.AP_REQ_TARGET, reached))
    return section
