"""NEGOEX messages ([MS-NEGOEX] 2.2, draft-zhu-negoex-04 6): a token is one or more of them, one after another."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final, NamedTuple, TypeAlias

from securestream.errors import MalformedMessage
from securestream.wire.packed import U16, U32, U64, Octets, Packed

SIGNATURE: Final = b"NEGOEXTS"
GUID_OCTETS: Final = 16
MAXIMUM_MESSAGES: Final = 64
"""Messages in one token: NEGO, one META_DATA a scheme, a token, an ALERT, a VERIFY."""
MAXIMUM_SCHEMES: Final = 32
"""Schemes, extensions or alerts in one message; Windows sends one or two schemes."""
CHECKSUM_RFC3961: Final = 1
ALERT_PULSE: Final = 1
VERIFY_NO_KEY: Final = 1
CRITICAL: Final = 1 << 31
"""Of an extension's type: whoever does not know it must refuse."""

_HEADER: Final = 40
_CHECKSUM_HEADER: Final = 20
_ELEMENT: Final = struct.Struct("<III")
_PULSE: Final = struct.Struct("<II")


class MessageType(IntEnum):
    """What a message is ([MS-NEGOEX] 2.2.6.1)."""

    INITIATOR_NEGO = 0
    ACCEPTOR_NEGO = 1
    INITIATOR_META_DATA = 2
    ACCEPTOR_META_DATA = 3
    CHALLENGE = 4
    AP_REQUEST = 5
    VERIFY = 6
    ALERT = 7


class Element(NamedTuple):
    """An extension, or an alert: its type, and its octets."""

    kind: int
    value: bytes


@dataclass(frozen=True)
class NegoMessage:
    """INITIATOR_NEGO and ACCEPTOR_NEGO: the schemes of one end, the preferred one first.

    Args:
        random: 32 octets, which make the conversation unique.
        schemes: of the acceptor, only those that the initiator has too.
        extensions: none is known; a critical one is refused by whoever acts on the message.
        version: 0 is the only one.
    """

    random: bytes
    schemes: tuple[uuid.UUID, ...]
    extensions: tuple[Element, ...] = ()
    version: int = 0


@dataclass(frozen=True, repr=False)
class ExchangeMessage:
    """META_DATA, CHALLENGE and AP_REQUEST: octets of one scheme.

    Args:
        scheme: whose.
        payload: its metadata or its token.
    """

    scheme: uuid.UUID
    payload: bytes


@dataclass(frozen=True, repr=False)
class VerifyMessage:
    """VERIFY: a keyed checksum of everything said before it.

    Args:
        scheme: whose key it is made with.
        checksum_type: of RFC 3961, as an unsigned number.
        checksum: the checksum.
        checksum_scheme: 1, RFC 3961, is the only one.
    """

    scheme: uuid.UUID
    checksum_type: int
    checksum: bytes
    checksum_scheme: int = CHECKSUM_RFC3961


@dataclass(frozen=True)
class AlertMessage:
    """ALERT.

    Args:
        scheme: about which.
        alerts: each with its type and octets.
        error: an NTSTATUS, or 0.
    """

    scheme: uuid.UUID
    alerts: tuple[Element, ...]
    error: int = 0

    @property
    def no_key(self) -> bool:
        """Whether the sender has no key yet to check a VERIFY with, and wants another one later."""
        return any(kind == ALERT_PULSE and _reason(value) == VERIFY_NO_KEY for kind, value in self.alerts)


Body: TypeAlias = NegoMessage | ExchangeMessage | VerifyMessage | AlertMessage

NO_KEY: Final = (Element(ALERT_PULSE, _PULSE.pack(_PULSE.size, VERIFY_NO_KEY)),)


@dataclass(frozen=True, repr=False)
class Message:
    """A message in its place.

    Args:
        kind: its type.
        sequence: its number, from 0; messages of both ends are counted together.
        conversation: sixteen octets that all messages of a negotiation share.
        body: what it says.
        start: offset of its first octet in the token.
    """

    kind: MessageType
    sequence: int
    conversation: bytes
    body: Body
    start: int = 0

    def encode(self) -> bytes:
        """The octets."""
        size, fixed, payload = _parts_of(self.body)
        header = _Header(self.kind, self.sequence, size, size + len(payload), self.conversation)
        return header.pack() + fixed.pack() + payload


# --- fixed parts, the four behind the header; vectors are {offset from the message's start, count or length} ----------


