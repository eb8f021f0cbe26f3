"""The cells of the table of Negotiate with Samba."""

from __future__ import annotations

from tests.interop.matrix import Cell, cells

TABLE = "Negotiate, Samba"

LEVELS = ("sign", "encrypt and sign")
MECHANISMS = ("Kerberos", "NTLM")

_LDAP = (
    *("LDAP sealed, Kerberos", "LDAP sealed, NTLM", "LDAP sealed, NTLM by fallback", "LDAP, anonymous"),
    *(f"LDAP, wrong password, {mechanism}" for mechanism in MECHANISMS),
)
_BOTH_WAYS = (
    *(f"{mechanism}, {level}" for mechanism in MECHANISMS for level in LEVELS),
    *(f"wrong password, {mechanism}" for mechanism in MECHANISMS),
    *(f"{mechanism}, the server first" for mechanism in MECHANISMS),
    "first choice missing, NTLM with MICs",
    "altered list of mechanisms",
    "anonymous NTLM",
)
_HELPER = (*MECHANISMS, "wrong password, NTLM")

NEGOTIATE_SAMBA: tuple[Cell, ...] = (
    *cells(TABLE, "Samba AD", ("server",), _LDAP),
    *cells(TABLE, "GENSEC", ("initiator", "acceptor"), _BOTH_WAYS),
    *cells(TABLE, "GENSEC", ("initiator",), ("Kerberos, DCE style",)),
    *cells(TABLE, "ntlm_auth", ("initiator", "acceptor"), _HELPER),
)
