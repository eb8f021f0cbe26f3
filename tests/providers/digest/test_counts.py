"""Nonce counts: each is good once, also when requests overtake each other, and in all stores alike."""

from __future__ import annotations

import multiprocessing
import random
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from securestream.drive import Performer, Services
from securestream.errors import LimitExceeded, MissingService, UsageError
from securestream_providers.digest.counts import LARGEST, OWNER_SIZE, WINDOW, NonceCount, Window
from securestream_providers.digest.performers import (
    MemoryCounts,
    SharedCounts,
    SqliteCounts,
    shared_performer,
    sqlite_performer,
)
from tests.providers.digest.ends import START, Clock

EXPIRES = START + timedelta(minutes=5)
Counts = MemoryCounts | SqliteCounts
Make = Callable[..., Counts]


def asked(count: int, nonce: bytes = b"nonce", expires: datetime = EXPIRES, owner: bytes = b"") -> NonceCount:
    return NonceCount(nonce, count, expires, owner)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Make:
    def made(nonces: int = 100) -> Counts:
        if request.param == "memory":
            return MemoryCounts(nonces, clock)
        return SqliteCounts(tmp_path / "counts.db", nonces, clock)

    return made


# --- the window


def test_a_window_knows_what_a_set_knows_as_far_as_it_reaches() -> None:
    chosen = random.Random(7)
    for _ in range(40):
        window, used, highest = Window(), set[int](), 0
        for _ in range(200):
            count = max(1, highest + chosen.randint(-WINDOW - 20, 30))
            expected = count not in used and highest - count < WINDOW
            after = window.use(count)
            assert (after is not None) == expected
            if after is not None:
                window = after
                used.add(count)
                highest = max(highest, count)
            assert window.used < 1 << WINDOW


@pytest.mark.parametrize("count", [0, -1, LARGEST + 1])
def test_counts_that_are_none_are_refused(count: int) -> None:
    assert Window().use(count) is None


def test_the_largest_count_is_one() -> None:
    window = Window().use(LARGEST)
    assert window is not None
    assert window.use(LARGEST) is None
    assert window.use(1) is None
    assert window.use(LARGEST - 1) is not None


def test_the_distance_between_two_counts_costs_no_memory() -> None:
    window = Window().use(LARGEST)
    assert window is not None
    tracemalloc.start()
    try:
        assert window.use(1) is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


# --- stores


def test_each_count_of_each_nonce_is_good_once(make: Make) -> None:
    counts = make()
    for nonce in (b"one", b"two"):
        assert [counts.perform_blocking(asked(n, nonce)) for n in (1, 2, 2, 4, 3, 3, 1)] == [
            *(True, True, False, True, True, False, False)
        ]


def test_an_expired_nonce_is_refused_and_forgotten(make: Make, clock: Clock) -> None:
    counts = make(1)
    assert counts.perform_blocking(asked(1))
    clock.advance(timedelta(minutes=5))
    assert not counts.perform_blocking(asked(2))
    with pytest.raises(LimitExceeded):  # kept for a while, against a clock that is set back
        counts.perform_blocking(asked(1, b"other", clock.now + timedelta(minutes=5)))
    clock.advance(timedelta(minutes=5))
    assert counts.perform_blocking(asked(1, b"other", clock.now + timedelta(minutes=5)))


def test_a_full_memory_refuses_new_nonces_and_keeps_the_live_ones(make: Make) -> None:
    counts = make(2)
    assert counts.perform_blocking(asked(1, b"a"))
    assert counts.perform_blocking(asked(1, b"b"))
    for _ in range(3):
        with pytest.raises(LimitExceeded, match="nonce counts is full"):
            counts.perform_blocking(asked(1, b"c"))
    assert not counts.perform_blocking(asked(1, b"a"))
    assert counts.perform_blocking(asked(2, b"a"))


ALICE, BOB, CAROL = (bytes([number]) * OWNER_SIZE for number in range(3))


def taken(counts: Counts, owner: bytes, expires: datetime = EXPIRES) -> int:
    """How many new nonces of an owner's are taken before one is refused."""
    for number in range(1000):
        try:
            assert counts.perform_blocking(asked(1, b"%d" % number, expires, owner))
        except LimitExceeded:
            return number
    raise AssertionError("there is no end")


def test_one_user_leaves_half_of_the_memory_and_two_a_third(make: Make) -> None:
    counts = make(60)
    assert taken(counts, ALICE) == 30
    assert taken(counts, BOB) == 15  # what was taken stays, so the second gets half of the rest
    assert taken(counts, CAROL) == 8
    with pytest.raises(LimitExceeded, match="use a nonce for several requests"):
        counts.perform_blocking(asked(1, b"new", owner=ALICE))
    assert not counts.perform_blocking(asked(1, b"0", owner=ALICE))
    assert counts.perform_blocking(asked(2, b"0", owner=ALICE)), "what he has is his"
    assert counts.perform_blocking(asked(1, b"of nobody that is known")), "there is room"


