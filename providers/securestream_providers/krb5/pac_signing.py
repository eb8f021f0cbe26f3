"""Signing and verifying PACs, for services and KDCs ([MS-PAC] 2.8, SECURITY rule 16).

Four signatures, all with key usage 17. The server's, by the service's key, goes over the PAC with the values of the
server's and the KDC's as zeros; the KDC's over the server's value; the full one over the PAC with the values of all
three as zeros; the ticket's over the ticket's encrypted part with one zero octet in place of the PAC. So they are made
in the order: ticket, full, server, KDC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from securestream.errors import BadSignature, MalformedMessage
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import AuthorizationData, AuthorizationElement, EncTicketPart
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import AdType, KeyUsage
from securestream_providers.krb5.pac import SIGNATURES, Pac, PacBuffer, PacRefused, PacType, find_pac
from securestream_providers.krb5.pac_buffers import ClientInfo, Signature

_PLACEHOLDER: Final = b"\0"
_SERVER = (PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM)
_FULL = (*_SERVER, PacType.FULL_CHECKSUM)


def client_info_name(client: KerberosName, *, with_realm: bool = False) -> str:
    """A client's name as CLIENT_INFO has it: nothing escaped, an enterprise name as it is.

    Args:
        client: the client that the ticket names.
        with_realm: as in the cross-realm referrals of S4U2self.
    """
    name = "/".join(client.components)
    return f"{name}@{client.realm}" if with_realm else name


# --- verification ----------------------------------------------------------------------------------------------------


def verify_pac(
    pac: Pac,
    server_key: Key,
    client: KerberosName,
    auth_time: datetime,
    *,
    kdc_key: Key | None = None,
    ticket: EncTicketPart | None = None,
    needed: Collection[PacType] = (),
    with_realm: bool = False,
) -> None:
    """Prove a PAC: by the service's key, and with the ticket-granting service's key by its signatures too.

    Args:
        pac: as received.
        server_key: the key that the ticket is encrypted with.
        client: the client that the ticket names.
        auth_time: the ticket's authtime.
        kdc_key: of the krbtgt that signed; `None` for services, which do not have it. With it the KDC's signature must
            be there, and those over ticket and PAC are checked where they are there.
        ticket: what the ticket holds, for its signature; without it that one counts as absent.
        needed: signatures that must be there beside the server's; those that need `kdc_key` without it are refused.
        with_realm: the name in the PAC has its realm (cross-realm S4U2self).

    Raises:
        PacRefused: a signature is wrong, absent, not keyed or of another key's type (MS14-068); the name or the time
            is another one; or a buffer is malformed.
    """
    try:
        _check_client(pac, client, auth_time, with_realm)
        _check(pac, PacType.SERVER_CHECKSUM, server_key, *_forms(pac, _SERVER))
        proved = {PacType.SERVER_CHECKSUM}
        if kdc_key is not None:
            proved |= _check_kdc(pac, kdc_key, ticket)
    except (BadSignature, MalformedMessage) as refused:
        raise PacRefused(f"the PAC of the ticket is refused: {refused}") from refused
    missing = sorted(kind.name for kind in set(needed) - proved)
    if missing:
        raise PacRefused(f"the PAC of the ticket lacks what must be there: {', '.join(missing)}")


def verify_ticket(
    ticket: EncTicketPart,
    server_key: Key,
    *,
    kdc_key: Key | None = None,
    needed: Collection[PacType] = (),
    with_realm: bool = False,
) -> Pac | None:
    """The verified PAC of a decrypted ticket, or `None` where it has none. See `verify_pac`.

    Args:
        ticket: what the ticket holds.
        server_key: the key that it was encrypted with.
        kdc_key: of the krbtgt, which only KDCs have.
        needed: signatures that must be there, if there is a PAC.
        with_realm: the name in the PAC has its realm.

    Raises:
        PacRefused: the PAC is not what the KDC made for this ticket, or there are two.
    """
    try:
        octets = find_pac(ticket.authorization_data)
        if octets is None:
            return None
        pac = Pac.decode(octets)
    except MalformedMessage as malformed:
        raise PacRefused(f"the PAC of the ticket is refused: {malformed}") from malformed
    client = KerberosName.of(ticket.cname, ticket.crealm)
    verify_pac(
        pac,
        server_key,
        client,
        ticket.authtime,
        kdc_key=kdc_key,
        ticket=ticket,
        needed=needed,
        with_realm=with_realm,
    )
    return pac


def _check_client(pac: Pac, client: KerberosName, auth_time: datetime, with_realm: bool) -> None:
    info = pac.client_info
    if info is None:
        raise PacRefused("the PAC of the ticket does not say whose it is")
    if info.name != client_info_name(client, with_realm=with_realm):
        raise PacRefused("the PAC of the ticket is another client's")
    if info.moment != auth_time.replace(microsecond=0):
        raise PacRefused("the PAC of the ticket was made at another time than the ticket")


def _check_kdc(pac: Pac, key: Key, ticket: EncTicketPart | None) -> set[PacType]:
    """The signatures of a krbtgt's key that were proved."""
    server = pac.signature(PacType.SERVER_CHECKSUM)
    _check(pac, PacType.KDC_CHECKSUM, key, b"" if server is None else server.value)
    proved = {PacType.KDC_CHECKSUM}
    if pac.get(PacType.FULL_CHECKSUM) is not None:
        _check(pac, PacType.FULL_CHECKSUM, key, *_forms(pac, _FULL))
        proved.add(PacType.FULL_CHECKSUM)
    if ticket is not None and pac.get(PacType.TICKET_CHECKSUM) is not None:
        _check(pac, PacType.TICKET_CHECKSUM, key, signed_ticket(ticket))
        proved.add(PacType.TICKET_CHECKSUM)
    return proved


