"""SASLprep (RFC 4013): the form in which SCRAM and other mechanisms compare names and passwords."""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Callable
from typing import Final

from securestream.errors import MalformedMessage

_PROHIBITED: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, *, stored: bool = False) -> str:
    """`text` prepared by RFC 4013.

    Args:
        text: a name or a password.
        stored: whether it is kept for later comparison; code points that Unicode 3.2 does not assign are then refused
            (RFC 3454 7).

    Raises:
        MalformedMessage: it has characters that are prohibited, or mixes directions (RFC 3454 6).
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    for character in prepared:
        if any(prohibited(character) for prohibited in _PROHIBITED):
            raise MalformedMessage("a name or password holds a character that SASLprep prohibits: leave it out")
        if stored and stringprep.in_table_a1(character):
            raise MalformedMessage("a name or password holds a character newer than SASLprep knows: leave it out")
    if any(map(stringprep.in_table_d1, prepared)):
        ends = prepared[0], prepared[-1]
        if any(map(stringprep.in_table_d2, prepared)) or not all(map(stringprep.in_table_d1, ends)):
            raise MalformedMessage("a name or password mixes directions in a way that SASLprep prohibits")
    return prepared
