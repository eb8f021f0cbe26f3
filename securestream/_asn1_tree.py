"""Any ASN.1 as a tree for readers: the elements, whole or cut short; what stands in each is decoded by pyasn1."""

from __future__ import annotations

import importlib
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple

from securestream.inspection import Node, Value, octets_text
from securestream.oids import OID_NAMES

DEEPEST: Final = 32
"""How deep elements are followed."""
MOST_ELEMENTS: Final = 5000
"""How many elements are shown of one tree."""
_LONGEST_HEADER: Final = 16
"""Octets of an identifier and a length, none of which is longer in anything that is followed."""
_LARGEST_NUMBER: Final = 64
"""Octets of an INTEGER or an OBJECT IDENTIFIER that is shown as such."""

_UNIVERSAL: Final = {
    1: "BOOLEAN",
    2: "INTEGER",
    3: "BIT STRING",
    4: "OCTET STRING",
    5: "NULL",
    6: "OBJECT IDENTIFIER",
    10: "ENUMERATED",
    12: "UTF8String",
    16: "SEQUENCE",
    17: "SET",
    18: "NumericString",
    19: "PrintableString",
    20: "T61String",
    22: "IA5String",
    23: "UTCTime",
    24: "GeneralizedTime",
    26: "VisibleString",
    27: "GeneralString",
    28: "UniversalString",
    30: "BMPString",
}
_CLASSES: Final = ("", "APPLICATION ", "", "PRIVATE ")
_TEXTS: Final = frozenset({12, 18, 19, 20, 22, 26, 27, 28, 30})
_CONSTRUCTED: Final = 0x20
_INDEFINITE: Final = -1


class _Header(NamedTuple):
    """Class, tag number, whether it is constructed, octets of the header, and of the content (-1: indefinite)."""

    kind: int
    number: int
    constructed: bool
    size: int
    length: int


def looks_like_asn1(octets: bytes) -> bool:
    """Whether octets are one constructed element, or the beginning of one that goes on."""
    header = _read_header(octets, 0, len(octets))
    if header is None or not header.constructed or octets[0] == 0:
        return False
    rest = octets[header.size :]
    inner = _read_header(rest, 0, len(rest)) if rest else None
    if header.length == _INDEFINITE:
        return inner is not None
    return header.length == 0 or (inner is not None and inner.size + max(inner.length, 0) <= header.length)


def asn1_tree(octets: bytes, name: str = "ASN.1") -> Node:
    """The elements of `octets`. It never raises: what cannot be read is shown as octets, with the offset.

    Args:
        octets: BER or DER, whole or cut short.
        name: of the tree's root.
    """
    return _tree(_Reader(octets), name, 0)


def _tree(reader: _Reader, name: str, depth: int) -> Node:
    """The elements that a reader has, which stand `depth` deep in what is shown."""
    octets = reader.octets
    children, end = reader.elements(0, len(octets), depth)
    if end < len(octets):
        children.append(Node("rest", octets[end:], f"{octets_text(len(octets) - end)} that are no element"))
    problem = reader.problem or ("no element begins here" if end < len(octets) else "")
    if len(children) == 1 and not problem:
        return Node(name, None, f"ASN.1, {octets_text(len(octets))}", (children[0],))
    note = f"ASN.1, {octets_text(len(octets))}" + (f"; {problem}" if problem else "")
    return Node(name, None, note, tuple(children), problem=bool(problem))


