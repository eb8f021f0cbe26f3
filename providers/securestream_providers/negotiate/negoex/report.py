"""What became of each scheme in a NEGOEX negotiation, for the report of the negotiation around it."""

from __future__ import annotations

import uuid

from securestream.errors import ErrorKind, HandshakeError, NoCommonMechanism
from securestream.negotiation import Consideration, Negotiation, Verdict
from securestream.options import Role
from securestream.provider import SecurityPackage


class Schemes:
    """The considerations, by scheme.

    Args:
        role: whose view it is.
    """

    def __init__(self, role: Role) -> None:
        self._role = role
        self._entries: dict[str, Consideration] = {}
        self._first: HandshakeError | None = None

    def passed_over(self, package: SecurityPackage, reason: str | HandshakeError) -> None:
        """Note why a package is not used."""
        kind = None
        if isinstance(reason, HandshakeError):
            reason.token = None  # of no use to a peer that takes another scheme
            kind = reason.kind
            self._first = self._first or reason
        self._note(package, Verdict.PASSED_OVER, str(reason), kind)

    def unknown(self, schemes: tuple[uuid.UUID, ...]) -> None:
        """Note the schemes that only the peer has."""
        for scheme in schemes:
            identifier = str(scheme)
            if identifier not in self._entries:
                reason = "this end does not have it"
                self._entries[identifier] = Consideration(identifier, identifier, Verdict.PASSED_OVER, reason)

    def available(self, package: SecurityPackage, reason: str = "") -> None:
        """Note a package that could be used."""
        self._note(package, Verdict.OFFERED, reason)

    def chosen(self, package: SecurityPackage, reason: str = "") -> None:
        """Note the package that does the work."""
        self._note(package, Verdict.CHOSEN, reason)

    def _note(self, package: SecurityPackage, verdict: Verdict, reason: str, kind: ErrorKind | None = None) -> None:
        identifier = str(package.info.negoex_scheme)
        self._entries[identifier] = Consideration(package.info.name, identifier, verdict, reason, kind)

    def report(self) -> Negotiation:
        """The report of a negotiation that both ends have proved."""
        return Negotiation(self._role, tuple(self._entries.values()), protected=True)

    def nothing_left(self) -> NoCommonMechanism:
        """The error where no scheme is left, with every reason; to be raised."""
        entries = tuple(self._entries.values())
        reasons = "; ".join(f"{one.mechanism}: {one.reason or 'the peer does not have it'}" for one in entries)
        failure = NoCommonMechanism(
            f"NEGOEX has no scheme left ({reasons or 'none was offered'})",
            kind=None if self._first is None else self._first.kind,
            negotiation=Negotiation(self._role, entries),
        )
        failure.__cause__ = self._first
        return failure
