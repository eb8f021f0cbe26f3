"""What the commands that ask KDCs share: running a sub-handshake, settings from arguments, caches."""

from __future__ import annotations

import contextlib
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

from securestream.ambient import system_options
from securestream.credentials import CredentialCache
from securestream.drive import default_services, respond_blocking
from securestream.errors import NoCredentials, UsageError
from securestream.machine import HandshakeMachine
from securestream.principal import unauthenticated
from securestream.provider import Effect, Established, Handshake, SecurityContext
from securestream_providers.kerberos.client import ClientSettings, Session
from securestream_providers.kerberos.client.obtain import fast_realms_of
from securestream_providers.kerberos.effects import RecallTickets
from securestream_providers.kerberos.policy import Policy
from securestream_providers.kerberos.storage.names import cache_name
from securestream_providers.krb5.names import tgs_name
from securestream_providers.krb5.tickets import CachedTicket, TicketCache

T = TypeVar("T")

_UNITS: Final = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s?)?")
_CLOCK: Final = re.compile(r"(\d{1,4}):(\d{1,2})(?::(\d{1,2}))?")


def run(part: Generator[Effect[Any], Any, T]) -> T:
    """The result of a sub-handshake, its needs performed in this thread by the process's services."""
    results: list[T] = []

    def whole() -> Handshake:
        results.append((yield from part))
        return Established(cast("SecurityContext", None), unauthenticated("Kerberos"))

    machine = HandshakeMachine(whole())
    with contextlib.closing(machine):
        respond_blocking(machine, None, default_services())
    return results[0]


def add_common(parser: ArgumentParser) -> None:
    """The arguments that say which realm and which KDC."""
    parser.add_argument("--realm", metavar="REALM", help="of names without one, instead of krb5.conf's default_realm")
    parser.add_argument(
        "--kdc", metavar="HOST:PORT", action="append", help="of --realm, instead of krb5.conf's; may be repeated"
    )
    parser.add_argument(
        "--weak", metavar="TYPE", action="append", default=[], help="allow a weak encryption type: rc4-hmac"
    )


def settings_of(asked: Namespace, **arguments: Any) -> ClientSettings:
    """How KDCs are asked, by arguments and the system's configuration."""
    if asked.kdc and asked.realm is None:
        raise UsageError("--kdc needs --realm, whose KDC it is")
    policy = Policy(
        realm=asked.realm, kdc=tuple(asked.kdc) if asked.kdc else None, weak=frozenset(asked.weak), **arguments
    )
    config = run(policy.configuration())
    return policy.settings(config)


def session_of(settings: ClientSettings, cache: TicketCache | None = None) -> Session:
    """A session with what a cache knows of the KDC's clock."""
    session = Session(settings, system_options())
    if cache is not None:
        session.offset = timedelta(seconds=cache.kdc_offset)
        session.fast_realms.update(fast_realms_of(cache))
    return session


def cache_of(settings: ClientSettings, name: str | None) -> tuple[str, TicketCache | None]:
    """The full name of a cache, and its content."""
    credential = CredentialCache(name)
    full = cache_name(credential, settings.config)
    if full.startswith("MEMORY:"):
        raise UsageError("a cache in memory ends with the command: name a file, as FILE:/path")
    return full, run(RecallTickets(credential, settings.config).__iter__())


def tgt_of(cache: TicketCache | None, name: str) -> CachedTicket:
    """The ticket-granting ticket of a cache's own realm.

    Raises:
        NoCredentials: there is none.
    """
    if cache is not None:
        wanted = tgs_name(cache.client.realm)
        for ticket in cache.tickets:
            if ticket.server == wanted:
                return ticket
    raise NoCredentials(f"{name} holds no ticket-granting ticket; log on first (securestream kinit)")


def with_armor(settings: ClientSettings, name: str | None) -> ClientSettings:
    """Settings that require FAST with the ticket of another cache."""
    if name is None:
        return settings
    full, cache = cache_of(settings, name)
    return replace(settings, armor=tgt_of(cache, full))


def lifetime(text: str | None, option: str) -> timedelta | None:
    """A duration as krb5.conf writes it: ``10h``, ``1d12h``, ``8:30``, seconds.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    compact = "".join(text.split()).lower()
    clock, units = _CLOCK.fullmatch(compact), _UNITS.fullmatch(compact)
    found = timedelta(0)
    if clock is not None:
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        found = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    elif units is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in units.groups())
        found = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if found <= timedelta(0):
        raise UsageError(f"{option} {text}: give a duration, such as 10h or 1d12h")
    return found
