"""``securestream kpasswd``: change a password in a realm."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser, Namespace
from collections.abc import Generator
from typing import Any

from securestream.cli.passwords import read_password
from securestream.cli.report import Report
from securestream.credentials import Password
from securestream.errors import UsageError
from securestream.provider import Effect
from securestream.redaction import Secret
from securestream_providers.kerberos.cli import running
from securestream_providers.kerberos.client import (
    LongTermKeys,
    change_password,
    initial_ticket,
    long_term,
    password_service,
    set_password,
)
from securestream_providers.krb5.names import KerberosName


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("principal", nargs="?", help="whose; by default whose the cache is, else the login name")
    parser.add_argument("-c", "--ccache", metavar="NAME", help="the credential cache that names the principal")
    parser.add_argument("-T", "--armor-ccache", metavar="NAME", help="require FAST, with the ticket in this cache")
    parser.add_argument("--set", metavar="USER", help="set this user's password, as an administrator (RFC 3244)")
    parser.add_argument("--password-file", metavar="FILE", help="its first line is the present password")
    parser.add_argument("--new-password-file", metavar="FILE", help="its first line is the new password")
    running.add_common(parser)


def run(asked: Namespace, report: Report) -> int:
    """Change it.

    Raises:
        HandshakeError: the present password is wrong, or the new one is refused.
        UsageError: there is no password to be had.
    """
    settings = running.with_armor(running.settings_of(asked), asked.armor_ccache)
    name = asked.principal
    if name is None:
        _, cache = running.cache_of(settings, asked.ccache)
        name = str(cache.client) if cache is not None else getpass.getuser()
    present = Password(name, read_password(name, asked.password_file))
    new = Secret(read_password(f"{asked.set or name} (new)", asked.new_password_file, confirm=True))
    if not new:
        raise UsageError("an empty password is none")
    session = running.session_of(settings)

    def change() -> Generator[Effect[Any], Any, KerberosName]:
        found = yield from long_term(present, settings)
        if found is None:
            raise UsageError("give a principal")
        client, keys = found
        if asked.set is None:
            yield from change_password(session, client, keys, new)
            return client
        return (yield from _set(client, keys))

    def _set(client: KerberosName, keys: LongTermKeys) -> Generator[Effect[Any], Any, KerberosName]:
        made = yield from initial_ticket(session, client, keys, service=password_service(client.realm))
        target = KerberosName.parse(asked.set, client.realm)
        yield from set_password(session, made.ticket, target, new)
        return target

    changed = running.run(change())
    report.say("changed", f"the password of {changed} is changed", principal=str(changed))
    return 0
