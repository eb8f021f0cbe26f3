"""FreeRDP: xfreerdp, which logs on by CredSSP, and freerdp-shadow-cli, which takes logons; both want an X server."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.certificates import Pair
from tests.interop.peers.places import FREERDP_PACKAGES
from tests.ports import free_port

NAME = "FreeRDP"
PROGRAMS: Final = ("xfreerdp", "freerdp-shadow-cli", "winpr-hash", "Xvfb")
TIMEOUT: Final = 60.0


@functools.cache
def version() -> str | None:
    """The version of Debian's FreeRDP, or `None` where something of it is missing."""
    if not all(shutil.which(program) for program in PROGRAMS):
        return None
    query = ["dpkg-query", "--show", "--showformat=${Version}", "freerdp2-x11"]
    package = subprocess.run(query, capture_output=True, text=True, check=False)
    return package.stdout.partition("+")[0] or None


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if version() else f"apt-get install {' '.join(FREERDP_PACKAGES)}"


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], log: Path) -> Generator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@contextmanager
def display(folder: Path) -> Generator[dict[str, str]]:
    """An X server that shows nothing; the variables by which FreeRDP finds it, and has a home of its own."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset"]
    with (folder / "xvfb.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=(writer,))
    os.close(writer)
    try:
        with os.fdopen(reader) as told:
            number = told.readline().strip()
        assert number, (folder / "xvfb.log").read_text(errors="replace")
        home = folder / "home"
        home.mkdir()
        yield {"DISPLAY": f":{number}", "HOME": str(home), "XDG_CONFIG_HOME": str(home), "WLOG_LEVEL": "DEBUG"}
    finally:
        process.terminate()
        process.wait(5)


@dataclass(frozen=True)
class Visit:
    """How a logon of xfreerdp ended.

    Args:
        status: of the process: 0 where a session began.
        said: its log.
    """

    status: int
    said: str

    @property
    def error(self) -> str | None:
        """Its name of what went wrong, such as ``ERRCONNECT_LOGON_FAILURE``."""
        words = (word for word in self.said.split() if word.startswith("ERRCONNECT_"))
        return next((word for word in words if word != "ERRCONNECT_CONNECT_CANCELLED"), None)


def visit(
    port: int, user: str, password: str | bytes, environment: Mapping[str, str], *options: str, domain: str = "CORP"
) -> Visit:
    """Let xfreerdp log on at 127.0.0.1, and leave as soon as the session stands.

    Args:
        port: the server's.
        user: name without the domain.
        password: the password; its NT hash, where it is in octets, which only restricted admin mode takes.
        environment: of `display`.
        options: further ones of its own, such as ``/restricted-admin``.
        domain: the user's.
    """
    # with a hash it would not even begin under +auth-only
    secret = (f"/p:{password}", "+auth-only") if isinstance(password, str) else (f"/pth:{password.hex()}",)
    asked = (f"/v:127.0.0.1:{port}", f"/u:{user}", f"/d:{domain}", "/cert:ignore", *secret)
    done = subprocess.run(
        ["xfreerdp", *asked, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=TIMEOUT,
        check=False,
    )
    return Visit(done.returncode, (done.stdout + done.stderr).decode(errors="replace"))


@dataclass(frozen=True)
class Shadow:
    """A running server.

    Args:
        port: on 127.0.0.1.
        log: what it says, file.
    """

    port: int
    log: Path

    def wait_for(self, text: str) -> None:
        """Wait until it has said `text`."""
        deadline = time.monotonic() + TIMEOUT
        while text not in (said := self.log.read_text(errors="replace")):
            assert time.monotonic() < deadline, said
            time.sleep(0.02)


@contextmanager
def shadow(
    folder: Path, environment: Mapping[str, str], own: Pair, accounts: Mapping[tuple[str, str], str]
) -> Generator[Shadow]:
    """FreeRDP's server, which wants CredSSP of its clients.

    Args:
        folder: for its files.
        environment: of `display`.
        own: its certificate; it takes RSA keys alone.
        accounts: passwords by (domain, user).
    """
    configuration = Path(environment["XDG_CONFIG_HOME"]) / "freerdp" / "shadow"
    configuration.mkdir(parents=True, exist_ok=True)
    (configuration / "shadow.crt").write_bytes(own.chain_pem)
    (configuration / "shadow.key").write_bytes(own.key_pem)
    sam = folder / "sam"
    sam.write_text("".join(_account(user, domain, password) for (domain, user), password in accounts.items()))
    port = free_port()
    log = folder / "shadow.log"
    command = ["stdbuf", "-oL", "freerdp-shadow-cli", f"/port:{port}", "/bind-address:127.0.0.1"]
    with _running([*command, f"/sam-file:{sam}", "/sec:nla", "+auth"], environment, log):
        running = Shadow(port, log)
        running.wait_for("Listening on")
        yield running


def _account(user: str, domain: str, password: str) -> str:
    hashed = subprocess.run(
        ["winpr-hash", "-u", user, "-d", domain, "-p", password, "-f", "sam"],
        capture_output=True,
        text=True,
        check=True,
    )
    return hashed.stdout.strip() + "\n"
