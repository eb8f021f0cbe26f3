"""Keeps what was considered in a negotiation, and makes the report of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from securestream.errors import ErrorKind, HandshakeError, NoCommonMechanism
from securestream.negotiation import Consideration, Negotiation, Verdict
from securestream.options import Role
from securestream_providers.negotiate.mechanism import Mechanism

_Note: TypeAlias = tuple[str, str, Verdict, str, ErrorKind | None]
"""What makes a `Consideration`, which is made for the report: notes of one mechanism replace each other until then."""


class Journal:
    """The considerations of one negotiation.

    Args:
        role: whose.
    """

    def __init__(self, role: Role) -> None:
        self._role = role
        self._notes: dict[str, _Note] = {}
        self._first: HandshakeError | None = None
        self.offered: tuple[str, ...] = ()
        """The OIDs that the initiator offered."""

    def passed_over(self, mechanism: Mechanism, reason: str, failure: HandshakeError | None = None) -> None:
        """Note why a mechanism is not used."""
        if self._first is None:
            self._first = failure
        kind = None if failure is None else failure.kind
        self._note(mechanism.name, mechanism.oid, Verdict.PASSED_OVER, reason, kind)

    def unknown(self, oid: str) -> None:
        """Note a mechanism that only the peer knows."""
        self._note(oid, oid, Verdict.PASSED_OVER, "this end does not have it")

    def available(self, mechanism: Mechanism, reason: str = "") -> None:
        """Note a mechanism that both ends, or this one, could use."""
        self._note(mechanism.name, mechanism.oid, Verdict.OFFERED, reason)

    def chosen(self, mechanism: Mechanism, reason: str = "") -> None:
        """Note the mechanism that does the work."""
        self._note(mechanism.name, mechanism.oid, Verdict.CHOSEN, reason)

    def _note(self, name: str, oid: str, verdict: Verdict, reason: str, kind: ErrorKind | None = None) -> None:
        self._notes[oid] = (name, oid, verdict, reason, kind)

    def report(self, *, protected: bool = False, inner: Negotiation | None = None) -> Negotiation:
        """The report.

        Args:
            protected: whether the list was proved to have arrived as it was sent.
            inner: the negotiation inside the chosen mechanism (NEGOEX), whose schemes take its place.
        """
        return Negotiation(self._role, tuple(self._considerations(inner)), self.offered, protected)

    def _considerations(self, inner: Negotiation | None) -> Iterator[Consideration]:
        for name, oid, verdict, reason, kind in self._notes.values():
            if verdict is Verdict.CHOSEN and inner is not None:
                yield from inner.mechanisms
            else:
                yield Consideration(name, oid, verdict, reason, kind)

    def not_offered(self) -> str:
        """Why mechanisms of this end were not offered; empty where all were."""
        notes = self._notes.values()
        return "; ".join(f"{name}: {reason}" for name, _, verdict, reason, _ in notes if verdict is Verdict.PASSED_OVER)

    def nothing_left(self, token: bytes | None = None) -> NoCommonMechanism:
        """The error where no mechanism is left, with every reason; to be raised."""
        report = self.report()
        reasons = "; ".join(f"{one.mechanism}: {one.reason or one.verdict.value}" for one in report.mechanisms)
        kind = None if self._first is None else self._first.kind
        failure = NoCommonMechanism(
            f"no mechanism is left ({reasons or 'none was offered'})", kind=kind, token=token, negotiation=report
        )
        failure.__cause__ = self._first
        return failure
