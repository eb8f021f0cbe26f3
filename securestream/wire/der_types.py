"""The words in which a DER message is declared: tags, types and rules for the ``Annotated`` fields of `der.Message`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from securestream.errors import UsageError

MAXIMUM_ELEMENTS = 1024
"""How many elements a SEQUENCE OF may have unless its `Size` says otherwise."""

MAXIMUM_EXTENSIONS = 32
"""How many unknown elements at the end of a SEQUENCE are kept."""

TagClass = Literal["context", "application", "private"]
_CLASS_BITS: dict[TagClass, int] = {"application": 0x40, "context": 0x80, "private": 0xC0}


@dataclass(frozen=True)
class Tag:
    """A tag of a field or of a whole message.

    Args:
        number: 0 to 30.
        tag_class: ``context``, ``application`` or ``private``.
        implicit: replaces the tag beneath instead of wrapping it.
        also: further numbers that are accepted when decoding (RFC 4120 5.4.2: 26 where 25 is due).
    """

    number: int
    tag_class: TagClass = "context"
    implicit: bool = False
    also: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= number <= 30 for number in (self.number, *self.also)):
            raise UsageError("a tag number lies between 0 and 30")

    def identifiers(self, constructed: bool) -> tuple[int, ...]:
        """The identifier octets: the one that is sent, then those also accepted."""
        bits = _CLASS_BITS[self.tag_class] | (0x20 if constructed else 0)
        return tuple(bits | number for number in (self.number, *self.also))


def explicit(number: int) -> Tag:
    """``[number] EXPLICIT``: an element of its own around the value."""
    return Tag(number)


def implicit(number: int) -> Tag:
    """``[number] IMPLICIT``: stands in the place of the value's own tag."""
    return Tag(number, implicit=True)


def application(number: int, *, also: tuple[int, ...] = (), implicit: bool = False) -> Tag:
    """``[APPLICATION number]``; `also` names further numbers accepted when decoding."""
    return Tag(number, "application", implicit, also)


@dataclass(frozen=True)
class Integer:
    """An INTEGER within bounds; equal bounds declare a constant.

    Args:
        minimum: the least value.
        maximum: the greatest value.
        wrap: a negative value is read as its two's complement of as many bits as `maximum` has. Some peers encode
            unsigned 32-bit numbers as signed ones.
        signed: with `wrap`, also *send* values above the middle as negative numbers of the same bits
            (the errorCode of [MS-CSSP] 2.2.1).
    """

    minimum: int = -(1 << 63)
    maximum: int = (1 << 63) - 1
    wrap: bool = False
    signed: bool = False

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise UsageError("the least value of an INTEGER is above the greatest")
        whole_octets = self.maximum > 0 and self.maximum.bit_length() % 8 == 0 and not self.maximum & (self.maximum + 1)
        if (self.wrap and (self.minimum != 0 or not whole_octets)) or (self.signed and not self.wrap):
            raise UsageError("only an INTEGER from 0 to 2**(8n) - 1 can wrap, and only one that wraps be sent signed")


INT32 = Integer(-(1 << 31), (1 << 31) - 1)
UINT32 = Integer(0, (1 << 32) - 1, wrap=True)
MICROSECONDS = Integer(0, 999_999)


@dataclass(frozen=True)
class Enumerated:
    """An ENUMERATED of at most 32 bits. Type the field ``MyIntEnum | int`` to keep unknown values as integers."""


@dataclass(frozen=True)
class Flags:
    """A BIT STRING of flags, as an int of 32 bits whose most significant is bit 0 (RFC 4120 5.2.8).

    Exactly 32 bits are sent. Type the field with an ``IntFlag`` to have it made.
    """


@dataclass(frozen=True)
class Bits:
    """A BIT STRING of any length, as a `BitString`."""


@dataclass(frozen=True)
class BitString:
    """The value of a BIT STRING: its octets, and how many bits of the last one (0 to 7) do not count."""

    octets: bytes
    unused: int = 0


@dataclass(frozen=True)
class Octets:
    """An OCTET STRING; what a plain ``bytes`` field is."""


@dataclass(frozen=True)
class Text:
    """A character string.

    Args:
        tag: its universal tag number.
        encoding: the codec; what it cannot decode is malformed.
    """

    tag: int
    encoding: Literal["utf-8", "ascii", "utf-16-be", "latin-1"]


GENERAL_STRING = Text(27, "utf-8")
"""KerberosString (RFC 4120 5.2.1). Windows and MIT put UTF-8 into it, of which IA5 is a part."""
UTF8_STRING = Text(12, "utf-8")
IA5_STRING = Text(22, "ascii")
PRINTABLE_STRING = Text(19, "ascii")
BMP_STRING = Text(30, "utf-16-be")


@dataclass(frozen=True)
class ObjectIdentifier:
    """An OBJECT IDENTIFIER, as a dotted ``str``."""


@dataclass(frozen=True)
class Time:
    """A GeneralizedTime ``YYYYMMDDHHMMSSZ``, as an aware ``datetime`` in UTC (RFC 4120 5.2.3)."""


@dataclass(frozen=True)
class Boolean:
    """A BOOLEAN; what a plain ``bool`` field is."""


class NullValue(Enum):
    """The only value of a NULL; type the field `NullValue`."""

    NULL = 0


@dataclass(frozen=True)
class Raw:
    """Any element, kept as ``bytes`` exactly as received, identifier and length included.

    Args:
        of: a message type whose outer tag the element must have (its content is not looked at), or `None` for any.
    """

    of: type[Any] | None = None


ENUMERATED = Enumerated()
FLAGS = Flags()
BITS = Bits()
OCTETS = Octets()
OID = ObjectIdentifier()
TIME = Time()
BOOLEAN = Boolean()
ANY = Raw()

Kind = Integer | Enumerated | Flags | Bits | Octets | Text | ObjectIdentifier | Time | Boolean | Raw


@dataclass(frozen=True)
class Default:
    """A DEFAULT value: not sent, and put in when absent.

    Args:
        value: the value, equal to the dataclass default of the field.
        lenient: accept the value where a peer sends it although DER (X.690 11.5) leaves it out.
    """

    value: Any
    lenient: bool = False


@dataclass(frozen=True)
class Size:
    """Bounds on octets of an OCTET STRING or text, or on elements of a SEQUENCE OF."""

    minimum: int = 0
    maximum: int = MAXIMUM_ELEMENTS


@dataclass(frozen=True)
class Received:
    """The field holds octets as they were received, for what is signed; it is not sent, and empty when not decoded.

    Declare it ``Annotated[bytes, Received("body")] = field(default=b"", compare=False, repr=False)``.

    Args:
        field: the field whose element is kept, without its own context tag; empty for the whole message.
    """

    field: str = ""


@dataclass(frozen=True)
class Extensions:
    """The field (``tuple[bytes, ...]``) keeps unknown elements at the end of the SEQUENCE, and sends them again."""


EXTENSIONS = Extensions()
