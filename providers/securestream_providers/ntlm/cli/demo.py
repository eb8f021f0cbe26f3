"""The scene of ``make demo``: an account in a SQLite store."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from securestream.cli.demo.scenes import Maker, Scene
from securestream.services.accounts_sqlite import SqliteAccounts

USER = r"CORP\alice"


@contextmanager
def _account(folder: Path) -> Generator[Scene]:
    password = secrets.token_urlsafe(24)
    store = folder / "accounts.db"
    SqliteAccounts(store).add(USER, password)
    yield Scene(
        title=f"{USER}, her account in a SQLite store",
        serve=["--package", "ntlm", "--accounts", str(store), "--echo"],
        connect=["--package", "ntlm", "--user", USER, "--target", "host/files.example"],
        wire="nns",
        peer=USER,
        password=password,
    )


SCENES: tuple[Maker, ...] = (_account,)
"""What the demonstration runs."""
