"""SPNEGO messages (RFC 4178 4.2, [MS-SPNG] 2.2) and the object identifiers that stand in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Final, TypeAlias

from securestream.errors import InvalidToken, MalformedMessage
from securestream.values import made_quickly
from securestream.wire import der

SPNEGO: Final = "1.3.6.1.5.5.2"
KERBEROS: Final = "1.2.840.113554.1.2.2"
MS_KERBEROS: Final = "1.2.840.48018.1.2.2"
"""Kerberos as Windows 2000 first wrote it ([MS-SPNG] 1.9): another name of the same mechanism."""
OLD_KERBEROS: Final = "1.3.5.1.5.2"
"""Kerberos before RFC 1964; still another name."""
USER_TO_USER: Final = "1.2.840.113554.1.2.2.3"
NTLM: Final = "1.3.6.1.4.1.311.2.2.10"
NEGOEX: Final = "1.3.6.1.4.1.311.2.2.30"
IAKERB: Final = "1.3.6.1.5.2.5"

_ALIASES: Final = {MS_KERBEROS: KERBEROS, OLD_KERBEROS: KERBEROS, USER_TO_USER: KERBEROS}

MAXIMUM_MECHANISMS: Final = 64
"""Mechanisms in one list; Windows sends four."""

_SPNEGO_OCTETS: Final = der.oid_octets(SPNEGO)
_FRAME: Final = 0x60
_INIT: Final = 0xA0
_RESPONSE: Final = 0xA1
_SEQUENCE: Final = b"\x30"
_LIST: Final = 0xA0
_HINTS_OR_MIC: Final = 0xA3
_SECOND_MIC: Final = 0xA4
_MEMBERS: Final = 5
"""Members that tell the two forms of a first message apart; what an extension adds stands behind them."""
NTLM_SIGNATURE: Final = b"NTLMSSP\0"
_BARE_AP_REQ: Final = b"\x6e"


def canonical(oid: str) -> str:
    """The mechanism that `oid` names, whichever of its names it is."""
    return _ALIASES.get(oid, oid)


class NegState(IntEnum):
    """State of the negotiation, in the acceptor's view (RFC 4178 4.2.2)."""

    ACCEPT_COMPLETED = 0
    ACCEPT_INCOMPLETE = 1
    REJECT = 2
    REQUEST_MIC = 3


MechType: TypeAlias = Annotated[str, der.OID]


@made_quickly
@dataclass(frozen=True)
class MechTypeList(der.Message, wrapper=True):
    """The mechanisms that an initiator offers, in its order; the mechListMIC covers just this (RFC 4178 4.1, 5)."""

    mech_types: Annotated[tuple[MechType, ...], der.Size(1, MAXIMUM_MECHANISMS)]


@dataclass(frozen=True)
class NegHints(der.Message, tag=der.explicit(3), extensible=True):
    """What a server says of itself when it speaks first ([MS-SPNG] 2.2.1); nobody relies on it."""

    hint_name: Annotated[str | None, der.explicit(0), der.GENERAL_STRING] = None
    hint_address: Annotated[bytes | None, der.explicit(1)] = None


HINTS: Final = NegHints("not_defined_in_RFC4178@please_ignore")
"""What Windows sends."""


@made_quickly
@dataclass(frozen=True)
class NegTokenInit(der.Message, tag=der.explicit(0), extensible=True):
    """The first message of an initiator (RFC 4178 4.2.1).

    Args:
        mech_types: what it offers.
        req_flags: not to be relied on, and never sent by us.
        mech_token: the optimistic token, of the first mechanism.
        mech_list_mic: a MIC, from an initiator whose mechanism was complete at once.
        mech_types_octets: the list as it was received, which the mechListMIC covers.
        second_mic: never sent; with it a message has the other form, `NegTokenInit2`.
    """

    mech_types: Annotated[MechTypeList, der.explicit(0)]
    req_flags: Annotated[der.BitString | None, der.explicit(1), der.BITS] = None
    mech_token: Annotated[bytes | None, der.explicit(2)] = field(default=None, repr=False)
    mech_list_mic: Annotated[bytes | None, der.explicit(3)] = field(default=None, repr=False)
    mech_types_octets: Annotated[bytes, der.Received("mech_types")] = field(default=b"", compare=False, repr=False)
    second_mic: Annotated[bytes | None, der.explicit(4)] = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class NegTokenInit2(der.Message, tag=der.explicit(0), extensible=True):
    """The first message of a server that speaks first ([MS-SPNG] 2.2.1): tag 3 means something else in it."""

    mech_types: Annotated[MechTypeList | None, der.explicit(0)] = None
    req_flags: Annotated[der.BitString | None, der.explicit(1), der.BITS] = None
    mech_token: Annotated[bytes | None, der.explicit(2)] = field(default=None, repr=False)
    neg_hints: NegHints | None = None
    mech_list_mic: Annotated[bytes | None, der.explicit(4)] = field(default=None, repr=False)


