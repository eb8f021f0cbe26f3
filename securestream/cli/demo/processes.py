"""The three processes of an exchange: `securestream serve`, the relay, and `securestream connect`."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any, Self

from securestream.cli.demo.wire import CLIENT, SERVER, Flip, Unit
from securestream.cli.passwords import VARIABLE

PATIENCE = 60.0
"""Seconds after which a process that says nothing is given up."""


_COMMON = ["--log-json", "--handshake-timeout", "10"]
# An altered length may leave an end waiting for octets that never come: then the time-out refuses.


class Broken(Exception):
    """A process did not do what the demonstration needs of it."""


class Talker:
    """A process that prints one JSON object a line.

    Args:
        name: how failures call it.
        arguments: what follows ``python -m``.
        password: put into the variable SECURESTREAM_PASSWORD; `None` for none.
        environ: further variables.
    """

    def __init__(
        self, name: str, arguments: list[str], password: str | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.process = subprocess.Popen(  # noqa: S603  our own program, without a shell
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(password, environ),
        )
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.others: list[str] = []
        """What it printed that is no JSON."""
        pipes = (self.process.stdout, self.process.stderr)
        self._readers = [threading.Thread(target=self._collect, args=(pipe,), daemon=True) for pipe in pipes]
        for reader in self._readers:
            reader.start()

    def _collect(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            try:
                self._lines.put(json.loads(line))
            except ValueError:
                self.others.append(line.decode(errors="replace"))

    def tell(self, value: object) -> None:
        """Give the process one JSON object."""
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps(value).encode() + b"\n")
            self.process.stdin.flush()

    def hear(self, *keys: str) -> dict[str, Any]:
        """The next object that has one of `keys`, or whose event is one of them; what stands before it is dropped.

        Raises:
            Broken: there is none in time.
        """
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                said = "".join(self.others).strip()
                raise Broken(f"the {self.name} said nothing of {' or '.join(keys)}: {said or 'nothing'}") from None
            if line.get("event") in keys or any(key in line for key in keys):
                return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def environment(password: str | None, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with `environ`, and with that password and no other."""
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE} | dict(environ or {})
    return kept if password is None else kept | {VARIABLE: password}


@dataclass(frozen=True)
class Outcome:
    """What one connection came to.

    Args:
        units: what passed the relay, as it passed it.
        altered: whether the relay altered an octet.
        received: what the client printed.
        status: the client's exit status.
        client: the client's error, as it logs it, or `None`.
        server: the server's events on this connection, by name.
        considered: what became of each mechanism, as the client tells with ``--verbose`` where several are negotiated.
    """

    units: list[Unit]
    altered: bool
    received: bytes
    status: int
    client: dict[str, Any] | None
    server: dict[str, dict[str, Any]]
    considered: tuple[dict[str, Any], ...] = ()

    def of(self, sender: str) -> bytes:
        """All octets of that end."""
        return b"".join(unit.octets for unit in self.units if unit.sender == sender)

    @property
    def both(self) -> list[bytes]:
        """The wire, each direction for itself."""
        return [self.of(CLIENT), self.of(SERVER)]


class Ends:
    """A server and a relay before it, through which clients connect one after another.

    Args:
        serve: arguments of ``securestream serve`` but for the address.
        connect: arguments of ``securestream connect`` but for the address.
        wire: how the relay reads the wire (`wire.WIRES`).
        password: the client's.
        environ: further variables of both ends.
    """

    def __init__(
        self,
        serve: list[str],
        connect: list[str],
        wire: str,
        password: str | None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._connect, self._environ = connect, environment(password, environ)
        self._server = Talker("server", ["securestream", "serve", "127.0.0.1:0", *serve, *_COMMON], environ=environ)
        try:
            port = self._server.hear("listening")["port"]
            self._relay = Talker("relay", ["securestream.cli.demo.relay", str(port), wire])
            self._port = self._relay.hear("port")["port"]
        except BaseException:  # an interrupt, too, leaves no process behind
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for talker in (self._server, getattr(self, "_relay", None)):
            if talker is not None:
                talker.__exit__(None, None, None)

    def complaints(self) -> str:
        """What server and relay printed that is no event: the traceback of a bug, or a warning."""
        return "".join(self._server.others + self._relay.others)

    def exchange(self, plaintext: bytes, flip: Flip | None = None) -> Outcome:
        """One connection: the client sends `plaintext` and prints what comes back.

        Raises:
            Broken: a process did not answer.
        """
        self._relay.tell({"flip": None if flip is None else asdict(flip)})
        arguments = ["securestream", "connect", f"127.0.0.1:{self._port}", *self._connect, *_COMMON]
        try:
            done = subprocess.run(  # noqa: S603  our own program, without a shell
                [sys.executable, "-m", *arguments],
                input=plaintext,
                capture_output=True,
                env=self._environ,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Broken("the client did not end") from None
        record = self._relay.hear("units")
        return Outcome(
            units=[Unit.from_json(unit) for unit in record["units"]],
            altered=record["altered"],
            received=done.stdout,
            status=done.returncode,
            client=_last_error(done.stderr),
            server=self._server_events(),
            considered=_considered(done.stderr),
        )

    def _server_events(self) -> dict[str, dict[str, Any]]:
        """The server's events on the connection, which ends with `refused` or `ended`."""
        events: dict[str, dict[str, Any]] = {}
        while not events.keys() & {"refused", "ended"}:
            event = self._server.hear("connection", "refused", "ended")
            events[event["event"]] = event
        return events


def _last_error(log: bytes) -> dict[str, Any] | None:
    errors = [event for event in _events(log) if event.get("event") == "error"]
    return errors[-1] if errors else None


def _considered(log: bytes) -> tuple[dict[str, Any], ...]:
    return next((tuple(event["negotiation"]) for event in _events(log) if "negotiation" in event), ())


def _events(log: bytes) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            # A traceback: the exit status tells of it, and its last line is worth showing.
            yield {"event": "error", "error": "Bug", "message": line.decode(errors="replace")}
