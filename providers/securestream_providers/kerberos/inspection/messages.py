"""Kerberos messages as trees: each field by its name, encrypted parts opened where a key fits (RFC 4120, RFC 6113)."""

from __future__ import annotations

from dataclasses import fields, replace
from enum import IntFlag
from typing import Any, Final, NamedTuple, cast

from securestream.errors import MalformedMessage
from securestream.inspection import Inspection, Node, malformed, octets_text, unknown
from securestream.wire import der
from securestream_providers.kerberos.inspection import values
from securestream_providers.kerberos.inspection.authorization import authorization
from securestream_providers.kerberos.inspection.padata import padata
from securestream_providers.kerberos.inspection.ring import Held, Opened, Ring
from securestream_providers.kerberos.user_to_user import TgtReply
from securestream_providers.krb5.gss_checksum import GssChecksum, GssFlag
from securestream_providers.krb5.kdc_error import KerbErrorData, extended_status
from securestream_providers.krb5.kpasswd import ChangePasswdData
from securestream_providers.krb5.messages import (
    ApRep,
    ApReq,
    AsRep,
    Authenticator,
    AuthorizationData,
    AuthorizationElement,
    Checksum,
    EncApRepPart,
    EncAsRepPart,
    EncKdcRepPart,
    EncKrbCredPart,
    EncKrbPrivPart,
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    EncTicketPart,
    HostAddress,
    KdcRep,
    KdcReqBody,
    KrbCred,
    KrbCredInfo,
    KrbError,
    KrbPriv,
    MethodData,
    PaData,
    PrincipalName,
    TgsRep,
    Ticket,
    TransitedEncoding,
    TypedData,
)
from securestream_providers.krb5.messages_fast import FastArmor, FastArmoredRep, FastArmoredReq, FastReq, FastResponse
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ChecksumType, KeyUsage

DEEPEST: Final = 16
"""How many messages may stand in one another."""

_REP_USAGES: Final = (KeyUsage.AS_REP, KeyUsage.TGS_REP_SUBKEY, KeyUsage.TGS_REP_SESSION)
_AUTHENTICATOR_USAGES: Final = (KeyUsage.AP_REQ_AUTHENTICATOR, KeyUsage.TGS_REQ_AUTHENTICATOR)
_AUTH_DATA_USAGES: Final = (KeyUsage.TGS_REQ_AUTH_DATA_SUBKEY, KeyUsage.TGS_REQ_AUTH_DATA_SESSION)


class _Sealed(NamedTuple):
    """What is in an encrypted part: for which key usages it may be encrypted, and what message it is."""

    usages: tuple[int, ...]
    kind: type[der.Message]


_SEALED: Final[dict[tuple[type, str], _Sealed]] = {
    (Ticket, "enc_part"): _Sealed((KeyUsage.TICKET,), EncTicketPart),
    (ApReq, "authenticator"): _Sealed(_AUTHENTICATOR_USAGES, Authenticator),
    (ApRep, "enc_part"): _Sealed((KeyUsage.AP_REP,), EncApRepPart),
    (AsRep, "enc_part"): _Sealed(_REP_USAGES, EncAsRepPart),
    (TgsRep, "enc_part"): _Sealed(_REP_USAGES, EncTgsRepPart),
    (KrbPriv, "enc_part"): _Sealed((KeyUsage.KRB_PRIV,), EncKrbPrivPart),
    (KrbCred, "enc_part"): _Sealed((KeyUsage.KRB_CRED,), EncKrbCredPart),
    (KdcReqBody, "enc_authorization_data"): _Sealed(_AUTH_DATA_USAGES, AuthorizationData),
    (FastArmoredReq, "enc_fast_req"): _Sealed((KeyUsage.FAST_ENC,), FastReq),
    (FastArmoredRep, "enc_fast_rep"): _Sealed((KeyUsage.FAST_REP,), FastResponse),
}
_TICKETS: Final = frozenset({(KdcRep, "ticket"), (TgtReply, "ticket"), (KrbCred, "tickets")})
_ITEMS: Final = {"entries": "entry", "ticket-info": "KrbCredInfo", "additional-tickets": "ticket", "caddr": "address"}
"""What one item of a list is called, where it is not by the list's name."""
_WRAPPED: Final = frozenset({"elements", "entries", "etypes"})
"""Fields of messages that are nothing but a list; the list has the message's name already."""
_SECRETS: Final = frozenset({(EncKrbPrivPart, "user_data"), (ChangePasswdData, "new_password")})
_KEYS: Final = {
    EncTicketPart: "the session key of a ticket",
    EncKdcRepPart: "the session key of a KDC's reply",
    Authenticator: "the initiator's subkey",
    EncApRepPart: "the acceptor's subkey",
    KrbCredInfo: "the session key of a delegated ticket",
    FastResponse: "the strengthening key of FAST",
}


