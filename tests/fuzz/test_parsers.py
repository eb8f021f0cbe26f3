"""Every registered parser survives its share of mutated messages; FUZZ_ROUNDS and FUZZ_SEED choose them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from securestream.errors import MalformedMessage
from tests.fuzz.harness import (
    Failure,
    Parser,
    Run,
    collect,
    mutate,
    report,
    rounds_from_environment,
    seed_from_environment,
)
from tests.listing import MUTATIONS

SEED = seed_from_environment()


@pytest.mark.fuzz
@pytest.mark.parametrize("parser", collect(), ids=lambda parser: parser.name)
def test_parser_refuses_mutated_messages_by_its_own_errors(
    parser: Parser, record_property: Callable[[str, object], None]
) -> None:
    rounds = rounds_from_environment()
    tally = Run(parser, SEED).rounds(rounds)
    record_property(MUTATIONS, report(parser, SEED, rounds, tally))
    assert tally.accepted + tally.refused == rounds


def _refuse_zero(message: bytes) -> None:
    if 0 in message:
        raise MalformedMessage("zero")


def test_harness_reports_another_exception() -> None:
    def parse(message: bytes) -> None:
        if len(message) < 3:
            raise IndexError

    with pytest.raises(Failure, match="IndexError"):
        Run(Parser("short", parse, (b"abcdef",)), 1).rounds(2000)


def test_harness_reports_a_slow_parser() -> None:
    def parse(message: bytes) -> None:
        if message != b"abcdef":
            time.sleep(0.02)

    with pytest.raises(Failure, match="s for one message"):
        Run(Parser("slow", parse, (b"abcdef",), seconds=0.01), 1).rounds(100)


def test_harness_reports_a_parser_that_takes_memory() -> None:
    def parse(message: bytes) -> int:
        return len(bytes(1 << 20))

    with pytest.raises(Failure, match="octets of memory"):
        Run(Parser("large", parse, (b"abcdef",), memory=1 << 19), 1).rounds(100)


def test_harness_wants_valid_seeds() -> None:
    with pytest.raises(Failure, match="a valid message was refused"):
        Run(Parser("zero", _refuse_zero, (b"\0",)), 1).rounds(1)
    with pytest.raises(Failure, match="no valid message"):
        Run(Parser("none", _refuse_zero, ()), 1).rounds(1)


def test_same_seed_makes_the_same_messages() -> None:
    def made(seed: int) -> list[bytes]:
        chance = random.Random(seed)
        return [mutate(b"0123456789", (b"0123456789", b"abcdef"), chance) for _ in range(500)]

    assert made(7) == made(7)
    assert made(7) != made(8)
    assert len({len(message) for message in made(7)}) > 10
