"""Which files are meant: environment, configuration and the built-in defaults, with the tokens that MIT expands."""

from __future__ import annotations

import getpass
import os
import re
import tempfile
from pathlib import Path
from typing import Final

from securestream.credentials import CredentialCache, Keytab
from securestream.errors import UsageError
from securestream.files import from_environment
from securestream_providers.krb5.config import Krb5Config

DEFAULT_CONFIGURATION: Final = "/etc/krb5.conf"
DEFAULT_KEYTAB: Final = "/etc/krb5.keytab"

_TOKEN: Final = re.compile(r"%\{([^}]*)\}")


def configuration_files() -> tuple[str, ...]:
    """The files that ``KRB5_CONFIG`` names, or the system's."""
    named = from_environment("KRB5_CONFIG")
    return tuple(path for path in named.split(os.pathsep) if path) if named else (DEFAULT_CONFIGURATION,)


def keytab_path(credential: Keytab | None, config: Krb5Config, *, initiating: bool = False) -> str:
    """Where a keytab lies: what the credential names, else ``KRB5_KTNAME``, the configuration, `DEFAULT_KEYTAB`.

    Args:
        credential: may name it.
        config: may name the default.
        initiating: the client's keytab (``KRB5_CLIENT_KTNAME``) is preferred to the services'.

    Raises:
        UsageError: the name is of a kind that is not supported.
    """
    name = str(credential.path) if credential is not None and credential.path is not None else None
    if name is None and initiating:
        client = from_environment("KRB5_CLIENT_KTNAME") or config.settings.get("default_client_keytab_name")
        if client and (from_environment("KRB5_CLIENT_KTNAME") or os.path.exists(_plain(client))):
            name = client
    if name is None:
        name = from_environment("KRB5_KTNAME") or config.default_keytab_name or DEFAULT_KEYTAB
    return _plain(name)


def _plain(name: str) -> str:
    kind, separator, rest = name.partition(":")
    if not separator or len(kind) < 2 or "/" in kind or "\\" in kind:  # C:\path is a path
        return expand(name)
    if kind not in ("FILE", "WRFILE"):
        raise UsageError(f"keytabs of the kind {kind} are not supported; name a file, as FILE:/etc/krb5.keytab")
    return expand(rest)


def cache_name(credential: CredentialCache | None, config: Krb5Config) -> str:
    """The full name, with its kind, of a cache: what the credential names, else the user's default.

    Raises:
        UsageError: the name is of a kind that is not supported.
    """
    name = credential.name if credential is not None and credential.name else None
    if name is None:
        name = from_environment("KRB5CCNAME") or config.default_ccache_name or _default_cache()
    name = expand(name)
    kind, separator, rest = name.partition(":")
    if not separator or len(kind) < 2 or "/" in kind or "\\" in kind:
        return f"FILE:{name}"
    if kind not in ("FILE", "DIR", "MEMORY"):
        raise UsageError(
            f"credential caches of the kind {kind} are not supported: set KRB5CCNAME, or name one, as FILE:/path"
        )
    if not rest:
        raise UsageError(f"{name!r} names no credential cache: a path or a name follows the colon")
    return name


def _default_cache() -> str:
    if hasattr(os, "getuid"):
        return f"FILE:/tmp/krb5cc_{os.getuid()}"
    return f"FILE:{Path.home() / 'krb5cc'}"


def expand(name: str) -> str:
    """Replace the tokens ``%{...}`` of krb5.conf(5).

    Raises:
        UsageError: an unknown token.
    """
    if "%{" not in name:
        return name
    return _TOKEN.sub(lambda found: _value_of(found[1], name), name)


def _value_of(token: str, name: str) -> str:
    if token == "TEMP":  # noqa: S105  no password
        return tempfile.gettempdir()
    if token in ("uid", "USERID"):
        return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
    if token == "euid":  # noqa: S105  no password
        return str(os.geteuid()) if hasattr(os, "geteuid") else getpass.getuser()
    if token == "username":  # noqa: S105  no password
        return getpass.getuser()
    if token == "null":  # noqa: S105  no password
        return ""
    raise UsageError(f"the token %{{{token}}} in {name!r} is not known")
