"""The cells of the NTLM table."""

from __future__ import annotations

from tests.interop.matrix import Cell, cells

TABLE = "NTLM"

LEVELS = ("sign", "encrypt and sign")
POLICIES = ("never", "when supported", "when advertised", "always")
BINDINGS = ("right", "wrong", "missing")

_TOKEN_PEERS = ("gss-ntlmssp", "pyspnego")
_BOTH_WAYS = (*LEVELS, "wrong password", "altered data")
_OUR_ACCEPTOR = (
    *(f"bindings {bindings}, policy {policy}" for bindings in BINDINGS for policy in POLICIES),
    "MIC required",
    "unknown user",
)
_OUR_INITIATOR = tuple(f"bindings {bindings}" for bindings in BINDINGS)

_DOTNET_SERVER = (*LEVELS, "wrong password", "second attempt", "protection too low", "altered data")
_DOTNET_CLIENT = ("none", "serve --ntlm-mic optional", "MIC required", "wrong password", "protection too low")

NTLM: tuple[Cell, ...] = (
    *(
        cell
        for peer in _TOKEN_PEERS
        for cell in (
            *cells(TABLE, peer, ("initiator", "acceptor"), _BOTH_WAYS),
            *cells(TABLE, peer, ("initiator",), _OUR_ACCEPTOR),
            *cells(TABLE, peer, ("acceptor",), _OUR_INITIATOR),
        )
    ),
    *cells(TABLE, ".NET", ("server",), _DOTNET_SERVER),
    *cells(TABLE, ".NET", ("client",), _DOTNET_CLIENT),
)
