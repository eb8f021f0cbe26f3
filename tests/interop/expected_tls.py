"""The cells of the TLS table."""

from __future__ import annotations

from tests.interop.matrix import Cell

TLS: tuple[Cell, ...] = ()
