"""From arguments to a command, and from its failure to one sentence and an exit status."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from securestream.cli.arguments import parser
from securestream.cli.provided import Command
from securestream.cli.report import Report, is_expected
from securestream.cli.splice import leaves
from securestream.errors import UsageError

OK, FAILED, UNUSABLE, CUT_OFF = 0, 1, 2, 128 + 13


def run(argv: Sequence[str] | None = None) -> int:
    """Parse and run; see `securestream.cli.main`."""
    words = sys.argv[1:] if argv is None else argv
    try:
        asked = parser(words[0] if words else None).parse_args(words)
    except SystemExit as end:  # argparse has printed its help, or its complaint
        return end.code if isinstance(end.code, int) else UNUSABLE
    except UsageError as error:
        Report().fail(error)
        return UNUSABLE
    report = _report(asked)
    try:
        status = _dispatch(asked, report)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # what a user is told in a sentence is told so; a bug is raised as the bug it is
        told = leaves(error)
        if not all(is_expected(leaf) for leaf in told):
            raise
        if isinstance(told[0], BrokenPipeError) and asked.command != "serve":
            return _ended_by_reader()
        report.fail(told[0])
        return UNUSABLE if isinstance(told[0], UsageError) else FAILED


def _ended_by_reader() -> int:
    """Whoever read standard output has enough (``| head``): no error, but the status of a program that SIGPIPE ends."""
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())  # or the interpreter would complain while it flushes at exit
    return CUT_OFF


def _report(asked: Namespace) -> Report:
    """Where events go. Machines read them all from one stream, in their order; it is not the one that carries data."""
    as_json, verbose = getattr(asked, "log_json", False), getattr(asked, "verbose", False)
    if not as_json:
        return Report(verbose=verbose)
    carries_data = asked.command == "connect" and asked.listen is None
    stream = sys.stderr if carries_data else sys.stdout
    return Report(stream, stream, as_json=True, verbose=verbose)


def _dispatch(asked: Namespace, report: Report) -> int:
    if asked.command == "packages":
        from securestream.cli.packages import list_packages
        from securestream.registry import Registry

        return list_packages(Registry.installed(), as_json=asked.json)
    if asked.command == "accounts":
        from securestream.cli.accounts import manage_accounts

        return manage_accounts(asked)
    if asked.command == "inspect":
        from securestream.cli.inspect import inspect

        return inspect(asked)
    if asked.command == "serve":
        from securestream.cli.serve import serve

        return serve(asked, report)
    if asked.command != "connect":
        command: Command = asked.provided
        return command.run(asked, report)
    from securestream.cli.connect import connect

    return connect(asked, report)