def _forms(pac: Pac, kinds: tuple[PacType, ...]) -> Iterable[bytes]:
    """What a signature may go over: of a read-only KDC's identifier peers disagree whether it is zeroed too."""
    yield pac.zeroed(kinds)
    if any(found is not None and found.rodc is not None for found in map(pac.signature, kinds)):
        yield pac.zeroed(kinds, whole=True)


def _check(pac: Pac, kind: PacType, key: Key, *forms: bytes) -> None:
    found = pac.signature(kind)
    if found is None:
        raise PacRefused(f"the PAC of the ticket has no {kind.name.lower().replace('_', ' ')}")
    for form in forms[1:]:
        try:
            return key.verify(KeyUsage.NON_KERB_CHECKSUM_SALT, form, found.value, found.kind)
        except BadSignature:
            pass  # the first form decides
    return key.verify(KeyUsage.NON_KERB_CHECKSUM_SALT, forms[0], found.value, found.kind)


# --- signing ---------------------------------------------------------------------------------------------------------


def sign_pac(
    buffers: Iterable[PacBuffer],
    server_key: Key,
    kdc_key: Key,
    *,
    ticket: EncTicketPart | None = None,
    full: bool = True,
) -> bytes:
    """A signed PAC.

    Args:
        buffers: all but the signatures; signatures among them are left out.
        server_key: the key that the ticket will be encrypted with.
        kdc_key: of the krbtgt.
        ticket: what the ticket holds, for its signature: with or without a PAC; `None` for no such signature, as in
            ticket-granting tickets.
        full: whether there is a signature over the whole PAC; ticket-granting tickets have none.
    """
    kinds = [*_SERVER, *((PacType.TICKET_CHECKSUM,) if ticket else ()), *((PacType.FULL_CHECKSUM,) if full else ())]
    found = [buffer for buffer in buffers if buffer.kind not in SIGNATURES]
    keys = {kind: server_key if kind is PacType.SERVER_CHECKSUM else kdc_key for kind in kinds}
    values = {kind: bytes(len(_made(keys[kind], b""))) for kind in kinds}

    def current() -> Pac:
        signed = (PacBuffer(kind, Signature(keys[kind].checksum_type, values[kind]).pack()) for kind in kinds)
        return Pac((*found, *signed))

    if ticket is not None:
        values[PacType.TICKET_CHECKSUM] = _made(kdc_key, signed_ticket(ticket))
    if full:  # all other values that it counts as zeros still are
        values[PacType.FULL_CHECKSUM] = _made(kdc_key, current().encode())
    values[PacType.SERVER_CHECKSUM] = _made(server_key, current().encode())
    values[PacType.KDC_CHECKSUM] = _made(kdc_key, values[PacType.SERVER_CHECKSUM])
    return current().encode()


