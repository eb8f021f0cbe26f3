"""A private lighttpd on a free port of 127.0.0.1, whose Digest knows every hash of RFC 7616 and hashed names."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.interop.peers.places import LIGHTTPD_PACKAGES

NAME: Final = "lighttpd"
SBIN: Final = "/usr/sbin:/sbin"
"""Where Debian keeps the daemon; not in everybody's PATH."""
REALM: Final = "the realm of this server"
BODY: Final = b"what only the authenticated read\n"
PATIENCE: Final = 15.0
HASHES: Final[Mapping[str, str]] = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
"""Its algorithms, and what Python calls their hashes."""

_CONFIGURATION: Final = """\
server.modules = ("mod_auth", "mod_authn_file")
server.document-root = "{folder}/files"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{folder}/errors"
"""
_SPACE: Final = """\
$HTTP["url"] =~ "^/{name}/" {{
    auth.backend = "{backend}"
    auth.backend.{backend}.userfile = "{folder}/{file}"
    auth.require = ("" => (
        "method" => "digest", "algorithm" => "{algorithm}", "realm" => "{realm}", "require" => "valid-user",
        "userhash" => "{userhash}"
    ))
}}
"""


def _program() -> str | None:
    return shutil.which("lighttpd", path=f"{os.environ.get('PATH', '')}:{SBIN}")


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if _program() else f"apt-get install {' '.join(LIGHTTPD_PACKAGES)}"


def version() -> str:
    """Of the server."""
    said = subprocess.run([_program() or "", "-v"], capture_output=True, text=True, check=True).stdout
    return said.partition("/")[2].split()[0]


class Lighttpd:
    """A running server: ``/MD5/``, ``/SHA-256/``, ``/SHA-512-256/`` and the same with ``-userhash``; ``/all/``.

    Each has a ``page``. The last one sends three challenges, the strongest first or last as the server likes.

    Args:
        users: names and passwords.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self._temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        folder = self._folder = Path(self._temporary.name)
        (folder / "files").mkdir()
        (folder / "plain").write_text("".join(f"{user}:{password}\n" for user, password in users.items()))
        text = _CONFIGURATION.format(folder=folder, port=self.port)
        for algorithm, name in HASHES.items():
            lines = (_line(name, user, password) for user, password in users.items())
            (folder / algorithm).write_text("".join(lines), encoding="utf-8")
            text += self._space(algorithm, "htdigest", algorithm, algorithm)
            text += self._space(f"{algorithm}-userhash", "htdigest", algorithm, algorithm, userhash=True)
        text += self._space("all", "plain", "plain", "|".join(HASHES))
        (folder / "configuration").write_text(text, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def _space(self, name: str, backend: str, file: str, algorithm: str, *, userhash: bool = False) -> str:
        page = self._folder / "files" / name / "page"
        page.parent.mkdir()
        page.write_bytes(BODY)
        return _SPACE.format(
            name=name,
            backend=backend,
            folder=self._folder,
            file=file,
            algorithm=algorithm,
            realm=REALM,
            userhash="enable" if userhash else "disable",
        )

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [_program() or "", "-D", "-f", str(self._folder / "configuration")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
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
                    raise OSError(f"lighttpd does not start: {said}") from None
                time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(PATIENCE)
            if self._process.stderr is not None:
                self._process.stderr.close()
        self._temporary.cleanup()


def _line(name: str, user: str, password: str) -> str:
    """A line of an htdigest file, which knows the user by his hashed name, too."""

    def hashed(text: str) -> str:
        return hashlib.new(name, text.encode()).hexdigest()

    return f"{user}:{REALM}:{hashed(f'{user}:{REALM}:{password}')}:{hashed(f'{user}:{REALM}')}\n"
