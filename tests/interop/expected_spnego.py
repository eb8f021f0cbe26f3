"""The cells of the SPNEGO table: token by token, with MIT's library and pyspnego."""

from __future__ import annotations

from tests.interop.matrix import Cell, cells

SPNEGO = "SPNEGO"

MECHANISMS = ("krb5", "ntlm")
FALLBACKS = {"Kerberos refused, NTLM": "ntlm", "NTLM refused, Kerberos": "krb5"}
"""By what is left of an offer of both: the mechanism that the acceptor has."""

LEVELS = ("sign", "encrypt and sign")
BINDINGS = ("right", "wrong", "missing")
ATTACKS = ("list shortened", "MIC stripped", "MIC damaged")

_MIT_BOTH_WAYS = (
    "Kerberos",
    "NTLM",
    *FALLBACKS,
    *(f"no mutual authentication{after}" for after in ("", ", NTLM refused")),
    *(f"DCE style, IOV{after}" for after in ("", ", NTLM refused")),
    *(f"{mechanism}, bindings {bindings}" for mechanism in ("Kerberos", "NTLM") for bindings in BINDINGS),
    *(f"{mechanism}, altered data" for mechanism in ("Kerberos", "NTLM")),
    *(f"NTLM, {level}" for level in LEVELS),
    *(f"NTLM refused, {attack}" for attack in ATTACKS),
    "nothing in common",
    "Kerberos, delegation",
    "Kerberos, ticket for another service",
    "NTLM, wrong password",
)
_MIT_INITIATOR = (
    "our order is another: request-mic",
    "our first is not offered: request-mic",
    "Kerberos without SPNEGO",
    "NTLM without SPNEGO",
)
_MIT_ACCEPTOR = ("server speaks first", "anonymous")

_PYSPNEGO_BOTH_WAYS = (
    *(f"NTLM, {level}" for level in LEVELS),
    "NTLM, wrong password",
    "NTLM, altered data",
    "server speaks first",
    *(f"Kerberos refused, {attack}" for attack in ATTACKS[1:]),
    *(f"NTLM, bindings {bindings}" for bindings in BINDINGS),
)
_PYSPNEGO_INITIATOR = ("NTLM without SPNEGO",)
_PYSPNEGO_ACCEPTOR = ("Kerberos refused, NTLM", "list shortened")

TOKENS: tuple[Cell, ...] = (
    *cells(SPNEGO, "MIT SPNEGO", ("initiator", "acceptor"), _MIT_BOTH_WAYS),
    *cells(SPNEGO, "MIT SPNEGO", ("initiator",), _MIT_INITIATOR),
    *cells(SPNEGO, "MIT SPNEGO", ("acceptor",), _MIT_ACCEPTOR),
    *cells(SPNEGO, "pyspnego", ("initiator", "acceptor"), _PYSPNEGO_BOTH_WAYS),
    *cells(SPNEGO, "pyspnego", ("initiator",), _PYSPNEGO_INITIATOR),
    *cells(SPNEGO, "pyspnego", ("acceptor",), _PYSPNEGO_ACCEPTOR),
)
