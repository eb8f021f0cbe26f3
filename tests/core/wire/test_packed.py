"""Fixed layouts: what is declared is read and written; whatever does not fit is malformed, or the caller's mistake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum, IntFlag
from typing import Annotated, Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from securestream.errors import MalformedMessage, UsageError
from securestream.wire.packed import PAYLOAD, REST, U8, U16, U32, U64, Octets, Packed, Payload
from securestream.wire.times import EPOCH, from_filetime, to_filetime


class Colour(IntEnum):
    RED = 1
    GREEN = 2


class Bits(IntFlag):
    ONE = 1
    TWO = 2


@dataclass(frozen=True, repr=False)
class Plain(Packed, prefix=b"PL"):
    a: Annotated[int, U8]
    b: Annotated[int, U16]
    c: Annotated[int, U32]
    d: Annotated[int, U64]
    e: Annotated[bytes, Octets(3)]


@dataclass(frozen=True, repr=False)
class Named(Packed):
    strict: Annotated[Colour, U8]
    lenient: Annotated[Colour | int, U8]
    bits: Annotated[Bits, U16]
    rest: Annotated[bytes, REST] = b""


@dataclass(frozen=True, repr=False)
class Offsets(Packed, prefix=b"OF"):
    late: Annotated[bytes, Payload(1)]
    early: Annotated[bytes, PAYLOAD]
    ignored: Annotated[bytes, Payload(lenient=True)] = b""
    tail: Annotated[int | None, U16] = None
    more: Annotated[bytes | None, PAYLOAD] = None
    colour: Annotated[Colour | None, U8] = None


FIXED = 2 + 3 * 8


@given(
    st.integers(0, 0xFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=3, max_size=3),
)
def test_integers_are_little_endian_and_come_back(a: int, b: int, c: int, d: int, e: bytes) -> None:
    message = Plain(a, b, c, d, e)
    packed = message.pack()
    sizes = ((a, 1), (b, 2), (c, 4), (d, 8))
    assert packed == b"PL" + b"".join(value.to_bytes(size, "little") for value, size in sizes) + e
    assert Plain.unpack(packed) == message
    assert Plain.unpack(bytearray(packed)) == Plain.unpack(memoryview(packed)) == message


def test_every_truncation_is_malformed() -> None:
    packed = Plain(1, 2, 3, 4, b"abc").pack()
    for size in range(len(packed)):
        with pytest.raises(MalformedMessage):
            Plain.unpack(packed[:size])


def test_another_prefix_is_malformed() -> None:
    with pytest.raises(MalformedMessage, match="begins otherwise"):
        Plain.unpack(b"XL" + bytes(18))


@pytest.mark.parametrize(
    "message",
    [Plain(256, 0, 0, 0, b"abc"), Plain(-1, 0, 0, 0, b"abc"), Plain(0, 0, 0, 2**64, b"abc"), Plain(0, 0, 0, 0, b"ab")],
)
def test_values_that_do_not_fit_are_the_callers_mistake(message: Plain) -> None:
    with pytest.raises(UsageError):
        message.pack()


def test_enumerations() -> None:
    message = Named.unpack(b"\x01\x02\x81\x00rest")
    assert message == Named(Colour.RED, Colour.GREEN, Bits(0x81), b"rest")
    assert type(message.strict) is Colour
    assert isinstance(message.lenient, Colour)
    assert isinstance(message.bits, Bits)
    assert message.pack() == b"\x01\x02\x81\x00rest"
    assert Named.unpack(b"\x01\x63\x00\x00").lenient == 0x63
    with pytest.raises(MalformedMessage, match="99 is no known value"):
        Named.unpack(b"\x63\x01\x00\x00")


@given(st.binary(max_size=50), st.binary(max_size=50), st.binary(max_size=50))
def test_payloads_are_read_by_offset(late: bytes, early: bytes, ignored: bytes) -> None:
    message = Offsets(late, early, ignored)
    packed = message.pack()
    assert packed[FIXED:] == early + ignored + late
    assert Offsets.unpack(packed).late == late
    moved = packed[:FIXED] + b"gap" + packed[FIXED:]
    view = bytearray(moved)
    for at in (2, 10, 18):
        offset = int.from_bytes(view[at + 4 : at + 8], "little") + 3
        view[at + 4 : at + 8] = offset.to_bytes(4, "little")
    unpacked = Offsets.unpack(bytes(view))
    assert (unpacked.late, unpacked.early, unpacked.ignored) == (late, early, ignored)


@given(st.binary(min_size=1, max_size=5), st.integers(0, 2**32 - 1), st.integers(0, 0xFFFF))
def test_a_payload_outside_of_the_message_is_malformed(data: bytes, offset: int, length: int) -> None:
    packed = bytearray(Offsets(data, b"").pack())
    packed[2:4], packed[6:10] = length.to_bytes(2, "little"), offset.to_bytes(4, "little")
    inside = offset >= FIXED and offset + length <= len(packed)
    if inside or length == 0:
        Offsets.unpack(bytes(packed))
    else:
        with pytest.raises(MalformedMessage, match="outside"):
            Offsets.unpack(bytes(packed))


def test_a_lenient_payload_outside_of_the_message_is_empty() -> None:
    packed = bytearray(Offsets(b"late", b"", b"x").pack())
    packed[18 + 4 : 18 + 8] = b"\xff\xff\xff\xff"
    message = Offsets.unpack(bytes(packed))
    assert (message.late, message.ignored) == (b"late", b"")


@pytest.mark.parametrize(
    "message",
    [
        Offsets(b"a", b"b", b"c", None, None, None),
        Offsets(b"a", b"b", b"c", 7, None, None),
        Offsets(b"a", b"b", b"c", 7, b"more", None),
        Offsets(b"a", b"b", b"c", 7, b"more", Colour.GREEN),
        Offsets(b"", b"", b"", 7, b"more", Colour.GREEN),
    ],
)
def test_fields_at_the_end_may_be_absent(message: Offsets) -> None:
    """They are absent when the message, or the first payload, begins before they would end."""
    assert Offsets.unpack(message.pack()) == message


def test_an_absent_field_has_nothing_after_it() -> None:
    with pytest.raises(UsageError, match="needs tail before it"):
        Offsets(b"", b"", b"", None, b"more").pack()


def test_a_late_payload_cannot_lie_in_its_own_descriptor() -> None:
    packed = bytearray(Offsets(b"", b"", b"", 7, b"more").pack())
    packed[FIXED + 2 + 4 : FIXED + 2 + 8] = (FIXED + 4).to_bytes(4, "little")
    with pytest.raises(MalformedMessage):
        Offsets.unpack(bytes(packed))


def test_payloads_have_at_most_65535_octets() -> None:
    assert len(Offsets(bytes(0xFFFF), b"").pack()) == FIXED + 0xFFFF
    with pytest.raises(UsageError, match="65535"):
        Offsets(bytes(0x10000), b"").pack()


def test_messages_show_no_octets() -> None:
    assert repr(Plain(1, 2, 3, 4, b"abc")) == "Plain(a=1, b=2, c=3, d=4, e=<3 octets>)"


def test_the_generated_code_can_be_read() -> None:
    reads, writes = Plain.generated_source()
    assert reads.startswith("def unpack(cls, octets):")
    assert writes.startswith("def pack(self):")


def _declare(annotations: dict[str, Any]) -> type[Packed]:
    made: type[Packed] = dataclass(frozen=True, repr=False)(type("Made", (Packed,), {"__annotations__": annotations}))
    return made


@pytest.mark.parametrize(
    "annotations",
    [
        {"a": int},
        {"a": Annotated[int, "nothing"]},
        {"a": Annotated[bytes, REST], "b": Annotated[int, U8]},
        {"a": Annotated[int | None, U8], "b": Annotated[int, U8]},
        {"size": Annotated[int, U8]},
    ],
)
def test_wrong_declarations_are_told(annotations: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        _declare(annotations).unpack(b"")


# --- FILETIME --------------------------------------------------------------------------------------------------------


def test_filetime_of_known_moments() -> None:
    assert to_filetime(EPOCH) == 0
    assert to_filetime(datetime(1970, 1, 1, tzinfo=UTC)) == 116444736000000000
    assert from_filetime(116444736000000000) == datetime(1970, 1, 1, tzinfo=UTC)


@given(st.datetimes(min_value=datetime(1601, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  hypothesis adds the zone
def test_filetime_round_trip(moment: datetime) -> None:
    assert from_filetime(to_filetime(moment)) == moment


@given(st.integers(0, 2**64 - 1))
def test_any_filetime_is_a_moment_or_none(value: int) -> None:
    moment = from_filetime(value)
    assert moment is None or abs(to_filetime(moment) - value) < 10


def test_before_1601_there_is_nothing() -> None:
    assert to_filetime(EPOCH - timedelta(days=1)) == 0
    assert from_filetime(2**64 - 1) is None
