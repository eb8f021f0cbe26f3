"""NDR structures as frozen dataclasses, declared once: type serialization version 1 (C706 14, [MS-RPCE] 2.2.6).

::

    @dataclass(frozen=True, repr=False)
    class GroupMembership(ndr.Structure):
        relative_id: Annotated[int, ndr.U32]
        attributes: Annotated[int, ndr.U32]

    @dataclass(frozen=True, repr=False)
    class DomainGroups(ndr.Structure):
        domain: Annotated[str | None, ndr.SID]
        groups: Annotated[tuple[GroupMembership, ...], ndr.Counted(GroupMembership)]

    value = DomainGroups.unpack(octets)      # DomainGroups, or MalformedMessage
    octets = value.pack()

How a field says its layout, by one mark in ``Annotated``; alignment is NDR's and is added by itself:

* `U16`, `U32`, `U64`, `I64`, `FILETIME` (64 bits at a boundary of four), `Octets`; with an ``IntFlag`` as its type
  unknown bits are kept;
* `UNICODE_STRING` or `UnicodeString`: RPC_UNICODE_STRING ([MS-DTYP] 2.3.10);
* `WIDE_STRING`: a pointer to a string that ends in a zero character, `None` for the null pointer;
* `SID`: a pointer to a SID, `None` for the null pointer;
* `Counted`: a 32-bit count, then a pointer to a conformant array of that many elements. The value is the tuple of
  elements, or `bytes` where they are octets; the count is never a field;
* `Switched`: a union of such arrays, told apart by the field that is named.

Pointers are unique ones: a referent is null or not, and its number says nothing. What a pointer points to follows the
structure or array that holds it, in the order of the pointers (C706 14.3.12.3).

Reading is bounded: count times the element's size is held against what is left before anything is allocated, and what
is read is proportional to what was received. A structure cannot contain itself, so its depth is that of its
declaration.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntFlag
from typing import Annotated, Any, Final, Self, TypeAlias, cast, get_args, get_origin, get_type_hints

from securestream.errors import MalformedMessage, UsageError
from securestream.redaction import Redacted
from securestream.wire._ndr_stream import (
    HEADER_SIZE,
    U32_STRUCT,
    Reader,
    Writer,
    read_units,
    text_of,
    units_of,
    write_units,
)
from securestream.wire.cursor import Buffer
from securestream.wire.sids import MOST_SUB_AUTHORITIES, sid_from_octets, sid_to_octets

_HEADER: Final = struct.Struct("<BBHIII")
_VERSION: Final = 1
_LITTLE_ENDIAN: Final = 0x10
_COMMON_LENGTH: Final = 8
_FILLER: Final = 0xCCCCCCCC
_ALIGNMENT: Final = 8
_MOST_DEPTH: Final = 16


class Kind(ABC):
    """How a field is laid out.

    Args:
        items: of the fixed part, each a code of `struct` with its size and alignment.
    """

    def __init__(self, *items: tuple[str, int, int]) -> None:
        self.items = items

    @abstractmethod
    def read(self, values: Sequence[Any], reader: Reader, before: Mapping[str, Any]) -> Any:
        """The value of its items, after reading what they point to; `before` are the fields before it."""

    @abstractmethod
    def fixed(self, value: Any, writer: Writer, owner: Any) -> Sequence[Any]:
        """The items of a value; pointers come from the writer."""

    @abstractmethod
    def deferred(self, value: Any, writer: Writer, owner: Any) -> None:
        """Write what the items point to."""


class Number(Kind):
    """An integer.

    Args:
        code: of `struct`.
        size: octets.
        alignment: octets.
    """

    def __init__(self, code: str, size: int, alignment: int) -> None:
        super().__init__((code, size, alignment))

    def read(self, values: Sequence[Any], reader: Reader, before: Mapping[str, Any]) -> Any:
        """The number."""
        return values[0]

    def fixed(self, value: Any, writer: Writer, owner: Any) -> Sequence[Any]:
        """The number."""
        return (value,)

    def deferred(self, value: Any, writer: Writer, owner: Any) -> None:
        """Nothing."""


class Octets(Kind):
    """A fixed number of octets.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        super().__init__((f"{size}s", size, 1))
        self.size = size

    def read(self, values: Sequence[Any], reader: Reader, before: Mapping[str, Any]) -> Any:
        """The octets."""
        return values[0]

    def fixed(self, value: Any, writer: Writer, owner: Any) -> Sequence[Any]:
        """The octets."""
        if len(value) != self.size:
            raise UsageError(f"{len(value)} octets are given where {self.size} are due")
        return (value,)

    def deferred(self, value: Any, writer: Writer, owner: Any) -> None:
        """Nothing."""


