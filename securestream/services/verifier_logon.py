"""Performs `VerifierLogon` and `FindVerifier` against the account store that the acceptor's credential names."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from securestream.credentials import Accounts, find_form
from securestream.drive import BoundedThreads, Performer
from securestream.logon import FindVerifier, Found, LogonResult, VerifierLogon, find_locally, verify_locally

LOGON_THREADS: Final = 8
"""Logons that look into a blocking store at once."""

LOGON_QUEUE: Final = 256
"""Logons that may wait for that; one more is refused."""


class VerifierPerformer(Performer):
    """Answers locally; a store that may wait for a disk or a network is asked in a worker thread."""

    def __init__(self) -> None:
        self._threads = BoundedThreads("verifier.logon", LOGON_THREADS, LOGON_QUEUE)

    async def perform(self, effect: Any) -> Any:
        """Answer. A logon in a worker thread goes on to its end when it is cancelled: its failure is counted.

        Raises:
            LogonDenied: it is refused.
            LimitExceeded: too many logons wait for a blocking store.
        """
        accounts = find_form(effect.credential, Accounts)
        if accounts is None or not accounts.store.blocking:
            return self.perform_blocking(effect)
        return await self._threads.run(partial(self.perform_blocking, effect), abandon_on_cancel=True)

    def perform_blocking(self, effect: FindVerifier | VerifierLogon[Any]) -> Found | LogonResult[Any]:
        """Answer in the calling thread."""
        return find_locally(effect) if isinstance(effect, FindVerifier) else verify_locally(effect)


def verifier_performer() -> Performer:
    """The default performer of `VerifierLogon` and `FindVerifier`."""
    return VerifierPerformer()
