"""DER messages as frozen dataclasses, declared once and compiled at first use into straight-line Python (X.690).

::

    @dataclass(frozen=True)
    class PrincipalName(der.Message):
        name_type: Annotated[int, der.explicit(0), der.INT32]
        name_string: Annotated[tuple[Annotated[str, der.GENERAL_STRING], ...], der.explicit(1)]

    @dataclass(frozen=True)
    class Ticket(der.Message, tag=der.application(1)):
        tkt_vno: Annotated[int, der.explicit(0), der.Integer(5, 5)]
        realm: Annotated[str, der.explicit(1), der.GENERAL_STRING]
        sname: Annotated[PrincipalName, der.explicit(2)]
        enc_part: Annotated[EncryptedData, der.explicit(3)]

    ticket = Ticket.decode(octets)          # Ticket, or MalformedMessage
    octets = ticket.encode()

How a field says its ASN.1:

* its Python type: ``int`` INTEGER, ``bytes`` OCTET STRING, ``bool`` BOOLEAN, ``datetime`` GeneralizedTime, a message
  its own type, ``tuple[T, ...]`` SEQUENCE OF, ``T | None`` OPTIONAL, ``A | B`` CHOICE (of alternatives told by tag), an
  ``IntEnum`` or ``IntFlag`` an INTEGER or BIT STRING with names, ``MyIntEnum | int`` one that keeps unknown values;
* marks in ``Annotated``: tags from the outermost inwards (`explicit`, `implicit`, `application`), a type where Python's
  does not tell it (`GENERAL_STRING`, `OID`, `FLAGS`, `ENUMERATED`, `ANY`, `Raw`, ...), `Integer` bounds, `Size`,
  `Default`;
* `Received` keeps octets as they came, for what is signed; `EXTENSIONS` keeps unknown elements at the end.

How a message says it: ``tag=`` (`application` or `explicit`), ``extensible=True`` (unknown elements at the end are
passed over), ``wrapper=True`` (the message is its only field: a CHOICE or SEQUENCE OF with a name), ``limit=`` in
octets. Without ``extensible`` anything after the last field is refused.

What is refused, always as `MalformedMessage`: anything that is not DER, octets that follow, more octets or elements
than the limits. A message cannot contain itself, so nesting is bounded by the declaration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self, cast

from securestream.errors import MalformedMessage
from securestream.wire import _der_runtime as runtime
from securestream.wire._der_decode import DecoderWriter
from securestream.wire._der_encode import EncoderWriter
from securestream.wire._der_schema import Declaration, Schema, outermost, resolve
from securestream.wire.cursor import Buffer
from securestream.wire.der_types import (
    ANY,
    BITS,
    BMP_STRING,
    BOOLEAN,
    ENUMERATED,
    EXTENSIONS,
    FLAGS,
    GENERAL_STRING,
    IA5_STRING,
    INT32,
    MAXIMUM_ELEMENTS,
    MICROSECONDS,
    OCTETS,
    OID,
    PRINTABLE_STRING,
    TIME,
    UINT32,
    UTF8_STRING,
    BitString,
    Default,
    Integer,
    NullValue,
    Raw,
    Received,
    Size,
    Tag,
    Text,
    application,
    explicit,
    implicit,
)

__all__ = [
    "ANY",
    "BITS",
    "BMP_STRING",
    "BOOLEAN",
    "ENUMERATED",
    "EXTENSIONS",
    "FLAGS",
    "GENERAL_STRING",
    "IA5_STRING",
    "INT32",
    "MAXIMUM_ELEMENTS",
    "MICROSECONDS",
    "OCTETS",
    "OID",
    "PRINTABLE_STRING",
    "TIME",
    "UINT32",
    "UTF8_STRING",
    "BitString",
    "Default",
    "Integer",
    "Message",
    "NullValue",
    "Raw",
    "Received",
    "Size",
    "Tag",
    "Text",
    "application",
    "element",
    "element_size",
    "elements",
    "explicit",
    "generated_source",
    "implicit",
    "oid_octets",
    "oid_text",
    "split_element",
]


class Message:
    """Base of every declared DER message; see the module for how one is declared.

    Args:
        tag: the tag of the type, or `None` for a plain SEQUENCE.
        extensible: pass over unknown elements at the end of the SEQUENCE.
        wrapper: the message is its only field, encoded as that field alone.
        limit: the most octets that `decode` accepts.
    """

    __slots__ = ()

    _declaration: ClassVar[Declaration]
    _decoder: ClassVar[Callable[[Buffer], Any]]
    _encoder: ClassVar[Callable[[Any], bytes]]

    def __init_subclass__(
        cls,
        *,
        tag: Tag | None = None,
        extensible: bool = False,
        wrapper: bool = False,
        limit: int = 1 << 20,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        # @dataclass(slots=True) makes the class again, without its arguments but with what was set the first time
        if "_declaration" not in cls.__dict__:
            cls._declaration = Declaration(tag, extensible, wrapper, limit)

        def decode_first(octets: Buffer) -> Any:
            cls._generate()
            return cls._decoder(octets)

        def encode_first(message: Any) -> bytes:
            cls._generate()
            return cls._encoder(message)

        cls._decoder = staticmethod(decode_first)
        cls._encoder = staticmethod(encode_first)

    @classmethod
    def _generate(cls) -> None:
        """Generate both directions, and put them in the place of what called here."""
        schema = resolve(cls)
        decoder = DecoderWriter(schema, _reader)
        decoder.whole(outermost(schema))
        encoder = EncoderWriter(schema, _writer)
        encoder.whole(outermost(schema))
        cls._decoder = staticmethod(_execute(decoder.lines, decoder.names, "decode", cls))
        cls._encoder = staticmethod(_execute(encoder.lines, encoder.names, "encode", cls))

    @classmethod
    def decode(cls, octets: Buffer) -> Self:
        """The message that `octets` are, all of them.

        Args:
            octets: what was received; values are copied out of it.

        Raises:
            MalformedMessage: they are not this message in DER, or exceed its limits.
        """
        message: Self = cls._decoder(octets)
        return message

    def encode(self) -> bytes:
        """The message in DER.

        Raises:
            UsageError: a field holds a value that its declaration does not allow.
        """
        return type(self)._encoder(self)


_Function = Callable[..., Any]
_readers: dict[type[Any], _Function] = {}
_writers: dict[type[Any], _Function] = {}


def _execute(lines: list[str], names: dict[str, Any], function: str, cls: type[Any]) -> _Function:
    """Make the function that generated lines define; the lines come from the declaration alone."""
    namespace = dict(names)
    code = compile("\n".join(lines), f"<der {function} {cls.__qualname__}>", "exec")
    exec(code, namespace)  # noqa: S102  straight-line code is what makes it fast; its only input is the declaration
    return cast("_Function", namespace[function])


def _reader(schema: Schema) -> _Function:
    """The reader of a message's content, shared by all messages that contain it."""
    found = _readers.get(schema.cls)
    if found is None:
        lines = DecoderWriter(schema, _reader)
        lines.content()
        found = _readers[schema.cls] = _execute(lines.lines, lines.names, "read", schema.cls)
    return found


