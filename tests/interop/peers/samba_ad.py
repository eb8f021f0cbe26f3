"""Starts a Samba domain controller in a network of its own; see samba_domain.py for what it is told."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar

from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from tests.interop.peers.namespace import Namespace
from tests.interop.peers.places import SAMBA_PACKAGES, SYSTEM_PYTHON
from tests.interop.peers.process import JsonPeer

P = ParamSpec("P")
R = TypeVar("R")

NAME = "Samba AD"
PROGRAM = Path(__file__).with_name("samba_domain.py")
REALM: Final = "AD.TEST"
NETBIOS: Final = "ADNT"
ADDRESS: Final = "127.0.0.10"
USERS: Final = {"alice": "Alice.pw1", "websvc": "Web.pw1", "carol": "Carol.pw1"}
WEB: Final = "HTTP/web.ad.test"
LDAP: Final = "ldap/dc1.ad.test"
GROUP: Final = "painters"
START: Final = 120.0
KRB5_CONFIG: Final = f"""[libdefaults]
    default_realm = {REALM}
    dns_lookup_realm = false
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
[realms]
    {REALM} = {{
        kdc = {ADDRESS}
    }}
[domain_realm]
    .ad.test = {REALM}
    ad.test = {REALM}
"""
"""For programs in the domain's network."""


@functools.cache
def version() -> str | None:
    """The version of Debian's samba-ad-dc, or `None` where something of it is missing."""
    packages = ["samba-ad-dc", *(package for package in SAMBA_PACKAGES if package != "samba-ad-dc")]
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}\\n", *packages]
    versions: list[str] = []
    for package in packages:
        done = subprocess.run([*query[:3], package], capture_output=True, text=True, check=False)
        if not done.stdout.startswith("installed "):
            return None
        versions.append(done.stdout.split()[1])
    return versions[0].partition(":")[2].partition("+")[0] or versions[0]


def missing() -> str | None:
    """What to install, or to be, before this peer can run, or `None`."""
    if os.name != "posix" or os.geteuid() != 0:
        return "a domain controller as root: run the tests as root"
    return None if version() else f"apt-get install {' '.join(SAMBA_PACKAGES)}"


class SambaDomain:
    """A domain with the accounts `USERS`, in a network namespace of its own.

    websvc serves `WEB` and may delegate users, with protocol transition, to `LDAP`; alice is in `GROUP`.

    Args:
        folder: a private, existing directory.

    Raises:
        PermissionError: this process may make no network namespace.
        PeerProcessError: the domain did not start.
    """

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o711)
        self.namespace = Namespace()
        settings = {
            "folder": str(folder),
            "realm": REALM,
            "address": ADDRESS,
            "password": "Passw0rd!adm",
            "users": USERS,
            "services": {"websvc": [WEB], "DC1$": [LDAP]},
            "delegation": {"websvc": [LDAP]},
            "groups": {GROUP: ["alice"]},
        }
        command = ["unshare", "-m", "-u", "-p", "-f", "--kill-child", "--mount-proc", str(SYSTEM_PYTHON), "-I"]
        self._process = self.namespace.run(JsonPeer, [*command, str(PROGRAM), json.dumps(settings)])
        try:
            ready = self._process.expect("ready", timeout=START)
        except BaseException:
            self.close()
            raise
        self.keytab = Path(ready["keytab"])
        self.configuration = folder / "etc" / "smb.conf"
        self.krb5_config = folder / "krb5.conf"
        self.krb5_config.write_text(KRB5_CONFIG)
        self.took: dict[str, float] = ready["took"]

    def run(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Call `function` where the domain answers at `ADDRESS`."""
        return self.namespace.run(function, *arguments, **named)

    def inside(self, *program: str) -> tuple[str, ...]:
        """The command that runs `program` where the domain controller does, with its network, files and name."""
        unshared = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0]
        return ("nsenter", "--target", unshared, "--mount", "--net", "--uts", "--", *program)

    @property
    def config(self) -> Krb5Config:
        """The domain's configuration for our library."""
        realm = RealmConfig(kdcs=(KdcAddress(ADDRESS),), kpasswd_servers=(KdcAddress(ADDRESS, 464),))
        domains = {"ad.test": REALM, ".ad.test": REALM}
        return Krb5Config(default_realm=REALM, realms={REALM: realm}, domain_realm=domains, forwardable=True)

    def close(self) -> None:
        """End the domain."""
        os.kill(self._process.pid, signal.SIGKILL)  # unshare does not heed SIGTERM; all that it started ends with it
        self._process.close()
        self.namespace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
