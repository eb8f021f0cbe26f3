"""The cursor reads what is there and nothing beyond."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.wire.cursor import Cursor, Writer

OCTETS = bytes(range(1, 9))
READS: list[tuple[str, Callable[[Cursor], int], int, int]] = [
    ("u8", Cursor.u8, 1, 0x01),
    ("u16_le", Cursor.u16_le, 2, 0x0201),
    ("u16_be", Cursor.u16_be, 2, 0x0102),
    ("u32_le", Cursor.u32_le, 4, 0x04030201),
    ("u32_be", Cursor.u32_be, 4, 0x01020304),
    ("i32_le", Cursor.i32_le, 4, 0x04030201),
    ("i32_be", Cursor.i32_be, 4, 0x01020304),
    ("u64_le", Cursor.u64_le, 8, 0x0807060504030201),
    ("u64_be", Cursor.u64_be, 8, 0x0102030405060708),
]


@pytest.mark.parametrize(("read", "size", "value"), [case[1:] for case in READS], ids=[case[0] for case in READS])
def test_integers_have_their_order_and_size(read: Callable[[Cursor], int], size: int, value: int) -> None:
    cursor = Cursor(OCTETS)
    assert read(cursor) == value
    assert cursor.at == size
    assert cursor.remaining == 8 - size


@pytest.mark.parametrize(("read", "size"), [case[1:3] for case in READS], ids=[case[0] for case in READS])
def test_integers_refuse_every_short_read(read: Callable[[Cursor], int], size: int) -> None:
    for there in range(size):
        cursor = Cursor(OCTETS[:there], "thing")
        with pytest.raises(MalformedMessage, match="thing"):
            read(cursor)
        assert cursor.at == 0


def test_signed_integers_are_negative_above_the_middle() -> None:
    assert Cursor(b"\xff\xff\xff\xff").i32_le() == -1
    assert Cursor(b"\x80\x00\x00\x00").i32_be() == -(1 << 31)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_buffer_is_read_and_copied_out(kind: Callable[[bytes], bytes | bytearray | memoryview]) -> None:
    cursor = Cursor(kind(OCTETS))
    taken = cursor.take(3)
    assert (taken, type(taken)) == (b"\x01\x02\x03", bytes)
    assert bytes(cursor.view(2)) == b"\x04\x05"
    cursor.skip(1)
    assert cursor.rest() == b"\x07\x08"
    assert cursor.at_end()
    cursor.finish()


def test_views_of_wider_items_are_read_as_octets() -> None:
    assert Cursor(memoryview(OCTETS).cast("H")).rest() == OCTETS


@pytest.mark.parametrize("count", [9, 1 << 64, -1])
def test_take_view_and_skip_stay_inside(count: int) -> None:
    cursor = Cursor(OCTETS)
    for read in (cursor.take, cursor.view, cursor.skip):
        with pytest.raises(MalformedMessage):
            read(count)
    assert cursor.at == 0


def test_seek_stays_inside_and_allows_the_end() -> None:
    cursor = Cursor(OCTETS)
    cursor.seek(8)
    assert cursor.at_end()
    for offset in (9, -1):
        with pytest.raises(MalformedMessage):
            cursor.seek(offset)


def test_finish_refuses_trailing_octets() -> None:
    cursor = Cursor(OCTETS)
    cursor.skip(7)
    assert not cursor.at_end()
    with pytest.raises(MalformedMessage, match="1 octets too many"):
        cursor.finish()


def test_expect_passes_over_the_same_octets_only() -> None:
    cursor = Cursor(OCTETS)
    cursor.expect(b"\x01\x02")
    assert cursor.at == 2
    with pytest.raises(MalformedMessage):
        cursor.expect(b"\x03\x05")
    with pytest.raises(MalformedMessage):
        Cursor(b"\x01").expect(b"\x01\x02")


def test_errors_and_repr_show_no_octets() -> None:
    cursor = Cursor(b"secret password", "logon")
    with pytest.raises(MalformedMessage) as caught:
        cursor.take(100)
    assert "secret" not in str(caught.value) + repr(cursor)


def test_writer_writes_what_a_cursor_reads() -> None:
    writer = Writer()
    writer.u8(1)
    writer.u16_le(2)
    writer.u16_be(3)
    writer.u32_le(4)
    writer.u32_be(5)
    writer.u64_le(6)
    writer.u64_be(7)
    writer.put(memoryview(b"tail"))
    cursor = Cursor(writer.getvalue())
    assert [
        cursor.u8(),
        cursor.u16_le(),
        cursor.u16_be(),
        cursor.u32_le(),
        cursor.u32_be(),
        cursor.u64_le(),
        cursor.u64_be(),
    ] == [1, 2, 3, 4, 5, 6, 7]
    assert cursor.rest() == b"tail"
    assert len(writer) == 33
    assert "tail" not in repr(writer)


def test_writer_refuses_values_that_do_not_fit() -> None:
    writer = Writer()
    for write, value in ((writer.u8, 256), (writer.u16_le, -1), (writer.u32_be, 1 << 32), (writer.u64_le, 1 << 64)):
        with pytest.raises(UsageError):
            write(value)
    assert writer.getvalue() == b""
