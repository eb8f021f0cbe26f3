"""KRB-CRED: tickets handed to somebody else, with their session keys (RFC 4120 5.8)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from securestream.errors import BadSignature, MalformedMessage
from securestream.options import Random
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.messages import (
    PVNO,
    EncKrbCredPart,
    EncryptedData,
    EncryptionKey,
    KrbCred,
    KrbCredInfo,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import KeyUsage, TicketFlags
from securestream_providers.krb5.opening import unpadded
from securestream_providers.krb5.tickets import CachedTicket


def make_krb_cred(tickets: Sequence[CachedTicket], key: Key, now: datetime, random: Random) -> bytes:
    """A KRB-CRED with `tickets`, encrypted; there is no other form.

    Args:
        tickets: what is handed over.
        key: the authenticator's subkey, or the session key where it has none (RFC 4121 4.1.1).
        now: the time stated inside.
        random: for the confounder.
    """
    part = EncKrbCredPart(
        tuple(_info(ticket) for ticket in tickets), None, now.replace(microsecond=0), now.microsecond
    ).encode()
    sealed = EncryptedData(key.etype, None, key.encrypt(KeyUsage.KRB_CRED, part, random))
    return KrbCred(PVNO, 22, tuple(ticket.ticket for ticket in tickets), sealed).encode()


def read_krb_cred(octets: bytes, *keys: Key) -> tuple[CachedTicket, ...]:
    """The tickets of a KRB-CRED.

    Args:
        octets: the message.
        keys: with which it may be encrypted: the subkey, the session key (some clients use the one, some the other).

    Raises:
        MalformedMessage: it is no KRB-CRED, or says too little of its tickets.
        BadSignature: it is encrypted in none of `keys`. One that is not encrypted at all (etype 0) is refused always:
            whoever is in the middle reads the session keys.
    """
    message = KrbCred.decode(octets)
    part = EncKrbCredPart.decode(_opened(message.enc_part, keys))
    if len(part.ticket_info) != len(message.tickets):
        raise MalformedMessage("a KRB-CRED describes another number of tickets than it holds")
    return tuple(_ticket(info, ticket) for info, ticket in zip(part.ticket_info, message.tickets, strict=True))


def _opened(sealed: EncryptedData, keys: Sequence[Key]) -> bytes:
    for key in keys:
        if key.etype == sealed.etype:
            try:
                return unpadded(key.etype, key.decrypt(KeyUsage.KRB_CRED, sealed.cipher))
            except BadSignature:
                continue
    if sealed.etype == 0:
        raise BadSignature("delegated tickets came unencrypted and are refused; update the peer")
    raise BadSignature("delegated tickets are not encrypted in a key of this exchange")


def _info(ticket: CachedTicket) -> KrbCredInfo:
    return KrbCredInfo(
        EncryptionKey(ticket.key.etype, ticket.key.contents.reveal()),
        ticket.client.realm,
        ticket.client.principal_name,
        int(ticket.flags),
        ticket.auth_time,
        ticket.start_time,
        ticket.end_time,
        ticket.renew_till,
        ticket.server.realm,
        ticket.server.principal_name,
        ticket.addresses or None,
    )


def _ticket(info: KrbCredInfo, ticket: bytes) -> CachedTicket:
    if info.pname is None or info.prealm is None or info.sname is None or info.srealm is None or info.endtime is None:
        raise MalformedMessage("a KRB-CRED does not say whose its tickets are, and until when")
    authenticated = info.authtime or info.starttime
    return CachedTicket(
        client=KerberosName.of(info.pname, info.prealm),
        server=KerberosName.of(info.sname, info.srealm),
        key=make_key(info.key.keytype, info.key.keyvalue),
        ticket=ticket,
        flags=TicketFlags(info.flags or 0),
        auth_time=info.endtime if authenticated is None else authenticated,
        start_time=info.starttime,
        end_time=info.endtime,
        renew_till=info.renew_till,
        addresses=info.caddr or (),
    )
