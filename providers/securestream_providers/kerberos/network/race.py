"""Several servers in a race: a silent one is given a moment, then the next one is asked beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import anyio

Attempt: TypeAlias = Callable[[], Awaitable[bytes]]


async def first_answer(groups: Sequence[Sequence[Attempt]], moment: float) -> tuple[bytes | None, list[OSError]]:
    """The first answer that one of many attempts gives; the others are cancelled.

    Args:
        groups: attempts that begin together; the next group begins after a moment of silence, or at once when nothing
            that has begun can still succeed.
        moment: seconds.

    Returns:
        The answer, or `None` when every attempt failed; and why each did.
    """
    race = _Race()
    async with anyio.create_task_group() as tasks:
        waiting = list(groups)
        while race.answer is None and (waiting or race.running):
            if waiting:
                for attempt in waiting.pop(0):
                    race.running += 1
                    tasks.start_soon(race.run, attempt)
            with anyio.move_on_after(moment if waiting else None):
                await race.decided()
        tasks.cancel_scope.cancel()
    return race.answer, race.failures


class _Race:
    """What the attempts leave: plain values, so that one which ends after the race finds nothing closed."""

    def __init__(self) -> None:
        self.running = 0
        self.answer: bytes | None = None
        self.failures: list[OSError] = []
        self._ended = anyio.Event()

    async def run(self, attempt: Attempt) -> None:
        """Make one attempt."""
        try:
            answer = await attempt()
        except OSError as problem:
            self.failures.append(problem)
        else:
            if self.answer is None:
                self.answer = answer
        finally:
            self.running -= 1
            self._ended.set()

    async def decided(self) -> None:
        """Wait until there is an answer, or nothing is running that could give one."""
        while self.answer is None and self.running:
            self._ended = anyio.Event()
            await self._ended.wait()
