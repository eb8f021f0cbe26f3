"""Writes, from a declared message, the straight-line Python that encodes it.

Each element becomes one or two pieces of octets (a header taken from a table by its content's length, and the content);
a message is one join over the pieces of its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from securestream.errors import MalformedMessage, UsageError
from securestream.wire import _der_runtime as runtime
from securestream.wire import der_types as t
from securestream.wire._der_schema import Choice, Field, Nested, Node, Null, Schema, SequenceOf


class EncoderWriter:
    """Collects the lines of the writer of one message, and the values they refer to."""

    def __init__(self, schema: Schema, writer: Callable[[Schema], Callable[..., Any]]) -> None:
        self.schema = schema
        self.lines: list[str] = []
        self.depth = 1
        self.names: dict[str, Any] = {
            "Wrong": UsageError,
            "Bad": MalformedMessage,
            "join": b"".join,
            "element_end": runtime.element_end,
            "integer_content": runtime.integer_content,
            "oid_content": runtime.oid_content,
            "time_content": runtime.time_content,
            "flags_content": runtime.flags_content,
            "bit_string_content": runtime.bit_string_content,
        }
        self._writer = writer
        self._count = 0
        self._where = schema.cls.__qualname__

    def put(self, line: str) -> None:
        """A line at the present depth."""
        self.lines.append("    " * self.depth + line)

    def fresh(self, prefix: str) -> str:
        """A new local name."""
        self._count += 1
        return f"{prefix}{self._count}"

    def name(self, prefix: str, value: Any) -> str:
        """A global name for a value of the declaration."""
        found = f"{prefix}_{len(self.names)}"
        self.names[found] = value
        return found

    def refuse(self, condition: str, problem: str) -> None:
        """Raise if the condition holds."""
        self.put(f"if {condition}:")
        self.put(f"    raise Wrong({self._where + ': ' + problem!r})")

    # Messages

    def content(self) -> None:
        """The function from a message to its content."""
        self.lines.append("def write(m):")
        pieces: list[str] = []
        for field in self.schema.fields:
            self._where = f"{self.schema.cls.__qualname__}.{field.name}"
            pieces += self._field(field)
        if self.schema.extensions is not None:
            pieces.append(f"join(m.{self.schema.extensions})")
        self.put(f"return {_join(pieces)}")

    def whole(self, node: Node) -> None:
        """The function from a message to its encoding."""
        self.lines.append("def encode(m):")
        self.put("try:")
        self.depth += 1
        self.put(f"return {_join(self.element(node, 'm'))}")
        self.depth -= 1
        self.put("except (AttributeError, TypeError) as error:")
        self.put(f"    raise Wrong({self._where + ': a field holds a value of another type'!r}) from error")
        self.put("except (ValueError, OverflowError, IndexError, Bad):")
        self.put(f"    raise Wrong({self._where + ': a field holds a value that cannot be encoded'!r}) from None")

    def _field(self, field: Field) -> list[str]:
        value = self.fresh("x")
        self.put(f"{value} = m.{field.name}")
        if not field.optional:
            return self.element(field.node, value)
        pieces = self._branch(
            f"if {value} != {self.name('default', field.default)}:"
            if field.has_default
            else f"if {value} is not None:",
            field.node,
            value,
        )
        self.put("else:")
        self.put(f"    {' = '.join(pieces)} = b''")
        return pieces

    def _branch(self, condition: str, node: Node, value: str) -> list[str]:
        """The pieces of an element that is only written under a condition; all of them are local names."""
        self.put(condition)
        self.depth += 1
        pieces: list[str] = []
        for piece in self.element(node, value):
            if not piece.isidentifier():
                self.put(f"{(local := self.fresh('p'))} = {piece}")
                piece = local
            pieces.append(piece)
        self.depth -= 1
        return pieces

    # Elements

    def element(self, node: Node, value: str) -> list[str]:
        """The pieces, as expressions, of the element for a value that stands in a local name."""
        for _, attribute in node.wrappers:
            inner = self.fresh("x")
            self.put(f"{inner} = {value}.{attribute}")
            value = inner
        match node.kind:
            case Nested(message=message):
                content = self.fresh("c")
                self.put(f"{content} = {self.name('write', self._writer(message))}({value})")
                return [self._header(node, content), content]
            case SequenceOf() as kind:
                return self._sequence_of(node, kind, value)
            case Choice() as kind:
                return self._choice(node, kind, value)
            case t.Raw():
                self._sizes(node, value)
                self.refuse(f"element_end({value}, 0) != len({value})", "not exactly one element")
                return [self._header(node, value), value] if node.chain else [value]
            case t.Integer() as kind:
                return [self._integer(node, kind, value)]
            case t.Enumerated():
                return [self._integer(node, t.INT32, value)]
            case _:
                return self._primitive(node, value)

    def _sent(self, node: Node) -> tuple[int, ...]:
        return tuple(identifiers[0] for identifiers in node.chain)

    def _header(self, node: Node, content: str) -> str:
        """A local name that holds the header for a content whose length is not known beforehand."""
        sent = self._sent(node)
        table = runtime.short_headers(sent)
        header = self.fresh("h")
        self.put(f"n = len({content})")
        short, long = self.name("short", table), self.name("long", runtime.long_header(sent))
        self.put(f"{header} = {short}[n] if n < {len(table)} else {long}(n)")
        return header

    def _constant(self, node: Node, content: bytes) -> str:
        return repr(runtime.chain_header(self._sent(node), len(content)) + content)

    def _primitive(self, node: Node, value: str) -> list[str]:
        match node.kind:
            case t.Flags():
                return [repr(runtime.chain_header(self._sent(node), 5)), f"flags_content({value})"]
            case t.Time():
                return [repr(runtime.chain_header(self._sent(node), 15)), f"time_content({value})"]
            case t.Boolean():
                self.refuse(f"{value} is not True and {value} is not False", "not a bool")
                return [f"({self._constant(node, bytes((255,)))} if {value} else {self._constant(node, bytes(1))})"]
            case Null():
                return [self._constant(node, b"")]
            case t.Octets():
                content = value
            case t.Text(encoding=encoding):
                content = self.fresh("c")
                self.put(f"{content} = {value}.encode({'' if encoding == 'utf-8' else repr(encoding)})")
            case t.ObjectIdentifier():
                content = self.fresh("c")
                self.put(f"{content} = oid_content({value})")
            case t.Bits():
                content = self.fresh("c")
                self.put(f"{content} = bit_string_content({value})")
            case other:
                raise AssertionError(other)
        self._sizes(node, content)
        return [self._header(node, content), content]

    def _integer(self, node: Node, kind: t.Integer, value: str) -> str:
        """A local name that holds a whole INTEGER; those below 128 come from a table."""
        if kind.minimum == kind.maximum:
            self.refuse(f"{value} != {kind.minimum}", f"not the number {kind.minimum} that is due")
            return self._constant(node, runtime.integer_content(kind.minimum))
        if issubclass(node.python, IntEnum) and not node.keeps_unknown:
            self.refuse(f"{value} not in {self.name('members', frozenset(map(int, node.python)))}", "an unknown value")
        piece = self.fresh("p")
        if not (kind.minimum <= 0 and kind.maximum >= 127):
            self.refuse(f"not {kind.minimum} <= {value} <= {kind.maximum}", "a number out of its bounds")
        small = self.name("small", runtime.small_integers(self._sent(node)))
        self.put(f"if 0 <= {value} < 128:")
        self.put(f"    {piece} = {small}[{value}]")
        self.put("else:")
        self.depth += 1
        self.refuse(f"not {kind.minimum} <= {value} <= {kind.maximum}", "a number out of its bounds")
        if kind.signed:
            self.put(f"if {value} > {kind.maximum >> 1}:")
            self.put(f"    {value} -= {kind.maximum + 1}")
        content = self.fresh("c")
        self.put(f"{content} = integer_content({value})")
        self.put(f"{piece} = {self._header(node, content)} + {content}")
        self.depth -= 1
        return piece

    def _sequence_of(self, node: Node, kind: SequenceOf, value: str) -> list[str]:
        sizes = node.sizes or t.Size()
        pieces, item, content = self.fresh("pieces"), self.fresh("x"), self.fresh("c")
        self.refuse(f"not {sizes.minimum} <= len({value}) <= {sizes.maximum}", "too few or too many elements")
        self.put(f"{pieces} = []")
        self.put(f"for {item} in {value}:")
        self.depth += 1
        self.put(f"{pieces} += {_tuple(self.element(kind.element, item))}")
        self.depth -= 1
        self.put(f"{content} = join({pieces})")
        return [self._header(node, content), content]

    def _choice(self, node: Node, kind: Choice, value: str) -> list[str]:
        content = self.fresh("c")
        word = "if"
        for alternative in kind.alternatives:
            self.put(f"{word} isinstance({value}, {self.name('type', alternative.python)}):")
            self.depth += 1
            self.put(f"{content} = {_join(self.element(alternative, value))}")
            self.depth -= 1
            word = "elif"
        self.put("else:")
        self.put(f"    raise Wrong({self._where + ': none of the alternatives'!r})")
        return [self._header(node, content), content] if node.chain else [content]

    def _sizes(self, node: Node, content: str) -> None:
        if node.sizes is not None:
            bounds = f"{node.sizes.minimum} <= len({content}) <= {node.sizes.maximum}"
            self.refuse(f"not {bounds}", f"not between {node.sizes.minimum} and {node.sizes.maximum} octets")


def _tuple(pieces: list[str]) -> str:
    return f"({', '.join(pieces)},)" if pieces else "()"


def _join(pieces: list[str]) -> str:
    return f"join({_tuple(pieces)})"
