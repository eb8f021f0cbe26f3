"""A private slapd on a free port of 127.0.0.1, which takes SASL's GSSAPI and GSS-SPNEGO, sealed, through Cyrus SASL."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from tests.interop.peers.places import OPENLDAP_PACKAGES
from tests.interop.peers.web_server import WebServer

NAME: Final = "OpenLDAP"
SBIN: Final = "/usr/sbin:/sbin"
"""Where Debian keeps the daemon; not in everybody's PATH."""

_CONFIGURATION: Final = """\
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
sasl-host {host}
sasl-realm {realm}
sasl-secprops noanonymous,minssf=56
database mdb
suffix "dc=mit,dc=test"
directory {folder}
"""


def _program() -> str | None:
    return shutil.which("slapd", path=f"{os.environ.get('PATH', '')}:{SBIN}")


@functools.cache
def version() -> str | None:
    """The version of Debian's slapd, or `None` where it or a plugin of its SASL is missing."""
    query = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n", *OPENLDAP_PACKAGES]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    found = {name: version for name, version, status in map(str.split, lines) if status == "installed"}
    if not set(OPENLDAP_PACKAGES) <= set(found) or not _program():
        return None
    return found["slapd"].partition("+")[0]


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if version() else f"apt-get install {' '.join(OPENLDAP_PACKAGES)}"


class OpenLdap(WebServer):
    """A running server without entries, that refuses whoever would not have what follows sealed.

    Args:
        host: its name, of which its keytab has the key ``ldap/<host>``.
        realm: of Kerberos.
        environment: where MIT's library finds its configuration and keytab.
    """

    def __init__(self, host: str, realm: str, environment: Mapping[str, str]) -> None:
        super().__init__()
        self._given = {**os.environ, **environment}
        text = _CONFIGURATION.format(folder=self._folder, host=host, realm=realm)
        (self._folder / "configuration").write_text(text, encoding="utf-8")

    def _environment(self) -> Mapping[str, str]:
        return self._given

    def _command(self) -> Sequence[str]:
        configuration = str(self._folder / "configuration")
        return [_program() or "", "-f", configuration, "-h", f"ldap://127.0.0.1:{self.port}/", "-d", "0"]
