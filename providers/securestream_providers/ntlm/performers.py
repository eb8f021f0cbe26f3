"""Performs NTLM logons against the account store that the acceptor's credential names: the edge of this provider."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from securestream.credentials import Accounts, find_form
from securestream.drive import BoundedThreads, Performer
from securestream_providers.ntlm.logon import LogonResult, NtlmLogon, verify_locally

LOGON_THREADS: Final = 8
"""Logons that look into a blocking store at once."""

LOGON_QUEUE: Final = 256
"""Logons that may wait for that; one more is refused."""


class LogonPerformer(Performer):
    """Verifies `NtlmLogon` locally; a store that may wait for a disk or a network is asked in a worker thread."""

    def __init__(self) -> None:
        self._threads = BoundedThreads("ntlm.logon", LOGON_THREADS, LOGON_QUEUE)

    async def perform(self, effect: Any) -> LogonResult:
        """Verify the logon.

        Cancellation does not wait for a store that hangs. A logon in a worker thread goes on to its end all the same:
        its failure is counted whoever hangs up.

        Raises:
            LogonDenied: it is refused.
            LimitExceeded: too many logons wait for a blocking store.
        """
        logon: NtlmLogon = effect
        accounts = find_form(logon.credential, Accounts)
        if accounts is None or not accounts.store.blocking:
            return verify_locally(logon)
        return await self._threads.run(partial(verify_locally, logon), abandon_on_cancel=True)

    def perform_blocking(self, effect: Any) -> LogonResult:
        """Verify the logon in the calling thread."""
        return verify_locally(effect)


def logon_performer() -> Performer:
    """The default performer of `NtlmLogon`."""
    return LogonPerformer()