def _writer(schema: Schema) -> _Function:
    """The writer of a message's content, shared by all messages that contain it."""
    found = _writers.get(schema.cls)
    if found is None:
        lines = EncoderWriter(schema, _writer)
        lines.content()
        found = _writers[schema.cls] = _execute(lines.lines, lines.names, "write", schema.cls)
    return found


def generated_source(cls: type[Message]) -> str:
    """The Python that decodes and encodes a message's content, for those who want to read it."""
    schema = resolve(cls)
    decoder = DecoderWriter(schema, _reader)
    decoder.content()
    encoder = EncoderWriter(schema, _writer)
    encoder.content()
    return "\n".join((*decoder.lines, "", *encoder.lines, ""))


# Single elements, for tokens that are not wholly DER


def element_size(octets: Buffer, limit: int) -> int | None:
    """How many octets the element at the start of `octets` has, header included; to reassemble messages on a stream.

    Args:
        octets: what has come so far.
        limit: the most octets the whole element may have.

    Returns:
        The size, which may be more than has come, or `None` if even the header is not there yet.

    Raises:
        MalformedMessage: the header is not DER, or the element is larger than `limit`.
    """
    try:
        size = runtime.element_end(bytes(memoryview(octets)[:16]), 0)  # no header is longer
    except IndexError:
        return None
    if size > limit:
        raise MalformedMessage(f"an element of {size} octets is over the limit of {limit}")
    return size


def split_element(octets: Buffer) -> tuple[int, bytes, bytes]:
    """Cut the first element off: its identifier octet, its content, and what follows it.

    Raises:
        MalformedMessage: there is no whole element, or its tag number is above 30.
    """
    whole = octets if isinstance(octets, bytes) else bytes(memoryview(octets))
    try:
        end = runtime.element_end(whole, 0)
    except IndexError:
        raise MalformedMessage("a DER element is cut short") from None
    identifier = whole[0]
    if end > len(whole) or identifier & 0x1F == 0x1F:
        raise MalformedMessage("a DER element is cut short, or its tag number is above 30")
    return identifier, whole[content_at(whole) : end], whole[end:]


def elements(octets: bytes, most: int) -> list[bytes]:
    """The elements that follow each other in `octets`, the first `most` of them, each with its header.

    Raises:
        MalformedMessage: one of them is cut short.
    """
    found: list[bytes] = []
    at = 0
    try:
        while at < len(octets) and len(found) < most:
            end = runtime.element_end(octets, at)
            found.append(octets[at:end])
            at = end
    except IndexError:
        at = len(octets) + 1
    if at > len(octets):
        raise MalformedMessage("a DER element is cut short")
    return found


def content_at(octets: bytes) -> int:
    """Where the content of the first element begins, be it whole or cut short; for who shows what there is."""
    if len(octets) < 2:
        return len(octets)
    return 2 if octets[1] < 0x80 else 2 + (octets[1] & 0x7F)


def element(identifier: int, content: bytes) -> bytes:
    """An element of one identifier octet around `content`."""
    return bytes((identifier,)) + runtime.length_octets(len(content)) + content


def oid_octets(text: str) -> bytes:
    """An OBJECT IDENTIFIER, given in its dotted form, as a whole element.

    Raises:
        UsageError: `text` is no object identifier.
    """
    return element(0x06, runtime.oid_content(text))


def oid_text(octets: Buffer) -> str:
    """The dotted form of an OBJECT IDENTIFIER that is a whole element.

    Raises:
        MalformedMessage: `octets` are no OBJECT IDENTIFIER.
    """
    identifier, content, rest = split_element(octets)
    if identifier != 0x06 or rest:
        raise MalformedMessage("an OBJECT IDENTIFIER is due")
    return runtime.oid_text(content)
