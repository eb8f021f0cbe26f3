"""What the demonstration shows and looks for: a hexdump beside the plaintext, and secrets in the wire."""

from __future__ import annotations

from collections.abc import Iterator

WIDTH = 16
WINDOW = 8
"""Octets of a secret that must not appear in the wire in a row."""


def visible(octets: bytes) -> str:
    """`octets` as ASCII, a dot for each that has no glyph."""
    return "".join(chr(octet) if 32 <= octet < 127 else "." for octet in octets)


def hexdump(wire: bytes, plaintext: bytes) -> Iterator[str]:
    """`wire` in hex and as text, with the plaintext that went in beside it."""
    for start in range(0, max(len(wire), len(plaintext)), WIDTH):
        row, plain = wire[start : start + WIDTH], plaintext[start : start + WIDTH]
        yield f"{start:04x}  {row.hex(' '):<{3 * WIDTH - 1}}  {visible(row):<{WIDTH}} | {visible(plain)}"


def leaks(wire: bytes, secrets: dict[str, bytes]) -> list[str]:
    """The names of those secrets of which any `WINDOW` octets in a row stand in `wire`; shorter ones count whole."""
    seen = {wire[start : start + WINDOW] for start in range(len(wire) - WINDOW + 1)}
    return [name for name, secret in secrets.items() if _appears(wire, seen, secret)]


def _appears(wire: bytes, seen: set[bytes], secret: bytes) -> bool:
    if len(secret) < WINDOW:
        return bool(secret) and secret in wire
    return any(secret[start : start + WINDOW] in seen for start in range(len(secret) - WINDOW + 1))
