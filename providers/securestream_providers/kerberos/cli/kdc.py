"""``securestream kdc``: serve a realm from a SQLite file, and manage its principals.

Without an action it serves until a signal comes. ``ktadd`` gives a principal new random keys, as MIT's does, so that a
keytab that was lost is worth nothing; ``--no-randomize`` writes the keys that it has.
"""

from __future__ import annotations

import argparse
import json
import ssl
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio

from securestream.ambient import system_random
from securestream.cli.addresses import Address
from securestream.cli.passwords import read_password
from securestream.cli.report import Report
from securestream.cli.running import run_until_signal
from securestream.cli.serve import forbid_core_dumps
from securestream.errors import UsageError
from securestream.files import read_private, write_private
from securestream.readable import printable
from securestream_providers.kerberos.kdc.core import Kdc
from securestream_providers.kerberos.kdc.database_sqlite import SqlitePrincipals
from securestream_providers.kerberos.kdc.embedded import rolled
from securestream_providers.kerberos.kdc.passwords import PasswordService
from securestream_providers.kerberos.kdc.policy import KdcPolicy, Lockout
from securestream_providers.kerberos.kdc.principals import (
    KdcPrincipal,
    own_principals,
    password_keys,
    random_keys,
)
from securestream_providers.kerberos.kdc.server import KdcServer
from securestream_providers.krb5.keytab import read_keytab, write_keytab
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.tickets import KeytabEntry

