"""The cells of SASL's table with MIT's library, around which the tests play the other end."""

from __future__ import annotations

from tests.interop.matrix import Cell, cells

SASL = "SASL"
LAYERS: tuple[str, ...] = ("none", "integrity", "confidentiality")

_OPTIONS = (*(f"GSSAPI, {layer}" for layer in LAYERS), "GS2-KRB5", "GS2-KRB5-PLUS", "GS2-KRB5-PLUS, wrong channel")

SASL_MIT: tuple[Cell, ...] = tuple(cells(SASL, "python-gssapi", ("initiator", "acceptor"), _OPTIONS))
