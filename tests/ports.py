"""Ports for whoever can be given a number only, and no open socket: each for one user of one run of the tests."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

_FIRST = 20000
"""Below those that systems give away by themselves, so that no connection of anybody takes one meanwhile."""
_SIZE = 500
_BLOCKS = 24


def _block() -> range:
    """Ports that no other run on this machine takes: who holds the first one of a block has the others."""
    for first in random.sample(range(_FIRST, _FIRST + _SIZE * _BLOCKS, _SIZE), _BLOCKS):
        holding = socket.socket()
        try:
            holding.bind(("127.0.0.1", first))
        except OSError:
            holding.close()
            continue
        holding.detach()  # held until this process ends
        return range(first + 1, first + _SIZE)
    raise OSError(f"every block of ports from {_FIRST} on is taken")


def _numbers() -> Iterator[int]:
    block = _block()
    while True:
        yield from random.sample(block, len(block))


_given = _numbers()


def free_port() -> int:
    """A port of 127.0.0.1 that is free for UDP and TCP alike, and that nobody else is given for a long time."""
    for _ in range(2 * _SIZE):
        port = next(_given)
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            try:
                stream.bind(("127.0.0.1", port))
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free for UDP and TCP")
