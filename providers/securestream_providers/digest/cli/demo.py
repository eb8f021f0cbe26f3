"""The scene of ``make demo``: SASL's DIGEST-MD5 in a secure stream, and what it protects, weak as it is."""

from __future__ import annotations

import re
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from securestream.cli.demo.scenes import Maker, Scene, Target
from securestream.cli.demo.wire import CLIENT, SERVER, TOKEN, Flip, Unit
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream.services.verifiers import SASL_DIGEST_MD5, digest_verifier

REALM: Final = "files.example"
SERVICE: Final = f"host/{REALM}"
USER: Final = "alice"

_NONCES: Final = re.compile(rb'(?<![^,])c?nonce="([^"]*)"')
_LAST_BIT: Final = 0


def covered(token: bytes) -> list[int]:
    """Where octets stand in `token` of which not a bit can change, whatever they are in the next exchange: the nonces.

    The digest covers neither names of directives nor ciphers nor sizes of buffers (RFC 2831 2.1.2), the case of an
    account's name is the store's business, and a letter of hexadecimal means the same in either case.
    """
    return [position for match in _NONCES.finditer(token) for position in range(*match.span(1))]


def targets(units: Sequence[Unit]) -> list[Target]:
    """What the digest does not cover, so that an end must look at it: offers and choice; and both ends' proofs.

    The last bit of a hexadecimal digit is never that of its case.
    """
    (offer, proof), (choice,) = _tokens(units, SERVER), _tokens(units, CLIENT)
    return [
        _target("the handshake's offer to seal", offer, b"auth-conf", "QualityNotMet"),
        _target("the name of the handshake's ciphers, which hides them all", offer, b"cipher", "QualityNotMet"),
        _target("the handshake's choice of a cipher", choice, b"cipher=rc4", "InvalidToken"),
        _target("the handshake's proof of the client", choice, b"response=?"),
        _target("the handshake's proof of the server", proof, b"rspauth=?"),
    ]


def _tokens(units: Sequence[Unit], sender: str) -> list[tuple[int, Unit]]:
    """The tokens of an end that are not empty, each with its index among that end's units."""
    own = [unit for unit in units if unit.sender == sender]
    return [(index, unit) for index, unit in enumerate(own) if unit.kind == TOKEN]


def _target(title: str, where: tuple[int, Unit], text: bytes, refused_as: str | None = None) -> Target:
    """The last letter of a text; ``?`` stands for any."""
    index, unit = where
    position = unit.payload.index(text.rstrip(b"?")) + len(text) - 1
    return Target(title, Flip(unit.sender, index, (position + 0.5) / len(unit.payload), _LAST_BIT), refused_as)


@contextmanager
def _account(folder: Path) -> Generator[Scene]:
    password = secrets.token_urlsafe(24)
    store = folder / "accounts.db"
    SqliteAccounts(store).add(USER, password, realms=[REALM])
    sasl = ["--package", "digest", "--sasl", "digest-md5"]
    verifier = digest_verifier(SASL_DIGEST_MD5, USER, REALM, password)
    yield Scene(
        title="SASL's DIGEST-MD5, which is weak and historic, by its name alone",
        serve=[*sasl, "--realm", REALM, "--service", SERVICE, "--accounts", str(store), "--echo"],
        connect=[*sasl, "--user", USER, "--target", SERVICE],
        wire="nns",
        peer=USER,
        password=password,
        hidden={
            "MD5 of user, realm and password": verifier,
            "the same in hexadecimal": verifier.hex().encode(),
        },
        covered=covered,
        targets=targets,
    )


SCENES: tuple[Maker, ...] = (_account,)
"""What the demonstration runs."""
