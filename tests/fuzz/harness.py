"""Feeds mutated valid messages to parsers, under limits on time and memory.

A module ``tests/fuzz/parsers_<something>.py`` registers its parsers by one name at its top level::

    PARSERS = [Parser("ntlm.challenge", Challenge.unpack, (CHALLENGE_1, CHALLENGE_2))]

``pytest`` runs a share of FUZZ_ROUNDS messages for each parser; the long run is

    python -m tests.fuzz.harness --rounds 1000000 [--parser NAME]... [--seed N]
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import random
import secrets
import signal
import sys
import time
import tracemalloc
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from securestream.errors import MalformedMessage

DEFAULT_ROUNDS = 5_000
LARGEST_MESSAGE = 1 << 18
_BATCH = 512
_BATCH_SECONDS = 30.0
_MEMORY_SAMPLE = 64
_ADDRESS_SPACE = 1 << 30
_EDGES = (0x00, 0x01, 0x02, 0x7F, 0x80, 0x81, 0x82, 0x84, 0x88, 0xFE, 0xFF)
_WIDE = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFF0,
    0xFFFFFFFF,
)


@dataclass(frozen=True)
class Parser:
    """A parser under test.

    Args:
        name: unique, dotted.
        parse: takes a whole message; may return anything.
        seeds: valid messages, each of which `parse` must accept.
        allowed: the exceptions it may raise; any other one is a failure.
        seconds: how long one message may take, above the noise of a shared machine.
        memory: how many octets may be allocated at the peak of one message.
    """

    name: str
    parse: Callable[[bytes], object]
    seeds: Sequence[bytes]
    allowed: tuple[type[Exception], ...] = (MalformedMessage,)
    seconds: float = 0.1
    memory: int = 8 << 20


@dataclass
class Tally:
    """What became of the messages of one run."""

    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    largest_memory: int = 0


class Failure(AssertionError):
    """A parser did what it must not; the text says how to see it again."""


class _Hang(BaseException):
    """Raised by the timer; a `BaseException`, so that no parser swallows it."""


def mutate(message: bytes, seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """The message after one to four random mutations."""
    octets = bytearray(message)
    for _ in range(1 + (chance.random() < 0.5) + (chance.random() < 0.2) + (chance.random() < 0.1)):
        _mutate_once(octets, seeds, chance)
    return bytes(octets[:LARGEST_MESSAGE])


def _mutate_once(octets: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    kind = chance.randrange(12)
    size = len(octets)
    at = int(chance.random() * size)
    if size == 0 or kind == 0:
        octets[at:at] = chance.randbytes(1 + chance.randrange(8))
    elif kind <= 2:
        octets[at] ^= 1 << chance.randrange(8)
    elif kind <= 4:
        octets[at] = chance.choice(_EDGES)
    elif kind == 5:
        octets[at] = (octets[at] + chance.choice((-2, -1, 1, 2))) & 0xFF
    elif kind == 6:
        del octets[at:]
    elif kind == 7:
        del octets[at : at + 1 + chance.randrange(16)]
    elif kind == 8:
        end = at + 1 + chance.randrange(64)
        octets[at:at] = octets[at:end] * chance.choice((1, 1, 1, 1, 2, 8, 64))
    elif kind == 9:
        other = chance.choice(seeds)
        start = int(chance.random() * len(other))
        octets[at : at + chance.randrange(32)] = other[start : start + 1 + chance.randrange(len(other) + 1)]
    elif kind == 10:
        width = chance.choice((2, 4))
        value = chance.choice(_WIDE) & ((1 << 8 * width) - 1)
        octets[at : at + width] = value.to_bytes(width, "little" if chance.random() < 0.5 else "big")
    else:
        # exchange two stretches, which puts whole elements out of order
        width = 1 + chance.randrange(24)
        other_at = int(chance.random() * size)
        first, second = octets[at : at + width], octets[other_at : other_at + width]
        octets[at : at + width] = second
        octets[other_at : other_at + width] = first


@contextmanager
def _alarm() -> Generator[Callable[[], None], None, None]:
    """A timer that ends a parser that never returns, where the system and the thread have one."""
    if not hasattr(signal, "setitimer"):
        yield lambda: None
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _Hang

    def wind() -> None:
        signal.setitimer(signal.ITIMER_REAL, _BATCH_SECONDS)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield wind
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Run:
    """One run of one parser; the same seed makes the same messages."""

    def __init__(self, parser: Parser, seed: int) -> None:
        self.parser = parser
        self.seed = seed
        self.tally = Tally()
        self._chance = random.Random(f"{seed}:{parser.name}")
        self._message = b""
        self._number = 0

    def _fail(self, what: str) -> Failure:
        shown = self._message if len(self._message) <= 4096 else self._message[:4096] + b"..."
        return Failure(
            f"{self.parser.name}: {what} at message {self._number} of seed {self.seed}, "
            f"{len(self._message)} octets: {shown.hex()}"
        )

    def _once(self) -> bool:
        """Parse; whether the message was accepted."""
        try:
            self.parser.parse(self._message)
        except self.parser.allowed:
            return False
        except Exception as error:
            raise self._fail(f"{type(error).__name__}: {error}") from error
        return True

    def _timed(self) -> None:
        start = time.perf_counter()
        accepted = self._once()
        taken = time.perf_counter() - start
        for _ in range(3):  # a shared machine pauses now and then; a slow parser is slow each time
            if taken <= self.parser.seconds:
                break
            start = time.perf_counter()
            self._once()
            taken = min(taken, time.perf_counter() - start)
        if taken > self.parser.seconds:
            raise self._fail(f"{taken:.3f} s for one message")
        self.tally.slowest = max(self.tally.slowest, taken)
        if accepted:
            self.tally.accepted += 1
        else:
            self.tally.refused += 1

    def _weigh(self) -> None:
        tracemalloc.start()
        try:
            self._once()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.tally.largest_memory = max(self.tally.largest_memory, peak)
        if peak > self.parser.memory:
            raise self._fail(f"{peak} octets of memory")

    def check_seeds(self) -> None:
        """Every seed is a valid message: else the run would only show that garbage is refused."""
        if not self.parser.seeds:
            raise Failure(f"{self.parser.name}: no valid message to begin with")
        for message in self.parser.seeds:
            self._message = message
            if not self._once():
                raise self._fail("a valid message was refused")

    def rounds(self, count: int) -> Tally:
        """Parse `count` mutated messages.

        Raises:
            Failure: another exception than allowed, or a limit exceeded.
        """
        self.check_seeds()
        seeds = self.parser.seeds
        with _alarm() as wind:
            try:
                for self._number in range(count):
                    if self._number % _BATCH == 0:
                        wind()
                    self._message = mutate(self._chance.choice(seeds), seeds, self._chance)
                    self._timed()
                    if self._number % _MEMORY_SAMPLE == 0:
                        self._weigh()
            except _Hang:
                raise self._fail(f"no answer within {_BATCH_SECONDS:.0f} s") from None
        return self.tally


def collect() -> list[Parser]:
    """All registered parsers, by name.

    Raises:
        Failure: two of them have the same name, or a module registers none.
    """
    package = importlib.import_module("tests.fuzz")
    found: dict[str, Parser] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("parsers_"):
            continue
        registered: list[Parser] = importlib.import_module(f"tests.fuzz.{module.name}").PARSERS
        for parser in registered:
            if parser.name in found:
                raise Failure(f"two parsers are named {parser.name}")
            found[parser.name] = parser
    return [found[name] for name in sorted(found)]


def rounds_from_environment() -> int:
    """FUZZ_ROUNDS, or the share of an ordinary run."""
    return int(os.environ.get("FUZZ_ROUNDS", DEFAULT_ROUNDS))


def seed_from_environment() -> int:
    """FUZZ_SEED, or a fresh seed."""
    return int(os.environ.get("FUZZ_SEED", secrets.randbelow(1 << 32)))


def report(parser: Parser, seed: int, rounds: int, tally: Tally) -> str:
    """The line that a run prints."""
    return (
        f"fuzz {parser.name}: seed {seed}, {rounds} messages, {tally.accepted} accepted, {tally.refused} refused, "
        f"slowest {tally.slowest * 1e3:.2f} ms, largest {tally.largest_memory / 1024:.0f} KiB"
    )


def _limit_address_space() -> None:
    """Let no parser take more than a gigabyte beyond what is in use, where the system can say so."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main(arguments: Sequence[str] | None = None) -> int:
    """The long run from the command line."""
    options = argparse.ArgumentParser(
        prog="python -m tests.fuzz.harness", description="mutated messages for every parser"
    )
    options.add_argument("--rounds", type=int, default=rounds_from_environment())
    options.add_argument("--seed", type=int, default=seed_from_environment())
    options.add_argument("--parser", action="append", help="a name or the beginning of one; all by default")
    options.add_argument("--list", action="store_true", help="only print the names")
    chosen = options.parse_args(arguments)
    parsers = [p for p in collect() if not chosen.parser or any(p.name.startswith(name) for name in chosen.parser)]
    if not parsers:
        print("no such parser", file=sys.stderr)
        return 2
    if chosen.list:
        print("\n".join(parser.name for parser in parsers))
        return 0
    _limit_address_space()
    failed = 0
    for parser in parsers:
        try:
            tally = Run(parser, chosen.seed).rounds(chosen.rounds)
        except Failure as failure:
            failed += 1
            print(f"FAILED {failure}", flush=True)
        else:
            print(report(parser, chosen.seed, chosen.rounds, tally), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    from tests.fuzz.harness import main as run_main

    sys.exit(run_main())
