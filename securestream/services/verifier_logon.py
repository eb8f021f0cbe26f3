"""Performs `VerifierLogon` and `FindVerifier` against the account store that the acceptor's credential names."""

from __future__ import annotations

from typing import Any

from securestream.drive import Performer
from securestream.logon import FindVerifier, Found, LogonResult, VerifierLogon, find_locally, verify_locally
from securestream.services.logons import LogonPerformer


def _answer(effect: FindVerifier | VerifierLogon[Any]) -> Found | LogonResult[Any]:
    return find_locally(effect) if isinstance(effect, FindVerifier) else verify_locally(effect)


def verifier_performer() -> Performer:
    """The default performer of `VerifierLogon` and `FindVerifier`."""
    return LogonPerformer("verifier.logon", _answer)
