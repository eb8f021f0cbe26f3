"""Texts from elsewhere, made fit for people to read."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` in one line that no terminal obeys: what is not printable is shown as an escape.

    Names and messages come from peers; a newline would forge a line of the log, an escape sequence a screen.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )
