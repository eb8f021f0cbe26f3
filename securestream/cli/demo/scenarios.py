"""What the demonstration runs for each package: accounts or certificates of this run, and the commands' arguments."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from securestream.cli.demo.certificates import Authority
from securestream.services.nt_hash import nt_hash


@dataclass(frozen=True)
class Scene:
    """One package, ready to run. The password is not shown by `repr`.

    Args:
        title: what is run.
        serve: arguments of ``securestream serve`` but for the address.
        connect: arguments of ``securestream connect`` but for the address.
        wire: how the wire reads: ``nns`` or ``tls``.
        peer: who the server must see.
        password: the client's, or `None`.
    """

    title: str
    serve: list[str]
    connect: list[str]
    wire: str
    peer: str
    password: str | None = field(default=None, repr=False)

    def secrets(self) -> dict[str, bytes]:
        """What must not appear in the wire, beside the plaintext."""
        if self.password is None:
            return {}
        return {
            "the password": self.password.encode(),
            "the password in UTF-16LE": self.password.encode("utf-16-le"),
            "the NT hash": nt_hash(self.password),
        }


def _ntlm(folder: Path) -> Scene:
    from securestream.services.accounts_sqlite import SqliteAccounts

    password = secrets.token_urlsafe(24)
    store = folder / "accounts.db"
    SqliteAccounts(store).add(r"CORP\alice", password)
    return Scene(
        title=r"CORP\alice, her account in a SQLite store",
        serve=["--package", "ntlm", "--accounts", str(store), "--echo"],
        connect=["--package", "ntlm", "--user", r"CORP\alice", "--target", "host/files.example"],
        wire="nns",
        peer=r"CORP\alice",
        password=password,
    )


def _schannel(folder: Path) -> Scene:
    authority = Authority(folder)
    server = authority.issue("files.example", server=True)
    client = authority.issue("alice.clients.example", server=False)
    own = ["--package", "schannel", "--ca", str(authority.file)]
    return Scene(
        title="certificates at both ends",
        serve=[*own, "--certificate", str(server.certificate), "--key", str(server.key), "--echo"],
        connect=[
            *own,
            "--certificate",
            str(client.certificate),
            "--key",
            str(client.key),
            "--target",
            "host/files.example",
        ],
        wire="tls",
        peer=f"{authority.subject}\\alice.clients.example",
    )


SCENARIOS: dict[str, tuple[Callable[[Path], Scene], ...]] = {"ntlm": (_ntlm,), "schannel": (_schannel,)}
"""By package, in lower case: what makes its scenes in a private folder."""
