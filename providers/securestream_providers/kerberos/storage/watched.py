"""What was made of files, kept until one of them changes."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_RACY: Final = 2_000_000_000
"""Nanoseconds within which a file may change again without its time of change showing it."""

_MOST: Final = 64

Version = tuple[int, ...] | None
"""What tells one state of a file from another; `None` where there is none."""


def version_of(path: str) -> tuple[Version, bool]:
    """The state of a file or folder, and whether it is old enough to be told from every later one."""
    try:
        found = os.stat(path)
    except OSError:
        return None, True
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return state, time.time_ns() - changed > _RACY


@dataclass(frozen=True)
class _Kept(Generic[T]):
    value: T
    versions: tuple[tuple[str, Version], ...]
    settled: bool


class Watched(Generic[T]):
    """Values by key, each made of files; as many as `_MOST`, the longest unused go. Several threads may use it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept[T]] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Watched {len(self._kept)} values>"

    def current(self, key: Hashable) -> T | None:
        """What is kept, if all files it was made of are as they were."""
        with self._lock:
            kept = self._kept.get(key)
        if kept is None or not kept.settled:
            return None
        if any(version_of(path)[0] != version for path, version in kept.versions):
            return None
        return kept.value

    def load(self, key: Hashable, make: Callable[[Callable[[str], None]], T]) -> T:
        """What is kept, or is made now. `make` is given a function to which it names each file before it reads it."""
        found = self.current(key)
        if found is not None:
            return found
        seen: dict[str, tuple[Version, bool]] = {}

        def watch(path: str) -> None:
            seen.setdefault(path, version_of(path))

        value = make(watch)
        versions = tuple((path, version) for path, (version, _) in seen.items())
        with self._lock:
            self._kept[key] = _Kept(value, versions, all(settled for _, settled in seen.values()))
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return value
