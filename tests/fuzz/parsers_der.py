"""The declared DER messages, and the helpers for single elements."""

from __future__ import annotations

from collections.abc import Callable

from securestream.wire import der
from tests.core.wire.samples import MESSAGES
from tests.fuzz.harness import Parser

_BY_TYPE: dict[type[der.Message], list[bytes]] = {}
for _message in MESSAGES.values():
    _BY_TYPE.setdefault(type(_message), []).append(_message.encode())


def _decode(cls: type[der.Message]) -> Callable[[bytes], None]:
    """Decode, and insist that what was accepted can be sent again and means the same."""

    def parse(octets: bytes) -> None:
        message = cls.decode(octets)
        assert cls.decode(message.encode()) == message

    return parse


def _size(octets: bytes) -> int | None:
    return der.element_size(octets, 1 << 16)


def _elements(octets: bytes) -> None:
    """Cut, and insist that nothing is lost."""
    assert b"".join(der.elements(octets, len(octets))) == octets


PARSERS = [
    *(Parser(f"der.{cls.__name__}", _decode(cls), tuple(seeds)) for cls, seeds in _BY_TYPE.items()),
    Parser("der.element_size", _size, tuple(seeds[0] for seeds in _BY_TYPE.values())),
    Parser("der.split_element", der.split_element, tuple(seeds[0] for seeds in _BY_TYPE.values())),
    Parser("der.elements", _elements, tuple(seeds[0] for seeds in _BY_TYPE.values())),
    Parser("der.oid_text", der.oid_text, (der.oid_octets("1.2.840.113554.1.2.2"), der.oid_octets("2.999.4294967296"))),
]
