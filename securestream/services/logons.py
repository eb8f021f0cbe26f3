"""Performs logons against the account store that the acceptor's credential names: what all such mechanisms share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from securestream.credentials import Accounts, find_form
from securestream.drive import BoundedThreads, Performer

LOGON_THREADS: Final = 8
"""Logons of one mechanism that look into a blocking store at once."""

LOGON_QUEUE: Final = 256
"""Logons that may wait for that; one more is refused."""


class LogonPerformer(Performer):
    """Answers locally; a store that may wait for a disk or a network is asked in a worker thread.

    Args:
        name: of its worker threads.
        verify: answers an effect, whose ``credential`` says where the accounts are, in the thread that calls it.
    """

    def __init__(self, name: str, verify: Callable[[Any], Any]) -> None:
        self._verify = verify
        self._threads = BoundedThreads(name, LOGON_THREADS, LOGON_QUEUE)

    async def perform(self, effect: Any) -> Any:
        """Answer.

        Cancellation does not wait for a store that hangs. A logon in a worker thread goes on to its end all the same:
        its failure is counted whoever hangs up.

        Raises:
            LogonDenied: it is refused.
            LimitExceeded: too many logons wait for a blocking store.
        """
        accounts = find_form(effect.credential, Accounts)
        if accounts is None or not accounts.store.blocking:
            return self._verify(effect)
        return await self._threads.run(partial(self._verify, effect), abandon_on_cancel=True)

    def perform_blocking(self, effect: Any) -> Any:
        """Answer in the calling thread."""
        return self._verify(effect)
