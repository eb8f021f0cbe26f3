"""The interoperability tables: which cells must be there, what each came to, and how they are printed.

A test states the cell it fills with ``matrix.fill(...)``, after everything was seen to be right; a cell counts only if
its test passes to the end. The expected cells are written apart from the tests, so that a test that vanishes is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True)
class Cell:
    """One square of a table.

    Args:
        table: such as "NTLM".
        peer: the foreign implementation.
        role: what the *peer* does: "initiator", "acceptor", "client" or "server".
        option: what was particular to the exchange.
    """

    table: str
    peer: str
    role: str
    option: str


@dataclass(frozen=True)
class Outcome:
    """What a cell came to: the peer's version, and what was seen."""

    version: str
    seen: str


def cells(table: str, peer: str, roles: Iterable[str], options: Iterable[str]) -> Iterator[Cell]:
    """Every combination of `roles` and `options`."""
    wanted = tuple(options)
    for role in roles:
        for option in wanted:
            yield Cell(table, peer, role, option)


@dataclass
class Matrix:
    """The outcomes of a run."""

    outcomes: dict[Cell, Outcome] = field(default_factory=dict[Cell, Outcome])

    def missing(self, expected: Iterable[Cell]) -> list[Cell]:
        """The cells of `expected` that no passed test filled."""
        return sorted(set(expected) - set(self.outcomes))

    def undeclared(self, expected: Iterable[Cell]) -> list[Cell]:
        """The cells that a test filled and nobody expects: a slip of the pen in one of the two places."""
        return sorted(set(self.outcomes) - set(expected))

    def lines(self) -> Iterator[str]:
        """The tables, one line a cell."""
        table = ""
        rows = sorted(self.outcomes.items())
        widths = [
            max((len(text) for text in column), default=0) for column in zip(*map(self._texts, rows), strict=True)
        ]
        for cell, outcome in rows:
            if cell.table != table:
                table = cell.table
                yield f"{table} with foreign peers (the role is the peer's)"
            texts = self._texts((cell, outcome))
            yield "  " + "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()

    @staticmethod
    def _texts(row: tuple[Cell, Outcome]) -> tuple[str, ...]:
        cell, outcome = row
        return f"{cell.peer} {outcome.version}", cell.role, cell.option, outcome.seen


@dataclass
class Filler:
    """What the fixture `matrix` gives one test: it keeps the cells until the test has passed."""

    pending: dict[Cell, Outcome] = field(default_factory=dict[Cell, Outcome])

    def fill(self, table: str, peer: str, version: str, role: str, option: str, seen: str) -> None:
        """State the outcome of one cell; see `Cell` and `Outcome`."""
        cell = Cell(table, peer, role, option)
        before = self.pending.setdefault(cell, Outcome(version, seen))
        assert before.seen == seen, f"{cell} came to {before.seen!r} and to {seen!r}"
