"""Numbers of Kerberos by their names, as nodes."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import Final

from securestream.inspection import Node
from securestream_providers.krb5.kdc_error import code_name
from securestream_providers.krb5.messages import HostAddress, PrincipalName
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import (
    ApOptions,
    ChecksumType,
    EncryptionType,
    KdcOptions,
    NameType,
    TicketFlags,
)

MESSAGES: Final = {
    10: "AS-REQ",
    11: "AS-REP",
    12: "TGS-REQ",
    13: "TGS-REP",
    14: "AP-REQ",
    15: "AP-REP",
    16: "KRB-TGT-REQ",
    17: "KRB-TGT-REP",
    20: "KRB-SAFE",
    21: "KRB-PRIV",
    22: "KRB-CRED",
    30: "KRB-ERROR",
}
"""By the message type, which is the tag's number (RFC 4120 7.5.7)."""

_OTHER_ETYPES: Final = {0: "none", 1: "des-cbc-crc", 2: "des-cbc-md4", 3: "des-cbc-md5", 24: "rc4-hmac-exp"}
_OLD_ETYPES: Final = {-128: "rc4-md4", -133: "rc4-hmac-old", -135: "rc4-hmac-old-exp"}
_ADDRESSES: Final = {2: "IPv4", 3: "directional", 20: "NetBIOS", 24: "IPv6"}
_IPV4, _IPV6, _NETBIOS = 2, 24, 20
_LAST_REQUESTS: Final = {
    0: "none",
    1: "the last request for a first ticket",
    2: "the last first request",
    3: "when the newest ticket-granting ticket was made",
    4: "the last renewal",
    5: "the last request",
    6: "when the password expires",
    7: "when the account expires",
}
_PAC_OPTIONS: Final = {
    0x80000000: "CLAIMS",
    0x40000000: "BRANCH_AWARE",
    0x20000000: "FORWARD_TO_FULL_DC",
    0x10000000: "RESOURCE_BASED_CONSTRAINED_DELEGATION",
}
SUPPORTED_ETYPES: Final = {
    0x1: "DES_CBC_CRC",
    0x2: "DES_CBC_MD5",
    0x4: "RC4_HMAC",
    0x8: "AES128_CTS_HMAC_SHA1_96",
    0x10: "AES256_CTS_HMAC_SHA1_96",
    0x20: "AES256_CTS_HMAC_SHA1_96_SK",
    0x10000: "FAST_SUPPORTED",
    0x20000: "COMPOUND_IDENTITY_SUPPORTED",
    0x40000: "CLAIMS_SUPPORTED",
    0x80000: "RESOURCE_SID_COMPRESSION_DISABLED",
}
"""Bits of msDS-SupportedEncryptionTypes ([MS-KILE] 2.2.7)."""


def bit_names(value: int, names: Mapping[int, str]) -> str:
    """The names of the bits that are set, those without one as numbers."""
    bits = (1 << number for number in range(value.bit_length()) if value >> number & 1)
    return " ".join(names.get(bit, f"{bit:#x}") for bit in bits)


def flags_node(name: str, value: int, kind: type[IntFlag]) -> Node:
    """Flags of 32 bits."""
    return Node(name, f"{value:#010x}", bit_names(value, {int(bit): str(bit.name) for bit in kind}))


def enum_name(kind: type[IntEnum], value: int) -> str:
    """The name of a number, empty where it has none."""
    try:
        return kind(value).name
    except ValueError:
        return ""


def etype_name(etype: int) -> str:
    """The name of an encryption type, as krb5.conf writes it."""
    known = enum_name(EncryptionType, etype).lower().replace("_", "-")
    return known or _OTHER_ETYPES.get(etype) or _OLD_ETYPES.get(etype, "")


def principal(name: str, value: PrincipalName, realm: str = "") -> Node:
    """A name, with its type as a note."""
    return Node(name, str(KerberosName.of(value, realm)), enum_name(NameType, value.name_type) or str(value.name_type))


def address(name: str, value: HostAddress) -> Node:
    """A host's address."""
    text: str | bytes = value.address
    if value.addr_type in (_IPV4, _IPV6) and len(value.address) in (4, 16):
        text = str(ipaddress.ip_address(value.address))
    elif value.addr_type == _NETBIOS:
        text = value.address.decode("latin-1").rstrip()
    return Node(name, text, _ADDRESSES.get(value.addr_type, f"type {value.addr_type}"))


def number(name: str, owner: str, value: int) -> Node:
    """A field that is a number, by its name and the message that it is in."""
    if name in ("etype", "keytype"):
        return Node(name, value, etype_name(value))
    if name == "cksumtype":
        signed = value - (1 << 32) if value >> 31 == 1 else value
        return Node(name, value, enum_name(ChecksumType, signed))
    if name == "msg-type":
        return Node(name, value, MESSAGES.get(value, ""))
    if name == "error-code":
        return Node(name, value, code_name(value).partition(", ")[2])
    if name == "lr-type":
        return Node(name, value, _LAST_REQUESTS.get(abs(value), ""))
    if name == "kdc-options":
        return flags_node(name, value, KdcOptions)
    if name == "ap-options":
        return flags_node(name, value, ApOptions)
    if name == "flags":
        if owner == "PaPacOptions":
            return Node(name, f"{value:#010x}", bit_names(value, _PAC_OPTIONS))
        return flags_node(name, value, TicketFlags)
    if name == "fast-options":
        return Node(name, f"{value:#010x}", bit_names(value, {0x40000000: "HIDE_CLIENT_NAMES"}))
    return Node(name, value)
