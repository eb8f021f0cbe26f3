"""A message to or from a KDC in one readable line, without a secret."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from securestream.errors import MalformedMessage
from securestream_providers.krb5.messages import (
    AsRep,
    AsReq,
    EncryptedData,
    KdcRep,
    KdcReq,
    KrbError,
    PaData,
    TgsRep,
    TgsReq,
    Ticket,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import EncryptionType, ErrorCode, PaType

_KINDS: dict[int, tuple[str, type[KdcReq | KdcRep | KrbError]]] = {
    0x6A: ("AS-REQ", AsReq),
    0x6B: ("AS-REP", AsRep),
    0x6C: ("TGS-REQ", TgsReq),
    0x6D: ("TGS-REP", TgsRep),
    0x7E: ("KRB-ERROR", KrbError),
}


def describe_message(octets: bytes) -> str:
    """One line on a message between a client and a KDC; whatever it is, nothing is raised."""
    name, kind = _KINDS.get(octets[0] if octets else -1, ("no Kerberos message", None))
    size = f"({len(octets)} octets)"
    if kind is None:
        return f"{name} {size}"
    try:
        return f"{name} {_said(kind.decode(octets))} {size}"
    except MalformedMessage:
        return f"{name}, malformed {size}"


def describe_etype(etype: int) -> str:
    """The name of an encryption type, or its number."""
    return _name(EncryptionType, etype)


def _said(message: KdcReq | KdcRep | KrbError) -> str:
    if isinstance(message, KrbError):
        return _name(ErrorCode, message.error_code)
    return _request(message) if isinstance(message, KdcReq) else _reply(message)


def _request(message: KdcReq) -> str:
    body = message.req_body
    client = "" if body.cname is None else f"{KerberosName.of(body.cname, body.realm)} "
    service = "" if body.sname is None else f"for {KerberosName.of(body.sname, body.realm)}, "
    etypes = " ".join(describe_etype(etype) for etype in body.etype[:2])
    more = f" and {len(body.etype) - 2} more" if len(body.etype) > 2 else ""
    return f"{client}{service}with {_padata(message.padata)}; {etypes}{more}"


def _reply(message: KdcRep) -> str:
    ticket = Ticket.decode(message.ticket)
    service = KerberosName.of(ticket.sname, ticket.realm)
    client = KerberosName.of(message.cname, message.crealm)
    return f"{client} gets a ticket for {service} under {_key(ticket.enc_part)}; its key under {_key(message.enc_part)}"


def _key(sealed: EncryptedData) -> str:
    return describe_etype(sealed.etype)


def _padata(elements: Iterable[PaData] | None) -> str:
    return " ".join(_name(PaType, element.padata_type) for element in elements or ()) or "no pre-authentication"


def _name(numbers: type[IntEnum], value: int) -> str:
    try:
        return numbers(value).name.lower().replace("_", "-")
    except ValueError:
        return str(value)
