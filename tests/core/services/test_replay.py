"""Replay caches: what is accepted once, is accepted exactly once, whoever asks at the same time."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest

from securestream.drive import Performer, Services
from securestream.errors import LimitExceeded, MissingService, UsageError
from securestream.files import UnsafeFile
from securestream.provider import FirstUse
from securestream.services import replay
from securestream.services.expiring import GRACE
from securestream.services.replay import MemoryReplay, SharedReplay, SqliteReplay, memory_performer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SPAWN = multiprocessing.get_context("spawn")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


Make: TypeAlias = Callable[..., Performer]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Make:
    def made(entries: int = 100) -> Performer:
        if request.param == "memory":
            return MemoryReplay(entries, clock)
        return SqliteReplay(tmp_path / "replay.db", entries, clock)

    return made


def use(key: bytes | str, minutes: int = 5) -> FirstUse:
    return FirstUse(key if isinstance(key, bytes) else key.encode(), NOW + minutes * MINUTE)


def test_a_key_is_new_once(make: Make) -> None:
    cache = make()
    assert [cache.perform_blocking(use(key)) for key in ("a", "b", "a", "a", "b", "c")] == [
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_a_key_is_used_whatever_expiry_it_comes_with_again(make: Make) -> None:
    cache = make()
    assert cache.perform_blocking(use("a", 5))
    assert not cache.perform_blocking(use("a", 60))


def test_what_has_expired_is_refused_unseen(make: Make, clock: Clock) -> None:
    cache = make()
    assert not cache.perform_blocking(use("a", 0))
    assert not cache.perform_blocking(use("b", -1))
    clock.now += 6 * MINUTE
    assert not cache.perform_blocking(use("c", 5))


def test_an_entry_lives_until_its_own_expiry(make: Make, clock: Clock) -> None:
    cache = make()
    for minutes in (60, 1, 30):
        assert cache.perform_blocking(use(str(minutes), minutes))
    clock.now += 59 * MINUTE
    cache.perform_blocking(use("other", 120))
    assert not cache.perform_blocking(use("60", 120))


def test_a_clock_set_back_does_not_open_what_was_used(make: Make, clock: Clock) -> None:
    cache = make()
    assert cache.perform_blocking(use("a", 5))
    clock.now += 5 * MINUTE + GRACE / 2
    cache.perform_blocking(use("other", 60))
    clock.now -= GRACE / 2 + MINUTE
    assert not cache.perform_blocking(use("a", 5))


def test_a_full_cache_refuses_what_is_new_and_forgets_nothing(make: Make) -> None:
    cache = make(3)
    for key in "abc":
        assert cache.perform_blocking(use(key))
    for key in "defg":
        with pytest.raises(LimitExceeded, match="full"):
            cache.perform_blocking(use(key))
    assert [cache.perform_blocking(use(key)) for key in "abc"] == [False] * 3


def test_room_comes_back_when_entries_expire(make: Make, clock: Clock) -> None:
    cache = make(3)
    for round_ in range(10):
        for key in "abc":
            assert cache.perform_blocking(FirstUse(f"{key}{round_}".encode(), clock.now + MINUTE))
        clock.now += MINUTE + GRACE
    for key in "abc":
        assert cache.perform_blocking(FirstUse(key.encode(), clock.now + MINUTE))
    with pytest.raises(LimitExceeded):
        cache.perform_blocking(FirstUse(b"d", clock.now + MINUTE))


def test_threads_that_present_one_key_at_once_are_accepted_once(make: Make) -> None:
    cache = make(1000)
    accepted: list[int] = []
    barrier = threading.Barrier(8)

    def present() -> None:
        barrier.wait(30)
        accepted.extend(number for number in range(200) if cache.perform_blocking(use(str(number))))

    threads = [threading.Thread(target=present) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(accepted) == Counter(range(200))


@pytest.mark.anyio
async def test_tasks_that_present_one_key_at_once_are_accepted_once(make: Make) -> None:
    cache = make(1000)
    accepted: list[int] = []

    async def present() -> None:
        accepted.extend([number for number in range(20) if await cache.perform(use(str(number)))])

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(present)
    assert Counter(accepted) == Counter(range(20))


def test_a_cache_without_room_cannot_be_made(make: Make) -> None:
    with pytest.raises(UsageError):
        make(0)


# --- services


def test_the_default_is_one_cache_for_all_connections_of_a_process() -> None:
    services = Services()
    assert isinstance(memory_performer(), MemoryReplay)
    assert services.performer_of(FirstUse) is services.performer_of(FirstUse)
    assert services.performer_of(FirstUse) is not Services().performer_of(FirstUse)


# --- SQLite


def present_all(path: str, keys: int, start: float, results: str) -> None:
    """In a process of its own: present every key, and write down which were accepted."""
    cache = replay.sqlite_performer(path)
    while datetime.now(UTC).timestamp() < start:
        pass
    expires = datetime.now(UTC) + timedelta(hours=1)
    accepted = [n for n in range(keys) if cache.perform_blocking(FirstUse(hashlib.sha256(b"%d" % n).digest(), expires))]
    Path(results).write_text(" ".join(map(str, accepted)))


def test_the_same_key_from_8_processes_at_once_a_thousand_times_is_accepted_exactly_once_each(tmp_path: Path) -> None:
    start = (datetime.now(UTC) + timedelta(seconds=3)).timestamp()
    outputs = [tmp_path / f"accepted{number}" for number in range(8)]
    path = str(tmp_path / "replay.db")
    workers = [SPAWN.Process(target=present_all, args=(path, 1000, start, str(output))) for output in outputs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 8
    accepted = Counter(int(number) for output in outputs for number in output.read_text().split())
    assert accepted == Counter(range(1000))


def test_what_was_used_is_known_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    first = SqliteReplay(tmp_path / "replay.db", clock=clock)
    assert first.perform_blocking(use("a"))
    first.close()
    assert not SqliteReplay(tmp_path / "replay.db", clock=clock).perform_blocking(use("a"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_cache_that_others_could_write_is_refused(tmp_path: Path) -> None:
    SqliteReplay(tmp_path / "replay.db").close()
    (tmp_path / "replay.db").chmod(0o666)
    with pytest.raises(UnsafeFile):
        SqliteReplay(tmp_path / "replay.db")


# --- shared stores


class Store:
    """Redis as far as it is needed: SET with NX and PX."""

    def __init__(self) -> None:
        self.kept: dict[bytes, int] = {}
        self.delay = 0.0

    async def set(self, name: bytes, value: bytes, *, nx: bool, px: int) -> bool | None:
        await anyio.sleep(self.delay)
        assert nx
        if name in self.kept:
            return None
        self.kept[name] = px
        return True


@pytest.mark.anyio
async def test_a_shared_store_keeps_a_key_until_it_expired_everywhere(clock: Clock) -> None:
    store = Store()
    cache = SharedReplay(store, b"prefix:", clock)
    assert await cache.perform(use("a", 5))
    assert not await cache.perform(use("a", 5))
    assert not await cache.perform(use("b", 0))
    assert store.kept == {b"prefix:a": 600_000}


@pytest.mark.anyio
async def test_a_shared_store_that_does_not_answer_refuses(clock: Clock) -> None:
    store = Store()
    store.delay = math.inf
    with pytest.raises(TimeoutError):
        await SharedReplay(store, clock=clock, timeout=0.01).perform(use("a"))


def test_a_shared_store_is_for_asynchronous_callers() -> None:
    with pytest.raises(MissingService, match="FirstUse"):
        replay.shared_performer(Store()).perform_blocking(use("a"))
