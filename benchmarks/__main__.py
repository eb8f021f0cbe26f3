"""The command: measure, print, and write RESULTS.md.

python -m benchmarks [--quick] [--output FILE] [NAME...]
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import QUICK, Effort, Section
from benchmarks.report import report

SECTIONS = {
    "ntlm-sealing": "benchmarks.ntlm:sealing",
    "ntlm-handshakes": "benchmarks.ntlm:handshakes",
    "kerberos-sealing": "benchmarks.kerberos:sealing",
    "kerberos-handshakes": "benchmarks.kerberos_handshakes:handshakes",
    "negotiate-handshakes": "benchmarks.negotiate:handshakes",
    "credssp-handshakes": "benchmarks.credssp:handshakes",
    "sasl-handshakes": "benchmarks.sasl:handshakes",
    "http-digest": "benchmarks.http_digest:exchanges",
    "kdc": "benchmarks.kdc:requests",
    "tls-handshakes": "benchmarks.tls:handshakes",
    "streams": "benchmarks.streams:bulk",
    "ping-pong": "benchmarks.streams:ping_pong",
    "negotiate-streams": "benchmarks.negotiate_streams:bulk",
    "negotiate-ping-pong": "benchmarks.negotiate_streams:ping_pong",
    "sasl-streams": "benchmarks.sasl_ends:bulk",
    "memory": "benchmarks.memory:idle",
    "imports": "benchmarks.imports:imports",
    "asn1": "benchmarks.report:asn1_section",
}
RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; the status is 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ourselves beside the peers, in one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, with more noise")
    parser.add_argument("--output", type=Path, help="where the table goes; RESULTS.md beside this file if all are run")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(SECTIONS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    effort = QUICK if chosen.quick else Effort()
    sections: list[Section] = []
    for name in chosen.names or SECTIONS:
        module, _, function = SECTIONS[name].partition(":")
        measure: Callable[[Effort], Section] = getattr(importlib.import_module(module), function)
        section = measure(effort)
        print(section.markdown(), end="\n\n", flush=True)
        sections.append(section)
    output = chosen.output or (None if chosen.names else RESULTS)
    if output is not None:
        output.write_text(report(sections, quick=chosen.quick), encoding="utf-8")
        print(f"written: {output}", file=sys.stderr)
    return int(any(target.met is False for section in sections for target in section.targets))


if __name__ == "__main__":
    sys.exit(main())