_ATTRIBUTES: Final = {
    "--no-preauth": ("requires_preauth", False, "give tickets before the password is proved: its guessing is offline"),
    "--disabled": ("disabled", True, "give no tickets to it and for it"),
    "--not-delegated": ("not_delegated", True, "no service acts in its name"),
    "--ok-as-delegate": ("ok_as_delegate", True, "clients may hand their tickets on to this service"),
    "--trusted-to-auth": ("trusted_to_auth", True, "this service may ask for tickets in anybody's name (S4U2self)"),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--realm", metavar="REALM", help="the realm; needed once, for a new database")
    parser.add_argument("--database", metavar="FILE", help="the principals (SQLite); its master key is in FILE.key")
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:88", help="UDP and TCP, for tickets")
    parser.add_argument("--password-port", type=int, metavar="PORT", help="for kpasswd (default 464; 0 with port 0)")
    parser.add_argument("--https", metavar="PORT", type=int, help="serve the proxy protocol KKDCP, too")
    parser.add_argument("--certificate", metavar="FILE", help="for --https: the certificate with its chain, PEM")
    parser.add_argument("--key", metavar="FILE", help="for --https: its private key, PEM")
    parser.add_argument("--lockout", type=int, metavar="N", help="lock principals for 15 minutes after N failures")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    add = actions.add_parser("add", help="add a principal")
    add.add_argument("--random-key", action="store_true", help="random keys instead of a password: for services")
    add.add_argument("--password-file", metavar="FILE")
    add.add_argument("--replace", action="store_true", help="give a principal that exists new keys")
    add.add_argument("--alias", action="append", default=[], metavar="NAME", help="a further name; repeatable")
    add.add_argument("--delegate-to", action="append", default=[], metavar="SERVICE", help="S4U2proxy; repeatable")
    for option, (_, _, text) in _ATTRIBUTES.items():
        add.add_argument(option, action="store_true", help=text)
    remove = actions.add_parser("remove", help="remove a principal")
    listing = actions.add_parser("list", help="list principals, without secrets")
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    ktadd = actions.add_parser("ktadd", help="write a principal's keys into a keytab, after changing them")
    ktadd.add_argument("--keytab", required=True, metavar="FILE", help="made if absent; other entries stay")
    ktadd.add_argument("--no-randomize", action="store_true", help="leave the keys as they are")
    for action in (add, remove, listing, ktadd):
        action.add_argument("--database", metavar="FILE", default=argparse.SUPPRESS)
        action.add_argument("--realm", metavar="REALM", default=argparse.SUPPRESS)
        if action is not listing:
            action.add_argument("name", metavar="PRINCIPAL")


def run(asked: Namespace, report: Report) -> int:
    """Do what was asked for; the exit status.

    Raises:
        UsageError: the database, the principal or the password is not there, or is there already.
        OSError: the address cannot be listened on.
    """
    forbid_core_dumps()
    if asked.database is None:
        raise UsageError("name the principals' file: --database FILE")
    if asked.action is None:
        return _serve(asked, report)
    return {"add": _add, "remove": _remove, "list": _list, "ktadd": _ktadd}[asked.action](asked)


def open_database(path: str, realm: str | None, *, create: bool = False) -> SqlitePrincipals:
    """The database at `path`; a new one gets the realm's own principals.

    Raises:
        UsageError: there is none and `create` is off, or a new one has no realm.
    """
    if not Path(path).exists():
        if not create:
            raise UsageError(f"there is no database {path}: make one with `securestream kdc add --realm REALM ...`")
        if not realm:
            raise UsageError(f"{path} would be a new database: name its realm with --realm")
    database = SqlitePrincipals(path, realm=realm or "")
    for principal in own_principals(database.realm, system_random):
        if database.find(principal.name) is None:
            database.put(principal)
    return database


# --- principals


def _add(asked: Namespace) -> int:
    database = open_database(asked.database, asked.realm, create=True)
    name = KerberosName.parse(asked.name, database.realm)
    old = database.find(name)
    if old is not None and not asked.replace:
        raise UsageError(f"the principal {name} exists: give --replace for new keys")
    kvno = 1 if old is None else old.kvno + 1
    if asked.random_key:
        keys = random_keys(system_random, kvno)
    else:
        password = read_password(str(name), asked.password_file, confirm=True)
        if not password:
            raise UsageError("the password is empty: a principal without one would be open to everybody")
        keys = password_keys(name, password, kvno)
    given: dict[str, Any] = {
        field: value
        for option, (field, value, _) in _ATTRIBUTES.items()
        if getattr(asked, option.removeprefix("--").replace("-", "_"))
    }
    if asked.alias:
        given["aliases"] = tuple(asked.alias)
    if asked.delegate_to:
        given["delegate_to"] = tuple(asked.delegate_to)
    if old is None:
        old = KdcPrincipal(name, service=asked.random_key or len(name.components) > 1)
    database.put(replace(old, keys=rolled(old, keys, 1 if asked.random_key else 0), **given))
    return 0


def _remove(asked: Namespace) -> int:
    database = open_database(asked.database, asked.realm)
    name = KerberosName.parse(asked.name, database.realm)
    if name in [own.name for own in own_principals(database.realm, system_random)]:
        raise UsageError(f"{name} is the realm's own: without it there are no tickets")
    database.remove(name)
    return 0


def _list(asked: Namespace) -> int:
    database = open_database(asked.database, asked.realm)
    now = datetime.now(UTC)
    found = [_facts(principal, database, now) for principal in database.listing()]
    if asked.json:
        print(json.dumps(found, indent=2))
        return 0
    for facts in found:
        words = [str(facts["name"]), f"kvno {facts['kvno']}"]
        words += [word for word in ("service", "disabled") if facts[word]]
        if facts["locked_until"]:
            words.append(f"locked until {facts['locked_until']}")
        print(printable(" ".join(words)))
    return 0


def _facts(principal: KdcPrincipal, database: SqlitePrincipals, now: datetime) -> dict[str, object]:
    locked = database.activity(principal.name, now).locked_until
    return {
        "name": str(principal.name),
        "kvno": principal.kvno,
        "etypes": sorted({stored.key.etype for stored in principal.keys if stored.kvno == principal.kvno}),
        "service": principal.service,
        "disabled": principal.disabled,
        "requires_preauth": principal.requires_preauth,
        "aliases": list(principal.aliases),
        "delegate_to": list(principal.delegate_to),
        "locked_until": None if locked is None else locked.isoformat(),
        "sid": f"{database.domain_sid}-{principal.rid}",
    }


def _ktadd(asked: Namespace) -> int:
    database = open_database(asked.database, asked.realm)
    name = KerberosName.parse(asked.name, database.realm)
    principal = database.find(name)
    if principal is None:
        raise UsageError(f"there is no principal {name}: add it first")
    try:
        before = read_keytab(read_private(asked.keytab))
    except FileNotFoundError:
        before = ()
    if not asked.no_randomize:
        etypes = [stored.key.etype for stored in principal.keys if stored.kvno == principal.kvno]
        fresh = random_keys(system_random, principal.kvno + 1, etypes)
        principal = replace(principal, keys=rolled(principal, fresh, 1), service=True)
    write_private(asked.keytab, write_keytab(_merged(before, principal)))
    if not asked.no_randomize:  # after the keytab: keys that nobody has would lock the service out
        database.put(principal)
    return 0


def _merged(before: Sequence[KeytabEntry], principal: KdcPrincipal) -> tuple[KeytabEntry, ...]:
    now = datetime.now(UTC).replace(microsecond=0)
    newest = [stored for stored in principal.keys if stored.kvno == principal.kvno]
    fresh = tuple(KeytabEntry(principal.name, stored.kvno, stored.key, now) for stored in newest)
    replaced = {(entry.principal, entry.kvno, entry.key.etype) for entry in fresh}
    kept = (entry for entry in before if (entry.principal, entry.kvno, entry.key.etype) not in replaced)
    return (*kept, *fresh)


# --- serving


def _serve(asked: Namespace, report: Report) -> int:
    address = Address.parse(asked.listen)
    database = open_database(asked.database, asked.realm, create=True)
    lockout = None if asked.lockout is None else Lockout(asked.lockout, timedelta(minutes=15), timedelta(minutes=15))
    policy = KdcPolicy(lockout=lockout)
    password_port = asked.password_port
    if password_port is None:
        password_port = 464 if address.port == 88 else 0
    server = KdcServer(
        Kdc(database, database.realm, system_random, policy),
        PasswordService(database, database.realm, system_random, policy),
        host=address.host,
        port=address.port,
        password_port=password_port,
        https=_tls(asked),
        https_port=asked.https or 0,
    )

    async def serve() -> int:
        async with server:
            facts: dict[str, Any] = {"host": server.host, "port": server.port, "password_port": server.password_port}
            sentence = (
                f"the KDC of {database.realm} listens on {Address(server.host, server.port)}, "
                f"for passwords on port {server.password_port}"
            )
            if asked.https is not None:
                facts["https_port"] = server.https_port
                sentence += f", by HTTPS on port {server.https_port}"
            report.say("ready", sentence, realm=database.realm, **facts)
            await anyio.sleep_forever()
        return 0

    try:
        return run_until_signal(serve, asked.backend)[0]
    except PermissionError as error:
        raise UsageError(f"{address} cannot be listened on: name a port above 1023 with --listen") from error
    finally:
        sys.stdout.flush()


def _tls(asked: Namespace) -> ssl.SSLContext | None:
    if asked.https is None:
        return None
    if asked.certificate is None:
        raise UsageError("--https needs --certificate FILE, and --key FILE where the key is in another file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(asked.certificate, asked.key)
    return context
