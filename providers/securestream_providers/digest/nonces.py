"""Nonces that a server need not remember: their time and its signature stand in them (RFC 7616 3.3, 5.4).

A nonce and the opaque value are of letters, digits, ``-`` and ``_`` alone: clients were seen that mangle ``=``, ``+``
and ``/``. Only where clients are asked for bindings (`bindings`) do nonces begin with that marker, which has a ``+``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from securestream.arguments import check_kind
from securestream.errors import UsageError
from securestream.fork import discard_in_child
from securestream.options import Options
from securestream.redaction import Secret
from securestream_providers.digest.bindings import VERSION_1

KEY_SIZE: Final = 32
"""Octets of the key under which nonces are signed."""

RANDOM_SIZE: Final = 12
"""Octets of randomness in a nonce."""

_HEAD: Final = struct.Struct(f">Q{RANDOM_SIZE}s")  # milliseconds since 1970, and random octets
_TAG: Final = 16
_EARLY: Final = timedelta(seconds=30)
"""How far ahead the clock of another process that signs with the same key may be."""


class Judgement(Enum):
    """What a nonce that came back is."""

    GOOD = "good"
    OLD = "old"
    """Made here, and expired."""
    FOREIGN = "foreign"
    """Not signed with this key for this realm: damaged, invented, or made before the key changed."""


class Judged(NamedTuple):
    """A nonce that came back.

    Args:
        judgement: what it is.
        made: when it was made; of a foreign one meaningless.
        expires: until when it is good.
    """

    judgement: Judgement
    made: datetime
    expires: datetime


class NonceKey:
    """The key of a server's nonces; one that nobody gave is made when it is first used, where randomness is.

    A forked child makes another one: it remembers nonce counts of its own, so its parent's nonces would count again.

    Args:
        key: 32 octets; `None` makes one.

    Raises:
        UsageError: the key has another length.
    """

    def __init__(self, key: Secret[bytes] | None) -> None:
        if key is not None:
            _check_key(key)
        self._keys: list[Secret[bytes]] = [] if key is None else [key]

    def discard(self) -> None:
        """Forget a key that was made here."""
        self._keys.clear()

    def get(self, options: Options) -> Secret[bytes]:
        """The key."""
        if not self._keys:
            discard_in_child(self)
            self._keys.append(Secret(options.random(KEY_SIZE)))  # of two that come at once, the first is used
        return self._keys[0]


def check_lifetime(lifetime: timedelta) -> None:
    """Refuse a lifetime of nonces that is none.

    Raises:
        UsageError: it is no length of time, or not above zero.
    """
    check_kind("lifetime", lifetime, timedelta, "write lifetime=timedelta(minutes=5)")
    if lifetime <= timedelta():
        raise UsageError("nonces need a lifetime above zero")


def _check_key(key: Secret[bytes]) -> None:
    if len(key.reveal()) != KEY_SIZE:
        raise UsageError(f"the key of nonces is {KEY_SIZE} octets, not {len(key.reveal())}")


class Nonces:
    """Makes and judges the nonces of one realm.

    Args:
        key: 32 octets; processes that share it accept each other's.
        realm: the realm; a nonce of another one is foreign.
        lifetime: how long a nonce is good.
        marked: whether nonces ask for bindings. Signatures cover that: with the marker taken away or added, and where
            the other kind is made, a nonce is foreign.

    Raises:
        UsageError: the key has another length, or the lifetime is not above zero.
    """

    def __init__(self, key: Secret[bytes], realm: str, lifetime: timedelta, *, marked: bool = False) -> None:
        _check_key(key)
        check_lifetime(lifetime)
        self._key = key
        self._realm = realm.encode("utf-8", "surrogatepass")
        self._lifetime = lifetime
        self._prefix = VERSION_1 if marked else ""
        self._kind = b"marked nonce" if marked else b"nonce"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self._lifetime}>"

    @property
    def opaque(self) -> str:
        """The opaque value of this realm."""
        return _text(self._tag(b"opaque")[:12])

    def make(self, now: datetime, random: bytes) -> str:
        """A nonce of this moment.

        Args:
            now: the present moment, aware UTC.
            random: `RANDOM_SIZE` unpredictable octets.
        """
        head = _HEAD.pack(round(now.timestamp() * 1000), random)
        return self._prefix + _text(head + self._tag(self._kind, head))

    def judge(self, nonce: str, now: datetime) -> Judged:
        """What `nonce` is now."""
        foreign = Judged(Judgement.FOREIGN, now, now)
        text = nonce.removeprefix(self._prefix)
        octets = _octets(text)
        if len(octets) != _HEAD.size + _TAG or self._prefix + _text(octets) != nonce:
            return foreign
        head, tag = octets[: _HEAD.size], octets[_HEAD.size :]
        if not hmac.compare_digest(tag, self._tag(self._kind, head)):
            return foreign
        made = datetime.fromtimestamp(_HEAD.unpack(head)[0] / 1000, UTC)
        expires = made + self._lifetime
        if made > now + _EARLY:  # the clock was set back: nobody could say when it ends
            return Judged(Judgement.OLD, made, expires)
        return Judged(Judgement.GOOD if now < expires else Judgement.OLD, made, expires)

    def _tag(self, kind: bytes, head: bytes = b"") -> bytes:
        length = len(self._realm).to_bytes(4, "big")
        return hmac.digest(self._key.reveal(), b"\0".join((kind, length + self._realm + head)), "sha256")[:_TAG]


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _octets(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
