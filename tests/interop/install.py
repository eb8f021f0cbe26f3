"""Installs the foreign implementations that the tests speak to; quick when there is nothing to do.

``python -m tests.interop.install`` uses apt where it may (root, or sudo without a password), PyPI and npm. What it
cannot install it names; the tests that need it are then skipped. With ``CI`` set, or ``--require``, that is a failure.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from tests.interop.peers import dotnet_setup, negoex_setup
from tests.interop.peers.places import (
    APACHE_PACKAGES,
    CYRUS_PACKAGES,
    DEBIAN_PACKAGES,
    FREERDP_PACKAGES,
    LIGHTTPD_PACKAGES,
    MIT_PACKAGES,
    NEGOEX_PACKAGES,
    OPENLDAP_PACKAGES,
    PEERS,
    SAMBA_PACKAGES,
    SYSTEM_PYTHON,
    TSHARK_PACKAGES,
)

NO_DAEMONS = "/usr/sbin/policy-rc.d"
"""What dpkg asks before it starts a daemon; 101 says no."""


class CannotInstall(Exception):
    """What is missing, as one sentence that says what to install."""


def _installed(package: str) -> bool:
    status = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return status.stdout == "installed"


def _root_prefix() -> list[str] | None:
    """What makes a command run as root without a question, or `None`."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    return None


def _apt(packages: list[str]) -> None:
    wanted = " ".join(packages)
    prefix = _root_prefix()
    if prefix is None or not shutil.which("apt-get"):
        raise CannotInstall(f"apt-get install {wanted}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = [*prefix, "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    with _no_daemons(prefix):
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run([*apt, *arguments], env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise CannotInstall(f"apt-get install {wanted} (it failed: {done.stderr.strip().splitlines()[-1:]})")


@contextmanager
def _no_daemons(prefix: list[str]) -> Generator[None]:
    """Keep dpkg from starting the daemons of what it installs: the tests start their own."""
    if os.path.exists(NO_DAEMONS):
        yield
        return
    subprocess.run([*prefix, "sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' >{NO_DAEMONS}"], check=False)
    subprocess.run([*prefix, "chmod", "755", NO_DAEMONS], check=False)
    try:
        yield
    finally:
        subprocess.run([*prefix, "rm", "-f", NO_DAEMONS], check=False)


def _wanted(packages: Sequence[str]) -> None:
    if not shutil.which("dpkg-query"):
        raise CannotInstall(f"a Debian 12 or a relative of it, for {', '.join(packages)}")
    if missing := [package for package in packages if not _installed(package)]:
        _apt(missing)


def mit_kerberos() -> None:
    """MIT's KDC, its administration server and its tools."""
    _wanted(MIT_PACKAGES)


def samba() -> None:
    """Samba as a domain controller."""
    _wanted(SAMBA_PACKAGES)


def tshark() -> None:
    """Wireshark's dissectors."""
    _wanted(TSHARK_PACKAGES)


def freerdp() -> None:
    """FreeRDP's client and server, and the X server that both want."""
    _wanted(FREERDP_PACKAGES)


def apache() -> None:
    """Apache with its modules for GSS-API and Digest."""
    _wanted(APACHE_PACKAGES)


def cyrus() -> None:
    """Cyrus SASL with its mechanisms and the tool that adds accounts."""
    _wanted(CYRUS_PACKAGES)


def lighttpd() -> None:
    """lighttpd, for its Digest."""
    _wanted(LIGHTTPD_PACKAGES)


def openldap() -> None:
    """OpenLDAP's server."""
    _wanted(OPENLDAP_PACKAGES)


def debian_packages() -> None:
    """What Debian packages: gss-ntlmssp with python-gssapi, OpenSSL, GnuTLS, curl."""
    _wanted(DEBIAN_PACKAGES)
    probe = subprocess.run([SYSTEM_PYTHON, "-I", "-c", "import gssapi"], capture_output=True, text=True, check=False)
    if probe.returncode:
        raise CannotInstall(f"python3-gssapi for {SYSTEM_PYTHON}")


def dotnet() -> None:
    """.NET 8 with a compiler for its peer program."""
    if dotnet_setup.ready():
        return
    if not dotnet_setup.downloaded() and not shutil.which("npm"):
        _apt(["npm"])
    try:
        dotnet_setup.install()
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise CannotInstall(f"the .NET 8 peer (it failed: {error})") from error


def negoex() -> None:
    """The mechanism with which MIT tests its NEGOEX."""
    if negoex_setup.ready():
        return
    _wanted(NEGOEX_PACKAGES)
    try:
        negoex_setup.install()
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise CannotInstall(f"MIT's NEGOEX test mechanism (it failed: {error})") from error


def main(arguments: list[str]) -> int:
    """Install everything; return the number of what could not be."""
    required = "--require" in arguments or bool(os.environ.get("CI"))
    PEERS.mkdir(exist_ok=True)
    failures = 0
    with open(PEERS / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("Debian packages", debian_packages),
            ("MIT Kerberos", mit_kerberos),
            ("Samba", samba),
            ("tshark", tshark),
            ("FreeRDP", freerdp),
            ("Apache", apache),
            ("lighttpd", lighttpd),
            ("Cyrus SASL", cyrus),
            ("OpenLDAP", openldap),
            (".NET 8", dotnet),
            ("MIT NEGOEX", negoex),
        )
        for name, step in steps:
            started = time.monotonic()
            try:
                step()
            except CannotInstall as reason:
                failures += 1
                print(f"foreign implementations: {name}: not installed; wanted: {reason}", file=sys.stderr)
            else:
                print(f"foreign implementations: {name}: ready ({time.monotonic() - started:.1f} s)")
    return failures if required else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
