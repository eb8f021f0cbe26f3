"""The event loop of a command, which a signal ends cleanly."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskStatus


def run_until_signal(main: Callable[[], Awaitable[int]], backend: str) -> tuple[int, signal.Signals | None]:
    """Run `main` until it returns, or until SIGINT or SIGTERM cancels it.

    Args:
        main: the work; its result is the exit status.
        backend: ``asyncio`` or ``trio``.

    Returns:
        The exit status, and the signal that ended the work, if one did.
    """
    return anyio.run(_watched, main, backend=backend)


async def _watched(main: Callable[[], Awaitable[int]]) -> tuple[int, signal.Signals | None]:
    caught: list[signal.Signals] = []
    status = 0
    async with anyio.create_task_group() as tasks:

        async def watch(*, task_status: TaskStatus[None]) -> None:
            try:
                with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    task_status.started()
                    async for received in signals:
                        caught.append(received)
                        tasks.cancel_scope.cancel()
                        return
            except NotImplementedError:
                # asyncio on Windows hands on no signals; KeyboardInterrupt ends the loop instead.
                task_status.started()

        await tasks.start(watch)
        status = await main()
        tasks.cancel_scope.cancel()
    return status, caught[0] if caught else None