class Reader:
    """Makes trees of messages, and learns their keys on the way.

    Args:
        inspection: whose keys are tried.
    """

    def __init__(self, inspection: Inspection) -> None:
        self.ring = Ring.of(inspection)
        self.ticket_key: Held | None = None
        """What opened the ticket that is being shown."""
        self._session: Held | None = None
        self._depth = self._opened = 0

    def message(self, name: str, kind: type[der.Message], octets: bytes) -> Node:
        """The tree of a message; of a malformed one what ASN.1 shows."""
        if self._depth >= DEEPEST:
            return Node(name, octets, f"not looked into: more than {DEEPEST} stand in one another")
        self._depth += 1
        try:
            found = kind.decode(octets)
            return Node(name, None, octets_text(len(octets)), self.fields(found))
        except MalformedMessage as error:
            if self._opened:  # what it holds instead of the message may be a key
                return Node(name, octets, f"malformed: {error}", secret=True, problem=True)
            return malformed(name, octets, str(error), unknown(octets).children)
        finally:
            self._depth -= 1

    def fields(self, message: der.Message) -> tuple[Node, ...]:
        """The fields of a decoded message."""
        nodes: list[Node] = []
        for declared in fields(cast("Any", message)):
            value = getattr(message, declared.name)
            if value is not None and declared.name != "body_octets" and not declared.name.startswith("_"):
                nodes.append(self._field(message, declared.name, value))
        if len(nodes) == 1 and nodes[0].name in _WRAPPED:
            return nodes[0].children
        return tuple(nodes)

    def _field(self, owner: der.Message, field: str, value: object) -> Node:
        name = "from" if field == "from_time" else field.replace("_", "-")
        if isinstance(value, EncryptedData):
            sealed = _of(owner, field, _SEALED)
            return self.sealed(name, value, *(sealed or _Sealed((), AuthorizationData)))
        if isinstance(value, EncryptionKey):
            return self._key(name, owner, value)
        if isinstance(value, bytes):
            return self._octets(name, owner, field, value)
        if isinstance(value, tuple):
            return self._list(name, owner, field, cast("tuple[object, ...]", value))
        return self._single(name, owner, value)

    def _single(self, name: str, owner: der.Message, value: object) -> Node:
        if isinstance(value, PrincipalName):
            return values.principal(name, value)
        if isinstance(value, Checksum):
            return self._checksum(name, value)
        if isinstance(value, HostAddress):
            return values.address(name, value)
        if isinstance(value, PaData):
            return padata(self, value)
        if isinstance(value, AuthorizationElement):
            return authorization(self, value)
        if isinstance(value, TransitedEncoding):
            note = "DOMAIN-X500-COMPRESS" if value.tr_type == 1 else f"type {value.tr_type}"
            return Node(name, value.contents.decode("utf-8", "backslashreplace"), note)
        if isinstance(value, IntFlag):
            return values.flags_node(name, int(value), type(value))
        if isinstance(value, bool) or not isinstance(value, int):
            return self._plain(name, value)
        return values.number(name, type(owner).__name__, value)

    def _plain(self, name: str, value: object) -> Node:
        if isinstance(value, Ticket):
            return self._ticket(name, value)
        if isinstance(value, der.BitString):
            return Node(name, value.octets)
        if isinstance(value, der.Message):
            return Node(name, None, "", self.fields(value))
        return Node(name, cast("Any", value))

    def _list(self, name: str, owner: der.Message, field: str, found: tuple[object, ...]) -> Node:
        note = f"{len(found)}" if found else "none"
        if isinstance(owner, KrbCred) and field == "tickets":
            items = tuple(self.message("Ticket", Ticket, cast("bytes", one)) for one in found)
        else:
            items = tuple(self._single(_ITEMS.get(name, name), owner, one) for one in found)
        return Node(name, None, note, items)

    def _octets(self, name: str, owner: der.Message, field: str, value: bytes) -> Node:
        if _is(owner, field, _TICKETS):
            return self.message(name, Ticket, value)
        if _is(owner, field, _SECRETS):
            return Node(name, value, octets_text(len(value)), secret=True)
        if isinstance(owner, KrbError) and field == "e_data":
            return self._error_data(name, owner, value)
        if isinstance(owner, FastArmor) and owner.armor_type == 1:
            return self.message(name, ApReq, value)
        return Node(name, value)

    # --- encrypted parts and keys ------------------------------------------------------------------------------------

    def _ticket(self, name: str, ticket: Ticket) -> Node:
        return Node(name, str(KerberosName.of(ticket.sname, ticket.realm)), "ticket", self.fields(ticket))

    def sealed(self, name: str, data: EncryptedData, usages: tuple[int, ...], kind: type[der.Message]) -> Node:
        """An encrypted part, opened if a key fits."""
        return self.opened(name, data, self.ring.open(data, usages), kind)

    def opened(self, name: str, data: EncryptedData, found: Opened | None, kind: type[der.Message]) -> Node:
        """An encrypted part, as it was opened, or `None`."""
        etype = Node("etype", data.etype, values.etype_name(data.etype))
        children = (etype,) if data.kvno is None else (etype, Node("kvno", data.kvno))
        cipher = Node("cipher", data.cipher, octets_text(len(data.cipher)))
        if found is None:
            known = len(self.ring.keys)
            note = f"sealed: none of {known} keys opens it" if known else "sealed: no key was given"
            return Node(name, None, note, (*children, cipher))
        if found.held is None:
            inner = self.message(kind.__name__, kind, found.octets)
            return Node(name, None, "not encrypted", (*children, inner))
        before = self.ticket_key, self._session
        if kind is EncTicketPart:
            self.ticket_key, self._session = found.held, None
        elif kind is Authenticator:
            self._session = found.held
        self._opened += 1
        inner = self.message(kind.__name__, kind, found.octets)
        self._opened -= 1
        self.ticket_key, self._session = before
        return Node(name, None, f"opened with {found.held.origin}", (*children, inner))

    def _key(self, name: str, owner: der.Message, key: EncryptionKey) -> Node:
        origin = next((text for kind, text in _KEYS.items() if isinstance(owner, kind)), "a key in a message")
        if isinstance(owner, FastResponse):
            self.ring.learn_strengthened(key.keyvalue, key.keytype)
        else:
            held = self.ring.learn(key.keytype, key.keyvalue, origin)
            if isinstance(owner, Authenticator) and held is not None and self._session is not None:
                self.ring.learn_armor(held, self._session)
        return Node(
            name,
            None,
            "",
            (
                Node("keytype", key.keytype, values.etype_name(key.keytype)),
                Node("keyvalue", key.keyvalue, octets_text(len(key.keyvalue)), secret=True),
            ),
        )

    # --- what hides in octets ----------------------------------------------------------------------------------------

    def _checksum(self, name: str, found: Checksum) -> Node:
        kind = values.number("cksumtype", "", found.cksumtype)
        if found.cksumtype != ChecksumType.GSS:
            return Node(name, None, "", (kind, Node("checksum", found.checksum)))
        try:
            gss = GssChecksum.unpack(found.checksum)
        except MalformedMessage as error:
            return Node(name, None, "", (kind, malformed("checksum", found.checksum, str(error))))
        children = [
            replace(kind, note="flags and bindings of GSS-API (RFC 4121 4.1.1)"),
            values.flags_node("flags", gss.flags, GssFlag),
            Node("channel bindings", gss.bindings, "" if any(gss.bindings) else "none"),
        ]
        if gss.delegation is not None:
            children.append(self.message("delegation", KrbCred, gss.delegation))
        if gss.extensions:
            children.append(Node("extensions", gss.extensions))
        return Node(name, None, "", tuple(children))

    def _error_data(self, name: str, error: KrbError, octets: bytes) -> Node:
        status = extended_status(error)
        if status is not None:
            return Node(name, None, "KERB-ERROR-DATA", (Node("NTSTATUS", f"{status:#010x}"),))
        for kind in (MethodData, TypedData, KerbErrorData):
            try:
                found = kind.decode(octets)
            except MalformedMessage:
                continue  # which of them it is, nothing says
            return Node(name, None, kind.__name__, self.fields(found))
        return replace(unknown(octets), name=name, note=octets_text(len(octets)))


def _of(owner: der.Message, field: str, table: dict[tuple[type, str], _Sealed]) -> _Sealed | None:
    return next((found for (kind, name), found in table.items() if name == field and isinstance(owner, kind)), None)


def _is(owner: der.Message, field: str, table: frozenset[tuple[type, str]]) -> bool:
    return any(name == field and isinstance(owner, kind) for kind, name in table)