def sign_ticket(
    ticket: EncTicketPart,
    buffers: Iterable[PacBuffer],
    server_key: Key,
    kdc_key: Key,
    *,
    with_ticket_signature: bool = True,
    with_full_signature: bool = True,
    with_realm: bool = False,
) -> EncTicketPart:
    """The ticket with a signed PAC, first in its authorisation data; one that is there is replaced.

    Args:
        ticket: what the ticket holds; its client and authtime go into the PAC.
        buffers: what the PAC holds. Signatures and CLIENT_INFO among them are made anew.
        server_key: the key that the ticket will be encrypted with.
        kdc_key: of the krbtgt.
        with_ticket_signature: not in ticket-granting tickets, nor in those for kadmin/changepw ([MS-PAC] 2.8.3).
        with_full_signature: not in ticket-granting tickets.
        with_realm: the name in the PAC has its realm (cross-realm S4U2self).

    Raises:
        PacRefused: the ticket holds two PACs.
        MalformedMessage: its authorisation data is malformed.
    """
    name = client_info_name(KerberosName.of(ticket.cname, ticket.crealm), with_realm=with_realm)
    info = PacBuffer(PacType.CLIENT_INFO, ClientInfo.of(name, ticket.authtime).pack())
    kept = [buffer for buffer in buffers if buffer.kind != PacType.CLIENT_INFO]
    at = 1 if kept and kept[0].kind == PacType.LOGON_INFO else 0  # where Windows has it
    unsigned = with_pac(ticket, _PLACEHOLDER)
    signed = sign_pac(
        (*kept[:at], info, *kept[at:]),
        server_key,
        kdc_key,
        ticket=unsigned if with_ticket_signature else None,
        full=with_full_signature,
    )
    return with_pac(ticket, signed)


def with_pac(ticket: EncTicketPart, pac: bytes | None) -> EncTicketPart:
    """The ticket with another PAC, first in its authorisation data, or without one.

    Raises:
        PacRefused: it holds two.
        MalformedMessage: its authorisation data is malformed.
    """
    kept = _without_pac(ticket.authorization_data)
    if pac is None:
        return replace(ticket, authorization_data=AuthorizationData(kept) if kept else None)
    inner = AuthorizationData((AuthorizationElement(AdType.WIN2K_PAC, pac),)).encode()
    first = AuthorizationElement(AdType.IF_RELEVANT, inner)
    return replace(ticket, authorization_data=AuthorizationData((first, *kept)))


def signed_ticket(ticket: EncTicketPart) -> bytes:
    """What the signature of a ticket goes over: its encoding with one zero octet in place of the PAC.

    Raises:
        PacRefused: it holds two PACs.
        MalformedMessage: it holds none, or its authorisation data is malformed.
    """
    data = ticket.authorization_data
    if data is None or find_pac(data) is None:
        raise MalformedMessage("the ticket holds no PAC")
    elements = tuple(_exchanged(element) for element in data.elements)
    return replace(ticket, authorization_data=AuthorizationData(elements)).encode()


def _exchanged(element: AuthorizationElement) -> AuthorizationElement:
    """The element with one zero octet in place of a PAC in it."""
    if element.ad_type != AdType.IF_RELEVANT:
        return element
    inner = AuthorizationData.decode(element.ad_data).elements
    if all(held.ad_type != AdType.WIN2K_PAC for held in inner):
        return element
    changed = (
        AuthorizationElement(held.ad_type, _PLACEHOLDER) if held.ad_type == AdType.WIN2K_PAC else held for held in inner
    )
    return AuthorizationElement(element.ad_type, AuthorizationData(tuple(changed)).encode())


def _without_pac(data: AuthorizationData | None) -> tuple[AuthorizationElement, ...]:
    if data is None or find_pac(data) is None:
        return () if data is None else data.elements
    found: list[AuthorizationElement] = []
    for element in data.elements:
        if element.ad_type != AdType.IF_RELEVANT:
            found.append(element)
            continue
        inner = AuthorizationData.decode(element.ad_data).elements
        kept = tuple(held for held in inner if held.ad_type != AdType.WIN2K_PAC)
        if len(kept) == len(inner):
            found.append(element)
        elif kept:
            found.append(AuthorizationElement(element.ad_type, AuthorizationData(kept).encode()))
    return tuple(found)


def _made(key: Key, data: bytes) -> bytes:
    return key.checksum(KeyUsage.NON_KERB_CHECKSUM_SALT, data)
