"""Tickets and the replies that hand them over (RFC 4120 5.3, 5.4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from securestream.redaction import Redacted
from securestream_providers.kerberos.kdc.armor import COOKIE, armored_padata
from securestream_providers.kerberos.kdc.realm import Asked, Realm
from securestream_providers.krb5.fast import make_finished, strengthen
from securestream_providers.krb5.keys import Key, random_key
from securestream_providers.krb5.messages import (
    PVNO,
    AsRep,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    EncTicketPart,
    LastReq,
    PaData,
    TgsRep,
    Ticket,
)
from securestream_providers.krb5.messages_fast import FastResponse
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import KeyUsage, PaType, TicketFlags
from securestream_providers.krb5.preauth import request_checksum


@dataclass(frozen=True, repr=False)
class Issue(Redacted):
    """A ticket to hand over, and how.

    Args:
        part: the ticket's content.
        server: whom it is for, as ticket and reply name it.
        ticket_key: encrypts the ticket.
        ticket_kvno: the version of that key; `None` for a session key.
        reply_key: encrypts the reply.
        reply_kvno: its version, or `None`.
        usage: the key usage of the reply.
        padata: of the reply.
        encrypted_padata: of its encrypted part.
        last_requests: what the client did before.
        key_expiration: when its password must be changed.
    """

    part: EncTicketPart
    server: KerberosName
    ticket_key: Key
    ticket_kvno: int | None
    reply_key: Key
    usage: int
    reply_kvno: int | None = None
    padata: tuple[PaData, ...] = ()
    encrypted_padata: tuple[PaData, ...] = ()
    last_requests: tuple[LastReq, ...] = ()
    key_expiration: datetime | None = None


def session_key(etype: int, realm: Realm) -> tuple[Key, EncryptionKey]:
    """A fresh session key, and its form on the wire."""
    key = random_key(etype, realm.random)
    return key, EncryptionKey(key.etype, key.contents.reveal())


def hand_over(realm: Realm, asked: Asked, issue: Issue) -> bytes:
    """The AS-REP or TGS-REP with a new ticket."""
    part = issue.part
    cipher = issue.ticket_key.encrypt(KeyUsage.TICKET, part.encode(), realm.random)
    sealed_ticket = EncryptedData(issue.ticket_key.etype, issue.ticket_kvno, cipher)
    ticket = Ticket(5, issue.server.realm, issue.server.principal_name, sealed_ticket).encode()
    reply_key, padata = issue.reply_key, issue.padata
    if asked.armor is not None:
        strengthening, on_wire = session_key(reply_key.etype, realm)
        client = KerberosName.of(part.cname, part.crealm)
        finished = make_finished(asked.armor, ticket, client, asked.now)
        response = FastResponse((*padata, COOKIE), on_wire, finished, asked.body.nonce)
        padata, reply_key = armored_padata(realm, asked.armor, response), strengthen(strengthening, reply_key)
    is_as = issue.usage == KeyUsage.AS_REP
    encrypted = issue.encrypted_padata
    if is_as and part.flags & TicketFlags.ENC_PA_REP:  # RFC 6806 11; the empty PA-FX-FAST says that FAST is there
        encrypted = (request_checksum(reply_key, asked.octets), PaData(PaType.FX_FAST, b""), *encrypted)
    told = (EncAsRepPart if is_as else EncTgsRepPart)(
        part.key,
        issue.last_requests or (LastReq(0, part.authtime),),
        asked.body.nonce,
        None if issue.key_expiration is None else issue.key_expiration.replace(microsecond=0),
        part.flags,
        part.authtime,
        part.starttime,
        part.endtime,
        part.renew_till,
        issue.server.realm,
        issue.server.principal_name,
        part.caddr,
        encrypted or None,
    ).encode()
    sealed = EncryptedData(reply_key.etype, issue.reply_kvno, reply_key.encrypt(issue.usage, told, realm.random))
    fields = padata or None, part.crealm, part.cname, ticket, sealed
    return AsRep(PVNO, 11, *fields).encode() if is_as else TgsRep(PVNO, 13, *fields).encode()
