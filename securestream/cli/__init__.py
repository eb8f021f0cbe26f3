"""The command ``securestream``: packages, serve, connect, accounts, inspect."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; `None` for those of the process.

    Returns:
        The exit status: 0 when it went well, 1 when it failed, 2 when the arguments cannot work, 128 + n when signal n
        ended a connection.
    """
    from securestream.cli.commands import run

    return run(argv)
