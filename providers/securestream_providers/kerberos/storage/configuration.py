"""Reads krb5.conf: the system's, or the files that ``KRB5_CONFIG`` names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from securestream.drive import Performer
from securestream.errors import MalformedMessage, ServiceFailed
from securestream_providers.kerberos.storage.names import DEFAULT_CONFIGURATION, configuration_files
from securestream_providers.kerberos.storage.watched import Watched
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.config_parser import ConfigText, parse_config

LARGEST: Final = 1 << 20
"""Octets of one file of configuration."""

_INCLUDED: Final = re.compile(r"[A-Za-z0-9_-]+|[^.].*\.conf")


def load_configuration(files: Sequence[str] | None = None, watch: Callable[[str], None] | None = None) -> Krb5Config:
    """The configuration that files hold, by default those that are the system's.

    Args:
        files: their paths, the first has precedence.
        watch: is told each path before it is read.

    Raises:
        ServiceFailed: a file cannot be read or understood, or none of those that were named exists. Where only
            `DEFAULT_CONFIGURATION` is absent, the configuration is empty.
    """
    named = tuple(configuration_files() if files is None else files)
    told = watch or _nobody
    texts: list[ConfigText] = []
    try:
        for path in named:
            told(path)
            if Path(path).exists():
                texts.append(_read(path))
        if not texts and named != (DEFAULT_CONFIGURATION,):
            raise ServiceFailed(f"no configuration of Kerberos is at {' or '.join(named)}: check KRB5_CONFIG")
        return parse_config(texts, lambda path, folder: _included(path, folder, told))
    except MalformedMessage as error:
        raise ServiceFailed(f"the configuration of Kerberos cannot be used: {error}") from None
    except OSError as error:
        where = error.filename or "a file"
        raise ServiceFailed(
            f"the configuration of Kerberos cannot be read: {where}: {error.strerror or error}"
        ) from error


def _nobody(path: str) -> None:
    """Nobody watches."""


def _included(path: str, folder: bool, told: Callable[[str], None]) -> Sequence[ConfigText]:
    told(path)
    if not folder:
        return (_read(path),)
    names = sorted(entry.name for entry in Path(path).iterdir() if _INCLUDED.fullmatch(entry.name))
    found: list[ConfigText] = []
    for name in names:
        file = str(Path(path, name))
        told(file)
        if Path(file).is_file():
            found.append(_read(file))
    return found


def _read(path: str) -> ConfigText:
    with open(path, "rb") as file:
        octets = file.read(LARGEST + 1)
    if len(octets) > LARGEST:
        raise MalformedMessage(f"{path}: it has more than {LARGEST} octets: is it the right file?")
    return ConfigText(path, octets.decode("utf-8", "surrogateescape"))


class ConfigurationPerformer(Performer):
    """Performs `LoadConfiguration`; what was read is kept until a file changes."""

    def __init__(self) -> None:
        self._watched: Watched[Krb5Config] = Watched()

    async def perform(self, effect: Any) -> Krb5Config:
        """The configuration; only what has to be read is read in a worker thread."""
        found = self._watched.current(configuration_files())
        return found if found is not None else await anyio.to_thread.run_sync(self.perform_blocking, effect)

    def perform_blocking(self, effect: Any) -> Krb5Config:
        """The configuration.

        Raises:
            ServiceFailed: as `load_configuration`.
        """
        files = configuration_files()
        return self._watched.load(files, lambda watch: load_configuration(files, watch))
