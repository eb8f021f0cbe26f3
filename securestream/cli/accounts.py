"""``securestream accounts``: a SQLite store of accounts, its listing without secrets."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from securestream.cli.passwords import read_password
from securestream.errors import UsageError
from securestream.readable import printable

if TYPE_CHECKING:
    from securestream.services.accounts import Listing
    from securestream.services.accounts_sqlite import SqliteAccounts


def manage_accounts(asked: Namespace, *, out: TextIO | None = None) -> int:
    """Do what ``accounts add|list|remove`` asks for.

    Raises:
        UsageError: the store, the account or the password is not there, or is there already.
    """
    out = sys.stdout if out is None else out
    if asked.action == "add":
        return _add(asked)
    store = open_store(asked.store)
    if asked.action == "remove":
        store.remove(asked.name)
        return 0
    listing = store.listing()
    if asked.json:
        print(json.dumps([_facts(account) for account in listing], indent=2), file=out)
    else:
        for account in listing:
            print(printable(_line(account)), file=out)
    return 0


def open_store(path: str) -> SqliteAccounts:
    """The SQLite store at `path`, which must exist: a mistyped name must not make an empty store.

    Raises:
        UsageError: there is none.
    """
    from securestream.services.accounts_sqlite import SqliteAccounts

    if not Path(path).exists():
        raise UsageError(f"there is no account store {path}: make one with `securestream accounts add`")
    return SqliteAccounts(path)


def _add(asked: Namespace) -> int:
    from securestream.services.accounts_sqlite import SqliteAccounts

    if Path(asked.store).exists() and not asked.replace:
        known = {_name(account).casefold() for account in SqliteAccounts(asked.store).listing()}
        if asked.name.casefold() in known:
            raise UsageError(f"the account {asked.name} exists: give --replace for a new password")
    password = read_password(asked.name, asked.password_file, confirm=True)
    if not password:
        raise UsageError("the password is empty: an account without one would be open to everybody")
    SqliteAccounts(asked.store).add(asked.name, password, realms=asked.realm)
    return 0


def _name(account: Listing) -> str:
    return f"{account.domain}\\{account.name}" if account.domain else account.name


def _facts(account: Listing) -> dict[str, object]:
    locked = account.locked_until
    return {
        "name": account.name,
        "domain": account.domain,
        "disabled": account.disabled,
        "locked_until": None if locked is None else locked.isoformat(),
        "sid": account.sid,
    }


def _line(account: Listing) -> str:
    facts = [_name(account)]
    if account.disabled:
        facts.append("(disabled)")
    if account.locked_until is not None:
        facts.append(f"(locked until {account.locked_until:%Y-%m-%d %H:%M:%S} UTC)")
    return " ".join(facts)