@dataclass(frozen=True, repr=False)
class _Header(Packed, prefix=SIGNATURE):
    kind: Annotated[MessageType, U32]
    sequence: Annotated[int, U32]
    header_length: Annotated[int, U32]
    message_length: Annotated[int, U32]
    conversation: Annotated[bytes, Octets(16)]


@dataclass(frozen=True, repr=False)
class _Nego(Packed):
    random: Annotated[bytes, Octets(32)]
    version: Annotated[int, U64]
    schemes_at: Annotated[int, U32]
    schemes: Annotated[int, U16]
    padding: Annotated[int, U16]
    extensions_at: Annotated[int, U32]
    extensions: Annotated[int, U16]
    more_padding: Annotated[int, U16]


@dataclass(frozen=True, repr=False)
class _Exchange(Packed):
    scheme: Annotated[bytes, Octets(16)]
    payload_at: Annotated[int, U32]
    payload: Annotated[int, U32]


@dataclass(frozen=True, repr=False)
class _Verify(Packed):
    scheme: Annotated[bytes, Octets(16)]
    checksum_header: Annotated[int, U32]
    checksum_scheme: Annotated[int, U32]
    checksum_type: Annotated[int, U32]
    checksum_at: Annotated[int, U32]
    checksum: Annotated[int, U32]
    padding: Annotated[int, U32]


@dataclass(frozen=True, repr=False)
class _Alert(Packed):
    scheme: Annotated[bytes, Octets(16)]
    error: Annotated[int, U32]
    alerts_at: Annotated[int, U32]
    alerts: Annotated[int, U16]
    padding: Annotated[bytes, Octets(6)]


NEGO_HEADER: Final = 96
EXCHANGE_HEADER: Final = 64
VERIFY_HEADER: Final = 80
ALERT_HEADER: Final = 72


# --- reading ----------------------------------------------------------------------------------------------------------


def messages_of(token: bytes) -> Iterator[Message]:
    """The messages of a token, one after another, so that those before a malformed one can be seen.

    Raises:
        MalformedMessage: the octets are no messages, or too many of them.
    """
    at = 0
    for _ in range(MAXIMUM_MESSAGES):
        if at == len(token):
            if not token:
                break
            return
        header = _Header.unpack(token[at : at + _HEADER])
        if not _HEADER <= header.header_length <= header.message_length <= len(token) - at:
            raise MalformedMessage(
                f"NEGOEX: a message calls itself {header.message_length} octets, of which its header has "
                f"{header.header_length}; {len(token) - at} are left"
            )
        octets = token[at : at + header.message_length]
        body = _READERS[header.kind](octets, header.header_length)
        yield Message(header.kind, header.sequence, header.conversation, body, at)
        at += header.message_length
    if at != len(token) or not token:
        raise MalformedMessage(f"NEGOEX: a token holds 1 to {MAXIMUM_MESSAGES} messages")


def _vector(octets: bytes, least: int, offset: int, size: int) -> bytes:
    if not size:
        return b""
    if offset < least or offset + size > len(octets):
        raise MalformedMessage(f"NEGOEX: {size} octets at offset {offset} lie outside of their message")
    return octets[offset : offset + size]


def _bounded(count: int) -> int:
    if count > MAXIMUM_SCHEMES:
        raise MalformedMessage(f"NEGOEX: {count} schemes, extensions or alerts; at most {MAXIMUM_SCHEMES} are taken")
    return count


def _elements(octets: bytes, least: int, offset: int, count: int) -> tuple[Element, ...]:
    described = _vector(octets, least, offset, _bounded(count) * _ELEMENT.size)
    return tuple(
        Element(kind, _vector(octets, least, at, length)) for kind, at, length in _ELEMENT.iter_unpack(described)
    )


def _check_header(claimed: int, due: int) -> None:
    if claimed < due:
        raise MalformedMessage(f"NEGOEX: a header of {claimed} octets, {due} are due")


def _read_nego(octets: bytes, header: int) -> NegoMessage:
    _check_header(header, NEGO_HEADER)
    fixed = _Nego.unpack(octets[_HEADER:])
    schemes = _vector(octets, header, fixed.schemes_at, _bounded(fixed.schemes) * GUID_OCTETS)
    return NegoMessage(
        fixed.random,
        tuple(_guid(schemes[at : at + GUID_OCTETS]) for at in range(0, len(schemes), GUID_OCTETS)),
        _elements(octets, header, fixed.extensions_at, fixed.extensions),
        fixed.version,
    )


