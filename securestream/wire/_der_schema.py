"""From the type hints of a message to a description that the DER generators follow."""

from __future__ import annotations

import dataclasses
import types
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from securestream.errors import UsageError
from securestream.wire import der_types as t

SEQUENCE = 0x30
Identifiers = tuple[int, ...]
"""The identifier octets accepted at one place; the first is the one that is sent."""


@dataclasses.dataclass(frozen=True)
class Null:
    """A NULL."""


@dataclasses.dataclass(frozen=True)
class SequenceOf:
    """A SEQUENCE OF `element`."""

    element: Node


@dataclasses.dataclass(frozen=True)
class Choice:
    """A CHOICE; each alternative is told by its identifier and, when encoding, by its Python type."""

    alternatives: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Nested:
    """A message inside a message."""

    message: Schema


@dataclasses.dataclass(frozen=True)
class Node:
    """One value and how it stands in the encoding.

    Args:
        kind: what it is.
        chain: the identifiers from the outermost explicit tag to the value's own; empty for a CHOICE or ANY that has no
            tag around it.
        own: how many of the chain belong to the field, before those of a nested message's type.
        python: the Python type of the value.
        sizes: bounds, where declared.
        keeps_unknown: whether values that the enumeration `python` does not know stay integers.
        wrappers: message types of one untagged field around the value, outermost first, each with its field's name.
    """

    kind: t.Kind | Null | SequenceOf | Choice | Nested
    chain: tuple[Identifiers, ...]
    own: int
    python: type[Any]
    sizes: t.Size | None = None
    keeps_unknown: bool = False
    wrappers: tuple[tuple[type[Any], str], ...] = ()

    @property
    def first(self) -> Identifiers | None:
        """The identifiers that the element can begin with; `None` if any."""
        if self.chain:
            return self.chain[0]
        if isinstance(self.kind, Choice):
            firsts = [alternative.first for alternative in self.kind.alternatives]
            return None if None in firsts else tuple(i for first in firsts for i in first or ())
        return None


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a message.

    `default` is meaningful with `has_default` only; `received` names the field that keeps this one's octets.
    """

    name: str
    node: Node
    optional: bool
    has_default: bool = False
    default: Any = None
    lenient_default: bool = False
    received: str | None = None


@dataclasses.dataclass(frozen=True)
class Schema:
    """A message: its class, the tags of its type, its fields in order."""

    cls: type[Any]
    chain: tuple[Identifiers, ...]
    fields: tuple[Field, ...]
    extensible: bool
    extensions: str | None
    received: str | None
    limit: int
    wrapper: bool


@dataclasses.dataclass(frozen=True)
class Declaration:
    """The class arguments of a message."""

    tag: t.Tag | None = None
    extensible: bool = False
    wrapper: bool = False
    limit: int = 1 << 20


def _universal(kind: object) -> int:
    match kind:
        case t.Integer():
            return 0x02
        case t.Enumerated():
            return 0x0A
        case t.Flags() | t.Bits():
            return 0x03
        case t.Octets():
            return 0x04
        case t.Text(tag=tag):
            return tag
        case t.ObjectIdentifier():
            return 0x06
        case t.Time():
            return 0x18
        case t.Boolean():
            return 0x01
        case Null():
            return 0x05
        case _:
            return SEQUENCE


_BY_TYPE: dict[type[Any], t.Kind | Null] = {
    bool: t.BOOLEAN,
    int: t.Integer(),
    bytes: t.OCTETS,
    datetime: t.TIME,
    t.NullValue: Null(),
}
_PYTHON: dict[type[Any], tuple[type[Any], ...]] = {
    t.Integer: (int,),
    t.Enumerated: (int,),
    t.Flags: (int,),
    t.Bits: (t.BitString,),
    t.Octets: (bytes,),
    t.Text: (str,),
    t.ObjectIdentifier: (str,),
    t.Time: (datetime,),
    t.Boolean: (bool,),
    t.Raw: (bytes,),
}


class _Resolver:
    """Resolves the messages of one compilation; a message inside itself is refused, so nesting is bounded by it."""

    def __init__(self) -> None:
        self._open: list[type[Any]] = []
        self._done: dict[type[Any], Schema] = {}

    def message(self, cls: type[Any]) -> Schema:
        """The schema of a message class."""
        if cls in self._done:
            return self._done[cls]
        if cls in self._open:
            raise UsageError(f"{cls.__qualname__} contains itself: DER messages have a bounded depth")
        self._open.append(cls)
        try:
            schema = self._done[cls] = self._resolve(cls)
        finally:
            self._open.pop()
        return schema

    def _resolve(self, cls: type[Any]) -> Schema:
        if not dataclasses.is_dataclass(cls) or "__dataclass_fields__" not in cls.__dict__:
            raise UsageError(f"{cls.__qualname__} is no dataclass: decorate it with @dataclass(frozen=True)")
        declaration: Declaration = cls.__dict__["_declaration"]
        hints = get_type_hints(cls, include_extras=True)
        fields: list[Field] = []
        extensions: str | None = None
        received: dict[str, str] = {}
        for field in dataclasses.fields(cls):
            if not field.init:  # no value of the message: `Redacted` has one
                continue
            marks = get_args(hints[field.name])[1:] if get_origin(hints[field.name]) is Annotated else ()
            keeps = next((mark for mark in marks if isinstance(mark, t.Received)), None)
            if keeps is not None:
                received[keeps.field] = field.name
            elif any(isinstance(mark, t.Extensions) for mark in marks):
                extensions = field.name
            else:
                fields.append(self._field(f"{cls.__qualname__}.{field.name}", field.name, hints[field.name]))
        for name in received:
            if name and not any(f.name == name and isinstance(f.node.kind, Nested | SequenceOf) for f in fields):
                raise UsageError(
                    f"{cls.__qualname__}: only the octets of a SEQUENCE field can be kept, not of {name!r}"
                )
        schema = Schema(
            cls,
            _message_chain(declaration),
            tuple(dataclasses.replace(field, received=received.get(field.name)) for field in fields),
            declaration.extensible or extensions is not None,
            extensions,
            received.get(""),
            declaration.limit,
            declaration.wrapper,
        )
        if schema.wrapper and (len(fields) != 1 or fields[0].optional or extensions or received):
            raise UsageError(f"{cls.__qualname__}: a wrapper has exactly one field, always present")
        _check_unambiguous(schema)
        return schema

    def _field(self, where: str, name: str, hint: Any) -> Field:
        core, marks = _unwrap(hint)
        members = _union_members(core)
        optional = type(None) in members
        default = next((mark for mark in marks if isinstance(mark, t.Default)), None)
        node = self._node(where, hint)
        if default is None:
            return Field(name, node, optional)
        if optional:
            raise UsageError(f"{where}: a field is OPTIONAL or has a DEFAULT, not both")
        return Field(name, node, True, True, default.value, default.lenient)

    def _node(self, where: str, hint: Any) -> Node:
        core, marks = _unwrap(hint)
        members = [member for member in _union_members(core) if member is not type(None)]
        tags = [mark for mark in marks if isinstance(mark, t.Tag)]
        sizes = next((mark for mark in marks if isinstance(mark, t.Size)), None)
        kinds = [mark for mark in marks if isinstance(mark, t.Kind)]
        if len(kinds) > 1:
            raise UsageError(f"{where}: more than one ASN.1 type is declared")
        if len(members) == 1 and get_origin(members[0]) is Annotated:
            inner = self._node(where, members[0])
            if kinds:
                raise UsageError(f"{where}: more than one ASN.1 type is declared")
            return _tagged(where, dataclasses.replace(inner, sizes=sizes or inner.sizes), tags)
        enumeration = _open_enumeration(members)
        if enumeration is None and len(members) > 1:
            if kinds:
                raise UsageError(f"{where}: a CHOICE declares the types of its alternatives, not its own")
            choice = Choice(tuple(self._node(where, member) for member in members))
            return _tagged(where, Node(choice, (), 0, object), tags)
        node = self._single(where, enumeration or members[0], kinds[0] if kinds else None, sizes)
        return _tagged(where, dataclasses.replace(node, keeps_unknown=enumeration is not None), tags)

    def _single(self, where: str, python: Any, kind: t.Kind | None, sizes: t.Size | None) -> Node:
        if get_origin(python) is tuple:
            arguments = get_args(python)
            if len(arguments) != 2 or arguments[1] is not Ellipsis or kind is not None:
                raise UsageError(f"{where}: a SEQUENCE OF is typed tuple[T, ...]")
            return Node(SequenceOf(self._node(where, arguments[0])), ((SEQUENCE,),), 0, tuple, sizes)
        if not isinstance(python, type):
            raise UsageError(f"{where}: {python!r} has no ASN.1 type")
        if "_declaration" in python.__dict__:
            if kind is not None or sizes is not None:
                raise UsageError(f"{where}: a message declares its own ASN.1 type")
            return outermost(self.message(python))
        found = kind or next((_BY_TYPE[base] for base in python.__mro__ if base in _BY_TYPE), None)
        if found is None:
            raise UsageError(f"{where}: {python.__qualname__} has no ASN.1 type unless one is declared")
        if kind is not None and not issubclass(python, _PYTHON[type(kind)]):
            raise UsageError(f"{where}: a {type(kind).__name__} is no {python.__qualname__}")
        if isinstance(found, t.Raw):
            return Node(found, (), 0, python, sizes)
        return Node(found, ((_universal(found),),), 0, python, sizes)


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(hint) is Annotated:
        core, *marks = get_args(hint)
        return core, tuple(marks)
    return hint, ()


def _union_members(core: Any) -> tuple[Any, ...]:
    return get_args(core) if get_origin(core) in (Union, types.UnionType) else (core,)


def _open_enumeration(members: list[Any]) -> type[Any] | None:
    """The enumeration of ``MyIntEnum | int``, whose unknown values stay integers."""
    if len(members) == 2 and int in members:
        other = next((member for member in members if member is not int), None)
        if isinstance(other, type) and issubclass(other, IntEnum):
            return other
    return None


def _tagged(where: str, node: Node, tags: list[t.Tag]) -> Node:
    """The node under its tags, given outermost first."""
    for tag in reversed(tags):
        if not tag.implicit:
            node = dataclasses.replace(node, chain=(tag.identifiers(True), *node.chain), own=node.own + 1)
        elif not node.chain:
            raise UsageError(f"{where}: a CHOICE or ANY cannot be tagged implicitly (X.680 31.2.7)")
        else:
            constructed = bool(node.chain[0][0] & 0x20)
            node = dataclasses.replace(node, chain=(tag.identifiers(constructed), *node.chain[1:]))
    return node


def outermost(schema: Schema) -> Node:
    """The node of a message as it stands by itself."""
    cls = schema.cls
    if not schema.wrapper:
        return Node(Nested(schema), schema.chain, 0, cls)
    field = schema.fields[0]
    tag: t.Tag | None = cls.__dict__["_declaration"].tag
    node = _tagged(cls.__qualname__, field.node, [] if tag is None else [tag])
    return dataclasses.replace(node, own=0, python=cls, wrappers=((cls, field.name), *field.node.wrappers))


def _message_chain(declaration: Declaration) -> tuple[Identifiers, ...]:
    if declaration.wrapper or declaration.tag is None:
        return ((SEQUENCE,),)
    identifiers = declaration.tag.identifiers(True)
    return (identifiers,) if declaration.tag.implicit else (identifiers, (SEQUENCE,))


def _check_unambiguous(schema: Schema) -> None:
    """Refuse an optional field that begins like the ones that may follow it (X.680 25.6)."""
    before: set[int] = set()
    for field in schema.fields:
        first = field.node.first
        overlap = before if first is None else before.intersection(first)
        if overlap:
            raise UsageError(f"{schema.cls.__qualname__}.{field.name} begins like an optional field before it")
        if isinstance(field.node.kind, Choice):
            _check_choice(schema, field.node.kind)
        if not field.optional:
            before = set()
        elif first is not None:
            before |= set(first)


def _check_choice(schema: Schema, choice: Choice) -> None:
    seen: set[int] = set()
    for alternative in choice.alternatives:
        if alternative.first is None or seen.intersection(alternative.first):
            raise UsageError(f"{schema.cls.__qualname__}: alternatives of a CHOICE begin alike")
        seen |= set(alternative.first)
    types_seen = [alternative.python for alternative in choice.alternatives]
    if any(issubclass(a, b) for i, a in enumerate(types_seen) for j, b in enumerate(types_seen) if i != j):
        raise UsageError(f"{schema.cls.__qualname__}: alternatives of a CHOICE need Python types of their own")


def resolve(cls: type[Any]) -> Schema:
    """The schema of a message class.

    Raises:
        UsageError: the declaration cannot be written in DER, or not unambiguously.
    """
    return _Resolver().message(cls)
