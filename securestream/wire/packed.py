"""Fixed layouts as frozen dataclasses, declared once and compiled at first use into straight-line Python.

::

    @dataclass(frozen=True, repr=False)
    class Challenge(Packed, prefix=b"NTLMSSP\\0\\2\\0\\0\\0"):
        target_name: Annotated[bytes, PAYLOAD]
        flags: Annotated[int, U32]
        server_challenge: Annotated[bytes, Octets(8)]
        version: Annotated[bytes | None, Octets(8)] = None

    challenge = Challenge.unpack(octets)     # Challenge, or MalformedMessage
    octets = challenge.pack()

How a field says its layout, by one mark in ``Annotated``; fields follow one another without padding:

* `U8`, `U16`, `U32`, `U64`: little-endian. With an ``IntFlag`` as its type unknown bits are kept; with an ``IntEnum``
  unknown values are malformed, with ``MyEnum | int`` they are kept as integers.
* `Octets`: that many octets.
* `PAYLOAD` or `Payload`: a descriptor {length u16, maximum length u16, offset u32} of octets that lie anywhere after
  the fixed part ([MS-NLMP] 2.2.1). They are read by offset and never by position, since every implementation orders
  them differently.
* `REST`: everything after the fixed part; only as the last field.

``T | None`` marks a field at the end of the fixed part that may be absent: it is `None` when the message, or the first
octet of any payload, ends the fixed part before it. Such fields follow those that must be there.

`unpack` makes the value without calling ``__init__``; a layout has no ``__post_init__``.
"""

from __future__ import annotations

import struct
import types
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from typing import Annotated, Any, ClassVar, Self, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

from securestream.errors import MalformedMessage, UsageError
from securestream.redaction import Redacted
from securestream.wire.cursor import Buffer


@dataclass(frozen=True)
class Unsigned:
    """A little-endian unsigned integer.

    Args:
        code: the code of `struct`.
        size: octets.
    """

    code: str
    size: int


@dataclass(frozen=True)
class Octets:
    """A fixed number of octets.

    Args:
        size: how many.
    """

    size: int

    @property
    def code(self) -> str:
        """The code of `struct`."""
        return f"{self.size}s"


@dataclass(frozen=True)
class Payload:
    """A descriptor of octets that lie after the fixed part.

    Args:
        order: where `Packed.pack` puts the octets among the payloads: lower first, equal ones as declared.
        lenient: a descriptor that points outside of the message reads as empty; for what receivers must ignore unless
            a flag says that it is there.
    """

    order: int = 0
    lenient: bool = False
    code: ClassVar[str] = "HHI"
    size: ClassVar[int] = 8


@dataclass(frozen=True)
class Rest:
    """All octets after the fixed part."""


U8 = Unsigned("B", 1)
U16 = Unsigned("H", 2)
U32 = Unsigned("I", 4)
U64 = Unsigned("Q", 8)
PAYLOAD = Payload()
REST = Rest()

Mark: TypeAlias = Unsigned | Octets | Payload | Rest
_Unpacker: TypeAlias = Callable[[type[Any], bytes], Any]
_Packer: TypeAlias = Callable[[Any], bytes]
_PAYLOAD_LIMIT = 0xFFFF
_TAKEN = frozenset({"at", "cls", "failure", "first", "message", "octets", "parts", "prefix", "read", "size", "write"})


@dataclass(frozen=True)
class _Field:
    """One field of a layout; `start` and `end` are its place in the fixed part."""

    name: str
    mark: Mark
    optional: bool
    convert: Callable[[int], Any] | None
    start: int
    end: int


@dataclass(frozen=True)
class _Layout:
    prefix: bytes
    fields: tuple[_Field, ...]

    @property
    def mandatory(self) -> tuple[_Field, ...]:
        return tuple(f for f in self.fields if not f.optional and not isinstance(f.mark, Rest))

    @property
    def optional(self) -> tuple[_Field, ...]:
        return tuple(f for f in self.fields if f.optional)

    @property
    def payloads(self) -> tuple[_Field, ...]:
        return tuple(f for f in self.fields if isinstance(f.mark, Payload))

    @property
    def rest(self) -> _Field | None:
        return next((f for f in self.fields if isinstance(f.mark, Rest)), None)

    @property
    def size(self) -> int:
        """Octets of the part that must be there."""
        return max((f.end for f in self.mandatory), default=len(self.prefix))


