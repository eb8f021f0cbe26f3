"""The credential that is particular to Kerberos: tickets that somebody fetched already."""

from __future__ import annotations

from dataclasses import dataclass

from securestream.credentials import Credential
from securestream_providers.krb5.tickets import TicketCache


@dataclass(frozen=True, repr=False)
class Tickets(Credential):
    """Tickets that are at hand: fetched before, or delegated by an initiator (`SecurityContext.delegated`).

    Args:
        cache: whose they are, and the tickets. A service ticket among them is used as it is; a ticket-granting ticket
            fetches others.
    """

    cache: TicketCache
