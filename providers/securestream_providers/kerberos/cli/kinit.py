"""``securestream kinit``: log on to a realm and keep the tickets in a credential cache."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser, Namespace
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from securestream.cli.passwords import read_password
from securestream.cli.report import Report
from securestream.credentials import Keytab, Password
from securestream.errors import UsageError
from securestream.provider import Effect
from securestream_providers.kerberos.cli import running
from securestream_providers.kerberos.client import (
    ClientSettings,
    InitialTicket,
    Session,
    initial_ticket,
    long_term,
    renew,
    service_name,
    validate,
)
from securestream_providers.kerberos.client.obtain import FAST_AVAILABLE
from securestream_providers.kerberos.storage.caches import store_cache
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.tickets import CachedTicket, TicketCache


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments, which are those of MIT's kinit where it has them."""
    parser.add_argument("principal", nargs="?", help="who; by default whose the cache is, else the login name")
    parser.add_argument("-c", "--ccache", metavar="NAME", help="the credential cache: FILE:, DIR: or a path")
    parser.add_argument("-k", dest="with_keytab", action="store_true", help="log on with a keytab")
    parser.add_argument("-t", "--keytab", metavar="FILE", help="the keytab of -k; by default the system's")
    parser.add_argument("-l", "--lifetime", metavar="DURATION", help="of the ticket, such as 10h")
    parser.add_argument("-r", "--renewable", metavar="DURATION", help="ask for a ticket that can be renewed so long")
    parser.add_argument("-f", dest="forwardable", action="store_true", default=None, help="ask for one to be forwarded")
    parser.add_argument("-F", dest="forwardable", action="store_false", help="ask for one that is not forwardable")
    parser.add_argument("-p", dest="proxiable", action="store_true", default=None, help="ask for a proxiable ticket")
    parser.add_argument("-P", dest="proxiable", action="store_false", help="ask for one that is not proxiable")
    parser.add_argument("-T", "--armor-ccache", metavar="NAME", help="require FAST, with the ticket in this cache")
    parser.add_argument("-E", "--enterprise", action="store_true", help="the principal is an enterprise name")
    parser.add_argument("-C", "--canonicalize", action="store_true", default=None, help="let the KDC replace the name")
    parser.add_argument("-R", "--renew", action="store_true", help="renew the ticket in the cache")
    parser.add_argument("-v", "--validate", action="store_true", help="validate the postdated ticket in the cache")
    parser.add_argument("-S", "--service", metavar="NAME", help="ask for a ticket of this service instead")
    parser.add_argument("--password-file", metavar="FILE", help="its first line is the password")
    running.add_common(parser)


def run(asked: Namespace, report: Report) -> int:
    """Log on, or renew.

    Raises:
        HandshakeError: the KDC refuses, or is not reached.
        UsageError: arguments do not fit each other, or there is no password.
    """
    settings = running.settings_of(asked, canonicalize=asked.canonicalize, enterprise=asked.enterprise)
    settings = running.with_armor(settings, asked.armor_ccache)
    settings = replace(
        settings,
        forwardable=asked.forwardable,
        proxiable=asked.proxiable,
        lifetime=running.lifetime(asked.lifetime, "-l"),
        renew_lifetime=running.lifetime(asked.renewable, "-r"),
    )
    name, cache = running.cache_of(settings, asked.ccache)
    if asked.renew or asked.validate:
        return _again(asked, report, settings, name, cache)
    session = running.session_of(settings)
    made = running.run(_log_on(asked, session, cache))
    client = made.ticket.client
    store_cache(name, TicketCache(client, (made.ticket,), _configuration(made), made.kdc_offset.total_seconds()))
    _told(report, name, made.ticket)
    if made.password_expires is not None:
        left = (made.password_expires - session.kdc_time()).days
        if left < 14:  # a fortnight, as others warn
            report.say("expires", f"the password of {client} expires in {max(left, 0)} days", days=left)
    return 0


def _log_on(
    asked: Namespace, session: Session, cache: TicketCache | None
) -> Generator[Effect[Any], Any, InitialTicket]:
    settings = session.settings
    credential: Keytab | Password
    if asked.with_keytab or asked.keytab is not None:
        credential = Keytab(asked.keytab, principal=asked.principal)
    else:
        name = asked.principal or (str(cache.client) if cache is not None else getpass.getuser())
        credential = Password(name, read_password(name, asked.password_file))
    found = yield from long_term(credential, settings)
    if found is None:
        raise UsageError("give a principal")
    client, keys = found
    service = None
    if asked.service is not None:
        service = service_name(KerberosName.parse(asked.service, client.realm), settings.config)
    return (yield from initial_ticket(session, client, keys, service=service))


def _configuration(made: InitialTicket) -> tuple[tuple[str, KerberosName | None, bytes], ...]:
    about = tgs_name(made.ticket.client.realm)
    return ((FAST_AVAILABLE, about, b"yes"),) if made.fast_available else ()


def _again(asked: Namespace, report: Report, settings: ClientSettings, name: str, cache: TicketCache | None) -> int:
    old = running.tgt_of(cache, name)
    session = running.session_of(settings, cache)
    ticket = running.run(renew(session, old) if asked.renew else validate(session, old))
    known = () if cache is None else cache.configuration
    store_cache(name, TicketCache(ticket.client, (ticket,), known, session.offset.total_seconds()))
    _told(report, name, ticket)
    return 0


def _told(report: Report, name: str, ticket: CachedTicket) -> None:
    end = f"{ticket.end_time:%Y-%m-%d %H:%M:%S} UTC"
    report.detail(
        "ticket",
        f"{ticket.client}: {ticket.server} until {end}, in {name}",
        client=str(ticket.client),
        server=str(ticket.server),
        ends=ticket.end_time.isoformat(),
        ccache=name,
    )
