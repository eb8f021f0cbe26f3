"""The cells of the CredSSP table."""

from __future__ import annotations

from tests.interop.matrix import Cell, cells

CREDSSP = "CredSSP"

VERSIONS = (6, 5, 4, 3, 2)
WITH_ERROR = (6, 4, 3)
"""The versions in which a server says why it refuses ([MS-CSSP] 2.2.1)."""

_XFREERDP = (
    *(f"version {version}" for version in VERSIONS),
    *(f"version {version}, wrong password" for version in VERSIONS),
    *(f"version {version}, not admitted" for version in VERSIONS),
    "unknown user",
    "TLSv1.2",
    "key on a curve",
    "restricted admin",
    "restricted admin by NT hash",
    "restricted admin, refused",
    *(f"version {version}, man in the middle" for version in (6, 2)),
    "gateway",
)
_SHADOW = (
    *(f"version {version}" for version in VERSIONS),
    "wrong password",
    "unknown user",
    "TLSv1.2",
    "restricted admin",
    "restricted admin by NT hash",
    "man in the middle",
    "certificate of another authority",
    "gateway",
)
KERBEROS_INSIDE = ("Kerberos through python-gssapi", "Kerberos in SPNEGO through python-gssapi")
_PYSPNEGO = (
    *(f"version {version}" for version in VERSIONS),
    *(f"our version {version}" for version in VERSIONS[1:]),
    "version 4, refused",
    "our version 4, refused",
    "NTLM without SPNEGO",
    "TLSv1.2",
    "wrong password",
    *KERBEROS_INSIDE,
)

CREDSSP_CELLS: tuple[Cell, ...] = (
    *cells(CREDSSP, "xfreerdp", ("initiator",), _XFREERDP),
    *cells(CREDSSP, "freerdp-shadow-cli", ("acceptor",), _SHADOW),
    *cells(CREDSSP, "pyspnego", ("initiator", "acceptor"), _PYSPNEGO),
    *cells(CREDSSP, "pyspnego", ("initiator",), ("not admitted",)),
    *cells(CREDSSP, "pyspnego", ("initiator",), ("HTTP, TLSv1.2", "HTTP, TLSv1.3", "HTTP, wrong password")),
    *cells(CREDSSP, "pyspnego", ("acceptor",), ("HTTP, TLSv1.2", "HTTP, TLSv1.3")),
)
