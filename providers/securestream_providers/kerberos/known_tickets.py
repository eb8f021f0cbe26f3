"""Tickets that an acceptor has opened and judged: a client presents the same one with each of its connections.

What a ciphertext holds under the keys of one keytab, and whether its PAC is what the KDC made, never changes; so it is
found out once. Whatever depends on the moment, the channel or the authenticator is judged each time. Only what passed
every check is kept, so nobody without a valid ticket and its session key puts anything here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from securestream.fork import discard_in_child
from securestream.principal import Principal
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import AuthorizationElement, EncTicketPart, Ticket

MOST_KEPT: Final = 256
"""How many tickets are kept at most."""
LARGEST_KEPT: Final = 12_000
"""Octets of a ciphertext beyond which a ticket is opened each time: what is kept has a bound in octets, too."""
LONGEST_KEPT: Final = timedelta(minutes=10)
"""A ticket that is not presented for so long is dropped when tickets are next asked for, at the latest after twice as
long: its session key is a secret."""


Place: TypeAlias = tuple[str, int, tuple[str, ...], int, int | None, bytes]
"""Where a ticket is kept, see `place_of`."""


@dataclass(repr=False, slots=True)
class OpenedTicket:
    """A ticket, decrypted.

    Args:
        content: what it holds.
        service_key: with which it was opened.
        session_key: of it.
        proved: its authorisation data, containers opened, and who the client is, once the PAC was verified.
    """

    content: EncTicketPart
    service_key: Key
    session_key: Key
    proved: tuple[tuple[AuthorizationElement, ...], Principal] | None = None


class KnownTickets:
    """The tickets of one acceptor's keys, the latest; with other keys goes all of it. Several threads may use it.

    Two generations: what is asked for is of the newer one from then on, and the older is dropped whole when the newer
    is full or old. A forked child begins with none.
    """

    __slots__ = ("__weakref__", "_due", "_newer", "_older", "_registered")

    def __init__(self) -> None:
        self._newer: dict[Place, OpenedTicket] = {}
        self._older: dict[Place, OpenedTicket] = {}
        self._due: datetime | None = None
        self._registered = False

    def __len__(self) -> int:
        return len(self._newer.keys() | self._older.keys())

    def discard(self) -> None:
        """Forget all of them."""
        self._newer, self._older = {}, {}
        self._registered = False  # a child's own children are told only if it asks for it again

    def find(self, place: Place, now: datetime) -> OpenedTicket | None:
        """The ticket of a place, or `None`."""
        due = self._due
        if due is not None and now >= due:
            self._turn(now)
        found = self._newer.get(place)
        if found is None:
            found = self._older.get(place)
            if found is not None:
                self.keep(place, found, now)
        return found

    def keep(self, place: Place, ticket: OpenedTicket, now: datetime) -> None:
        """Remember a ticket that passed every check."""
        if not self._registered:
            self._registered = True
            discard_in_child(self)
        due = self._due
        if due is None or now >= due or len(self._newer) >= MOST_KEPT // 2:
            self._turn(now)
        self._newer[place] = ticket

    def _turn(self, now: datetime) -> None:
        due = self._due
        long_ago = due is not None and now >= due + LONGEST_KEPT
        self._older, self._newer = ({} if long_ago else self._newer), {}
        self._due = now + LONGEST_KEPT


def place_of(ticket: Ticket) -> Place | None:
    """Where a ticket is kept: by all in it that says which key opens it, and a digest of its ciphertext.

    Returns:
        `None` for one that is too large.
    """
    sealed, name = ticket.enc_part, ticket.sname
    if len(sealed.cipher) > LARGEST_KEPT:
        return None
    digest = hashlib.sha256(sealed.cipher).digest()
    return ticket.realm, name.name_type, name.name_string, sealed.etype, sealed.kvno, digest