def _read_exchange(octets: bytes, header: int) -> ExchangeMessage:
    _check_header(header, EXCHANGE_HEADER)
    fixed = _Exchange.unpack(octets[_HEADER:])
    return ExchangeMessage(_guid(fixed.scheme), _vector(octets, header, fixed.payload_at, fixed.payload))


def _read_verify(octets: bytes, header: int) -> VerifyMessage:
    _check_header(header, VERIFY_HEADER)
    fixed = _Verify.unpack(octets[_HEADER:])
    if fixed.checksum_header != _CHECKSUM_HEADER:
        raise MalformedMessage(f"NEGOEX: a checksum's header of {fixed.checksum_header} octets, not {_CHECKSUM_HEADER}")
    checksum = _vector(octets, header, fixed.checksum_at, fixed.checksum)
    return VerifyMessage(_guid(fixed.scheme), fixed.checksum_type, checksum, fixed.checksum_scheme)


def _read_alert(octets: bytes, header: int) -> AlertMessage:
    _check_header(header, ALERT_HEADER)
    fixed = _Alert.unpack(octets[_HEADER:])
    return AlertMessage(_guid(fixed.scheme), _elements(octets, header, fixed.alerts_at, fixed.alerts), fixed.error)


def _reason(pulse: bytes) -> int | None:
    """The reason in an alert of the type "pulse", or `None` where it is none."""
    if len(pulse) < _PULSE.size:
        return None
    _, reason = _PULSE.unpack_from(pulse)
    return int(reason)


def _guid(octets: bytes) -> uuid.UUID:
    return uuid.UUID(bytes_le=octets)


_READERS: Final[dict[MessageType, Callable[[bytes, int], Body]]] = {
    MessageType.INITIATOR_NEGO: _read_nego,
    MessageType.ACCEPTOR_NEGO: _read_nego,
    MessageType.INITIATOR_META_DATA: _read_exchange,
    MessageType.ACCEPTOR_META_DATA: _read_exchange,
    MessageType.CHALLENGE: _read_exchange,
    MessageType.AP_REQUEST: _read_exchange,
    MessageType.VERIFY: _read_verify,
    MessageType.ALERT: _read_alert,
}


# --- writing ----------------------------------------------------------------------------------------------------------


class _Parts(NamedTuple):
    """Octets of the whole header, its fixed part behind the common one, and what follows it."""

    size: int
    fixed: Packed
    payload: bytes


def _place_elements(elements: tuple[Element, ...], start: int) -> bytes:
    """Elements as their descriptors and then their octets, for `start` octets before them."""
    at = start + len(elements) * _ELEMENT.size
    descriptors, values = b"", b""
    for kind, value in elements:
        descriptors += _ELEMENT.pack(kind, at + len(values), len(value))
        values += value
    return descriptors + values


def _nego_parts(body: NegoMessage) -> _Parts:
    schemes = b"".join(scheme.bytes_le for scheme in body.schemes)
    extensions_at = NEGO_HEADER + len(schemes)
    fixed = _Nego(
        body.random,
        body.version,
        NEGO_HEADER,
        len(body.schemes),
        0,
        extensions_at if body.extensions else 0,  # as Windows leaves it
        len(body.extensions),
        0,
    )
    return _Parts(NEGO_HEADER, fixed, schemes + _place_elements(body.extensions, extensions_at))


def _exchange_parts(body: ExchangeMessage) -> _Parts:
    fixed = _Exchange(body.scheme.bytes_le, EXCHANGE_HEADER, len(body.payload))
    return _Parts(EXCHANGE_HEADER, fixed, body.payload)


def _verify_parts(body: VerifyMessage) -> _Parts:
    scheme, kind, size = body.checksum_scheme, body.checksum_type, len(body.checksum)
    fixed = _Verify(body.scheme.bytes_le, _CHECKSUM_HEADER, scheme, kind, VERIFY_HEADER, size, 0)
    return _Parts(VERIFY_HEADER, fixed, body.checksum)


def _alert_parts(body: AlertMessage) -> _Parts:
    fixed = _Alert(body.scheme.bytes_le, body.error, ALERT_HEADER, len(body.alerts), bytes(6))
    return _Parts(ALERT_HEADER, fixed, _place_elements(body.alerts, ALERT_HEADER))


def _parts_of(body: Body) -> _Parts:
    match body:
        case NegoMessage():
            return _nego_parts(body)
        case ExchangeMessage():
            return _exchange_parts(body)
        case VerifyMessage():
            return _verify_parts(body)
        case AlertMessage():
            return _alert_parts(body)