class UnicodeString(Kind):
    """RPC_UNICODE_STRING: length and capacity in octets, and a pointer to UTF-16. The null pointer reads as "".

    Args:
        spare: octets by which the capacity that is written exceeds the length; Windows leaves room for a terminator in
            some strings.
    """

    def __init__(self, spare: int = 0) -> None:
        super().__init__(("H", 2, 4), ("H", 2, 2), ("I", 4, 4))
        self.spare = spare

    def read(self, values: Sequence[Any], reader: Reader, before: Mapping[str, Any]) -> Any:
        """The text."""
        length, _, referent = values
        octets = read_units(reader) if referent else b""
        if len(octets) != length:
            raise reader.malformed(f"a string of {len(octets)} octets says {length}")
        return text_of(octets, reader)

    def fixed(self, value: Any, writer: Writer, owner: Any) -> Sequence[Any]:
        """Length, capacity, pointer."""
        length = len(value.encode("utf-16-le", "surrogatepass"))
        return length, length + self.spare, writer.referent()

    def deferred(self, value: Any, writer: Writer, owner: Any) -> None:
        """The conformant and varying array of its units."""
        write_units(units_of(value), writer, self.spare // 2)


class WideString(Kind):
    """A pointer to a string that ends in a zero character; `None` is the null pointer."""

    def __init__(self) -> None:
        super().__init__(("I", 4, 4))

    def read(self, values: Sequence[Any], reader: Reader, before: Mapping[str, Any]) -> Any:
        """The text without its terminator."""
        if not values[0]:
            return None
        octets = read_units(reader)
        if octets[-2:] != b"\0\0":
            raise reader.malformed("a string does not end in a zero character")
        return text_of(octets[:-2], reader)

    def fixed(self, value: Any, writer: Writer, owner: Any) -> Sequence[Any]:
        """The pointer."""
        return (0 if value is None else writer.referent(),)

    def deferred(self, value: Any, writer: Writer, owner: Any) -> None:
        """The conformant and varying array of its units."""
        if value is not None:
            write_units(units_of(value) + b"\0\0", writer, 0)


class Sid(Kind):
    """A pointer to a SID, as text; `None` is the null pointer."""

    def __init__(self) -> None:
        super().__init__(("I", 4, 4))

    def read(self, values: Sequence[Any], reader: Reader, before: Mapping[str, Any]) -> Any:
        """The SID's text."""
        if not values[0]:
            return None
        count = reader.count()
        if count > MOST_SUB_AUTHORITIES:
            raise reader.malformed(f"a security identifier with {count} numbers")
        size = 8 + 4 * count
        start = reader.due(size, 4)
        return sid_from_octets(reader.octets[start : start + size])

    def fixed(self, value: Any, writer: Writer, owner: Any) -> Sequence[Any]:
        """The pointer."""
        return (0 if value is None else writer.referent(),)

    def deferred(self, value: Any, writer: Writer, owner: Any) -> None:
        """The count of its numbers, then the SID."""
        if value is not None:
            octets = sid_to_octets(value)
            writer.put(U32_STRUCT, (octets[1],), 4)
            writer.octets += octets


class Counted(Kind):
    """A count, then a pointer to a conformant array of that many elements.

    Args:
        element: a `Structure`, `WIDE_STRING`, a `UnicodeString`, a `Number`, or `OCTET` for `bytes`.
    """

    def __init__(self, element: Kind | type[Structure]) -> None:
        super().__init__(("I", 4, 4), ("I", 4, 4))
        self._element = element

    def read(self, values: Sequence[Any], reader: Reader, before: Mapping[str, Any]) -> Any:
        """The elements."""
        count, referent = values
        if not referent:
            if count:
                raise reader.malformed(f"{count} elements are due and none is there")
            return b"" if self._element is OCTET else ()
        if reader.count() != count:
            raise reader.malformed("the two counts of an array differ")
        if self._element is OCTET:
            start = reader.due(count, 1)
            return reader.octets[start : start + count]
        return _read_array(self._element, count, reader)

    def fixed(self, value: Any, writer: Writer, owner: Any) -> Sequence[Any]:
        """Count and pointer."""
        return len(value), writer.referent() if value else 0

    def deferred(self, value: Any, writer: Writer, owner: Any) -> None:
        """The conformant array."""
        if not value:
            return
        writer.put(U32_STRUCT, (len(value),), 4)
        if self._element is OCTET:
            writer.octets += value
        else:
            _write_array(self._element, value, writer)


class Switched(Kind):
    """A union of counted arrays; its tag, 16 bits, repeats an earlier field.

    Args:
        field: that field's name.
        arms: by the field's value.
    """

    def __init__(self, field: str, arms: Mapping[int, Counted]) -> None:
        super().__init__(("H", 2, 2), ("I", 4, 4), ("I", 4, 4))
        self._field = field
        self._arms = arms

    def read(self, values: Sequence[Any], reader: Reader, before: Mapping[str, Any]) -> Any:
        """The elements of the arm that is there."""
        tag, *arm = values
        if tag != before[self._field]:
            raise reader.malformed("the two tags of a union differ")
        if tag not in self._arms:
            raise reader.malformed(f"a union has no arm {tag}")
        return self._arms[tag].read(arm, reader, before)

    def fixed(self, value: Any, writer: Writer, owner: Any) -> Sequence[Any]:
        """Tag, count and pointer."""
        tag, arm = self._chosen(owner)
        return tag, *arm.fixed(value, writer, owner)

    def deferred(self, value: Any, writer: Writer, owner: Any) -> None:
        """The conformant array."""
        self._chosen(owner)[1].deferred(value, writer, owner)

    def _chosen(self, owner: Any) -> tuple[int, Counted]:
        tag = getattr(owner, self._field)
        if tag not in self._arms:
            raise UsageError(f"{type(owner).__name__}: there is no arm {tag} of its union")
        return tag, self._arms[tag]


U16 = Number("H", 2, 2)
U32 = Number("I", 4, 4)
U64 = Number("Q", 8, 8)
I64 = Number("q", 8, 8)
FILETIME = Number("Q", 8, 4)
OCTET = Number("B", 1, 1)
UNICODE_STRING = UnicodeString()
WIDE_STRING = WideString()
SID = Sid()


class Structure(Redacted):
    """Base of every declared NDR structure; see the module for how one is declared."""

    @classmethod
    def unpack(cls, octets: Buffer) -> Self:
        """Read a serialized structure with its headers ([MS-RPCE] 2.2.6.1, 2.2.6.2).

        Args:
            octets: all of it; what lies beyond the length in its header is ignored.

        Raises:
            MalformedMessage: it is too short, in another byte order, or inconsistent.
        """
        whole = bytes(octets)
        if len(whole) < HEADER_SIZE:
            raise MalformedMessage(f"{cls.__name__}: {len(whole)} octets are too few for an NDR header")
        version, order, common, _, length, _ = _HEADER.unpack_from(whole)
        if (version, order, common) != (_VERSION, _LITTLE_ENDIAN, _COMMON_LENGTH):
            raise MalformedMessage(f"{cls.__name__}: no little-endian NDR serialization of version 1")
        if length > len(whole) - HEADER_SIZE:
            raise MalformedMessage(f"{cls.__name__}: {length} octets are due and {len(whole) - HEADER_SIZE} there")
        reader = Reader(whole, HEADER_SIZE + length, cls.__name__)
        if not reader.count():
            raise reader.malformed("the structure is absent")
        (value,) = _read_array(cls, 1, reader)
        if reader.end - reader.at >= _ALIGNMENT:
            raise reader.malformed(f"{reader.end - reader.at} octets too many")
        return cast("Self", value)

    def pack(self) -> bytes:
        """Write it with its headers.

        Raises:
            UsageError: a value does not fit its field.
        """
        writer = Writer()
        writer.put(U32_STRUCT, (writer.referent(),), 4)
        _write_array(type(self), (self,), writer)
        writer.align(_ALIGNMENT)
        body = bytes(writer.octets)
        return _HEADER.pack(_VERSION, _LITTLE_ENDIAN, _COMMON_LENGTH, _FILLER, len(body), 0) + body


# --- structures and arrays -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Field:
    """One field: its items are `first` to `last` of the fixed part."""

    name: str
    kind: Kind
    convert: Callable[[int], Any] | None
    first: int
    last: int


_Step: TypeAlias = tuple[str, Callable[..., Any] | None, Callable[[int], Any] | None, int, int]
"""How a field is read: its name, what reads it (`None`: it is its one item), what converts it, its items."""


@dataclass(frozen=True)
class _Plan:
    """The fixed part of a structure, and the distance from one element of an array to the next."""

    code: struct.Struct
    alignment: int
    stride: int
    fields: tuple[_Field, ...]
    steps: tuple[_Step, ...]


_PLANS: Final[dict[Kind | type[Structure], _Plan]] = {}


def _read_array(element: Kind | type[Structure], count: int, reader: Reader) -> tuple[Any, ...]:
    """That many elements: all their fixed parts, then what those point to, element by element."""
    plan = _plan_of(element)
    if not count:
        return ()
    if reader.depth >= _MOST_DEPTH:
        raise reader.malformed(f"more than {_MOST_DEPTH} levels of pointers")
    start = reader.due((count - 1) * plan.stride + plan.code.size, plan.alignment)
    fixed = [plan.code.unpack_from(reader.octets, start + number * plan.stride) for number in range(count)]
    reader.depth += 1
    if isinstance(element, Kind):
        found = tuple(element.read(values, reader, {}) for values in fixed)
    else:
        found = tuple(_read_structure(element, plan, values, reader) for values in fixed)
    reader.depth -= 1
    return found


def _read_structure(cls: type[Structure], plan: _Plan, values: Sequence[Any], reader: Reader) -> Structure:
    found: dict[str, Any] = {}
    for name, read, convert, first, last in plan.steps:
        value = values[first] if read is None else read(values[first:last], reader, found)
        found[name] = value if convert is None else convert(value)
    value = object.__new__(cls)  # all fields are there, and no structure has a __post_init__
    value.__dict__.update(found)
    return value


def _write_array(element: Kind | type[Structure], values: Sequence[Any], writer: Writer) -> None:
    plan = _plan_of(element)
    for value in values:
        items: list[Any] = []
        for field in plan.fields:
            items += field.kind.fixed(getattr(value, field.name) if field.name else value, writer, value)
        writer.put(plan.code, items, plan.alignment)
    for value in values:
        for field in plan.fields:
            field.kind.deferred(getattr(value, field.name) if field.name else value, writer, value)


def _plan_of(element: Kind | type[Structure]) -> _Plan:
    plan = _PLANS.get(element)
    if plan is None:
        if isinstance(element, Kind):
            plan = _planned((_Field("", element, None, 0, len(element.items)),))
        else:
            plan = _planned(_declared(element))
        _PLANS[element] = plan
    return plan


def _planned(found: tuple[_Field, ...]) -> _Plan:
    code, size, alignment = "<", 0, 1
    for field in found:
        for item, octets, boundary in field.kind.items:
            gap = -size % boundary
            code += "x" * gap + item
            size += gap + octets
            alignment = max(alignment, boundary)
    return _Plan(struct.Struct(code), alignment, -(-size // alignment) * alignment, found, tuple(map(_step, found)))


def _step(field: _Field) -> _Step:
    read = None if isinstance(field.kind, Number | Octets) else field.kind.read
    return field.name, read, field.convert, field.first, field.last


def _declared(cls: type[Structure]) -> tuple[_Field, ...]:
    hints = get_type_hints(cls, include_extras=True)
    found: list[_Field] = []
    first = 0
    for field in fields(cast("Any", cls)):
        if not field.init:
            continue
        hint = hints[field.name]
        marks: tuple[Any, ...] = get_args(hint) if get_origin(hint) is Annotated else ()
        kind = next((mark for mark in marks if isinstance(mark, Kind)), None)
        if kind is None:
            raise TypeError(f"{cls.__name__}.{field.name} says no layout: annotate it with one of ndr.U16 ...")
        convert = marks[0] if isinstance(marks[0], type) and issubclass(marks[0], IntFlag) else None
        found.append(_Field(field.name, kind, convert, first, first + len(kind.items)))
        first += len(kind.items)
    return tuple(found)
