"""Measuring contenders beside each other: rounds in turn, CPU time, medians, spread; and the tables made of them.

The machine is shared and its clock wanders, so only ratios within one round mean anything: each round measures every
contender once, in a new order, and a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

OURS = "securestream"
"""The contender that all others are compared with."""


@dataclass(frozen=True)
class Effort:
    """How much time a run spends.

    Args:
        rounds: how often every contender has its turn.
        seconds: how long a turn of a small operation is.
        megabytes: how much is sent through each stream in a turn.
    """

    rounds: int = 7
    seconds: float = 0.03
    megabytes: int = 192


QUICK = Effort(rounds=3, seconds=0.01, megabytes=48)

Timed: TypeAlias = Callable[[int], float]
"""Does an operation so many times and returns the seconds that it took."""


@dataclass
class Series:
    """What one contender took, a figure for each round.

    Args:
        figures: in the order of the rounds.
    """

    figures: list[float] = field(default_factory=list[float])

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.figures)

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles, as a part of the median."""
        if len(self.figures) < 3:
            return (max(self.figures) - min(self.figures)) / 2 / self.median
        low, _, high = statistics.quantiles(self.figures, n=4, method="inclusive")
        return (high - low) / 2 / self.median

    def times(self, other: Series) -> float:
        """How many times this one's figures are the other's: the median over the rounds."""
        return statistics.median(mine / its for mine, its in zip(self.figures, other.figures, strict=True))


def cpu_loop(operation: Callable[[], object]) -> Timed:
    """Time an operation that needs no preparation, by the CPU time of the thread."""

    def timed(times: int) -> float:
        repeated = range(times)
        start = time.thread_time()
        for _ in repeated:
            operation()
        return time.thread_time() - start

    return timed


def compare(contenders: Mapping[str, Timed], effort: Effort) -> dict[str, Series]:
    """Let all contenders take their turns; figures are seconds for one operation."""
    counts = {name: _calibrate(timed, effort.seconds) for name, timed in contenders.items()}

    def turn(name: str) -> float:
        return contenders[name](counts[name]) / counts[name]

    return take_turns({name: partial(turn, name) for name in contenders}, effort.rounds)


def take_turns(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Series]:
    """Call every one of `turns` once in each round, in an order that changes; their results are the figures."""
    series = {name: Series() for name in turns}
    order = list(turns)
    shuffled = random.Random(1)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name in order:
            gc.collect()
            gc.disable()
            try:
                series[name].figures.append(turns[name]())
            finally:
                gc.enable()
    return series


def _calibrate(timed: Timed, seconds: float) -> int:
    timed(1)  # whatever is made at first use
    count = 1
    while (taken := timed(count)) < seconds / 4 and count < 1 << 20:
        count = max(count * 2, min(count * 16, int(count * seconds / 3 / max(taken, 1e-9))))
    return max(1, round(count * seconds / max(taken, 1e-9)))


@dataclass(frozen=True)
class Target:
    """What PERFORMANCE.md demands of a ratio.

    Args:
        what: what is compared.
        wanted: the ratio to reach, or not to exceed.
        reached: the ratio of this run; `None` where the peer is not there.
        sense: ``">="`` to reach it, ``"<="`` not to exceed it.
        unit: what stands behind the number.
    """

    what: str
    wanted: float
    reached: float | None
    sense: Literal[">=", "<="] = ">="
    unit: str = "×"

    @property
    def met(self) -> bool | None:
        """Whether it is met, or `None` where it could not be measured."""
        if self.reached is None:
            return None
        return self.reached >= self.wanted if self.sense == ">=" else self.reached <= self.wanted

    def row(self) -> tuple[str, str, str, str]:
        """A row of the table of targets."""
        sign = {">=": "≥", "<=": "≤"}[self.sense]
        reached = "–" if self.reached is None else f"{self.reached:.3g}{self.unit}"
        verdict = {None: "not measured", True: "met", False: "**MISSED**"}[self.met]
        return self.what, f"{sign} {self.wanted:g}{self.unit}", reached, verdict


@dataclass
class Section:
    """One table with its targets.

    Args:
        title: its heading.
        head: names of the columns.
        rows: cells as text.
        targets: what the rows are held to.
        notes: what a reader must know.
    """

    title: str
    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list[Sequence[str]])
    targets: list[Target] = field(default_factory=list[Target])
    notes: list[str] = field(default_factory=list[str])

    def markdown(self) -> str:
        """The section as Markdown."""
        parts = [f"## {self.title}\n", *(f"{note}\n" for note in self.notes), table(self.head, self.rows)]
        if self.targets:
            rows = [target.row() for target in self.targets]
            parts += ["", table(("target", "wanted", "reached", ""), rows)]
        return "\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def micro(series: Series | None) -> str:
    """Seconds shown as microseconds with their spread."""
    if series is None:
        return "–"
    value = series.median * 1e6
    return f"{value:.4g} ± {series.spread * 100:.0f} %"


def plain(series: Series | None, scale: float = 1.0) -> str:
    """A figure with its spread."""
    return "–" if series is None else f"{series.median * scale:.3g} ± {series.spread * 100:.0f} %"


def ratio(series: Mapping[str, Series], numerator: str, denominator: str) -> float | None:
    """The ratio of two contenders, or `None` where one of them is not there."""
    if numerator not in series or denominator not in series:
        return None
    return series[numerator].times(series[denominator])
