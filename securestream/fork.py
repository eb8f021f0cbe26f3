"""Live cipher state must not be used by two processes: what is registered here is discarded in a forked child.

The one place outside the edges that knows of processes; it performs no I/O. Where the platform has no fork, nothing
is registered.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Protocol
from weakref import ref


class Discardable(Protocol):
    """Something with keys that can be dropped."""

    def discard(self) -> None:
        """Drop the keys; every later use fails."""
        ...


_live: set[ref[Discardable]] = set()
"""A `weakref.WeakSet` would do, at the cost of a call of Python for each holder that is made and each that goes."""


def discard_in_child(holder: Discardable) -> None:
    """Have `holder.discard()` called in each child that this process forks from now on."""
    _live.add(ref(holder, _live.discard))


def _discard_all() -> None:
    with ExitStack() as every:  # one that fails keeps none of the others from being discarded
        for holder in [found() for found in list(_live)]:
            if holder is not None:
                every.callback(holder.discard)
    _live.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_discard_all)
