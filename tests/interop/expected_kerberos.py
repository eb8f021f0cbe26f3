"""The cells of the Kerberos tables."""

from __future__ import annotations

from tests.interop.matrix import Cell, cells
from tests.interop.peers.mit_tools import ETYPES

__all__ = ["BINDINGS", "DOMAIN", "ETYPES", "GSSAPI", "KERBEROS", "LEVELS", "STREAM"]

GSSAPI = "Kerberos"
DOMAIN = "Kerberos, domain"
STREAM = "Kerberos, NegotiateStream"

LEVELS = ("sign", "encrypt and sign")
BINDINGS = ("right", "wrong", "missing")

_BOTH_WAYS = (
    *ETYPES.values(),
    *(f"DCE style, IOV, {name}" for name in ETYPES.values()),
    "no mutual authentication",
    "altered, repeated data",
    *(f"bindings {bindings}" for bindings in BINDINGS),
    "delegation",
    "IOV",
    "export and import",
    "lifetime",
    "replay",
    "ticket for another service",
)
_OUR_ACCEPTOR = ("replay in 8 processes", "our error token")
_OUR_INITIATOR = ("delegation to an untrusted service", "altered AP-REP", "its error token", "keytab", "cache of kinit")
_DOTNET = ("altered data", "ticket for another service", "protection too low")
_DOMAIN = (
    "PAC of a service ticket",
    "wrong password",
    "S4U2self",
    "S4U2proxy",
    "S4U2proxy to another service",
    "kpasswd",
    "LDAP, SASL GSSAPI, sealed",
    "LDAP, ticket for another service",
)

KERBEROS: tuple[Cell, ...] = (
    *cells(GSSAPI, "python-gssapi", ("initiator", "acceptor"), _BOTH_WAYS),
    *cells(GSSAPI, "python-gssapi", ("initiator",), _OUR_ACCEPTOR),
    *cells(GSSAPI, "python-gssapi", ("acceptor",), _OUR_INITIATOR),
    *cells(DOMAIN, "Samba AD", ("server",), _DOMAIN),
    *cells(STREAM, ".NET", ("server",), (*LEVELS, *_DOTNET)),
)