def test_a_users_share_is_given_back_when_his_nonces_are_forgotten(make: Make, clock: Clock) -> None:
    counts = make(20)
    assert taken(counts, ALICE) == 10
    for _ in range(3):
        clock.advance(timedelta(minutes=10))
        later = clock.now + timedelta(minutes=5)
        assert taken(counts, BOB, later) == 10
        clock.advance(timedelta(minutes=10))
        later = clock.now + timedelta(minutes=5)
        assert taken(counts, ALICE, later) == 10
        assert counts.perform_blocking(asked(1, b"x", later, CAROL))


def test_the_share_is_one_of_all_processes(tmp_path: Path, clock: Clock) -> None:
    first, second = (SqliteCounts(tmp_path / "counts.db", 20, clock) for _ in range(2))
    assert taken(first, ALICE) == 10
    with pytest.raises(LimitExceeded, match="kept for others"):
        second.perform_blocking(asked(1, b"new", owner=ALICE))
    assert second.perform_blocking(asked(1, b"new", owner=BOB))
    first.close()
    second.close()


def test_memory_of_owners_is_given_back_too(clock: Clock) -> None:
    """Users who come once leave nothing."""
    counts = MemoryCounts(10, clock)
    tracemalloc.start()
    try:
        for number in range(2000):
            expires = clock.now + timedelta(seconds=1)
            assert counts.perform_blocking(asked(1, b"n", expires, number.to_bytes(OWNER_SIZE, "big")))
            clock.advance(timedelta(minutes=6))
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()


def test_threads_at_once_use_each_count_once(make: Make) -> None:
    counts = make()

    def ask(number: int) -> bool:
        return counts.perform_blocking(asked(number // 8 + 1))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(160)))
    assert sum(answers) == 20


def test_asynchronous_callers_get_the_same(make: Make) -> None:
    counts = make()

    async def ask() -> list[bool]:
        return [await counts.perform(asked(1)), await counts.perform(asked(1))]

    assert anyio.run(ask) == [True, False]


def test_there_must_be_room_for_one(make: Make) -> None:
    with pytest.raises(UsageError):
        make(0)


def _race(path: str, start: Any, used: Any) -> None:
    counts = SqliteCounts(path)
    start.wait()
    far = datetime.fromtimestamp(4_000_000_000, START.tzinfo)
    used.put(sum(counts.perform_blocking(NonceCount(b"n", count, far)) for count in range(1, 31)))


def test_processes_at_once_use_each_count_once(tmp_path: Path) -> None:
    path = tmp_path / "counts.db"
    SqliteCounts(path).close()
    spawn = multiprocessing.get_context("spawn")
    start, used = spawn.Barrier(2), spawn.Queue()
    workers = [spawn.Process(target=_race, args=(str(path), start, used)) for _ in range(2)]
    for worker in workers:
        worker.start()
    total = sum(used.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join()
    assert total == 30


class FakeRedis:
    """Does what redis.asyncio.Redis does for SET NX PX."""

    def __init__(self) -> None:
        self.keys: dict[bytes, int] = {}

    async def set(self, name: bytes, value: bytes, *, nx: bool, px: int) -> object:
        assert nx
        return None if name in self.keys else self.keys.setdefault(name, px) and True


def test_a_shared_store_uses_each_count_once(clock: Clock) -> None:
    redis = FakeRedis()
    counts = SharedCounts(redis, clock=clock)

    async def ask() -> list[bool]:
        return [await counts.perform(asked(n, nonce)) for n, nonce in [(1, b"a"), (1, b"a"), (2, b"a"), (1, b"b")]]

    assert anyio.run(ask) == [True, False, True, True]
    assert set(redis.keys.values()) == {10 * 60 * 1000}, "kept until the nonce expires, and for a clock set back"
    clock.advance(timedelta(minutes=5))
    assert anyio.run(ask) == [False] * 4
    with pytest.raises(MissingService):
        counts.perform_blocking(asked(1))


def test_performers_are_named_and_the_default_is_memory(tmp_path: Path) -> None:
    made: list[Performer] = [sqlite_performer(tmp_path / "c.db"), shared_performer(FakeRedis())]
    assert [type(one) for one in made] == [SqliteCounts, SharedCounts]
    assert isinstance(Services().performer_of(NonceCount), MemoryCounts)
