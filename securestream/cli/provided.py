"""Commands that providers bring: found by entry points, loaded only when they are asked for.

An entry in the group `ENTRY_POINTS` is named like the command; its value is a module with

* a docstring, whose first line is the command's help,
* ``add_arguments(parser: argparse.ArgumentParser) -> None``, and
* ``run(asked: argparse.Namespace, report: Report) -> int``, which returns the exit status, and raises what `main` tells
  in one sentence: `SecureStreamError`, `OSError`.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from securestream.cli.report import Report, message_of
from securestream.errors import UsageError
from securestream.registry import place_of

ENTRY_POINTS = "securestream.commands"
"""The entry point group."""


class Command(Protocol):
    """What the module of a command offers."""

    __doc__: str | None

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare its arguments."""
        ...

    def run(self, asked: Namespace, report: Report) -> int:
        """Do what was asked for; the exit status."""
        ...


class Commands:
    """The commands of installed providers, by name.

    Args:
        points: where they are.
    """

    def __init__(self, points: dict[str, list[EntryPoint]]) -> None:
        self._points = points

    @classmethod
    def installed(cls) -> Commands:
        """All commands that installed distributions announce in the group `ENTRY_POINTS`."""
        return _installed()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._points))

    def __contains__(self, name: object) -> bool:
        return name in self._points

    def load(self, name: str) -> Command:
        """The module of the command `name`.

        Raises:
            UsageError: there is none, two distributions bring one, or it cannot be loaded.
        """
        points = self._points.get(name)
        if points is None:
            raise UsageError(f"no command is called {name!r}")
        first = points[0]
        if len(points) > 1:
            raise UsageError(
                f"two installed packages bring a command {name!r}: "
                f"{' and '.join(place_of(point) for point in points)}; uninstall one"
            )
        try:
            module = first.load()
        except Exception as error:  # a third party's code may fail in any way; every other command works all the same
            raise UsageError(
                f"the command {name!r} ({place_of(first)}) cannot be loaded: {message_of(error)}"
            ) from error
        for needed in ("add_arguments", "run"):
            if not callable(getattr(module, needed, None)):
                raise UsageError(f"the command {name!r} ({place_of(first)}) cannot be used: it has no {needed}")
        return cast("Command", module)


def help_of(command: Command) -> str:
    """One line on `command`: the first of its docstring, without the name of the command that stands before it."""
    lines = (command.__doc__ or "").strip().splitlines()
    line = lines[0] if lines else ""
    if line.startswith("``"):
        line = line.partition("``:")[2].strip() or line
    return line.rstrip(".").replace("%", "%%")


@cache
def _installed() -> Commands:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        known = found.setdefault(point.name, [])
        if all(other.value != point.value for other in known):  # one distribution may stand in a search path twice
            known.append(point)
    return Commands(found)
