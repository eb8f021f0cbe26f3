"""The scene of ``make demo``: TLS with certificates at both ends."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from securestream.cli.demo.certificates import Authority
from securestream.cli.demo.scenes import Maker, Scene


@contextmanager
def _certificates(folder: Path) -> Generator[Scene]:
    authority = Authority(folder)
    server = authority.issue("files.example", server=True)
    client = authority.issue("alice.clients.example", server=False)
    own = ["--package", "schannel", "--ca", str(authority.file)]
    yield Scene(
        title="certificates at both ends",
        serve=[*own, "--certificate", str(server.certificate), "--key", str(server.key), "--echo"],
        connect=[
            *own,
            *("--certificate", str(client.certificate), "--key", str(client.key)),
            *("--target", "host/files.example"),
        ],
        wire="tls",
        peer=f"{authority.subject}\\alice.clients.example",
    )


SCENES: tuple[Maker, ...] = (_certificates,)
"""What the demonstration runs."""
