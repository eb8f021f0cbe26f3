"""Performs NTLM logons against the account store that the acceptor's credential names: the edge of this provider."""

from __future__ import annotations

from securestream.drive import Performer
from securestream.services.logons import LogonPerformer
from securestream_providers.ntlm.logon import verify_locally


def logon_performer() -> Performer:
    """The default performer of `NtlmLogon`."""
    return LogonPerformer("ntlm.logon", verify_locally)
