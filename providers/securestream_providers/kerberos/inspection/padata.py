"""Pre-authentication data as a tree (RFC 4120 5.2.7, RFC 6113, [MS-KILE] 2.2, [MS-SFU] 2.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from securestream.errors import MalformedMessage
from securestream.inspection import Node, malformed, octets_text, unknown
from securestream.wire import der
from securestream_providers.kerberos.inspection.values import SUPPORTED_ETYPES, bit_names, enum_name
from securestream_providers.krb5.messages import (
    ApReq,
    Checksum,
    EncryptedData,
    EtypeInfo,
    EtypeInfo2,
    KrbError,
    PaData,
    PaEncTsEnc,
    PaPacOptions,
    PaPacRequest,
)
from securestream_providers.krb5.messages_fast import PaFxFastReply, PaFxFastRequest
from securestream_providers.krb5.numbers import KeyUsage, PaType
from securestream_providers.krb5.s4u import PaForUser, PaS4uX509User, S4uUserId

if TYPE_CHECKING:
    from securestream_providers.kerberos.inspection.messages import Reader

_MESSAGES: Final[dict[int, type[der.Message]]] = {
    PaType.TGS_REQ: ApReq,
    PaType.ETYPE_INFO: EtypeInfo,
    PaType.ETYPE_INFO2: EtypeInfo2,
    PaType.PAC_REQUEST: PaPacRequest,
    PaType.PAC_OPTIONS: PaPacOptions,
    PaType.FOR_USER: PaForUser,
    PaType.FX_ERROR: KrbError,
    PaType.REQ_ENC_PA_REP: Checksum,
}


def padata(reader: Reader, element: PaData) -> Node:
    """One element, by its type; an empty one says that its sender knows the type."""
    name = f"PA-{known.replace('_', '-')}" if (known := enum_name(PaType, element.padata_type)) else "PA-DATA"
    note = f"type {element.padata_type}"
    octets = element.padata_value
    if not octets:
        return Node(name, None, f"{note}, empty")
    special = _SPECIAL.get(element.padata_type)
    if special is not None:
        node = special(reader, name, octets)
    elif element.padata_type in _MESSAGES:
        node = reader.message(name, _MESSAGES[element.padata_type], octets)
    else:
        node = replace(unknown(octets), name=name, note=octets_text(len(octets)))
    return replace(node, note=f"{note}, {node.note}" if node.note else note)


def _salt(_reader: Reader, name: str, octets: bytes) -> Node:
    return Node(name, octets.decode("utf-8", "backslashreplace"))


def _supported(_reader: Reader, name: str, octets: bytes) -> Node:
    value = int.from_bytes(octets[:4], "little")
    return Node(name, f"{value:#x}", bit_names(value, SUPPORTED_ETYPES))


def _timestamp(reader: Reader, name: str, octets: bytes) -> Node:
    data = _encrypted(octets)
    if data is None:
        return malformed(name, octets, "it is no EncryptedData", unknown(octets).children)
    return reader.sealed(name, data, (KeyUsage.PA_ENC_TIMESTAMP,), PaEncTsEnc)


def _challenge(reader: Reader, name: str, octets: bytes) -> Node:
    data = _encrypted(octets)
    if data is None:
        return malformed(name, octets, "it is no EncryptedData", unknown(octets).children)
    return reader.opened(name, data, reader.ring.open_challenge(data), PaEncTsEnc)


def _encrypted(octets: bytes) -> EncryptedData | None:
    try:
        return EncryptedData.decode(octets)
    except MalformedMessage:
        return None


def _fast(reader: Reader, name: str, octets: bytes) -> Node:
    """A request or a reply: one tag says both, and what is in it tells them apart."""
    try:
        PaFxFastRequest.decode(octets)
        return reader.message(name, PaFxFastRequest, octets)
    except MalformedMessage:
        return reader.message(name, PaFxFastReply, octets)


def _s4u(reader: Reader, name: str, octets: bytes) -> Node:
    try:
        found = PaS4uX509User.decode(octets)
    except MalformedMessage as error:
        return malformed(name, octets, str(error), unknown(octets).children)
    user = reader.message("user-id", S4uUserId, found.user_id)
    return Node(name, None, octets_text(len(octets)), (user, *reader.fields(found)[1:]))


def _cookie(_reader: Reader, name: str, octets: bytes) -> Node:
    return Node(name, octets, "the KDC's own")


_SPECIAL: Final[dict[int, Callable[[Reader, str, bytes], Node]]] = {
    PaType.ENC_TIMESTAMP: _timestamp,
    PaType.PW_SALT: _salt,
    PaType.FX_COOKIE: _cookie,
    PaType.FX_FAST: _fast,
    PaType.ENCRYPTED_CHALLENGE: _challenge,
    PaType.SUPPORTED_ETYPES: _supported,
    PaType.S4U_X509_USER: _s4u,
}
