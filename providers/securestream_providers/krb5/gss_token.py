"""The frame around the context tokens of GSS mechanisms of the Kerberos family (RFC 2743 3.1, RFC 4121 4.1)."""

from __future__ import annotations

from typing import Final, NamedTuple

from securestream.errors import MalformedMessage
from securestream.wire import der

KERBEROS: Final = "1.2.840.113554.1.2.2"
"""The mechanism Kerberos V5 (RFC 1964 1)."""
MS_KERBEROS: Final = "1.2.840.48018.1.2.2"
"""Its other name, in SPNEGO lists only; tokens carry the standard one ([MS-SPNG] 1.9)."""
USER_TO_USER: Final = "1.2.840.113554.1.2.2.3"
"""Kerberos with a ticket in the session key of the acceptor's own (draft-swift-win2k-krb-user2user)."""

AP_REQ: Final = b"\x01\x00"
AP_REP: Final = b"\x02\x00"
ERROR: Final = b"\x03\x00"
TGT_REQ: Final = b"\x04\x00"
TGT_REP: Final = b"\x04\x01"

_FRAME: Final = 0x60
_KNOWN: Final = {der.oid_octets(oid): oid for oid in (KERBEROS, USER_TO_USER)}
_OCTETS: Final = {oid: octets for octets, oid in _KNOWN.items()}


class ContextToken(NamedTuple):
    """A context token, opened.

    Args:
        oid: the mechanism.
        kind: the two octets TOK_ID.
        body: the message.
    """

    oid: str
    kind: bytes
    body: bytes


def frame(kind: bytes, body: bytes, oid: str = KERBEROS) -> bytes:
    """A context token around a message."""
    return der.element(_FRAME, b"".join((_OCTETS.get(oid) or der.oid_octets(oid), kind, body)))


def is_framed(token: bytes) -> bool:
    """Whether a token begins as a framed one; Kerberos messages by themselves begin otherwise."""
    return token[:1] == b"\x60"


def unframe(token: bytes) -> ContextToken:
    """Open a context token.

    Raises:
        MalformedMessage: it is none.
    """
    identifier, content, rest = der.split_element(token)
    if identifier != _FRAME or rest:
        raise MalformedMessage("a GSS-API token begins with 0x60 and ends where its length says")
    oid, start = _mechanism(content)
    body = start + 2
    if len(content) < body:
        raise MalformedMessage("a GSS-API token without its two octets TOK_ID")
    return ContextToken(oid, content[start:body], content[body:])


def _mechanism(content: bytes) -> tuple[str, int]:
    """The mechanism, and where what follows it begins."""
    for octets, oid in _KNOWN.items():
        if content.startswith(octets):
            return oid, len(octets)
    size = der.element_size(content, len(content))
    if size is None:
        raise MalformedMessage("a GSS-API token without a mechanism")
    return der.oid_text(content[:size]), size
