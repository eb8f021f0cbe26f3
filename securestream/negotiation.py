"""What a negotiation came to: the answer to "why this mechanism?"; no protocol, a value that every end can show."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from securestream.errors import ErrorKind
from securestream.options import Role
from securestream.values import made_quickly


class Verdict(Enum):
    """What became of one mechanism."""

    CHOSEN = "chosen"
    OFFERED = "offered"
    """Offered to the peer, or by it, and not needed: another one was chosen before it came to this one."""
    PASSED_OVER = "passed over"
    """It could not be used, or policy forbids it; `Consideration.reason` says why."""


@made_quickly
@dataclass(frozen=True)
class Consideration:
    """One mechanism in a negotiation.

    Args:
        mechanism: its name, as `PackageInfo.name` has it; the identifier itself where it is not known here.
        identifier: its OID, dotted, or the GUID of its NEGOEX scheme.
        verdict: what became of it.
        reason: a sentence why, with the exact name, realm or seconds that it was about; no secret.
        kind: of the error that made it be passed over, or `None`.
    """

    mechanism: str
    identifier: str
    verdict: Verdict
    reason: str = ""
    kind: ErrorKind | None = None

    def __str__(self) -> str:
        return f"{self.mechanism}: {self.verdict.value}" + (f": {self.reason}" if self.reason else "")


@made_quickly
@dataclass(frozen=True)
class Negotiation:
    """A negotiation of mechanisms, as one end saw it (SecPkgContext_NegotiationInfo, and why).

    Args:
        role: whose view it is.
        mechanisms: every mechanism that was considered, in order of preference.
        offered: the OIDs that the initiator offered, in its order; empty where the tokens came bare.
        protected: whether it was proved that nobody altered what the mechanism was chosen from: the list, by MICs at
            both ends, or, where NEGOEX stood first in it, the schemes of NEGOEX, by VERIFY at both ends.
    """

    role: Role
    mechanisms: tuple[Consideration, ...]
    offered: tuple[str, ...] = ()
    protected: bool = False

    @property
    def chosen(self) -> Consideration | None:
        """The mechanism that was chosen; `None` when none was left."""
        return next((one for one in self.mechanisms if one.verdict is Verdict.CHOSEN), None)

    def reason_against(self, mechanism: str) -> str:
        """Why the mechanism of that name (in any case) was not chosen; empty if it was, or was not considered."""
        wanted = mechanism.casefold()
        reasons = (one.reason or one.verdict.value for one in self.mechanisms if self._is_rejected(one, wanted))
        return next(reasons, "")

    @staticmethod
    def _is_rejected(one: Consideration, wanted: str) -> bool:
        return one.verdict is not Verdict.CHOSEN and one.mechanism.casefold() == wanted

    def __str__(self) -> str:
        """One line for each mechanism."""
        return "\n".join(str(one) for one in self.mechanisms)
