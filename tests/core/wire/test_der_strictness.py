"""DER has one encoding for each value: whatever is accepted of a message without leniencies is what would be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.wire import der
from tests.core.wire import schemas


@dataclass(frozen=True)
class Inner(der.Message, tag=der.application(9)):
    five: Annotated[int, der.explicit(0), der.Integer(5, 5)]
    small: Annotated[int, der.explicit(1), der.Integer(0, 1000)]


@dataclass(frozen=True)
class Strict(der.Message):
    truth: Annotated[bool, der.explicit(0)]
    nothing: Annotated[der.NullValue, der.explicit(1)]
    inner: Annotated[Inner, der.explicit(2)]
    numbers: Annotated[tuple[Annotated[int, der.Integer(0, 1 << 40)], ...], der.explicit(3)]
    bits: Annotated[der.BitString, der.explicit(4), der.BITS]
    deep: Annotated[bytes, der.explicit(5), der.explicit(6), der.explicit(7)]
    long: Annotated[bytes, der.explicit(8), der.explicit(9)]
    raw: Annotated[bytes, der.explicit(10), der.ANY]
    choice: Annotated[schemas.NegTokenResp | schemas.Checksum, der.explicit(11)]
    implicit: Annotated[bytes | None, der.implicit(12)] = None


MESSAGE = Strict(
    True,
    der.NullValue.NULL,
    Inner(5, 300),
    (1, 128, 1 << 33),
    der.BitString(b"\xab\xf0", 4),
    b"deep",
    bytes(130),
    bytes.fromhex("9f8b3f0100"),
    schemas.Checksum(-7, b"sum"),
    b"implicit",
)


def test_every_single_octet_accepted_is_what_would_be_sent() -> None:
    octets = MESSAGE.encode()
    assert Strict.decode(octets) == MESSAGE
    accepted = 0
    for position, octet in enumerate(octets):
        for other in range(256):
            damaged = octets[:position] + bytes((other,)) + octets[position + 1 :]
            try:
                found = Strict.decode(damaged)
            except MalformedMessage:
                continue
            assert found.encode() == damaged
            accepted += other != octet
    assert accepted


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("a003 0101ff", "a003 010101"),
        ("a003 0101ff", "a004 0102ffff"),
        ("a003 0101ff", "a002 0100"),
        ("a102 0500", "a103 050100"),
        ("a003 020105", "a003 020106"),
        ("a003 020105", "a004 02020005"),
        ("0202 012c", "0202 ffff"),
        ("0201 01", "0201 ff"),
        ("0202 0080", "0201 80"),
        ("a405 0303 04abf0", "a405 0303 08abf0"),
        ("a405 0303 04abf0", "a405 0303 04abf1"),
        ("a405 0303 04abf0", "a402 0300"),
        ("a405 0303 04abf0", "a403 030101"),
        ("9f8b3f0100", "9f803f0100"),
        ("9f8b3f0100", "9f8fffffff7f0100"),
        ("9f8b3f0100", "9f1e0100"),
        ("9f8b3f0100", "00020000"),
    ],
)
def test_other_forms_of_the_same_or_no_value_are_refused(right: str, wrong: str) -> None:
    before, after = bytes.fromhex(right), bytes.fromhex(wrong)
    tree = MESSAGE.encode()
    assert before in tree
    assert _exchanged(tree, before, before) == tree
    with pytest.raises(MalformedMessage):
        Strict.decode(_exchanged(tree, before, after))


def _exchanged(octets: bytes, before: bytes, after: bytes) -> bytes:
    """The message with some octets exchanged, and every length around them mended."""
    if octets == before:
        return after
    identifier, content, rest = der.split_element(octets)
    header = octets[: len(octets) - len(content) - len(rest)]
    assert not rest
    if not identifier & 0x20:
        return der.element(identifier, content.replace(before, after)) if before in octets else octets
    parts: list[bytes] = []
    if content.startswith(before) and len(header) <= 4:
        return der.element(identifier, after + content[len(before) :])
    while content:
        size = der.element_size(content, 1 << 20) or len(content)
        part, content = content[:size], content[size:]
        if content.startswith(before):
            parts.append(part)
            part, content = after, content[len(before) :]
        elif before in part:
            part = _exchanged(part, before, after)
        parts.append(part)
    return der.element(identifier, b"".join(parts))


def test_values_without_an_encoding_are_not_sent() -> None:
    for bits in (der.BitString(b"", 1), der.BitString(b"x", 8)):
        with pytest.raises(UsageError):
            schemas.NegTokenInit((), bits).encode()
    with pytest.raises(UsageError):
        der.oid_octets("1.2." + "4294967295." * 20 + "1")


def test_an_element_may_not_reach_beyond_its_sequence() -> None:
    octets = schemas.AuthorizationData((schemas.AuthorizationElement(1, b"data"),)).encode()
    for length in range(octets[1]):
        with pytest.raises(MalformedMessage):
            schemas.AuthorizationData.decode(octets[:1] + bytes((length,)) + octets[2:])
