"""What a ticket says of its client beside the name: authorisation data and the PAC in it (SECURITY 15, 16)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from securestream.errors import LogonDenied, MalformedMessage, NotAuthorized
from securestream.principal import Principal
from securestream_providers.kerberos.policy import Policy
from securestream_providers.kerberos.refusing import Refuser
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import AuthorizationData, AuthorizationElement, EncTicketPart
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import AdType, ErrorCode
from securestream_providers.krb5.pac import MOST_NESTED, PacRefused
from securestream_providers.krb5.pac_principal import principal_of
from securestream_providers.krb5.pac_signing import verify_ticket

_INITIAL_VERIFIED_CAS: Final = 9
_IGNORED: Final = frozenset((AdType.MANDATORY_FOR_KDC, _INITIAL_VERIFIED_CAS, AdType.FX_FAST_USED))
"""Elements that concern KDCs alone, or that only add to what is believed (RFC 4120 5.2.6.4, RFC 4556 3.2.2)."""


def elements_of(data: AuthorizationData | None, refuser: Refuser) -> tuple[AuthorizationElement, ...]:
    """The elements that stand in AD-IF-RELEVANT, containers opened; of the others each must be understood.

    Raises:
        NotAuthorized: there is an element outside of AD-IF-RELEVANT that is unknown (RFC 4120 5.2.6).
        MalformedMessage: a container is none.
    """
    if data is None:
        return ()
    found: list[AuthorizationElement] = []
    for element in data.elements:
        if element.ad_type == AdType.IF_RELEVANT:
            found += _opened(element.ad_data, MOST_NESTED)
        elif element.ad_type not in _IGNORED:
            raise refuser.refused(
                ErrorCode.POLICY,
                NotAuthorized,
                f"the ticket has critical authorisation data of type {element.ad_type}, which we do not understand",
            )
    return tuple(found)


def _opened(octets: bytes, depth: int) -> Iterable[AuthorizationElement]:
    if depth == 0:
        raise MalformedMessage("authorisation data is nested too deep")
    for element in AuthorizationData.decode(octets).elements:
        if element.ad_type == AdType.IF_RELEVANT:
            yield from _opened(element.ad_data, depth - 1)
        else:
            yield element


def find(elements: tuple[AuthorizationElement, ...], kind: int) -> bytes | None:
    """The data of the first element of a type."""
    return next((element.ad_data for element in elements if element.ad_type == kind), None)


def peer_of(
    policy: Policy, client: KerberosName, ticket: EncTicketPart, service_key: Key, refuser: Refuser
) -> Principal:
    """Who the client is, by its ticket and the PAC in it.

    Args:
        policy: whether there must be a PAC.
        client: whom the ticket names.
        ticket: what it holds.
        service_key: the key that it was encrypted with.
        refuser: makes the exceptions.

    Raises:
        PacRefused: the PAC is damaged, forged or not this client's.
        LogonDenied: there is none where one is required.
    """
    try:
        pac = verify_ticket(ticket, service_key)
        if pac is None and policy.pac == "required":
            raise refuser.refused(
                ErrorCode.POLICY, LogonDenied, 'the ticket has no PAC, and this is Kerberos(pac="required")'
            )
        return principal_of(pac, client)
    except PacRefused as refused:
        refused.token = refuser.token(ErrorCode.AP_MODIFIED)
        raise
    except MalformedMessage as malformed:
        raise refuser.refused(ErrorCode.AP_MODIFIED, PacRefused, f"the PAC is malformed: {malformed}") from malformed
