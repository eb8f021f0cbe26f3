"""NDR structures: layout, both ways, and what is refused before it costs anything."""

from __future__ import annotations

import struct
import tracemalloc
from dataclasses import dataclass
from enum import IntFlag
from typing import Annotated

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.wire import ndr


class Bits(IntFlag):
    ONE = 1


@dataclass(frozen=True, repr=False)
class Member(ndr.Structure):
    number: Annotated[int, ndr.U32]
    bits: Annotated[Bits, ndr.U16] = Bits.ONE


@dataclass(frozen=True, repr=False)
class Holder(ndr.Structure):
    small: Annotated[int, ndr.U16]
    name: Annotated[str, ndr.UNICODE_STRING]
    label: Annotated[str | None, ndr.WIDE_STRING]
    sid: Annotated[str | None, ndr.SID]
    members: Annotated[tuple[Member, ...], ndr.Counted(Member)]
    wide: Annotated[tuple[int, ...], ndr.Counted(ndr.U64)]
    labels: Annotated[tuple[str | None, ...], ndr.Counted(ndr.WIDE_STRING)]
    octets: Annotated[bytes, ndr.Counted(ndr.OCTET)]
    time: Annotated[int, ndr.FILETIME] = 0


@dataclass(frozen=True, repr=False)
class Numbers(ndr.Structure):
    values: Annotated[tuple[int, ...], ndr.Counted(ndr.U32)]


@dataclass(frozen=True, repr=False)
class Either(ndr.Structure):
    kind: Annotated[int, ndr.U16]
    values: Annotated[
        tuple[int, ...] | bytes, ndr.Switched("kind", {1: ndr.Counted(ndr.I64), 2: ndr.Counted(ndr.OCTET)})
    ]


MEMBERS = (Member(1), Member(2, Bits(0x8001)))
FULL = Holder(7, "Ä\U0001f511", "x", "S-1-5-32-544", MEMBERS, (1, 2), ("a", None), b"xyz", 9)
EMPTY = Holder(0, "", None, None, (), (), (), b"")


def headed(body: str, length: int | None = None) -> bytes:
    octets = bytes.fromhex(body)
    size = len(octets) if length is None else length
    return struct.pack("<BBHIII", 1, 0x10, 8, 0xCCCCCCCC, size, 0) + octets


@pytest.mark.parametrize("value", [FULL, EMPTY], ids=["full", "empty"])
def test_what_is_written_is_read(value: Holder) -> None:
    assert Holder.unpack(value.pack()) == value


@pytest.mark.parametrize("value", [Either(1, (-1, 5)), Either(1, ()), Either(2, b"abc")])
def test_union_is_told_by_the_field_before_it(value: Either) -> None:
    assert Either.unpack(value.pack()) == value


def test_layout_is_that_of_c706() -> None:
    """Each element's fixed part first, at its boundary, then what the pointers lead to."""
    expected = headed(
        "00000200 02000000 04000200"  # the structure, its count, the pointer to the array
        "02000000 01000000 02000000"  # the array's count, and its elements
    )
    assert Numbers((1, 2)).pack() == expected


def test_string_has_three_counts() -> None:
    @dataclass(frozen=True, repr=False)
    class Named(ndr.Structure):
        name: Annotated[str, ndr.UnicodeString(spare=2)]

    expected = headed("00000200 0400 0600 04000200 03000000 00000000 02000000 6100 6200 00000000")
    assert Named("ab").pack() == expected
    assert Named.unpack(expected) == Named("ab")


