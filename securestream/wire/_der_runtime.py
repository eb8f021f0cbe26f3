"""What the generated DER codecs call: lengths, long integers, object identifiers, times, bit strings (X.690).

Reading functions take the octets and offsets that a codec holds. They may raise `IndexError` or `ValueError` on octets
that end early or make no sense: the entry point of each codec turns those into `MalformedMessage`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from securestream.errors import MalformedMessage, UsageError
from securestream.wire.der_types import BitString

MAXIMUM_OID_OCTETS = 64
MAXIMUM_BIT_STRING_OCTETS = 1 << 16


# Reading


def long_length(octets: bytes, first: int, at: int) -> tuple[int, int]:
    """The length whose first octet, above 127, stands just before `at`; and where its content begins.

    DER (X.690 10.1): definite, in as few octets as possible. Four length octets are more than any limit here.
    """
    if first == 0x81:
        length = octets[at]
        if length < 0x80:
            raise MalformedMessage("a DER length is not in its shortest form")
        return length, at + 1
    if first == 0x82:
        length = octets[at] << 8 | octets[at + 1]
        if length < 0x100:
            raise MalformedMessage("a DER length is not in its shortest form")
        return length, at + 2
    count = first & 0x7F
    if not 3 <= count <= 4:
        raise MalformedMessage("a DER length is indefinite or too large")
    if octets[at] == 0:
        raise MalformedMessage("a DER length is not in its shortest form")
    _ = octets[at + count - 1]
    return int.from_bytes(octets[at : at + count], "big"), at + count


def element_end(octets: bytes, at: int) -> int:
    """Where the element that begins at `at` ends. Only its own identifier and length are looked at."""
    first = octets[at]
    at += 1
    if first & 0x1F == 0x1F:  # X.690 8.1.2.4: a tag number above 30 follows, seven bits an octet
        number = octets[at] & 0x7F
        if number == 0:
            raise MalformedMessage("a DER tag number is not in its shortest form")
        while octets[at] & 0x80:
            at += 1
            number = number << 7 | octets[at] & 0x7F
            if number > 0x7FFFFFFF:
                raise MalformedMessage("a DER tag number is too large")
        if number < 0x1F:
            raise MalformedMessage("a DER tag number is not in its shortest form")
        at += 1
    elif first == 0:
        raise MalformedMessage("a DER element has the reserved tag 0")
    length = octets[at]
    at += 1
    if length > 127:
        length, at = long_length(octets, length, at)
    return at + length


def wrapped(octets: bytes, at: int, identifier: int) -> tuple[int, int]:
    """Start and end of the content of an element inside an explicit tag whose long length begins at `at`."""
    length, at = long_length(octets, octets[at], at + 1)
    end = at + length
    if octets[at] != identifier:
        raise MalformedMessage(f"the DER tag {octets[at]:02x} stands where {identifier:02x} is due")
    length = octets[at + 1]
    at += 2
    if length > 127:
        length, at = long_length(octets, length, at)
    if at + length != end:
        raise MalformedMessage("an explicit tag and the element in it differ in length")
    return at, end


def long_integer(octets: bytes, at: int, end: int, maximum_octets: int) -> int:
    """A signed INTEGER of other than one octet (X.690 8.3.2: the first nine bits are not all alike)."""
    count = end - at
    if not 1 < count <= maximum_octets:
        raise MalformedMessage(f"an INTEGER has {count} octets")
    first = octets[at]
    if (first == 0 and octets[at + 1] < 0x80) or (first == 0xFF and octets[at + 1] > 0x7F):
        raise MalformedMessage("an INTEGER is not in its shortest form")
    return int.from_bytes(octets[at:end], "big", signed=True)


@lru_cache(maxsize=256)
def oid_text(content: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's content (X.690 8.19)."""
    if not 0 < len(content) <= MAXIMUM_OID_OCTETS or content[-1] & 0x80:
        raise MalformedMessage("an OBJECT IDENTIFIER is empty, too long or cut")
    arcs: list[int] = []
    arc = 0
    fresh = True
    for octet in content:
        if fresh and octet == 0x80:
            raise MalformedMessage("an arc of an OBJECT IDENTIFIER is not in its shortest form")
        arc = arc << 7 | octet & 0x7F
        fresh = octet < 0x80
        if fresh:
            arcs.append(arc)
            arc = 0
    top = min(arcs[0] // 40, 2)
    return ".".join(map(str, (top, arcs[0] - 40 * top, *arcs[1:])))


def kerberos_time(content: bytes) -> datetime:
    """A GeneralizedTime of the form ``YYYYMMDDHHMMSSZ``, the only one of RFC 4120 5.2.3, in UTC."""
    if len(content) != 15 or content[14] != 0x5A or not content[:14].isdigit() or content[8:10] > b"23":
        raise MalformedMessage("a time is not of the form YYYYMMDDHHMMSSZ")
    # ISO 8601's basic form has a T, and is read in a third of the time that six integers take
    return datetime.fromisoformat(f"{content[:8].decode()}T{content[8:].decode()}")


def flags(content: bytes) -> int:
    """The first 32 bits of a BIT STRING, bit 0 the most significant.

    RFC 4120 5.2.8 wants at least 32 bits, and missing ones are zero: Heimdal once sent fewer. Bits beyond are ignored.
    """
    if not 1 <= len(content) <= 65 or content[0] > 7 or (len(content) == 1 and content[0]):
        raise MalformedMessage("a flags BIT STRING is empty or too long")
    if content[0] and content[-1] & ((1 << content[0]) - 1):
        raise MalformedMessage("unused bits of a BIT STRING are not zero")
    return int.from_bytes(content[1:5].ljust(4, b"\0"), "big")


def bit_string(content: bytes) -> BitString:
    """A BIT STRING with the number of its unused bits, which are zero in DER (X.690 11.2.1)."""
    if not 1 <= len(content) <= MAXIMUM_BIT_STRING_OCTETS or content[0] > 7 or (len(content) == 1 and content[0]):
        raise MalformedMessage("a BIT STRING is empty or too long")
    if content[0] and content[-1] & ((1 << content[0]) - 1):
        raise MalformedMessage("unused bits of a BIT STRING are not zero")
    return BitString(content[1:], content[0])


# Writing


def length_octets(length: int) -> bytes:
    """A length in its shortest form (X.690 10.1)."""
    if length < 0x80:
        return bytes((length,))
    if length < 0x100:
        return bytes((0x81, length))
    if length < 0x10000:
        return bytes((0x82, length >> 8, length & 0xFF))
    size = (length.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + length.to_bytes(size, "big")


def chain_header(identifiers: tuple[int, ...], length: int) -> bytes:
    """Identifiers and lengths of nested elements, outermost first, around `length` octets of content."""
    header = b""
    for identifier in reversed(identifiers):
        header = bytes((identifier,)) + length_octets(length + len(header)) + header
    return header


@lru_cache(maxsize=1024)
def short_headers(identifiers: tuple[int, ...]) -> tuple[bytes, ...]:
    """The headers of a chain for each length that needs no long form anywhere."""
    return tuple(chain_header(identifiers, length) for length in range(130 - 2 * len(identifiers)))


@lru_cache(maxsize=1024)
def long_header(identifiers: tuple[int, ...]) -> Callable[[int], bytes]:
    """A function from a length to the header of a chain; it remembers the lengths that come again."""

    @lru_cache(maxsize=64)
    def header(length: int) -> bytes:
        return chain_header(identifiers, length)

    return header


def integer_content(value: int) -> bytes:
    """A signed INTEGER's content in its shortest form."""
    return value.to_bytes((value + (value < 0)).bit_length() // 8 + 1, "big", signed=True)


@lru_cache(maxsize=1024)
def small_integers(identifiers: tuple[int, ...]) -> tuple[bytes, ...]:
    """The whole encodings of 0 to 127 under a chain of tags."""
    header = chain_header(identifiers, 1)
    return tuple(header + bytes((value,)) for value in range(128))


@lru_cache(maxsize=256)
def oid_content(text: str) -> bytes:
    """The content of an OBJECT IDENTIFIER given in its dotted form."""
    arcs = [int(arc) for arc in text.split(".") if arc.isascii() and arc.isdigit()]
    if len(arcs) != text.count(".") + 1 or len(arcs) < 2 or arcs[0] > 2 or (arcs[0] < 2 and arcs[1] > 39):
        raise UsageError(f"{text!r} is no object identifier")
    content = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        content += bytes(reversed(groups))
    if len(content) > MAXIMUM_OID_OCTETS:
        raise UsageError("the object identifier is too long")
    return bytes(content)


def time_content(moment: datetime) -> bytes:
    """A time as ``YYYYMMDDHHMMSSZ``; it must know its zone and hold no fraction of a second."""
    if moment.tzinfo is not UTC:
        if moment.tzinfo is None:
            raise UsageError("a time without a zone cannot be encoded; give it tzinfo=UTC")
        moment = moment.astimezone(UTC)
    if moment.microsecond:
        raise UsageError("a KerberosTime has no fractions; the microseconds go into their own field")
    date = moment.year, moment.month, moment.day
    return b"%04d%02d%02d%02d%02d%02dZ" % (*date, moment.hour, moment.minute, moment.second)


def flags_content(value: int) -> bytes:
    """32 flags as a BIT STRING's content; no trimming of trailing zeros (RFC 4120 5.2.8)."""
    return b"\0" + value.to_bytes(4, "big")


def bit_string_content(value: BitString) -> bytes:
    """The content of a BIT STRING."""
    unused = value.unused
    if not 0 <= unused <= 7 or (unused and not value.octets):
        raise UsageError("a BIT STRING has 0 to 7 unused bits in its last octet")
    if unused and value.octets[-1] & ((1 << unused) - 1):
        raise UsageError("unused bits of a BIT STRING must be zero")
    return bytes((unused,)) + value.octets
