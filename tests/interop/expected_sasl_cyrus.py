"""The cells of SASL's table with Cyrus SASL."""

from __future__ import annotations

from tests.interop.expected_sasl_mit import LAYERS, SASL
from tests.interop.matrix import Cell, cells

CYRUS = "Cyrus SASL"

CIPHERS = ("rc4-40", "des", "rc4-56", "rc4")
"""Those that work there."""

_OPTIONS = (
    "DIGEST-MD5, auth",
    "DIGEST-MD5, auth-int",
    *(f"DIGEST-MD5, auth-conf {cipher}" for cipher in CIPHERS),
    "DIGEST-MD5, auth-conf 3des",
    "DIGEST-MD5, subsequent authentication",
    "DIGEST-MD5, authorisation identity",
    "DIGEST-MD5, letters of ISO 8859-1 and beyond",
    "DIGEST-MD5, small buffers",
    *(f"GSSAPI, {layer}" for layer in LAYERS),
    *(f"GSS-SPNEGO, {layer}" for layer in LAYERS),
    "GSS-SPNEGO, NTLM",
    "GS2-KRB5",
    "GS2-KRB5-PLUS",
    "GS2-KRB5-PLUS, wrong channel",
    "SCRAM-SHA-256",
    "SCRAM-SHA-256, authorisation identity",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-256-PLUS, wrong channel",
    *(f"{mechanism}, wrong password" for mechanism in ("DIGEST-MD5", "SCRAM-SHA-256")),
    *(f"{mechanism}, altered data" for mechanism in ("DIGEST-MD5", "GSSAPI", "GSS-SPNEGO")),
)

SASL_CYRUS: tuple[Cell, ...] = tuple(cells(SASL, CYRUS, ("client", "server"), _OPTIONS))
