"""``securestream kvno``: get service tickets into a credential cache and show the versions of their keys."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from securestream.cli.report import Report
from securestream.credentials import CredentialCache, Keytab
from securestream.errors import BadSignature, NoCredentials, UsageError
from securestream.provider import TargetName
from securestream_providers.kerberos.cli import running
from securestream_providers.kerberos.client import (
    ClientSettings,
    Session,
    obtain,
    remember,
    s4u2proxy,
    s4u2self,
    service_name,
    user_to_user,
)
from securestream_providers.kerberos.effects import LoadKeytab
from securestream_providers.krb5.messages import EncTicketPart, Ticket
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import KeyUsage
from securestream_providers.krb5.tickets import CachedTicket

if TYPE_CHECKING:
    from securestream_providers.krb5.tickets import TicketCache


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments, which are those of MIT's kvno where it has them."""
    parser.add_argument("service", nargs="+", help="such as HTTP/web.example.com, also with @REALM")
    parser.add_argument("-c", "--ccache", metavar="NAME", help="the credential cache: FILE:, DIR: or a path")
    parser.add_argument("-k", "--keytab", metavar="FILE", help="decrypt the tickets with these keys, to prove them")
    parser.add_argument("-U", "--for-user", metavar="USER", help="in this user's name, by S4U2self")
    parser.add_argument("-P", "--proxy", action="store_true", help="with -U: to the services, by S4U2proxy")
    parser.add_argument("--u2u", metavar="NAME", help="user-to-user, with the ticket-granting ticket in this cache")
    parser.add_argument("-C", "--canonicalize", action="store_true", default=None, help="let the KDC replace the name")
    running.add_common(parser)


def run(asked: Namespace, report: Report) -> int:
    """Get the tickets.

    Raises:
        HandshakeError: the KDC refuses, or is not reached.
        UsageError: arguments do not fit each other.
    """
    if asked.proxy and asked.for_user is None:
        raise UsageError("-P needs -U, the user in whose name")
    settings = running.settings_of(asked, canonicalize=asked.canonicalize)
    name, cache = running.cache_of(settings, asked.ccache)
    if cache is None:
        raise NoCredentials(f"there is no credential cache {name}; log on first (securestream kinit)")
    keytab = asked.keytab and Path(asked.keytab)
    for text in asked.service:
        ticket = _ticket(asked, settings, name, cache, text)
        kvno = Ticket.decode(ticket.ticket).enc_part.kvno
        proof = "" if keytab is None else ", keytab entry valid"
        if keytab is not None:
            _prove(settings, Keytab(keytab), ticket)
        report.say("kvno", f"{ticket.server}: kvno = {kvno or 0}{proof}", server=str(ticket.server), kvno=kvno or 0)
    return 0


def _ticket(asked: Namespace, settings: ClientSettings, name: str, cache: TicketCache, text: str) -> CachedTicket:
    credential = CredentialCache(name)
    session = running.session_of(settings, cache)
    if asked.for_user is not None:
        return _for_user(asked, session, running.tgt_of(cache, name), text)
    if asked.u2u is not None:
        other, peers = running.cache_of(settings, asked.u2u)
        peer = KerberosName.parse(text, cache.client.realm)
        second = running.tgt_of(peers, other).ticket
        made = running.run(user_to_user(session, running.tgt_of(cache, name), peer, second)).ticket
        running.run(remember(session, credential, cache.client, [made]))
        return made
    target = text if "/" in text.partition("@")[0] else KerberosName.parse(text, settings.config.default_realm)
    wanted = target if isinstance(target, KerberosName) else TargetName(target)
    return running.run(obtain(settings, credential, wanted, session.options)).ticket


def _for_user(asked: Namespace, session: Session, tgt: CachedTicket, text: str) -> CachedTicket:
    """A ticket in another user's name: for the service itself, or with -P for another service."""
    user = KerberosName.parse(asked.for_user, tgt.client.realm)
    if not asked.proxy:
        own = KerberosName.parse(text, tgt.client.realm)
        return running.run(s4u2self(session, tgt, user, server=own))
    evidence = running.run(s4u2self(session, tgt, user))
    return running.run(s4u2proxy(session, tgt, evidence, service_name(TargetName(text), session.settings.config)))


def _prove(settings: ClientSettings, keytab: Keytab, ticket: CachedTicket) -> None:
    """Decrypt a ticket with the service's key, as the service will.

    Raises:
        NoCredentials: the keytab has no key that does it.
    """
    sealed = Ticket.decode(ticket.ticket).enc_part
    entries = running.run(LoadKeytab(keytab, settings.config).__iter__())
    for entry in entries:
        if entry.key.etype == sealed.etype and entry.principal == ticket.server:
            try:
                EncTicketPart.decode(entry.key.decrypt(KeyUsage.TICKET, sealed.cipher))
            except BadSignature:
                continue
            return
    raise NoCredentials(f"the keytab has no key that decrypts the ticket for {ticket.server}; write it anew (ktadd)")