class Packed(Redacted):
    """Base of every declared fixed layout; see the module for how one is declared.

    Args:
        prefix: octets with which every message of this layout begins.
    """

    _prefix: ClassVar[bytes] = b""
    _packer: ClassVar[_Packer | None] = None
    _unpacker: ClassVar[_Unpacker | None] = None

    def __init_subclass__(cls, *, prefix: bytes = b"") -> None:
        super().__init_subclass__()
        cls._prefix = prefix
        cls._packer = cls._unpacker = None

    @classmethod
    def unpack(cls, octets: Buffer) -> Self:
        """Read a message.

        Args:
            octets: the whole message; what lies beyond the fixed part and is described by no payload is ignored.

        Raises:
            MalformedMessage: it is too short, begins otherwise, or a payload lies outside of it.
        """
        unpacker = cls._unpacker
        if unpacker is None:
            unpacker = cls._compile()[0]
        message: Self = unpacker(cls, octets if type(octets) is bytes else bytes(octets))
        return message

    def pack(self) -> bytes:
        """Write the message: the fixed part, then the payloads.

        Raises:
            UsageError: a value does not fit its field.
        """
        packer = type(self)._packer
        if packer is None:
            packer = self._compile()[1]
        return packer(self)

    @classmethod
    def generated_source(cls) -> tuple[str, str]:
        """The Python that reads and the Python that writes this layout, for whoever wants to look at it."""
        layout = _layout_of(cls, cls._prefix)
        return _reader(cls.__name__, layout), _writer(cls.__name__, layout)

    @classmethod
    def _compile(cls) -> tuple[_Unpacker, _Packer]:
        functions = _build(_layout_of(cls, cls._prefix), cls.generated_source())
        cls._unpacker, cls._packer = staticmethod(functions[0]), staticmethod(functions[1])
        return functions


def _build(layout: _Layout, sources: tuple[str, str]) -> tuple[_Unpacker, _Packer]:
    code = "<" + "".join(f.mark.code for f in layout.mandatory if not isinstance(f.mark, Rest))
    body = struct.Struct(f"<{len(layout.prefix)}s{code[1:]}")
    names: dict[str, Any] = {
        "MalformedMessage": MalformedMessage,
        "UsageError": UsageError,
        "prefix": layout.prefix,
        "read": body.unpack_from,
        "write": body.pack,
        "failure": struct.error,
        "new": object.__new__,
        "enumerated": _enumerated,
    }
    for field in layout.fields:
        names[f"to_{field.name}"] = field.convert
        if field.optional and not isinstance(field.mark, Rest):
            piece = struct.Struct(f"<{field.mark.code}")
            names[f"read_{field.name}"], names[f"write_{field.name}"] = piece.unpack_from, piece.pack
    for source in sources:
        exec(compile(source, "<packed layout>", "exec"), names)  # noqa: S102  its only input is the declaration
    return names["unpack"], names["pack"]


# --- from the declaration --------------------------------------------------------------------------------------------


def _layout_of(cls: type[Packed], prefix: bytes) -> _Layout:
    hints = get_type_hints(cls, include_extras=True)
    found: list[_Field] = []
    at = len(prefix)
    for field in fields(cast("Any", cls)):
        if not field.init:
            continue
        if field.name in _TAKEN:
            raise TypeError(f"{cls.__name__}.{field.name}: the generated code uses that name, choose another")
        mark, optional, convert = _declared(f"{cls.__name__}.{field.name}", hints[field.name])
        if found and (isinstance(found[-1].mark, Rest) or (found[-1].optional and not optional)):
            raise TypeError(f"{cls.__name__}.{field.name} cannot follow {found[-1].name}")
        size = 0 if isinstance(mark, Rest) else mark.size
        found.append(_Field(field.name, mark, optional, convert, at, at + size))
        at += size
    return _Layout(prefix, tuple(found))


def _declared(where: str, hint: Any) -> tuple[Mark, bool, Callable[[int], Any] | None]:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{where} says no layout: annotate it with one of U8 ... REST")
    kind, *marks = get_args(hint)
    mark = next((m for m in marks if isinstance(m, Unsigned | Octets | Payload | Rest)), None)
    if mark is None:
        raise TypeError(f"{where} says no layout: annotate it with one of U8 ... REST")
    kinds: tuple[Any, ...] = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    optional = type(None) in kinds
    enum = next((k for k in kinds if isinstance(k, type) and issubclass(k, Enum)), None)
    if enum is None:
        return mark, optional, None
    if issubclass(enum, IntEnum) and int in kinds:
        return mark, optional, _lenient(enum)
    return mark, optional, enum


def _lenient(enum: type[IntEnum]) -> Callable[[int], int]:
    known: dict[int, int] = {int(member): member for member in enum}
    return lambda value: known.get(value, value)


def _enumerated(convert: Callable[[int], Any], value: int, where: str) -> Any:
    try:
        return convert(value)
    except ValueError:
        raise MalformedMessage(f"{where}: {value} is no known value") from None


# --- to straight-line Python -----------------------------------------------------------------------------------------


def _value(name: str, where: str, convert: object) -> str:
    return f"enumerated(to_{name}, {name}, {where!r})" if convert is not None else name


