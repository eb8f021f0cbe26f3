"""The scene of ``make demo``: a user authenticates inside TLS, and the server gets the password meant for it alone."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from securestream.cli.demo.certificates import Authority
from securestream.cli.demo.scenes import Maker, Scene, Target
from securestream.cli.demo.wire import CLIENT, SEALED, SERVER, Flip, Unit
from securestream.services.accounts_sqlite import SqliteAccounts

_HOST: Final = "files.example"
_NO_REALM: Final = """\
[libdefaults]
    dns_lookup_kdc = false
"""
_AFTER_CREDENTIALS: Final = 2
"""Records that the client seals after its credentials: the data, and the end of the stream."""


def sealed_targets(units: Sequence[Unit]) -> list[Target]:
    """The client's credentials in TLS, and the server's proof that its end of TLS has the same key."""
    found: list[Target] = []
    for sender, from_end, title in (
        (CLIENT, _AFTER_CREDENTIALS, "the handshake's credentials"),
        (SERVER, _AFTER_CREDENTIALS, "the handshake's proof of the server's key"),
    ):
        own = [unit for unit in units if unit.sender == sender]
        sealed = [index for index, unit in enumerate(own) if unit.kind == SEALED]
        found.append(Target(title, Flip(sender, sealed[-1 - from_end], 0.5, 1), "InvalidToken"))
    return found


@contextmanager
def _delegated(folder: Path) -> Generator[Scene]:
    password = secrets.token_urlsafe(24)
    authority = Authority(folder)
    server = authority.issue(_HOST, server=True)
    store, configuration = folder / "accounts.db", folder / "krb5.conf"
    SqliteAccounts(store).add("alice", password)
    configuration.write_text(_NO_REALM, encoding="utf-8")
    own = ["--certificate", str(server.certificate), "--key", str(server.key), "--accounts", str(store)]
    yield Scene(
        title="NTLM inside TLS, bound to its key, and the password for the server alone",
        serve=["--package", "credssp", *own, "--echo"],
        connect=[
            *("--package", "credssp", "--ca", str(authority.file), "--user", "alice"),
            *("--target", f"host/{_HOST}", "--delegate", _HOST, "--verbose"),
        ],
        wire="tls",
        peer="alice",
        password=password,
        environ={"KRB5_CONFIG": str(configuration)},
        targets=sealed_targets,
    )


SCENES: tuple[Maker, ...] = (_delegated,)
"""What the demonstration runs."""
