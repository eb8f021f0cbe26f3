"""As whom a client may act, where nobody says otherwise: as himself, under his complete name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from securestream.errors import NotAuthorized, UsageError
from securestream.principal import NameType, Principal
from securestream.sasl.mechanism import authorized, own_identity

LOCAL = Principal("alice", "SCRAM-SHA-256")
KERBEROS = Principal("alice", "Kerberos", "CORP.EXAMPLE")
DNS = Principal("alice.example", "Schannel", "CN=authority", NameType.DNS)
UPN = Principal("alice@corp.example", "Schannel", "CN=authority", NameType.UPN)
SUBJECT = Principal("CN=alice", "Schannel", "CN=authority", NameType.SUBJECT)


@pytest.mark.parametrize(
    ("principal", "own"),
    [
        (LOCAL, ("alice",)),
        (KERBEROS, ("alice@CORP.EXAMPLE", "CORP.EXAMPLE\\alice")),
        (DNS, ("alice.example",)),
        (UPN, ("alice@corp.example",)),
        (SUBJECT, ("CN=alice@CN=authority", "CN=authority\\CN=alice")),
    ],
)
def test_everybody_is_himself_and_nobody_else(principal: Principal, own: tuple[str, ...]) -> None:
    known = {LOCAL: "alice", KERBEROS: "alice@CORP.EXAMPLE", DNS: "alice.example", UPN: "alice@corp.example"}
    for name in own:
        authorized(principal, name, own_identity)
    authorized(principal, "", own_identity)
    others = {*known.values(), "CN=alice", "Alice", "alice@", "@CORP.EXAMPLE", "\\alice", "root", "*"} - set(own)
    for name in others:
        with pytest.raises(NotAuthorized, match="authorize"):
            authorized(principal, name, own_identity)


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_who_tells_neither_yes_nor_no_allows_nothing() -> None:
    """A coroutine would count as a yes."""

    async def later(principal: Principal, authzid: str) -> bool:
        return False

    wrong: list[Callable[[Principal, str], Any]] = [
        later,
        lambda principal, authzid: None,
        lambda principal, authzid: "yes",
    ]
    for authorize in wrong:
        with pytest.raises(UsageError, match="True or False"):
            authorized(LOCAL, "root", authorize)
        authorized(LOCAL, "", authorize)
