"""DIGEST-MD5's ends for the tests: one server that offers all there is, one user, and time that stands."""

from __future__ import annotations

from typing import Any

from securestream.credentials import Accounts, Credential
from securestream.drive import Services
from securestream.sasl import SaslLayer
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.digest import NonceCount
from securestream_providers.digest.performers import MemoryCounts
from securestream_providers.digest.sasl import DigestMd5
from securestream_providers.digest.sasl_crypto import Cipher
from tests.core.sasl.ends import ALICE, NOW, PASSWORD, Meeting, meet, new_services, options

REALM = "corp.example"
TARGET = "ldap/dc1.corp.example"
ALL = tuple(reversed(Cipher))

__all__ = ["ALICE", "ALL", "NOW", "PASSWORD", "REALM", "TARGET", "Cipher", "Meeting", "options"]


def client(**arguments: Any) -> DigestMd5:
    """A client."""
    return DigestMd5(**arguments)


def server(**arguments: Any) -> DigestMd5:
    """A server of one realm with every cipher."""
    arguments.setdefault("realms", (REALM,))
    arguments.setdefault("services", (TARGET,))
    arguments.setdefault("ciphers", ALL)
    return DigestMd5(**arguments)


def accounts(**passwords: str) -> Accounts:
    """Accounts in memory; alice unless others are given."""
    return Accounts.memory(**(passwords or {"alice": PASSWORD}))


def named_accounts(*names: str) -> Accounts:
    """Accounts of those names, whatever letters are in them."""
    store = MemoryAccounts()
    for name in names:
        store.add(name, PASSWORD)
    return Accounts(store)


def services() -> Services:
    """Who performs effects, with counts whose clock stands as that of `options`."""
    made = new_services()
    made.register_performer(NonceCount, MemoryCounts(clock=lambda: NOW))
    return made


def authenticate(
    one: DigestMd5 | None = None, other: DigestMd5 | None = None, who: Credential = ALICE, **more: Any
) -> Meeting:
    """An exchange, by default of alice with a server that offers all there is; see `meet`."""
    more.setdefault("target", TARGET)
    more.setdefault("services", services())
    return meet(one or client(), other or server(), who, more.pop("accepting", None) or accounts(), **more)


def converse(one: SaslLayer, other: SaslLayer, sizes: range = range(20)) -> None:
    """Both layers send messages of these sizes in both directions."""
    for size in sizes:
        data = bytes(octet & 0xFF for octet in range(size))
        for sender, receiver in ((one, other), (other, one)):
            assert receiver.unwrap(sender.wrap(data)).data == data
