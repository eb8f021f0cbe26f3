"""The cells of the NTLM table."""

from __future__ import annotations

from tests.interop.matrix import Cell

NTLM: tuple[Cell, ...] = ()
