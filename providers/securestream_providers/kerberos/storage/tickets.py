"""Performs `RecallTickets` and `RememberTickets`: cache files, and tickets in memory that live with a credential."""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, TypeAlias

from securestream.credentials import Credential, CredentialCache, Keytab, Password, find_form
from securestream.drive import Performer
from securestream.errors import NoCredentials, ServiceFailed, UsageError
from securestream_providers.kerberos.credentials import Tickets
from securestream_providers.kerberos.effects import RecallTickets, RememberTickets
from securestream_providers.kerberos.storage.caches import load_cache, update_cache
from securestream_providers.kerberos.storage.names import cache_name
from securestream_providers.krb5.ccache import positions_of
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import NameType
from securestream_providers.krb5.tickets import CachedTicket, TicketCache

MOST_CREDENTIALS: Final = 4096
"""Credentials whose tickets are kept in memory; the longest unused are forgotten."""

MOST_TICKETS: Final = 256
"""Tickets that are kept in memory for one credential; those that expire first are forgotten."""


Setting: TypeAlias = tuple[str, KerberosName | None, bytes]
"""A configuration entry."""


def with_tickets(
    cache: TicketCache | None,
    client: KerberosName,
    tickets: Iterable[CachedTicket],
    kdc_offset: float,
    configuration: tuple[Setting, ...] = (),
) -> TicketCache | None:
    """A cache with tickets and configuration entries added, which replace those for the same service or purpose.

    Returns:
        `None`, nothing to be changed, where the cache belongs to another client meanwhile and no ticket-granting ticket
        comes with which to begin anew.
    """
    new = tuple(tickets)
    if cache is None or cache.client != client:
        if cache is not None and not any(ticket.server.is_tgs for ticket in new):
            return None
        return TicketCache(client, new, configuration, kdc_offset)
    replaced = {_identity(ticket) for ticket in new}
    kept = [place for place, ticket in enumerate(cache.tickets) if _identity(ticket) not in replaced]
    said = {setting[:2] for setting in configuration if setting not in cache.configuration}
    settings = [
        (setting, (bisect_left(kept, place), name_type))
        for setting, (place, name_type) in zip(cache.configuration, positions_of(cache), strict=True)
        if setting[:2] not in said
    ]
    last = (len(kept) + len(new), int(NameType.PRINCIPAL))
    settings += [(setting, last) for setting in configuration if setting[:2] in said]
    return replace(
        cache,
        tickets=(*(cache.tickets[place] for place in kept), *new),
        configuration=tuple(setting for setting, _ in settings),
        kdc_offset=kdc_offset,
        positions=tuple(place for _, place in settings),
    )


def _added(cache: TicketCache | None, client: KerberosName, effect: RememberTickets) -> TicketCache | None:
    return with_tickets(cache, client, effect.tickets, effect.kdc_offset, effect.configuration)


def _identity(ticket: CachedTicket) -> tuple[object, ...]:
    return ticket.client, ticket.server, ticket.is_session_key, ticket.second_ticket, ticket.authorization_data


class _Memory:
    """Tickets by credential, by its identity: they go when it does. Bounded; several threads may use it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[weakref.ref[Credential], Krb5Config, TicketCache]] = OrderedDict()
        self._lock = threading.RLock()  # a credential may die, and call back, while the lock is held

    def get(self, credential: Credential, config: Krb5Config) -> TicketCache | None:
        with self._lock:
            found = self._kept.get(id(credential))
            if found is None or found[0]() is not credential or found[1] != config:
                return None
            self._kept.move_to_end(id(credential))
            return found[2]

    def put(self, credential: Credential, config: Krb5Config, cache: TicketCache) -> None:
        key = id(credential)

        def forget(dead: weakref.ref[Credential]) -> None:
            with self._lock:
                kept = self._kept.get(key)
                if kept is not None and kept[0] is dead:
                    del self._kept[key]

        with self._lock:
            self._kept[key] = (weakref.ref(credential, forget), config, bounded(cache))
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_CREDENTIALS:
                self._kept.popitem(last=False)

    def add(self, effect: RememberTickets, credential: Credential, client: KerberosName) -> None:
        with self._lock:
            cache = self.get(credential, effect.config)
            changed = _added(cache, client, effect)
            if changed is not None:
                self.put(credential, effect.config, changed)


def bounded(cache: TicketCache) -> TicketCache:
    """`cache` without the tickets that expire first, where there are more than `MOST_TICKETS`."""
    surplus = len(cache.tickets) - MOST_TICKETS
    if surplus <= 0:
        return cache
    doomed = {id(ticket) for ticket in sorted(cache.tickets, key=lambda ticket: ticket.end_time)[:surplus]}
    return replace(cache, tickets=tuple(t for t in cache.tickets if id(t) not in doomed), positions=())


class TicketsPerformer(Performer):
    """Performs `RecallTickets` and `RememberTickets`; holds the caches ``MEMORY:`` and the tickets of credentials."""

    def __init__(self) -> None:
        self._memory = _Memory()
        self._named: OrderedDict[str, TicketCache] = OrderedDict()
        self._lock = threading.Lock()

    async def perform(self, effect: Any) -> TicketCache | None:
        """Recall or remember; only files are waited for, in a worker thread."""
        if isinstance(_form(effect.credential), CredentialCache | None):
            found: TicketCache | None = await super().perform(effect)
            return found
        return self.perform_blocking(effect)

    def perform_blocking(self, effect: Any) -> TicketCache | None:
        """Recall or remember.

        Raises:
            NoCredentials: a cache cannot be read, is unsafe, or damaged.
            ServiceFailed: a cache cannot be written.
        """
        asked: RecallTickets | RememberTickets = effect
        if isinstance(asked, RecallTickets):
            return self._recall(asked)
        self._remember(asked)
        return None

    def _recall(self, effect: RecallTickets) -> TicketCache | None:
        form = _form(effect.credential)
        if isinstance(form, CredentialCache | None):
            name = _name(form, effect.config)
            return self._named.get(name) if name.startswith("MEMORY:") else load_cache(name)
        kept = self._memory.get(form, effect.config)
        if isinstance(form, Tickets):
            return form.cache if kept is None else with_tickets(kept, form.cache.client, form.cache.tickets, 0.0)
        return kept

    def _remember(self, effect: RememberTickets) -> None:
        client = effect.client
        if not isinstance(client, KerberosName):
            raise UsageError("tickets are remembered for a KerberosName")
        form = _form(effect.credential)
        if not isinstance(form, CredentialCache | None):
            self._memory.add(effect, form, client)
            return
        name = _name(form, effect.config)
        if name.startswith("MEMORY:"):
            with self._lock:
                changed = _added(self._named.get(name), client, effect)
                if changed is not None:
                    self._named[name] = bounded(changed)
                    while len(self._named) > MOST_CREDENTIALS:
                        self._named.popitem(last=False)
            return
        try:
            update_cache(name, lambda cache: _added(cache, client, effect))
        except OSError as error:
            raise ServiceFailed(f"the credential cache {name} cannot be written: {error.strerror or error}") from error


def _form(credential: Credential | None) -> Credential | None:
    """The form of a credential that has tickets."""
    if credential is None:
        return None
    return find_form(credential, Tickets, CredentialCache, Password, Keytab) or credential


def _name(credential: CredentialCache | None, config: Krb5Config) -> str:
    try:
        return cache_name(credential, config)
    except UsageError as error:
        raise NoCredentials(str(error)) from None
