"""``securestream hello``: greet, 100% politely."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from securestream.cli.report import Report
from securestream.errors import LogonDenied, UsageError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("--status", type=int, default=0)


def run(asked: Namespace, report: Report) -> int:
    if asked.name == "nobody":
        raise UsageError("nobody is there")
    if asked.name == "stranger":
        raise LogonDenied("a stranger is not greeted")
    report.say("hello", f"hello, {asked.name}")
    status: int = asked.status
    return status
