"""What became of each scheme in a NEGOEX negotiation, for the report of the negotiation around it."""

from __future__ import annotations

from securestream.errors import HandshakeError, NoCommonMechanism
from securestream.negotiation import Negotiation, Verdict
from securestream.provider import SecurityPackage
from securestream_providers.negotiate.considerations import Considerations


class Schemes(Considerations):
    """The considerations of one negotiation by NEGOEX.

    Args:
        role: whose view it is.
    """

    def passed_over(self, package: SecurityPackage, reason: str | HandshakeError) -> None:
        """Note why a package is not used."""
        failure = reason if isinstance(reason, HandshakeError) else None
        if failure is not None:
            failure.token = None  # of no use to a peer that takes another scheme
        self.note(package.info.name, _scheme(package), Verdict.PASSED_OVER, str(reason), failure)

    def available(self, package: SecurityPackage, reason: str = "") -> None:
        """Note a package that could be used."""
        self.note(package.info.name, _scheme(package), Verdict.OFFERED, reason)

    def chosen(self, package: SecurityPackage, reason: str = "") -> None:
        """Note the package that does the work."""
        self.note(package.info.name, _scheme(package), Verdict.CHOSEN, reason)

    def report(self) -> Negotiation:
        """The report of a negotiation that both ends have proved."""
        return Negotiation(self.role, self.entries, protected=True)

    def nothing_left(self) -> NoCommonMechanism:
        """The error where no scheme is left, with every reason; to be raised."""
        unproved = Negotiation(self.role, self.entries)
        return self.failed("NEGOEX has no scheme left", unproved, unexplained="the peer does not have it")


def _scheme(package: SecurityPackage) -> str:
    return str(package.info.negoex_scheme)