def test_eight_octet_elements_begin_at_a_boundary_of_eight() -> None:
    @dataclass(frozen=True, repr=False)
    class Wide(ndr.Structure):
        values: Annotated[tuple[int, ...], ndr.Counted(ndr.U64)]

    assert Wide((5,)).pack() == headed("00000200 01000000 04000200 01000000 0500000000000000")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("00000000", "absent"),
        ("00000200 02000000 04000200 03000000 01000000 02000000", "counts of an array differ"),
        ("00000200 02000000 00000000", "none is there"),
        ("00000200 ffffff7f 04000200 ffffff7f 01000000", "octets are due"),
        ("00000200 02000000", "octets are due"),
        ("00000200 01000000 04000200 01000000 01000000 0000000000000000", "too many"),
    ],
)
def test_inconsistent_counts_are_refused(body: str, why: str) -> None:
    with pytest.raises(MalformedMessage, match=why):
        Numbers.unpack(headed(body))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        bytes(15),
        b"\x02" + headed("00000200 00000000 00000000")[1:],
        b"\x01\x00" + headed("00000200 00000000 00000000")[2:],
        headed("00000200 00000000 00000000", 200),
    ],
    ids=["nothing", "short", "version", "byte order", "length"],
)
def test_other_headers_are_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Numbers.unpack(octets)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("03000000 00000000 02000000 6100", "01000000 00000000 02000000 6100"),
        ("03000000 00000000 02000000 6100", "03000000 01000000 02000000 6100"),
        ("0400 0600", "0200 0600"),
        ("6100 6200", "6100 00d8"),
        ("04000200", "00000000"),
    ],
    ids=["capacity", "offset", "length", "half a pair", "no pointer"],
)
def test_inconsistent_strings_are_refused(old: str, new: str) -> None:
    @dataclass(frozen=True, repr=False)
    class Named(ndr.Structure):
        name: Annotated[str, ndr.UNICODE_STRING]

    body = "00000200 0400 0600 04000200 03000000 00000000 02000000 6100 6200"
    assert Named.unpack(headed(body)) == Named("ab")
    with pytest.raises(MalformedMessage):
        Named.unpack(headed(body.replace(old, new)))


def test_string_without_its_end_is_refused() -> None:
    @dataclass(frozen=True, repr=False)
    class Labelled(ndr.Structure):
        label: Annotated[str | None, ndr.WIDE_STRING]

    assert Labelled.unpack(headed("00000200 04000200 02000000 00000000 02000000 6100 0000")) == Labelled("a")
    for body in ("02000000 00000000 02000000 6100 6100", "00000000 00000000 00000000"):
        with pytest.raises(MalformedMessage, match="zero character"):
            Labelled.unpack(headed("00000200 04000200" + body))


def test_sid_with_too_many_numbers_is_refused() -> None:
    @dataclass(frozen=True, repr=False)
    class Known(ndr.Structure):
        sid: Annotated[str | None, ndr.SID]

    good = "00000200 04000200 01000000 0101000000000005 20000000"
    assert Known.unpack(headed(good)) == Known("S-1-5-32")
    many = good.replace("01000000 0101", "10000000 0110")
    for bad in (many, good.replace("0101", "0102"), good.replace("0101", "0201")):
        with pytest.raises(MalformedMessage):
            Known.unpack(headed(bad + "00" * 64))


def test_union_of_another_tag_is_refused() -> None:
    good = Either(2, b"abc").pack()
    at = good.index(b"\2\0\2\0")
    for tags in (b"\2\0\1\0", b"\3\0\3\0"):
        with pytest.raises(MalformedMessage, match="union"):
            Either.unpack(good[:at] + tags + good[at + 4 :])
    with pytest.raises(UsageError, match="no arm 3"):
        Either(3, b"").pack()


@pytest.mark.parametrize("count", [1 << 20, 1 << 28, (1 << 32) - 1])
def test_a_count_costs_nothing_before_it_is_checked(count: int) -> None:
    """SECURITY 2: count times size is held against what is there before anything is allocated."""
    octets = headed("00000200" + struct.pack("<III", count, 0x20004, count).hex() + "00" * 64)
    Numbers((1,)).pack()  # makes the codec, which counts for nothing here
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage):
            Numbers.unpack(octets)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16_384


def test_values_that_do_not_fit_are_the_callers_mistake() -> None:
    for value in (Numbers((1 << 32,)), Numbers((-1,)), Either(1, (1 << 63,))):
        with pytest.raises(UsageError):
            value.pack()
    with pytest.raises(UsageError, match="surrogate"):
        Holder(0, "\ud800", None, None, (), (), (), b"").pack()


def test_a_field_without_a_layout_is_the_declarations_mistake() -> None:
    @dataclass(frozen=True, repr=False)
    class Wrong(ndr.Structure):
        number: int

    with pytest.raises(TypeError, match="says no layout"):
        Wrong(1).pack()


def test_cut_anywhere_is_refused() -> None:
    whole = FULL.pack()
    for end in range(len(whole)):
        with pytest.raises(MalformedMessage):
            Holder.unpack(whole[:end])
