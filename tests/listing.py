"""What a run lists at its end: the vectors by file, and the mutated messages with their seed.

A test states what it did by pytest's ``record_property``, once for each vector: ``record_property(VECTORS, file)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

VECTORS = "vectors of"
"""Property: the file of a vector that the test recomputed."""

LEFT_OUT = "vectors left out of"
"""Property: file, vector and reason of one that is not recomputed."""

MUTATIONS = "mutations"
"""Property: the line of a mutation run."""


def vector_lines(stats: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """One line for each file of vectors: how many were run, passed, failed; then those left out, with the reason.

    Args:
        stats: the reports of the run by outcome, as pytest's terminal reporter keeps them.
    """
    passed = Counter(_values(stats.get("passed", ()), VECTORS))
    failed = Counter(_values(stats.get("failed", ()), VECTORS))
    reasons = sorted(set(_values(stats.get("passed", ()), LEFT_OUT)))
    skipped = Counter(reason.split(":")[0] for reason in reasons)
    for file in sorted(passed | failed | skipped):
        counts = f"{passed[file] + failed[file]} run, {passed[file]} passed, {failed[file]} failed"
        yield f"{file}: {counts}, {skipped[file]} skipped"
    yield from (f"  skipped: {reason}" for reason in reasons)


def mutation_lines(stats: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """One line for each parser that took mutated messages, with the seed to see them again."""
    return _values(stats.get("passed", ()), MUTATIONS)


def _values(reports: Iterable[Any], name: str) -> Iterator[str]:
    for report in reports:
        if getattr(report, "when", None) == "call":
            yield from (str(value) for key, value in report.user_properties if key == name)
