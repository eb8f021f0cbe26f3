"""Authorisation data as a tree (RFC 4120 5.2.6, [MS-KILE] 2.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from securestream.inspection import Node, octets_text, unknown
from securestream_providers.kerberos.inspection.pac import pac_tree
from securestream_providers.kerberos.inspection.values import bit_names, enum_name, etype_name
from securestream_providers.kerberos.negotiated_etypes import EtypeList
from securestream_providers.krb5.messages import AuthorizationData, AuthorizationElement
from securestream_providers.krb5.numbers import KERB_AP_OPTIONS_CBT, AdType

if TYPE_CHECKING:
    from securestream_providers.kerberos.inspection.messages import Reader

_CONTAINERS: Final = frozenset({AdType.IF_RELEVANT, AdType.MANDATORY_FOR_KDC})


def authorization(reader: Reader, element: AuthorizationElement) -> Node:
    """One element, by its type."""
    name = enum_name(AdType, element.ad_type) or f"AD type {element.ad_type}"
    octets = element.ad_data
    if element.ad_type in _CONTAINERS:
        return reader.message(name, AuthorizationData, octets)
    if element.ad_type == AdType.WIN2K_PAC:
        return pac_tree(octets, reader.ticket_key, reader.ring.keys)
    if element.ad_type == AdType.ETYPE_NEGOTIATION:
        found = reader.message(name, EtypeList, octets)
        return found if found.problem else replace(found, children=tuple(_etype(etype) for etype in found.children))
    if element.ad_type == AdType.AP_OPTIONS and len(octets) == 4:
        value = int.from_bytes(octets, "little")
        return Node(name, f"{value:#x}", bit_names(value, {KERB_AP_OPTIONS_CBT: "CHANNEL_BINDINGS_SUPPORTED"}))
    if element.ad_type == AdType.TARGET_PRINCIPAL:
        return Node(name, octets.decode("utf-16-le", "backslashreplace"))
    return replace(unknown(octets), name=name, note=octets_text(len(octets)))


def _etype(node: Node) -> Node:
    return replace(node, name="etype", note=etype_name(node.value) if isinstance(node.value, int) else "")
