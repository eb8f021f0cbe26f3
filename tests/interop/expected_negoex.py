"""The cells of the table on NEGOEX."""

from __future__ import annotations

from tests.interop.matrix import Cell, cells

NEGOEX = "NEGOEX"
SCENARIOS = (
    *(f"{count} hops" for count in range(1, 8)),
    *(f"early keys, {count} hops" for count in range(1, 6)),
    "no optimistic token",
    "no metadata",
    "first mechanism refused before the start",
    "first mechanism refused by the initiator",
    "first mechanism refused by the acceptor",
    "first mechanism's metadata refused",
    "ALERT to the initiator",
    "ALERT to the acceptor",
    "the acceptor prefers the second",
    "the acceptor has the second alone",
)
FAILURES = ("no keys", "refused token")

NEGOEX_CELLS: frozenset[Cell] = frozenset(
    cells(NEGOEX, "MIT NEGOEX", ("initiator", "acceptor"), (*SCENARIOS, *FAILURES))
)