class _Reader:
    """Walks over elements, with what it met on the way."""

    def __init__(self, octets: bytes, left: int = MOST_ELEMENTS) -> None:
        self.octets = octets
        self.left = left
        """How many more elements are shown."""
        self.problem = ""

    def elements(self, at: int, end: int, depth: int) -> tuple[list[Node], int]:
        """The elements from `at` to `end`, and where reading stopped."""
        found: list[Node] = []
        while at < end:
            if self.octets[at : at + 2] == b"\0\0" and depth:  # the end of an indefinite length
                return found, at
            header = _read_header(self.octets, at, end)
            if header is None or self.left == 0:
                self._stop(at, "more elements are not shown" if header is not None else "no whole header stands there")
                return found, at
            self.left -= 1
            node, at = self._element(header, at, end, depth)
            found.append(node)
        return found, at

    def _element(self, header: _Header, at: int, end: int, depth: int) -> tuple[Node, int]:
        start = at + header.size
        name = _name(header)
        if header.length == _INDEFINITE:
            if depth >= DEEPEST:
                self._stop(at, f"elements stand deeper than {DEEPEST}")
                return Node(name, self.octets[start:end]), end
            children, stopped = self.elements(start, end, depth + 1)
            closed = self.octets[stopped : stopped + 2] == b"\0\0"
            if not closed:
                self._stop(stopped, "an indefinite length has no end")
            return Node(name, None, "indefinite length", tuple(children)), stopped + 2 if closed else end
        stop = start + header.length
        cut = stop > end
        if cut:
            self._stop(end, f"{name} at offset {at} should have {octets_text(header.length)}, {end - start} are there")
            stop = end
        if header.constructed and depth < DEEPEST:
            children, reached = self.elements(start, stop, depth + 1)
            if reached < stop:
                children.append(Node("rest", self.octets[reached:stop], "no element"))
            node = Node(name, None, "", tuple(children))
        else:
            node = self._leaf(header, name, self.octets[at:stop], depth, cut=cut)
        return (node.annotated("cut short", problem=True) if cut else node), stop

    def _leaf(self, header: _Header, name: str, element: bytes, depth: int, *, cut: bool) -> Node:
        content = element[header.size :]
        if cut or header.kind or header.constructed:
            return Node(name, content)
        if header.number == 4:
            return self._octets(name, content, depth)
        return replace(_decoded(header.number, element, content), name=name)

    def _octets(self, name: str, content: bytes, depth: int) -> Node:
        """An OCTET STRING, whose content may be ASN.1 again: it counts as deep and as many as if it stood there."""
        if depth < DEEPEST and self.left and looks_like_asn1(content):
            reader = _Reader(content, self.left)
            inner = _tree(reader, name, depth + 1)
            self.left = reader.left
            if not inner.problem:
                return Node(name, None, octets_text(len(content)), inner.children)
        return Node(name, content)

    def _stop(self, at: int, why: str) -> None:
        if not self.problem:
            self.problem = f"reading ends at offset {at}: {why}"


def _name(header: _Header) -> str:
    if header.kind == 0:
        return _UNIVERSAL.get(header.number, f"UNIVERSAL {header.number}")
    return f"[{_CLASSES[header.kind]}{header.number}]"


def _read_header(octets: bytes, at: int, end: int) -> _Header | None:
    """The header at an offset; `None` where there is no whole one before `end`."""
    octets = octets[at : min(end, at + _LONGEST_HEADER)]
    try:
        first, at = octets[0], 1
        number = first & 0x1F
        if number == 0x1F:
            number = 0
            while True:
                number, more, at = number << 7 | octets[at] & 0x7F, octets[at] & 0x80, at + 1
                if not more:
                    break
                if number >> 32:
                    return None
        length, at = octets[at], at + 1
        if length == 0x80:
            return _Header(first >> 6, number, True, at, _INDEFINITE) if first & _CONSTRUCTED else None
        if length > 0x80:
            size = length & 0x7F
            if size > 8 or at + size > len(octets):
                return None
            length, at = int.from_bytes(octets[at : at + size], "big"), at + size
        return _Header(first >> 6, number, bool(first & _CONSTRUCTED), at, length)
    except IndexError:
        return None


@cache
def _pyasn1() -> tuple[Any, type[Exception]]:
    """pyasn1's decoder and its error; it ships no type information."""
    decoder: Any = importlib.import_module("pyasn1.codec.ber.decoder")
    error: Any = importlib.import_module("pyasn1.error")
    return decoder.decode, error.PyAsn1Error


def _decoded(number: int, element: bytes, content: bytes) -> Node:
    """The value of a primitive element of a universal type, its name left open."""
    if number not in _UNIVERSAL or (number in (2, 6, 10) and len(content) > _LARGEST_NUMBER):
        return Node("", content)
    decode, failure = _pyasn1()
    try:
        value = decode(element)[0]
        return Node("", *_shown(number, value, content))
    except (failure, ValueError, OverflowError) as error:
        return Node("", content, f"malformed ({type(error).__name__})", problem=True)


def _shown(number: int, value: Any, content: bytes) -> tuple[Value, str]:
    if number == 1:
        return bool(value), ""
    if number in (2, 10):
        return int(value), ""
    if number == 3:
        unused = content[0] if content else 0
        return content[1:], f"{len(value)} bits" if unused else ""
    if number == 5:
        return None, ""
    if number == 6:
        return str(value), OID_NAMES.get(str(value), "")
    if number in (23, 24):
        moment: datetime = value.asDateTime
        return (moment if moment.tzinfo is None else moment.astimezone(UTC)).replace(tzinfo=UTC), ""
    return str(value) if number in _TEXTS else content, ""
