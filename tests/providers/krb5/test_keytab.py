"""Keytab files: both versions, holes, long versions of keys, and where damage is."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream_providers.krb5.keytab import LARGEST_KEYTAB, merged, read_keytab, write_keytab
from tests.providers.krb5.files import ENTRIES, NOON, SERVICE, old_keytab

VECTORS = Path(__file__).parents[4] / "shared" / "vectors" / "keytab_ccache_files.json"


def vectors(kind: str) -> list[Any]:
    """The published sample files, where the folder with them is there."""
    if not VECTORS.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the shared vectors are not beside the project"))]
    found = json.loads(VECTORS.read_text())["vectors"]
    return [pytest.param(vector, id=vector["id"]) for vector in found if vector["format"] == kind]


@pytest.mark.parametrize("vector", vectors("keytab"))
def test_published_keytabs_are_read(vector: dict[str, Any]) -> None:
    octets = base64.b64decode(vector["data_b64"])
    if len(octets) <= 2 and vector["verification_level"] == "none":
        assert read_keytab(octets) == ()
        return
    entries = read_keytab(octets)
    if "entries" not in vector:
        assert [str(entry.principal) for entry in entries] == ["user@REALM"]
        return
    for entry, expected in zip(entries, vector["entries"], strict=True):
        assert str(entry.principal) == expected["principal"]
        assert entry.principal.name_type == expected["name_type"]
        assert entry.kvno == expected["kvno"]
        assert entry.key.etype == expected["etype"]
        assert entry.key.contents.reveal().hex() == expected["key"]
        assert entry.timestamp == datetime.fromtimestamp(expected["timestamp"], UTC)
    again = write_keytab(entries)
    assert read_keytab(again) == entries


def test_what_is_written_is_read_again() -> None:
    read = read_keytab(write_keytab(ENTRIES))
    assert read == ENTRIES
    assert [entry.principal.name_type for entry in read] == [entry.principal.name_type for entry in ENTRIES]


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_old_version_is_read_in_either_byte_order(order: str) -> None:
    (entry,) = read_keytab(old_keytab(order))
    assert (entry.principal, entry.kvno, entry.timestamp) == (SERVICE, 3, NOON)


def test_holes_are_passed_over_and_zero_ends_the_file() -> None:
    whole = write_keytab(ENTRIES[:2])
    first = 6 + int.from_bytes(whole[2:6], "big")
    hole = (-5 & 0xFFFFFFFF).to_bytes(4, "big") + b"abcde"
    assert read_keytab(whole[:first] + hole + whole[first:]) == ENTRIES[:2]
    assert read_keytab(whole[:first] + bytes(4) + whole[first:]) == ENTRIES[:1]


def test_the_long_version_counts_only_where_it_is_whole_and_not_zero() -> None:
    whole = write_keytab(ENTRIES[:1])

    def cut(tail: bytes) -> int:
        record = whole[6:-4] + tail
        return read_keytab(whole[:2] + len(record).to_bytes(4, "big") + record)[0].kvno

    assert cut(b"") == 1
    assert cut(b"\0\0\1") == 1
    assert cut(bytes(4)) == 1
    assert cut(b"\0\0\1\1") == 257
    assert cut(b"\0\0\1\1padding") == 257


@pytest.mark.parametrize("size", range(3, 61))
def test_a_file_cut_anywhere_says_which_record_and_offset(size: int) -> None:
    whole = write_keytab(ENTRIES[:1])
    with pytest.raises(MalformedMessage, match=r"record 1 at offset 2"):
        read_keytab(whole[: min(size, len(whole) - 1)])


def test_damage_in_a_later_record_is_located() -> None:
    whole = write_keytab(ENTRIES[:2])
    first = 6 + int.from_bytes(whole[2:6], "big")
    with pytest.raises(MalformedMessage, match=f"record 2 at offset {first}:"):
        read_keytab(whole[:-1])


@pytest.mark.parametrize("octets", [b"", b"\5", b"\5\3", b"\4\2", b"[libdefaults]"])
def test_what_is_no_keytab_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage, match="no keytab"):
        read_keytab(octets)


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="right file"):
        read_keytab(b"\5\2" + bytes(LARGEST_KEYTAB))


def test_a_key_of_a_wrong_length_is_damage() -> None:
    whole = bytearray(write_keytab(ENTRIES[:1]))
    whole[-4 - 32 - 3] = 17  # the type's low octet
    with pytest.raises(MalformedMessage, match="record 1 at offset 2"):
        read_keytab(bytes(whole))


def test_what_does_not_fit_the_format_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError):
        write_keytab([replace(ENTRIES[0], kvno=1 << 32)])


def test_a_key_that_is_added_replaces_its_namesake() -> None:
    assert merged(ENTRIES, ENTRIES[:1]) == (*ENTRIES[1:], ENTRIES[0])


def test_no_repr_shows_a_key() -> None:
    assert bytes(range(16)).hex() not in repr(ENTRIES)
