"""The relay between the two ends: a process of its own that records what passes and, when told, alters one octet.

Reads one JSON plan a line on standard input, serves one connection for each, and prints one JSON record for each.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from collections.abc import Iterator
from typing import Any

from securestream.cli.demo.wire import CLIENT, SERVER, WIRES, Flip, Unit, Wire

PATIENCE = 60.0
"""Seconds without a connection or an octet after which a run is given up."""


class Relay:
    """One connection through the relay.

    Args:
        wire: tells units apart.
        flip: what to alter, or `None`.
    """

    def __init__(self, wire: Wire, flip: Flip | None) -> None:
        self._wire = wire
        self._flip = flip
        self._counts = {CLIENT: 0, SERVER: 0}
        self.units: list[Unit] = []
        self.altered = False

    def pass_on(self, sender: str, octets: bytes) -> bytes:
        """What the other end is sent for `octets`; incomplete units wait."""
        return b"".join(unit.octets for unit in self._treated(sender, octets))

    def _treated(self, sender: str, octets: bytes) -> Iterator[Unit]:
        for unit in self._wire.feed(sender, octets):
            index = self._counts[sender]
            self._counts[sender] += 1
            treated = unit
            if self._flip is not None and (sender, index) == (self._flip.sender, self._flip.index) and unit.payload:
                treated = unit.flipped(self._flip.fraction, self._flip.bit)
                self.altered = True
            self.units.append(treated)
            yield treated

    def rest(self, sender: str) -> bytes:
        """What is left when `sender` has ended."""
        return self._wire.rest(sender)

    def run(self, client: socket.socket, server: socket.socket) -> None:
        """Relay until both ends have ended, or one is gone."""
        names, others = {client: CLIENT, server: SERVER}, {client: server, server: client}
        with selectors.DefaultSelector() as selector:
            for end in names:
                selector.register(end, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(PATIENCE)
                if not ready:
                    raise TimeoutError("nothing passed for too long")
                for key, _ in ready:
                    end = next(known for known in names if known is key.fileobj)
                    if not self._move(end, others[end], names[end]):
                        selector.unregister(end)

    def _move(self, end: socket.socket, other: socket.socket, sender: str) -> bool:
        try:
            octets = end.recv(1 << 16)
        except ConnectionError:
            octets = b""
        try:
            other.sendall(self.pass_on(sender, octets) if octets else self.rest(sender))
            if not octets:
                other.shutdown(socket.SHUT_WR)
        except OSError:
            # The other end is gone; what this one still sends is read and recorded.
            return bool(octets)
        return bool(octets)


def _serve(listener: socket.socket, port: int, wire: str, plan: dict[str, Any]) -> dict[str, Any]:
    flip = None if plan["flip"] is None else Flip(**plan["flip"])
    relay = Relay(WIRES[wire](), flip)
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", port), PATIENCE) as server:
        relay.run(client, server)
    return {"altered": relay.altered, "units": [unit.to_json() for unit in relay.units]}


def main() -> None:
    """Relay to the port given as first argument, whose wire is named by the second."""
    port, wire = int(sys.argv[1]), sys.argv[2]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        for line in sys.stdin:
            print(json.dumps(_serve(listener, port, wire, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
