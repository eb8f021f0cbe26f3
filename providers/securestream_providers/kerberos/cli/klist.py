"""``securestream klist``: list the tickets of a credential cache, or the keys of a keytab."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from datetime import UTC, datetime

from securestream.cli.report import Report
from securestream.credentials import CredentialCache, Keytab
from securestream.errors import MalformedMessage, NoCredentials, UsageError
from securestream.readable import printable
from securestream_providers.kerberos.cli.show import describe_etype
from securestream_providers.kerberos.storage.caches import caches_of, load_cache
from securestream_providers.kerberos.storage.configuration import load_configuration
from securestream_providers.kerberos.storage.keytabs import load_keytab
from securestream_providers.kerberos.storage.names import cache_name, keytab_path
from securestream_providers.krb5.messages import Ticket
from securestream_providers.krb5.numbers import TicketFlags
from securestream_providers.krb5.tickets import CachedTicket, TicketCache

_LETTERS = {
    TicketFlags.FORWARDABLE: "F",
    TicketFlags.FORWARDED: "f",
    TicketFlags.PROXIABLE: "P",
    TicketFlags.PROXY: "p",
    TicketFlags.MAY_POSTDATE: "D",
    TicketFlags.POSTDATED: "d",
    TicketFlags.RENEWABLE: "R",
    TicketFlags.INITIAL: "I",
    TicketFlags.INVALID: "i",
    TicketFlags.HW_AUTHENT: "H",
    TicketFlags.PRE_AUTHENT: "A",
    TicketFlags.TRANSITED_POLICY_CHECKED: "T",
    TicketFlags.OK_AS_DELEGATE: "O",
    TicketFlags.ANONYMOUS: "a",
}
"""MIT's letters, in its order."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("-c", "--cache", action="store_true", help="list a credential cache (the default)")
    kind.add_argument("-k", "--keytab", action="store_true", help="list a keytab")
    parser.add_argument("-e", "--enctypes", action="store_true", help="show encryption types")
    parser.add_argument("-f", "--flags", action="store_true", help="show the tickets' flags")
    parser.add_argument("-t", "--timestamps", action="store_true", help="show when keys were written")
    parser.add_argument("-l", "--list", action="store_true", help="list the caches of a folder, a line each")
    parser.add_argument(
        "-s", "--silent", action="store_true", help="print nothing: exit 0 if there is a valid ticket-granting ticket"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("name", nargs="?", help="the cache or keytab; by default the user's, or the system's")


def run(asked: Namespace, report: Report) -> int:
    """List what was asked for; 1 where ``-s`` finds no valid ticket."""
    if asked.keytab:
        return _list_keytab(asked)
    try:
        name = cache_name(CredentialCache(asked.name), load_configuration())
        if name.startswith("MEMORY:"):
            raise UsageError("a cache in memory is seen by its own process only; name a file or a folder")
        if asked.list:
            return _list_caches(name, as_json=asked.json)
        cache = load_cache(name)
        if cache is None:
            raise NoCredentials(f"there is no credential cache {name}: run securestream kinit")
    except NoCredentials:
        if asked.silent:
            return 1
        raise
    if asked.silent:
        return 0 if is_usable(cache, datetime.now(UTC)) else 1
    if asked.json:
        _print_json(_facts_of_cache(name, cache))
    else:
        _print(_lines_of_cache(name, cache, enctypes=asked.enctypes, flags=asked.flags))
    return 0


def is_usable(cache: TicketCache, now: datetime) -> bool:
    """Whether a ticket-granting ticket of the client's own realm is valid at `now`."""
    realm = cache.client.realm
    return any(
        ticket.server.components == ("krbtgt", realm) and ticket.server.realm == realm and now < ticket.end_time
        for ticket in cache.tickets
    )


def _list_keytab(asked: Namespace) -> int:
    path = keytab_path(None if asked.name is None else Keytab(asked.name), load_configuration())
    entries = load_keytab(path)
    if asked.silent:
        return 0
    if asked.json:
        keys = [
            {
                "principal": str(entry.principal),
                "kvno": entry.kvno,
                "enctype": describe_etype(entry.key.etype),
                "written": _iso(entry.timestamp),
            }
            for entry in entries
        ]
        _print_json({"keytab": f"FILE:{path}", "keys": keys})
        return 0
    lines = [f"Keytab name: FILE:{path}", f"KVNO {'Timestamp':19}  Principal" if asked.timestamps else "KVNO Principal"]
    for entry in entries:
        written = f"{_local(entry.timestamp):19}  " if asked.timestamps else ""
        etype = f" ({describe_etype(entry.key.etype)})" if asked.enctypes else ""
        lines.append(f"{entry.kvno:4} {written}{entry.principal}{etype}")
    _print(lines)
    return 0


def _list_caches(name: str, *, as_json: bool) -> int:
    found: list[tuple[str, str]] = []
    for one in caches_of(name):
        cache = load_cache(one)
        if cache is not None:
            found.append((str(cache.client), one))
    if as_json:
        _print_json({"caches": [{"principal": principal, "cache": one} for principal, one in found]})
    else:
        _print([f"{'Principal name':30} Cache name", *(f"{principal:30} {one}" for principal, one in found)])
    return 0


def _lines_of_cache(name: str, cache: TicketCache, *, enctypes: bool, flags: bool) -> list[str]:
    lines = [f"Ticket cache: {name}", f"Default principal: {cache.client}", ""]
    lines.append(f"{'Valid starting':19}  {'Expires':19}  Service principal")
    for ticket in cache.tickets:
        start = ticket.start_time or ticket.auth_time
        lines.append(f"{_local(start):19}  {_local(ticket.end_time):19}  {ticket.server}")
        if ticket.client != cache.client:
            lines.append(f"\tfor client {ticket.client}")
        more = [] if ticket.renew_till is None else [f"renew until {_local(ticket.renew_till)}"]
        if flags:
            more.append(f"Flags: {letters_of(ticket)}")
        if more:
            lines.append("\t" + ", ".join(more))
        if enctypes:
            session, sealed = _etypes_of(ticket)
            lines.append(f"\tEtype (session, ticket): {session}, {sealed}")
    return lines


def _facts_of_cache(name: str, cache: TicketCache) -> dict[str, object]:
    tickets: list[dict[str, object]] = []
    for ticket in cache.tickets:
        session, sealed = _etypes_of(ticket)
        tickets.append(
            {
                "client": str(ticket.client),
                "service": str(ticket.server),
                "starts": _iso(ticket.start_time or ticket.auth_time),
                "expires": _iso(ticket.end_time),
                "renewable_until": None if ticket.renew_till is None else _iso(ticket.renew_till),
                "flags": letters_of(ticket),
                "session_enctype": session,
                "ticket_enctype": sealed,
            }
        )
    return {"cache": name, "principal": str(cache.client), "kdc_offset": cache.kdc_offset, "tickets": tickets}


def letters_of(ticket: CachedTicket) -> str:
    """The flags of a ticket in MIT's letters."""
    return "".join(letter for flag, letter in _LETTERS.items() if ticket.flags & flag)


def _etypes_of(ticket: CachedTicket) -> tuple[str, str]:
    try:
        sealed = describe_etype(Ticket.decode(ticket.ticket).enc_part.etype)
    except MalformedMessage:
        sealed = "malformed ticket"
    return describe_etype(ticket.key.etype), sealed


def _iso(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _local(time: datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _print_json(facts: dict[str, object]) -> None:
    _write(json.dumps(facts))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        start = "\t" if line.startswith("\t") else ""
        _write(start + printable(line.removeprefix("\t")))


def _write(line: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding))
