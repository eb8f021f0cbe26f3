"""PACs at the KDC: made for tickets, verified in them ([MS-PAC], [MS-KILE] 3.3.5)."""

from __future__ import annotations

from dataclasses import dataclass

from securestream_providers.kerberos.kdc.principals import KdcPrincipal
from securestream_providers.kerberos.kdc.realm import Asked, OpenTicket, Realm
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import EncTicketPart


@dataclass(frozen=True)
class Delegation:
    """Who acted in the user's name ([MS-PAC] 2.9).

    Args:
        target: the service that is asked for.
        services: who handed the user's identity on, the first first.
    """

    target: str
    services: tuple[str, ...]


def pac_wanted(realm: Realm, asked: Asked) -> bool:
    return False


def with_pac(
    realm: Realm,
    part: EncTicketPart,
    account: KdcPrincipal,
    server: KdcPrincipal,
    server_key: Key,
    *,
    delegation: Delegation | None = None,
) -> EncTicketPart:
    return part


def check_pac(realm: Realm, ticket: OpenTicket, client: KdcPrincipal | None) -> bool:
    return False


def check_evidence(realm: Realm, evidence: OpenTicket, account: KdcPrincipal) -> tuple[str, ...]:
    return ()
