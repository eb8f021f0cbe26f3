"""What was considered in a negotiation, an entry for each mechanism: the part that SPNEGO and NEGOEX have in common."""

from __future__ import annotations

from securestream.errors import HandshakeError, NoCommonMechanism
from securestream.negotiation import Consideration, Negotiation, Verdict
from securestream.options import Role


class Considerations:
    """The entries of one negotiation, by identifier; a later one takes the place of an earlier one.

    Args:
        role: whose view it is.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self._entries: dict[str, Consideration] = {}
        self._first: HandshakeError | None = None
        """The first failure for which a mechanism was passed over."""

    @property
    def entries(self) -> tuple[Consideration, ...]:
        """In the order in which the mechanisms were first considered."""
        return tuple(self._entries.values())

    def note(
        self, name: str, identifier: str, verdict: Verdict, reason: str = "", failure: HandshakeError | None = None
    ) -> None:
        """Note what became of a mechanism.

        Args:
            name: the mechanism's.
            identifier: its OID or scheme.
            verdict: what became of it.
            reason: why.
            failure: the error that says why, if it was one.
        """
        if self._first is None:
            self._first = failure
        kind = None if failure is None else failure.kind
        self.add(Consideration(name, identifier, verdict, reason, kind))

    def add(self, entry: Consideration) -> None:
        """Note what is an entry already."""
        self._entries[entry.identifier] = entry

    def unknown(self, identifier: str) -> None:
        """Note a mechanism that only the peer knows."""
        if identifier not in self._entries:
            self.note(identifier, identifier, Verdict.PASSED_OVER, "this end does not have it")

    def failed(
        self, sentence: str, report: Negotiation, *, unexplained: str = "", token: bytes | None = None
    ) -> NoCommonMechanism:
        """The error where nothing is left, with every reason; to be raised.

        Args:
            sentence: what is told before the reasons.
            report: for the error.
            unexplained: the reason where none was noted; the verdict where it is empty.
            token: owed to the peer.
        """
        reasons = "; ".join(
            f"{one.mechanism}: {one.reason or unexplained or one.verdict.value}" for one in self.entries
        )
        kind = None if self._first is None else self._first.kind
        failure = NoCommonMechanism(
            f"{sentence} ({reasons or 'none was offered'})", kind=kind, token=token, negotiation=report
        )
        failure.__cause__ = self._first
        return failure
