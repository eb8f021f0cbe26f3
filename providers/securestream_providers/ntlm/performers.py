"""Performs NTLM logons against the account store that the acceptor's credential names: the edge of this provider."""

from __future__ import annotations

from typing import Any

import anyio.to_thread

from securestream.credentials import Accounts, find_form
from securestream.drive import Performer
from securestream_providers.ntlm.logon import LogonResult, NtlmLogon, verify_locally


class LogonPerformer(Performer):
    """Verifies `NtlmLogon` locally; a store that may wait for a disk or a network is asked in a worker thread."""

    async def perform(self, effect: Any) -> LogonResult:
        """Verify the logon.

        A logon in a worker thread is not interrupted by cancellation: its failure is counted whoever hangs up.

        Raises:
            LogonDenied: it is refused.
        """
        logon: NtlmLogon = effect
        accounts = find_form(logon.credential, Accounts)
        if accounts is None or not accounts.store.blocking:
            return verify_locally(logon)
        return await anyio.to_thread.run_sync(verify_locally, logon)

    def perform_blocking(self, effect: Any) -> LogonResult:
        """Verify the logon in the calling thread."""
        return verify_locally(effect)


def logon_performer() -> Performer:
    """The default performer of `NtlmLogon`."""
    return LogonPerformer()
