"""The cells of the TLS table."""

from __future__ import annotations

from itertools import product

from tests.interop.matrix import Cell, cells

TABLE = "TLS"

_VERSIONS = ("TLSv1.2", "TLSv1.3")
_DATA = tuple(
    f"{version} {mutual}{engine}"
    for version, mutual, engine in product(_VERSIONS, ("", "mutual "), ("stdlib", "pyopenssl"))
)
_MISSED = tuple(f"{version} missing client certificate" for version in _VERSIONS)
_COMMON = ("expired, refused", "untrusted, refused", "revoked, refused", "no common protocol")

_SERVER = (*_DATA, *_MISSED, *_COMMON, "wrong name, refused")
_CLIENT = (*_DATA, *_COMMON, "missing client certificate, refused", "wrong name, refused by it", "truncation")
_TOOL_SERVER = ("for clients, refused", "truncation", "resumption")
_TOOL_CLIENT = ("for servers, refused", "expired, refused by it", "untrusted, refused by it")
_CURL = (
    *_DATA,
    "missing client certificate, refused",
    *(f"{why}, refused by it" for why in ("wrong name", "expired", "untrusted")),
)

TLS: tuple[Cell, ...] = (
    *(
        cell
        for peer in ("OpenSSL", "GnuTLS")
        for cell in (
            *cells(TABLE, peer, ("server",), (*_SERVER, *_TOOL_SERVER)),
            *cells(TABLE, peer, ("client",), (*_CLIENT, *_TOOL_CLIENT)),
        )
    ),
    *cells(TABLE, "OpenSSL", ("client",), ("KeyUpdate", "renegotiation")),
    *cells(TABLE, ".NET", ("server",), _SERVER),
    *cells(TABLE, ".NET", ("client",), _CLIENT),
    *cells(TABLE, ".NET", ("server", "client"), ("stream stdlib", "stream pyopenssl")),
    *cells(TABLE, "curl", ("client",), _CURL),
)
