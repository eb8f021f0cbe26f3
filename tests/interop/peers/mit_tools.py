"""MIT Kerberos' tools in a realm of one KDC on loopback, whoever's KDC that is."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.interop.peers.places import MIT_PACKAGES

NAME = "MIT krb5"
SBIN: Final = "/usr/sbin:/sbin"
"""Where Debian keeps the daemons; not in everybody's PATH."""

ETYPES: Final[Mapping[int, str]] = {
    17: "aes128-cts-hmac-sha1-96",
    18: "aes256-cts-hmac-sha1-96",
    19: "aes128-cts-hmac-sha256-128",
    20: "aes256-cts-hmac-sha384-192",
    23: "arcfour-hmac",
    25: "camellia128-cts-cmac",
    26: "camellia256-cts-cmac",
}
"""What MIT calls the encryption types that it still has."""


@functools.cache
def version() -> str | None:
    """The version of Debian's krb5-kdc, or `None` where something of it is missing."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}\\n", *MIT_PACKAGES]
    try:
        packages = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    if any(not line.startswith("installed ") for line in packages):
        return None
    return packages[0].split()[1].partition("-")[0]


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if version() else f"apt-get install {' '.join(MIT_PACKAGES)}"


class ToolFailed(Exception):
    """A tool of MIT ended with an error; the message holds what it said."""


def krb5_conf(realm: str, kdc_port: int, kpasswd_port: int, settings: Mapping[str, object]) -> str:
    """A krb5.conf of one realm on loopback; `settings` are further ones of [libdefaults]."""
    defaults: dict[str, object] = {
        "default_realm": realm,
        "dns_lookup_realm": "false",
        "dns_lookup_kdc": "false",
        "dns_canonicalize_hostname": "false",
        "rdns": "false",
        "qualify_shortname": '""',
        "forwardable": "true",
        "allow_rc4": "true",  # session keys of RC4
        "allow_weak_crypto": "true",
        **settings,
    }
    domain = realm.lower()
    return "\n".join(
        (
            "[libdefaults]",
            *(f"  {name} = {value}" for name, value in defaults.items()),
            f"[realms]\n  {realm} = {{",
            f"    kdc = 127.0.0.1:{kdc_port}",
            f"    kpasswd_server = 127.0.0.1:{kpasswd_port}\n  }}",
            f"[domain_realm]\n  .{domain} = {realm}\n  {domain} = {realm}\n",
        )
    )


class MitTools:
    """Runs MIT's tools and library in a realm.

    Args:
        folder: a private, existing directory, for krb5.conf and the default cache and keytab.
        realm: its name.
        port: of the KDC on 127.0.0.1.
        kpasswd_port: of the password server on 127.0.0.1.
    """

    def __init__(self, folder: Path, realm: str, port: int = 0, kpasswd_port: int = 0) -> None:
        self.folder = folder
        self.realm = realm
        self.port = port
        self.kpasswd_port = kpasswd_port
        self._write_configuration()

    def _write_configuration(self) -> None:
        self.configuration_file.write_text(krb5_conf(self.realm, self.port, self.kpasswd_port, {}))

    @property
    def configuration_file(self) -> Path:
        """Its krb5.conf."""
        return self.folder / "krb5.conf"

    @property
    def default_cache(self) -> Path:
        """The credential cache of `environment`."""
        return self.folder / "ccache"

    @property
    def default_keytab(self) -> Path:
        """The keytab of `environment`, which `add_service` writes to."""
        return self.folder / "keytab"

    def environment(
        self, *, cache: Path | str | None = None, keytab: Path | None = None, **libdefaults: object
    ) -> dict[str, str]:
        """Variables by which MIT's library is in this realm.

        Args:
            cache: the credential cache; `None` the default one of this realm.
            keytab: likewise.
            libdefaults: settings of [libdefaults] for this environment alone, such as ``permitted_enctypes``.
        """
        file = self.configuration_file
        if libdefaults:
            name = "-".join(f"{key}-{value}" for key, value in sorted(libdefaults.items())).replace(" ", "_")
            file = self.folder / f"{name.replace('/', '_')}.conf"
            file.write_text(krb5_conf(self.realm, self.port, self.kpasswd_port, libdefaults))
        return {
            "KRB5_CONFIG": str(file),
            "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf"),  # read by a KDC and its tools alone
            "KRB5CCNAME": str(cache or self.default_cache),
            "KRB5_KTNAME": str(keytab or self.default_keytab),
            "KRB5_CLIENT_KTNAME": str(self.folder / "no-keytab"),
            "KRB5RCACHENAME": "none:",
            "LC_ALL": "C",
        }

    def _tool(
        self,
        tool: str,
        *arguments: str | Path,
        stdin: str = "",
        cache: Path | str | None,
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program(tool), *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment(cache=cache), **(environment or {})},
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            raise ToolFailed(f"{tool} {' '.join(map(str, arguments))}: {done.stdout} {done.stderr}")
        return done

    def run(
        self,
        tool: str,
        *arguments: str | Path,
        stdin: str = "",
        cache: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kinit, kvno, klist, kpasswd, ktutil... in this realm, with `stdin` as what is typed.

        Raises:
            ToolFailed: it ended with an error, unless `check` is off.
        """
        return self._tool(tool, *arguments, stdin=stdin, cache=cache, environment=environment, check=check)

    def kinit(
        self,
        principal: str,
        password: str,
        *options: str | Path,
        cache: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Fetch a TGT by password into a cache."""
        self.run("kinit", *options, principal, stdin=password + "\n", cache=cache, environment=environment)


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if found is None:
        raise ToolFailed(f"{name} is not here; {missing()}")
    return found
