"""Several servers in a race: a silent one is given a moment, then the next one is asked beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectSendStream

Attempt: TypeAlias = Callable[[], Awaitable[bytes]]
_Outcome: TypeAlias = tuple[bytes | None, OSError | None]


async def first_answer(groups: Sequence[Sequence[Attempt]], moment: float) -> tuple[bytes | None, list[OSError]]:
    """The first answer that one of many attempts gives; the others are cancelled.

    Args:
        groups: attempts that begin together; the next group begins after a moment of silence, or at once when nothing
            that has begun can still succeed.
        moment: seconds.

    Returns:
        The answer, or `None` when every attempt failed; and why each did.
    """
    failures: list[OSError] = []
    outcomes, receive = anyio.create_memory_object_stream[_Outcome](inf)
    answer: bytes | None = None
    async with anyio.create_task_group() as tasks, outcomes, receive:
        waiting, running = list(groups), 0
        while waiting or running:
            if waiting:
                group = waiting.pop(0)
                running += len(group)
                for attempt in group:
                    tasks.start_soon(_run, attempt, outcomes)
            with anyio.move_on_after(moment if waiting else None):
                while running:
                    answer, failure = await receive.receive()
                    running -= 1
                    if failure is None:
                        waiting.clear()
                        running = 0
                        break
                    failures.append(failure)
        tasks.cancel_scope.cancel()
    return answer, failures


async def _run(attempt: Attempt, outcomes: MemoryObjectSendStream[_Outcome]) -> None:
    try:
        outcome: _Outcome = (await attempt(), None)
    except OSError as problem:
        outcome = (None, problem)
    outcomes.send_nowait(outcome)
