"""Subsequent authentication (RFC 2831 2.2): what a client remembers, and how a server knows its nonces again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from securestream.options import Options
from securestream.redaction import Redacted, Secret
from securestream_providers.digest.nonces import RANDOM_SIZE, Judged, NonceKey, Nonces, check_lifetime

LIFETIME: Final = timedelta(minutes=5)
REMEMBERED: Final = 1024
"""Services and users of whom a client remembers an exchange."""


class SessionKey(NamedTuple):
    """Whose exchange it was."""

    user: str
    domain: str
    target: str
    realm: str | None
    authzid: str | None


@dataclass(frozen=True, repr=False)
class Remembered(Redacted):
    """A client's last exchange.

    Args:
        nonce: the server's.
        cnonce: the client's.
        count: how many responses were made with the nonce.
        user: the name as sent.
        realm: the realm as sent.
        utf_8: whether they were sent in UTF-8.
    """

    nonce: str = field(repr=False)
    cnonce: str = field(repr=False)
    count: int
    user: str = field(repr=False)
    realm: str | None
    utf_8: bool


class Subsequent:
    """Lets clients skip a leg: give one object to all the mechanisms that authenticate after one another.

    A server keeps nothing of a client: its nonces are signed, and their counts are remembered by whoever performs
    `securestream_providers.digest.NonceCount`. Only exchanges without a security layer are continued: the keys of a
    layer would be those that the exchange before had, and its messages could be played back.

    Args:
        lifetime: how long a server takes a nonce of its own.
        key: 32 octets under which a server signs nonces; processes that share it, and the memory of counts, continue
            each other's exchanges. `None` makes one.

    Raises:
        UsageError: the key has another length, or the lifetime is not above zero.
    """

    def __init__(self, lifetime: timedelta = LIFETIME, key: Secret[bytes] | None = None) -> None:
        check_lifetime(lifetime)
        self._lifetime = lifetime
        self._key = NonceKey(key)
        self._exchanges: OrderedDict[SessionKey, Remembered] = OrderedDict()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self._lifetime}>"

    # --- servers

    def _signer(self, realms: tuple[str, ...], options: Options) -> Nonces:
        return Nonces(self._key.get(options), "\0".join(("DIGEST-MD5", *realms)), self._lifetime)

    def make(self, realms: tuple[str, ...], options: Options, now: datetime) -> str:
        """A nonce of a server."""
        return self._signer(realms, options).make(now, options.random(RANDOM_SIZE))

    def judge(self, nonce: str, realms: tuple[str, ...], options: Options, now: datetime) -> Judged:
        """What a nonce is that came back."""
        return self._signer(realms, options).judge(nonce, now)

    # --- clients

    def take(self, key: SessionKey) -> Remembered | None:
        """An exchange to continue, which nobody else is then given."""
        return self._exchanges.pop(key, None)

    def remember(self, key: SessionKey, exchange: Remembered) -> None:
        """Put an exchange (back); the oldest is forgotten where there are too many."""
        self._exchanges[key] = exchange
        while len(self._exchanges) > REMEMBERED:
            try:
                self._exchanges.popitem(last=False)
            except KeyError:  # another thread took it
                break
