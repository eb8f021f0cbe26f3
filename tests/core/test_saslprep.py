"""SASLprep, with the examples of RFC 4013 3."""

from __future__ import annotations

import pytest

from securestream.errors import MalformedMessage
from securestream.saslprep import saslprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
)
def test_the_examples_that_are_prepared(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "\u0627a\u0628", "a\ud800", "\ufffd"])
def test_the_examples_that_are_refused(text: str) -> None:
    with pytest.raises(MalformedMessage, match="name or password"):
        saslprep(text)


def test_what_is_stored_has_assigned_characters_only() -> None:
    """RFC 3454 7: U+0221 is not assigned in Unicode 3.2."""
    assert saslprep("\u0221") == "\u0221"
    with pytest.raises(MalformedMessage):
        saslprep("\u0221", stored=True)


def test_right_to_left_alone_is_kept() -> None:
    assert saslprep("\u0627\u0628") == "\u0627\u0628"
