"""A private lighttpd on a free port of 127.0.0.1, whose Digest knows every hash of RFC 7616 and hashed names."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from tests.interop.peers.places import LIGHTTPD_PACKAGES
from tests.interop.peers.web_server import BODY, REALM, WebServer

__all__ = ["BODY", "HASHES", "NAME", "REALM", "Lighttpd", "missing", "version"]

NAME: Final = "lighttpd"
SBIN: Final = "/usr/sbin:/sbin"
"""Where Debian keeps the daemon; not in everybody's PATH."""
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


class Lighttpd(WebServer):
    """A running server: ``/MD5/``, ``/SHA-256/``, ``/SHA-512-256/`` and the same with ``-userhash``; ``/all/``.

    Each has a ``page``. The last one sends three challenges, the strongest first or last as the server likes.

    Args:
        users: names and passwords.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        super().__init__()
        folder = self._folder
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

    def _command(self) -> Sequence[str]:
        return [_program() or "", "-D", "-f", str(self._folder / "configuration")]


def _line(name: str, user: str, password: str) -> str:
    """A line of an htdigest file, which knows the user by his hashed name, too."""

    def hashed(text: str) -> str:
        return hashlib.new(name, text.encode()).hexdigest()

    return f"{user}:{REALM}:{hashed(f'{user}:{REALM}:{password}')}:{hashed(f'{user}:{REALM}')}\n"
