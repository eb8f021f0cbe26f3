"""AP-REQ messages that a KDC or password server gets: in TGS requests, as armor, with a new password."""

from __future__ import annotations

from datetime import datetime

from securestream.options import Random
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import (
    PVNO,
    ApReqToSend,
    Authenticator,
    AuthorizationData,
    Checksum,
    EncryptedData,
    EncryptionKey,
)
from securestream_providers.krb5.numbers import KeyUsage
from securestream_providers.krb5.tickets import CachedTicket


def make_ap_req(
    ticket: CachedTicket,
    now: datetime,
    random: Random,
    *,
    usage: int = KeyUsage.AP_REQ_AUTHENTICATOR,
    subkey: Key | None = None,
    sequence: int | None = None,
    checksum: Checksum | None = None,
    options: int = 0,
    authorization_data: AuthorizationData | None = None,
) -> bytes:
    """An AP-REQ with `ticket`.

    Args:
        ticket: whose session key encrypts the authenticator.
        now: the time that the authenticator states, aware UTC.
        random: for the confounder.
        usage: the key usage of the authenticator: 7 in a TGS-REQ, else 11 (RFC 4120 7.5.1).
        subkey: asserted, if given.
        sequence: the initial sequence number, if any.
        checksum: what the authenticator protects.
        options: `ApOptions` of the AP-REQ.
        authorization_data: put into the authenticator.
    """
    authenticator = Authenticator(
        5,
        ticket.client.realm,
        ticket.client.principal_name,
        checksum,
        now.microsecond,
        now.replace(microsecond=0),
        None if subkey is None else EncryptionKey(subkey.etype, subkey.contents.reveal()),
        sequence,
        authorization_data,
    )
    sealed = EncryptedData(ticket.key.etype, None, ticket.key.encrypt(usage, authenticator.encode(), random))
    return ApReqToSend(PVNO, 14, options, ticket.ticket, sealed).encode()
