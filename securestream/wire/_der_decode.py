"""Writes, from a declared message, the straight-line Python that decodes it.

How a generated reader stays inside its octets: the offset ``i`` never goes back, each constructed element compares it
with its own end once, after its last field, and the outermost end is the end of the octets. An element that claims more
than there is overshoots one of those ends, or the octets (``IndexError``), and the message is refused; slices made
before that cannot be longer than the octets given. Nothing that is generated depends on octets of a peer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import IntEnum, IntFlag
from itertools import pairwise
from typing import Any

from securestream.errors import MalformedMessage, UsageError
from securestream.wire import _der_runtime as runtime
from securestream.wire import der_types as t
from securestream.wire._der_schema import (
    Choice,
    Field,
    Identifiers,
    Nested,
    Node,
    Null,
    Schema,
    SequenceOf,
    outermost,
    resolve,
)

# The forms of a length that tokens have are read in place; the rest is left to `long_length`, and so are the errors.
_LENGTH = (
    "n = b[i + 1]",
    "i += 2",
    "if n > 127:",
    "    if n == 130 and b[i]:",
    "        n = b[i] << 8 | b[i + 1]",
    "        i += 2",
    "    elif n == 129 and b[i] > 127:",
    "        n = b[i]",
    "        i += 1",
    "    else:",
    "        n, i = long_length(b, n, i)",
)


def _wrapped_length(own: int, where: str) -> tuple[str, ...]:
    """Content ``s`` to ``i`` of a primitive inside an explicit tag, whose own identifier is still at ``i``.

    The two lengths must fit each other, which is compared without reading them one by one. Combinations of different
    forms (around 128 and 256 octets) are left to `wrapped`.
    """
    bad = f"        raise Bad({where + f': the tag {own:02x} and a length that fits are due'!r})"
    return (
        "n = b[i + 1]",
        "if n < 128:",
        f"    if b[i + 2] != {own} or b[i + 3] != n - 2:",
        bad,
        "    s = i + 4",
        "    i += n + 2",
        "elif n == 130 and b[i + 5] == 130:",
        "    n = b[i + 2] << 8 | b[i + 3]",
        f"    if b[i + 4] != {own} or n < 260 or b[i + 6] << 8 | b[i + 7] != n - 4:",
        bad,
        "    s = i + 8",
        "    i += n + 4",
        "elif n == 129 and b[i + 4] == 129:",
        "    n = b[i + 2]",
        f"    if b[i + 3] != {own} or n < 131 or b[i + 5] != n - 3:",
        bad,
        "    s = i + 6",
        "    i += n + 3",
        "else:",
        f"    s, i = wrapped(b, i + 1, {own})",
    )


class DecoderWriter:
    """Collects the lines of the reader of one message, and the values they refer to."""

    def __init__(self, schema: Schema, reader: Callable[[Schema], Callable[..., Any]]) -> None:
        self.schema = schema
        self.lines: list[str] = []
        self.depth = 1
        self.names: dict[str, Any] = {
            "Bad": MalformedMessage,
            "new": object.__new__,
            "from_bytes": int.from_bytes,
            "long_length": runtime.long_length,
            "long_integer": runtime.long_integer,
            "element_end": runtime.element_end,
            "wrapped": runtime.wrapped,
            "oid_text": runtime.oid_text,
            "kerberos_time": runtime.kerberos_time,
            "flags": runtime.flags,
            "bit_string": runtime.bit_string,
        }
        self._reader = reader
        self._count = 0
        self._where = schema.cls.__qualname__
        self._known = False  # whether the identifier at ``i`` was just compared

    # Small tools

    def put(self, line: str) -> None:
        """A line at the present depth."""
        self.lines.append("    " * self.depth + line)

    def fresh(self, prefix: str) -> str:
        """A new local name."""
        self._count += 1
        return f"{prefix}{self._count}"

    def name(self, prefix: str, value: Any) -> str:
        """A global name for a value of the declaration."""
        for known, other in self.names.items():
            if other is value:
                return known
        found = f"{prefix}_{len(self.names)}"
        self.names[found] = value
        return found

    def refuse(self, condition: str, problem: str) -> None:
        """Raise if the condition holds."""
        self.put(f"if {condition}:")
        self.put(f"    raise Bad({self._where + ': ' + problem!r})")

    def due(self, identifiers: Identifiers) -> None:
        """Refuse another identifier at ``i``, unless it was just compared."""
        if not self._known:
            self.refuse(_differs("b[i]", identifiers), f"the tag {identifiers[0]:02x} is due")
        self._known = False

    # Messages

    def content(self) -> None:
        """The function that reads the content of a message between ``i`` and ``e``."""
        schema = self.schema
        self.lines.append("def read(b, start, i, e):")
        values: dict[str, str] = {}
        for field in schema.fields:
            self._where = f"{schema.cls.__qualname__}.{field.name}"
            values[field.name] = variable = f"v_{field.name}"
            self._field(field, variable, values)
        self._where = schema.cls.__qualname__
        if schema.extensible:
            self._extensions(values)
        self.refuse("i != e", "its fields and its length differ")
        if schema.received is not None:
            self.put("v_received = b[start:e]")
            values[schema.received] = "v_received"
        self._construct("m", schema.cls, values)
        self.put("return m")

    def whole(self, node: Node) -> None:
        """The function that reads a message which is all there is."""
        self.lines.append("def decode(octets):")
        self.put("b = octets if type(octets) is bytes else as_bytes(octets, LIMIT)")
        self.refuse(f"len(b) > {self.schema.limit}", f"more than {self.schema.limit} octets")
        self.put("try:")
        self.depth += 1
        self.put("i = 0")
        self.put("e = len(b)")
        self.element(node, "v")
        self.refuse("i != e", "octets too many or too few")
        self.put("return v")
        self.depth -= 1
        self.put("except (IndexError, ValueError, OverflowError):")
        self.put(f"    raise Bad({self._where + ': cut short, or a value that makes no sense'!r}) from None")
        self.names["LIMIT"] = self.schema.limit
        self.names["as_bytes"] = as_bytes

    def _construct(self, variable: str, cls: type[Any], values: dict[str, str]) -> None:
        """Make the frozen value without the detour through its initialiser, then let it check itself."""
        maker = self.name("cls", cls)
        self.put(f"{variable} = new({maker})")
        slots = [name for name in values if _slot(cls, name) is not None]
        if len(slots) < len(values):
            self.put(f"d = {variable}.__dict__")
        for name, value in values.items():
            if name in slots:
                self.put(f"{self.name('set', _slot(cls, name))}({variable}, {value})")
            else:
                self.put(f"d[{name!r}] = {value}")
        for field in dataclasses.fields(cls):
            if field.init and field.name not in values:  # what is not is a default of the class
                raise UsageError(f"{cls.__qualname__}.{field.name} is not part of the message")
        if hasattr(cls, "__post_init__"):
            self.put(f"{variable}.__post_init__()")

    def _field(self, field: Field, variable: str, values: dict[str, str]) -> None:
        kept = None
        if field.received is not None:
            kept = values[field.received] = f"v_{field.received}"
        if not field.optional:
            self.element(field.node, variable, kept)
            return
        first = field.node.first
        self.put("if i < e:" if first is None else f"if i < e and {_matches('b[i]', first)}:")
        self.depth += 1
        self._known = first is not None
        self.element(field.node, variable, kept)
        self._known = False
        if field.has_default and not field.lenient_default:
            self.refuse(f"{variable} == {self.name('default', field.default)}", "its DEFAULT value was sent")
        self.depth -= 1
        self.put("else:")
        self.put(f"    {variable} = {self.name('default', field.default) if field.has_default else None}")
        if kept is not None:
            self.put(f"    {kept} = b''")

    def _extensions(self, values: dict[str, str]) -> None:
        known = sorted({i for field in self.schema.fields for i in field.node.first or ()})
        if self.schema.extensions is not None:
            values[self.schema.extensions] = "v_extensions"
            self.put("v_extensions = ()")
        self.put("while i < e:")
        self.depth += 1
        if known:
            self.refuse(f"b[i] in {self.name('known', frozenset(known))}", "a field out of its order, or twice")
        self.put("s = i")
        self.put("i = element_end(b, i)")
        if self.schema.extensions is not None:
            self.refuse(f"len(v_extensions) == {t.MAXIMUM_EXTENSIONS}", "too many extensions")
            self.put("v_extensions += (b[s:i],)")
        self.depth -= 1

    # Elements

    def element(self, node: Node, variable: str, kept: str | None = None) -> None:
        """Read one element at ``i`` into a variable and move ``i`` behind it."""
        kind = node.kind
        if isinstance(kind, t.Integer) and kind.minimum == kind.maximum and all(len(ids) == 1 for ids in node.chain):
            self._constant(node, kind.minimum, variable)
        elif isinstance(kind, Choice | t.Raw):
            ends = [self._open(identifiers) for identifiers in node.chain]
            self._choice(kind, variable) if isinstance(kind, Choice) else self._raw(kind, node, variable)
            self._close(ends)
        elif isinstance(kind, Nested | SequenceOf):
            self._constructed(node, kind, variable, kept)
        else:
            self._primitive(node, variable)
        for cls, name in reversed(node.wrappers):
            self._construct(self.fresh("w"), cls, {name: variable})
            self.put(f"{variable} = w{self._count}")

    def _constant(self, node: Node, value: int, variable: str) -> None:
        content = runtime.integer_content(value)
        octets = runtime.chain_header(tuple(ids[0] for ids in node.chain), len(content)) + content
        self.refuse(f"b[i:i + {len(octets)}] != {octets!r}", f"not the number {value} that is due")
        self.put(f"i += {len(octets)}")
        self.put(f"{variable} = {value}")
        self._enumeration(node, variable)

    def _open(self, identifiers: Identifiers) -> str:
        """Pass an identifier and a length; the name of the end of its content."""
        end = self.fresh("e")
        self.due(identifiers)
        for line in _LENGTH:
            self.put(line)
        self.put(f"{end} = i + n")
        return end

    def _close(self, ends: list[str]) -> None:
        for end in reversed(ends):
            self.refuse(f"i != {end}", "an element differs from the length around it")

    def _constructed(self, node: Node, kind: Nested | SequenceOf, variable: str, kept: str | None) -> None:
        starts: list[str] = []
        ends: list[str] = []
        mark = node.own if kept is not None or (isinstance(kind, Nested) and kind.message.received) else None
        for position, identifiers in enumerate(node.chain):
            if position == mark:
                starts.append(self.fresh("s"))
                self.put(f"{starts[0]} = i")
            ends.append(self._open(identifiers))
        for outer, inner in pairwise(ends):
            self.refuse(f"{inner} != {outer}", "a tag and the element in it differ in length")
        end = ends[-1]
        if isinstance(kind, Nested):
            reader = self.name("read", self._reader(kind.message))
            start = starts[0] if kind.message.received else "0"
            self.put(f"{variable} = {reader}(b, {start}, i, {end})")
            self.put(f"i = {end}")
        else:
            self._sequence_of(node, kind, variable, end)
        if kept is not None:
            self.put(f"{kept} = b[{starts[0]}:i]")

    def _sequence_of(self, node: Node, kind: SequenceOf, variable: str, end: str) -> None:
        sizes = node.sizes or t.Size()
        items, item = self.fresh("items"), self.fresh("item")
        self.put(f"{items} = []")
        self.put(f"while i < {end}:")
        self.depth += 1
        self.refuse(f"len({items}) == {sizes.maximum}", f"more than {sizes.maximum} elements")
        self.element(kind.element, item)
        self.put(f"{items}.append({item})")
        self.depth -= 1
        self.refuse(f"i != {end}", "its elements and its length differ")
        if sizes.minimum:
            self.refuse(f"len({items}) < {sizes.minimum}", f"fewer than {sizes.minimum} elements")
        self.put(f"{variable} = tuple({items})")

    def _choice(self, kind: Choice, variable: str) -> None:
        self._known = False
        choice = self.fresh("t")
        self.put(f"{choice} = b[i]")
        word = "if"
        for alternative in kind.alternatives:
            self.put(f"{word} {_matches(choice, alternative.first or ())}:")
            self.depth += 1
            self._known = True
            self.element(alternative, variable)
            self.depth -= 1
            word = "elif"
        self.put("else:")
        self.put(f"    raise Bad({self._where + ': none of the alternatives'!r})")

    def _raw(self, kind: t.Raw, node: Node, variable: str) -> None:
        if kind.of is not None:
            first = self._outer_identifiers(kind.of)
            self.due(first)
        self._known = False
        start = self.fresh("s")
        self.put(f"{start} = i")
        self.put("i = element_end(b, i)")
        self.put(f"{variable} = b[{start}:i]")
        self._sizes(node, f"i - {start}")

    def _outer_identifiers(self, cls: type[Any]) -> Identifiers:
        first = outermost(resolve(cls)).first
        if first is None:
            raise UsageError(f"{cls.__qualname__} has no tag of its own")
        return first

    def _primitive(self, node: Node, variable: str) -> None:
        *outer, wrapper, own = ((), *node.chain) if len(node.chain) == 1 else node.chain
        ends = [self._open(identifiers) for identifiers in outer if identifiers]
        if wrapper and len(own) == 1:
            self.due(wrapper)
            for line in _wrapped_length(own[0], self._where):
                self.put(line)
        else:
            if wrapper:
                ends.append(self._open(wrapper))
            end = self._open(own)
            self.put("s = i")
            self.put(f"i = {end}")
        self._value(node, variable)
        self._close(ends)

    def _value(self, node: Node, variable: str) -> None:
        """The value of the content between ``s`` and ``i``."""
        match node.kind:
            case t.Integer() as integer:
                self._integer(integer, variable)
            case t.Enumerated():
                self._integer(t.INT32, variable)
            case t.Octets():
                self.put(f"{variable} = b[s:i]")
            case t.Text(encoding=encoding):
                self.put(f"{variable} = b[s:i].decode({'' if encoding == 'utf-8' else repr(encoding)})")
            case t.ObjectIdentifier():
                self.put(f"{variable} = oid_text(b[s:i])")
            case t.Time():
                self.put(f"{variable} = kerberos_time(b[s:i])")
            case t.Flags():
                self.put("if i - s == 5 and b[s] == 0:")
                self.put(f"    {variable} = from_bytes(b[s + 1:i], 'big')")
                self.put("else:")
                self.put(f"    {variable} = flags(b[s:i])")
            case t.Bits():
                self.put(f"{variable} = bit_string(b[s:i])")
            case t.Boolean():
                self.refuse("i - s != 1 or 0 < b[s] < 255", "no BOOLEAN")
                self.put(f"{variable} = b[s] == 255")
            case Null():
                self.refuse("i != s", "a NULL that is not empty")
                self.put(f"{variable} = {self.name('null', t.NullValue.NULL)}")
            case other:
                raise AssertionError(other)
        self._sizes(node, "i - s")
        self._enumeration(node, variable)

    def _integer(self, kind: t.Integer, variable: str) -> None:
        least = -(kind.maximum + 1) // 2 if kind.wrap else kind.minimum
        maximum_octets = max(len(runtime.integer_content(least)), len(runtime.integer_content(kind.maximum)))
        self.put("if i - s == 1:")
        self.depth += 1
        self.put(f"{variable} = b[s]")
        if least < 0:
            self.put(f"if {variable} > 127:")
            self.put(f"    {variable} += {kind.maximum + 1 - 256 if kind.wrap else -256}")
        else:
            self.refuse(f"{variable} > 127", "a negative number")
        if not kind.wrap and (kind.minimum > -128 * (least < 0) or kind.maximum < 127):
            self.refuse(f"not {kind.minimum} <= {variable} <= {kind.maximum}", "a number out of its bounds")
        self.depth -= 1
        self.put("else:")
        self.depth += 1
        self.put(f"{variable} = long_integer(b, s, i, {maximum_octets})")
        if kind.wrap:
            self.put(f"if {least} <= {variable} < 0:")
            self.put(f"    {variable} += {kind.maximum + 1}")
        bits = 8 * maximum_octets - 1
        if kind.wrap or (least, kind.maximum) != (-(1 << bits), (1 << bits) - 1):
            self.refuse(f"not {kind.minimum} <= {variable} <= {kind.maximum}", "a number out of its bounds")
        self.depth -= 1

    def _enumeration(self, node: Node, variable: str) -> None:
        if issubclass(node.python, IntEnum):
            members = self.name("members", {int(member): member for member in node.python})
            if node.keeps_unknown:
                self.put(f"{variable} = {members}.get({variable}, {variable})")
                return
            self.refuse(f"{variable} not in {members}", "an unknown value")
            self.put(f"{variable} = {members}[{variable}]")
        elif issubclass(node.python, IntFlag):
            self.put(f"{variable} = {self.name('enumeration', node.python)}({variable})")

    def _sizes(self, node: Node, length: str) -> None:
        if node.sizes is not None:
            bounds = f"{node.sizes.minimum} <= {length} <= {node.sizes.maximum}"
            self.refuse(f"not {bounds}", f"not between {node.sizes.minimum} and {node.sizes.maximum} octets")


def as_bytes(octets: Any, limit: int) -> bytes:
    """Octets of any buffer as bytes; those of more than `limit` are refused before they are copied."""
    view = memoryview(octets)
    if view.nbytes > limit:
        raise MalformedMessage(f"more than {limit} octets")
    return view.tobytes()


def _slot(cls: type[Any], name: str) -> Any:
    """The setter of a slot, or `None` where the value lives in the instance's dictionary."""
    for base in cls.__mro__:
        if name in base.__dict__.get("__slots__", ()):
            return base.__dict__[name].__set__
    return None


def _matches(expression: str, identifiers: Identifiers) -> str:
    return f"{expression} == {identifiers[0]}" if len(identifiers) == 1 else f"{expression} in {identifiers!r}"


def _differs(expression: str, identifiers: Identifiers) -> str:
    return f"{expression} != {identifiers[0]}" if len(identifiers) == 1 else f"{expression} not in {identifiers!r}"