def _payload_lines(field: _Field, least: int, what: str) -> list[str]:
    name, mark = field.name, cast("Payload", field.mark)
    text = f"{what}: the payload {name} lies outside of the message"
    outside = f"{name} = b''" if mark.lenient else f"raise MalformedMessage({text!r})"
    return [
        f"if {name}:",
        f"    end_ = at_{name} + {name}",
        f"    if at_{name} < {least} or end_ > size: {outside}",
        "    else:",
        f"        if at_{name} < first: first = at_{name}",
        f"        {name} = octets[at_{name}:end_]",
        f"else: {name} = b''",
    ]


def _reader(what: str, layout: _Layout) -> str:
    targets: list[str] = ["prefix_"]
    for field in layout.mandatory:
        targets += [field.name, "_", f"at_{field.name}"] if isinstance(field.mark, Payload) else [field.name]
    lines = [
        "size = len(octets)",
        (
            f"if size < {layout.size}: raise MalformedMessage("
            f"f'{what}: {{size}} octets are too few, {layout.size} are due')"
        ),
        f"{', '.join(targets)}, = read(octets)",
        f"if prefix_ != prefix: raise MalformedMessage({f'{what}: it begins otherwise'!r})",
        "first = size",
    ]
    for field in layout.mandatory:
        if isinstance(field.mark, Payload):
            lines += _payload_lines(field, layout.size, what)
    for field in layout.optional:
        lines.append(f"if first >= {field.end}:")
        if isinstance(field.mark, Payload):
            lines.append(f"    {field.name}, _, at_{field.name} = read_{field.name}(octets, {field.start})")
            lines += [f"    {line}" for line in _payload_lines(field, field.end, what)]
        else:
            lines.append(f"    {field.name}, = read_{field.name}(octets, {field.start})")
            if field.convert is not None:
                lines.append(f"    {field.name} = {_value(field.name, what, field.convert)}")
        lines.append(f"else: {field.name} = None")
    if layout.rest is not None:
        lines.append(f"{layout.rest.name} = octets[{layout.rest.start}:]")
    given = (
        f"{f.name}={f.name if f.optional else _value(f.name, f'{what}.{f.name}', f.convert)}" for f in layout.fields
    )
    lines += ["message = new(cls)", f"message.__dict__.update({', '.join(given)})", "return message"]
    return "def unpack(cls, octets):\n" + "".join(f"    {line}\n" for line in lines)


def _writer(what: str, layout: _Layout) -> str:
    lines: list[str] = [f"at = {layout.size}"]
    absent = ""
    for field in layout.fields:
        lines.append(f"{field.name} = self.{field.name}")
        if field.optional:
            lines.append(f"if {field.name} is not None: at += {field.end - field.start}")
            if absent:
                message = f"{what}.{field.name} needs {absent} before it"
                lines.append(f"if {absent} is None and {field.name} is not None: raise UsageError({message!r})")
            absent = field.name
        if isinstance(field.mark, Octets):
            message = f"{what}.{field.name} is {field.mark.size} octets"
            unless = f"{field.name} is not None and " if field.optional else ""
            lines.append(f"if {unless}len({field.name}) != {field.mark.size}: raise UsageError({message!r})")
    pieces = sorted(layout.payloads, key=lambda f: f.mark.order if isinstance(f.mark, Payload) else 0)
    for field in pieces:
        name = field.name
        unless = "0 if " + name + " is None else " if field.optional else ""
        message = f"{what}.{name} is longer than a payload can be ({_PAYLOAD_LIMIT} octets)"
        lines += [
            f"at_{name} = at; length_{name} = {unless}len({name}); at += length_{name}",
            f"if length_{name} > {_PAYLOAD_LIMIT}: raise UsageError({message!r})",
        ]
    lines += ["try:", f"    parts = [write(prefix, {', '.join(_written(layout.mandatory))})]"]
    lines += [
        f"    if {f.name} is not None: parts.append(write_{f.name}({', '.join(_written((f,)))}))"
        for f in layout.optional
    ]
    lines.append(f"except failure: raise UsageError({f'{what}: a number does not fit its field'!r}) from None")
    lines += [f"if {f.name}: parts.append({f.name})" for f in pieces]
    if layout.rest is not None:
        lines.append(f"parts.append({layout.rest.name})")
    lines.append("return b''.join(parts)")
    return "def pack(self):\n" + "".join(f"    {line}\n" for line in lines)


def _written(written: tuple[_Field, ...]) -> list[str]:
    arguments: list[str] = []
    for field in written:
        name = field.name
        is_payload = isinstance(field.mark, Payload)
        arguments += [f"length_{name}", f"length_{name}", f"at_{name}"] if is_payload else [name]
    return arguments
