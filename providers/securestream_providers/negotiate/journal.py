"""Keeps what was considered in a negotiation, and makes the report of it."""

from __future__ import annotations

from collections.abc import Iterator

from securestream.errors import HandshakeError, NoCommonMechanism
from securestream.negotiation import Consideration, Negotiation, Verdict
from securestream.options import Role
from securestream_providers.negotiate.considerations import Considerations
from securestream_providers.negotiate.mechanism import Mechanism


class Journal(Considerations):
    """The considerations of one negotiation by SPNEGO.

    Args:
        role: whose.
    """

    def __init__(self, role: Role) -> None:
        super().__init__(role)
        self.offered: tuple[str, ...] = ()
        """The OIDs that the initiator offered."""

    def passed_over(self, mechanism: Mechanism, reason: str, failure: HandshakeError | None = None) -> None:
        """Note why a mechanism is not used."""
        self.note(mechanism.name, mechanism.oid, Verdict.PASSED_OVER, reason, failure)

    def available(self, mechanism: Mechanism, reason: str = "") -> None:
        """Note a mechanism that both ends, or this one, could use."""
        if reason:
            self.note(mechanism.name, mechanism.oid, Verdict.OFFERED, reason)
        else:
            self.add(mechanism.offered)

    def chosen(self, mechanism: Mechanism, reason: str = "") -> None:
        """Note the mechanism that does the work."""
        if reason:
            self.note(mechanism.name, mechanism.oid, Verdict.CHOSEN, reason)
        else:
            self.add(mechanism.chosen)

    def report(self, *, protected: bool = False, inner: Negotiation | None = None) -> Negotiation:
        """The report.

        Args:
            protected: whether the list was proved to have arrived as it was sent.
            inner: the negotiation inside the chosen mechanism (NEGOEX), whose schemes take its place.
        """
        considered = self.entries if inner is None else tuple(self._considerations(inner))
        return Negotiation(self.role, considered, self.offered, protected)

    def _considerations(self, inner: Negotiation) -> Iterator[Consideration]:
        for entry in self.entries:
            if entry.verdict is Verdict.CHOSEN:
                yield from inner.mechanisms
            else:
                yield entry

    def not_offered(self) -> str:
        """Why mechanisms of this end were not offered; empty where all were."""
        passed = (one for one in self.entries if one.verdict is Verdict.PASSED_OVER)
        return "; ".join(f"{one.mechanism}: {one.reason}" for one in passed)

    def nothing_left(self, token: bytes | None = None) -> NoCommonMechanism:
        """The error where no mechanism is left, with every reason; to be raised."""
        return self.failed("no mechanism is left", self.report(), token=token)
