"""A private realm of MIT Kerberos: its KDC and password server on free ports of 127.0.0.1, and its tools."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from tests.interop.peers.mit_tools import ETYPES, NAME, MitTools, ToolFailed, missing, program, version
from tests.ports import free_port

__all__ = ["ETYPES", "HOST", "NAME", "REALM", "MitKdc", "ToolFailed", "missing", "version"]

REALM: Final = "MIT.TEST"
HOST: Final = "server.mit.test"
PATIENCE: Final = 60.0


class MitKdc(MitTools):
    """A realm of its own: a database in `folder`, a KDC, and kadmind for kpasswd where it is asked for.

    Args:
        folder: a private, existing directory.
        realm: its name.
        kpasswd: whether kadmind runs.
        settings: further settings of the realm in kdc.conf.
    """

    def __init__(
        self,
        folder: Path,
        *,
        realm: str = REALM,
        kpasswd: bool = False,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(folder, realm)
        self._settings = settings or {}
        self._kpasswd = kpasswd
        self._processes: list[subprocess.Popen[bytes]] = []
        self._choose_ports()
        self._tool("kdb5_util", "create", "-s", "-r", realm, "-P", "master", cache=None)

    def krb5_config(self, **changes: object) -> Krb5Config:
        """The same configuration for our library; `changes` are other fields of it."""
        domain = self.realm.lower()
        fields: dict[str, Any] = {
            "default_realm": self.realm,
            "realms": {
                self.realm: RealmConfig(
                    kdcs=(KdcAddress("127.0.0.1", self.port),),
                    kpasswd_servers=(KdcAddress("127.0.0.1", self.kpasswd_port),) if self._kpasswd else (),
                )
            },
            "domain_realm": {domain: self.realm, f".{domain}": self.realm},
            "forwardable": True,
            **changes,
        }
        return Krb5Config(**fields)

    # --- life ------------------------------------------------------------------------------------------------------

    def _choose_ports(self) -> None:
        self.port, self.kpasswd_port, kadmin_port = free_port(), free_port(), free_port()
        self._write_configuration()
        (self.folder / "acl").write_text(f"*/admin@{self.realm} *\n")
        settings: dict[str, object] = {
            "database_name": self.folder / "principal",
            "key_stash_file": self.folder / "stash",
            "acl_file": self.folder / "acl",
            "admin_keytab": self.folder / "kadm5.keytab",
            "dict_file": "/dev/null",
            "kdc_listen": f"127.0.0.1:{self.port}",
            "kdc_tcp_listen": f"127.0.0.1:{self.port}",
            "kadmind_listen": f"127.0.0.1:{kadmin_port}",
            "kpasswd_listen": f"127.0.0.1:{self.kpasswd_port}",
            "master_key_type": ETYPES[18],
            "supported_enctypes": " ".join(f"{name}:normal" for name in (ETYPES[18], *ETYPES.values())),
            "default_principal_flags": "+preauth",
            "max_life": "10h",
            "max_renewable_life": "7d",
            **self._settings,
        }
        (self.folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n  kdc_listen = 127.0.0.1:{self.port}\n  kdc_tcp_listen = 127.0.0.1:{self.port}\n"
            f"[realms]\n  {self.realm} = {{\n"
            + "".join(f"    {name} = {value}\n" for name, value in settings.items())
            + f"  }}\n[logging]\n  kdc = FILE:{self.folder}/kdc.log\n  admin_server = FILE:{self.folder}/kadmind.log\n"
        )

    def start(self) -> None:
        """Start the daemons and wait until they answer."""
        for _ in range(3):
            self._processes = [self._daemon("krb5kdc", "-n")]
            if self._kpasswd:
                self._processes.append(self._daemon("kadmind", "-nofork"))
            if self._answer(self.port) and (not self._kpasswd or self._answer(self.kpasswd_port)):
                return
            self.close()  # somebody took a port meanwhile
            self._choose_ports()
        raise ToolFailed(f"krb5kdc does not start: {(self.folder / 'daemons.log').read_text()[-1000:]}")

    @property
    def pid(self) -> int:
        """The number of the running krb5kdc's process."""
        return self._processes[0].pid

    def _daemon(self, *command: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "daemons.log", "ab") as log:
            return subprocess.Popen(
                [program(command[0]), *command[1:]],
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _answer(self, port: int) -> bool:
        """Whether our daemons run and `port` answers, which a daemon that could not bind would not make it do."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and all(process.poll() is None for process in self._processes):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return all(process.poll() is None for process in self._processes)
        return False

    def close(self) -> None:
        """End the daemons, by their process ids."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        self._processes = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- the database -----------------------------------------------------------------------------------------------

    def kadmin(self, *queries: str) -> str:
        """What kadmin.local answers to `queries`, one command each.

        Raises:
            ToolFailed: one of them failed.
        """
        done = self._tool("kadmin.local", "-r", self.realm, stdin="\n".join(queries) + "\nquit\n", cache=None)
        complaints = [line for line in done.stderr.splitlines() if ": " in line and "while" in line]
        if complaints:
            raise ToolFailed("\n".join(complaints))
        return done.stdout

    def add_user(self, name: str, password: str, *options: str) -> None:
        """A principal with a password; `options` are of addprinc, such as ``-requires_preauth`` with its sign."""
        self.kadmin(" ".join(("addprinc", *options, "-pw", password, name)))

    def add_service(
        self, name: str, *, etypes: Iterable[int] = (), keytab: Path | None = None, options: Iterable[str] = ()
    ) -> Path:
        """A principal with random keys of `etypes` (none: all), which are written to a keytab unchanged."""
        file = keytab or self.default_keytab
        salts = ",".join(f"{ETYPES[etype]}:normal" for etype in etypes)
        chosen = ("-e", salts) if salts else ()
        self.kadmin(" ".join(("addprinc", *options, *chosen, "-randkey", name)), f"ktadd -norandkey -k {file} {name}")
        return file

    def keytab(self, file: Path, *principals: str) -> Path:
        """Write the keys of `principals` to `file`, without changing them."""
        self.kadmin(*(f"ktadd -norandkey -k {file} {principal}" for principal in principals))
        return file
