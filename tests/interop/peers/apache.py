"""A private Apache with mod_auth_gssapi and mod_auth_digest on free ports of 127.0.0.1, in clear and under TLS."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.interop.peers.places import APACHE_PACKAGES

NAME: Final = "Apache"
MODULES: Final = Path("/usr/lib/apache2/modules")
SERVER: Final = "/usr/sbin/apache2"
REALM: Final = "the realm of this server"
BODY: Final = b"what only the authenticated read\n"
PATIENCE: Final = 15.0
_NEEDED: Final = (
    *("mpm_event", "unixd", "authn_core", "authn_file", "authz_core", "authz_user", "auth_gssapi", "auth_digest"),
    *("headers", "alias", "ssl", "dir"),
)

_CONFIGURATION: Final = """\
ServerRoot "{folder}"
ServerName localhost
DefaultRuntimeDir "{folder}"
PidFile "{folder}/pid"
ErrorLog "{folder}/errors"
LogLevel auth_gssapi:debug auth_digest:debug
{modules}
User www-data
Group www-data
Listen 127.0.0.1:{port}
{tls}
StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
KeepAlive On
DocumentRoot "{folder}/files"
Header always set X-User "expr=%{{REMOTE_USER}}"
<Directory "{folder}/files">
    Require all granted
</Directory>
<Location "/digest">
    AuthType Digest
    AuthName "{realm}"
    AuthDigestProvider file
    AuthUserFile "{folder}/htdigest"
    AuthDigestDomain /digest
    AuthDigestNonceLifetime {lifetime}
    Require valid-user
</Location>
{gssapi}
"""
_GSSAPI: Final = """\
<Location "/gssapi">
    AuthType GSSAPI
    AuthName "{realm}"
    GssapiCredStore keytab:{folder}/keytab
    GssapiNegotiateOnce Off
    Require valid-user
</Location>
"""
_TLS: Final = """\
Listen 127.0.0.1:{port}
<VirtualHost 127.0.0.1:{port}>
    SSLEngine on
    SSLCertificateFile "{folder}/certificate"
    SSLCertificateKeyFile "{folder}/key"
    Header always set X-User "expr=%{{REMOTE_USER}}"
</VirtualHost>
"""


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    lacking = [name for name in _NEEDED if name != "unixd" and not _is_there(name)]
    return f"apt-get install {' '.join(APACHE_PACKAGES)}" if lacking or not os.path.exists(SERVER) else None


def version() -> str:
    """Of the server."""
    said = subprocess.run([SERVER, "-v"], capture_output=True, text=True, check=True).stdout
    return said.partition("Apache/")[2].split()[0]


def _is_there(module: str) -> bool:
    return (MODULES / f"mod_{module}.so").exists()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Apache:
    """A running server: ``/digest/`` and ``/gssapi/`` demand a user and answer with `BODY` and the header X-User.

    Args:
        users: names and passwords for Digest, which this server does with MD5 alone.
        keytab: a keytab for Negotiate, or `None` for none.
        krb5_config: the krb5.conf of the realm.
        certificate: PEM of a certificate and of its key, for a port under TLS.
        lifetime: seconds for which a nonce of Digest is good.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        keytab: Path | None = None,
        krb5_config: Path | None = None,
        certificate: tuple[bytes, bytes] | None = None,
        lifetime: int = 300,
    ) -> None:
        self.port = _free_port()
        self.tls_port = _free_port() if certificate else 0
        self._temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        folder = self._folder = Path(self._temporary.name)
        folder.chmod(0o755)  # its worker is another user
        for name in ("digest", "gssapi"):
            (folder / "files" / name).mkdir(parents=True)
            (folder / "files" / name / "index").write_bytes(BODY)
        lines = (
            f"{user}:{REALM}:{hashlib.md5(f'{user}:{REALM}:{password}'.encode()).hexdigest()}\n"
            for user, password in users.items()
        )
        (folder / "htdigest").write_text("".join(lines), encoding="utf-8")
        if keytab is not None:
            shutil.copy(keytab, folder / "keytab")
            (folder / "keytab").chmod(0o644)
        if krb5_config is not None:
            shutil.copy(krb5_config, folder / "krb5.conf")
            (folder / "krb5.conf").chmod(0o644)
        if certificate is not None:
            (folder / "certificate").write_bytes(certificate[0])
            (folder / "key").write_bytes(certificate[1])
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5RCACHENAME": "none:",
        }
        self._write(with_gssapi=keytab is not None, lifetime=lifetime)
        self._process: subprocess.Popen[bytes] | None = None

    def _write(self, *, with_gssapi: bool, lifetime: int) -> None:
        names = {"folder": self._folder, "realm": REALM}
        modules = "\n".join(
            f'LoadModule {name}_module "{MODULES}/mod_{name}.so"' for name in _NEEDED if _is_there(name)
        )
        text = _CONFIGURATION.format(
            **names,
            modules=modules,
            port=self.port,
            tls=_TLS.format(folder=self._folder, port=self.tls_port) if self.tls_port else "",
            lifetime=lifetime,
            gssapi=_GSSAPI.format(**names) if with_gssapi else "",
        )
        (self._folder / "apache.conf").write_text(text, encoding="utf-8")

    @property
    def errors(self) -> str:
        """What its log says."""
        path = self._folder / "errors"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [SERVER, "-D", "FOREGROUND", "-f", str(self._folder / "apache.conf")],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    assert self._process.stderr is not None
                    said = "" if self._process.poll() is None else self._process.stderr.read().decode()
                    raise OSError(f"Apache does not start: {said} {self.errors}") from None
                time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(PATIENCE)
            if self._process.stderr is not None:
                self._process.stderr.close()
        self._temporary.cleanup()
