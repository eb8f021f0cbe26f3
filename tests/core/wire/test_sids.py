"""Security identifiers: text and octets."""

from __future__ import annotations

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.wire.sids import domain_of, sid_from_octets, sid_in_domain, sid_to_octets


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("S-1-5-32-544", "01020000000000052000000020020000"),
        ("S-1-1-0", "010100000000000100000000"),
        ("S-1-5-21-1-2-4294967295-500", "0105000000000005 15000000 01000000 02000000 ffffffff f4010000"),
        ("S-1-0x123456789ABC-1", "0101123456789abc01000000"),
        ("S-1-4294967295-1", "01010000ffffffff01000000"),
    ],
)
def test_both_ways(text: str, octets: str) -> None:
    assert sid_to_octets(text) == bytes.fromhex(octets)
    assert sid_from_octets(bytes.fromhex(octets)) == text


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "01",
        "0200000000000005",
        "0101000000000005",
        "0101000000000005 20000000 00",
        "0110000000000005" + "00" * 64,
    ],
)
def test_what_is_no_sid_is_refused(octets: str) -> None:
    with pytest.raises(MalformedMessage):
        sid_from_octets(bytes.fromhex(octets))


@pytest.mark.parametrize(
    "text",
    [
        *("", "S-1-5", "S-2-5-1", "S-1-5-", "s-1-5-32", "S-1-5-32-544 ", "S-1-5-4294967296", "S-1-5" + "-1" * 16),
        *("S-1-5--1", "S-1-0x-1", f"S-1-{1 << 48}-1", "S-1-5-٣"),
    ],
)
def test_what_is_no_text_of_a_sid_is_the_callers_mistake(text: str) -> None:
    with pytest.raises(UsageError, match="no security identifier"):
        sid_to_octets(text)


def test_domain_and_relative_identifier() -> None:
    assert sid_in_domain("S-1-5-21-1-2-3", 500) == "S-1-5-21-1-2-3-500"
    assert domain_of("S-1-5-21-1-2-3-500") == ("S-1-5-21-1-2-3", 500)
    with pytest.raises(UsageError):
        domain_of("S-1-5")