@made_quickly
@dataclass(frozen=True)
class NegTokenResp(der.Message, tag=der.explicit(1), extensible=True):
    """Every message after the first, of both ends (RFC 4178 4.2.2).

    Args:
        neg_state: the state; required of an acceptor's first one, and left out by some all the same.
        supported_mech: the mechanism that the acceptor chose; in its first one only.
        response_token: the mechanism's token.
        mech_list_mic: the MIC over the list.
    """

    neg_state: Annotated[NegState | None, der.explicit(0), der.ENUMERATED] = None
    supported_mech: Annotated[str | None, der.explicit(1), der.OID] = None
    response_token: Annotated[bytes | None, der.explicit(2)] = field(default=None, repr=False)
    mech_list_mic: Annotated[bytes | None, der.explicit(3)] = field(default=None, repr=False)


@lru_cache(maxsize=64)
def list_of(oids: tuple[str, ...]) -> tuple[MechTypeList, bytes]:
    """The list of these mechanisms, and its encoding; programs offer few different ones."""
    types = MechTypeList(oids)
    return types, types.encode()


def frame(message: NegTokenInit | NegTokenInit2) -> bytes:
    """A first message as a token (RFC 4178 3.2, RFC 2743 3.1)."""
    return der.element(_FRAME, _SPNEGO_OCTETS + message.encode())


def unframe(token: bytes) -> NegTokenInit | NegTokenInit2:
    """The first message in a token; which of the two forms it has is told by what stands under its tag 3.

    Raises:
        MalformedMessage: it is none.
    """
    identifier, content, rest = der.split_element(token)
    if identifier != _FRAME or rest or not content.startswith(_SPNEGO_OCTETS):
        raise MalformedMessage("a first token of SPNEGO is due: 0x60 and the mechanism 1.3.6.1.5.5.2")
    body = content[len(_SPNEGO_OCTETS) :]
    try:
        message = NegTokenInit.decode(body)
    except MalformedMessage:
        if not _is_second_form(body):
            raise
    else:
        if message.second_mic is None:
            return message
    return NegTokenInit2.decode(body)


def _is_second_form(body: bytes) -> bool:
    """Whether tag 3 holds hints, tag 4 is there, or the list is absent."""
    tag, sequence, _ = der.split_element(body)
    if tag != _INIT or not sequence.startswith(_SEQUENCE):
        return False
    members = {member[0]: member for member in der.elements(sequence[der.content_at(sequence) :], _MEMBERS)}
    third = members.get(_HINTS_OR_MIC, b"")
    return _LIST not in members or _SECOND_MIC in members or third.startswith(_SEQUENCE, der.content_at(third))


def read_response(token: bytes, sender: str) -> NegTokenResp:
    """A message after the first.

    Args:
        token: as it came.
        sender: who sent it, for the sentence of the error.

    Raises:
        InvalidToken: it is none.
    """
    if not is_response(token):
        raise InvalidToken(f"the {sender}'s token is no NegTokenResp: it answers SPNEGO by something else")
    try:
        return NegTokenResp.decode(token)
    except MalformedMessage as error:
        raise InvalidToken(f"the {sender}'s NegTokenResp is malformed or damaged: {error}") from error


def is_response(token: bytes) -> bool:
    """Whether a token begins as a NegTokenResp."""
    return token[:1] == bytes((_RESPONSE,))


def bare_mechanism(token: bytes) -> str | None:
    """The OID of the mechanism of a token without SPNEGO, empty where nothing tells; `None` for a token of SPNEGO.

    Raises:
        MalformedMessage: it begins as a framed token of another mechanism, and is none.
    """
    if token.startswith(NTLM_SIGNATURE):
        return NTLM
    if token[:1] == _BARE_AP_REQ:  # Kerberos in DCE style has no frame ([MS-KILE] 3.4.5.1)
        return KERBEROS
    if token[:1] != bytes((_FRAME,)):
        return ""
    if token.startswith(_SPNEGO_OCTETS, der.content_at(token)):
        return None
    _, content, _ = der.split_element(token)
    size = der.element_size(content, len(content))
    if size is None:
        raise MalformedMessage("a GSS-API token without a mechanism")
    return der.oid_text(content[:size])
