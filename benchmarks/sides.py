"""Handshakes by their two sides: the CPU time that the initiator takes, and the acceptor, ours and others'."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from benchmarks.measure import Effort, Series, Timed, compare
from benchmarks.peers import GssPeer
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine


class Sides:
    """The CPU seconds of the two sides of handshakes."""

    def __init__(self) -> None:
        self.initiator = 0.0
        self.acceptor = 0.0


Handshakes: TypeAlias = Callable[[int], Sides]
"""Makes that many handshakes."""


def ours(
    client: Callable[[], HandshakeMachine], server: Callable[[], HandshakeMachine], services: Services
) -> Handshakes:
    """Our handshakes, of any number of tokens.

    Args:
        client: makes an initiator.
        server: makes an acceptor.
        services: what outlives a connection.
    """

    def handshakes(times: int) -> Sides:
        sides, clock = Sides(), time.thread_time
        for _ in range(times):
            start = clock()
            initiator = client()
            step = respond_blocking(initiator, None, services)
            sides.initiator += clock() - start
            start = clock()
            acceptor = server()
            answer = respond_blocking(acceptor, None, services)  # it may load its keys before it listens
            while step.token is not None:
                answer = respond_blocking(acceptor, step.token, services)
                now = clock()
                sides.acceptor += now - start
                if answer.token is None:
                    break
                step = respond_blocking(initiator, answer.token, services)
                start = clock()
                sides.initiator += start - now
            assert step.established is not None
            assert answer.established is not None
        return sides

    return handshakes


def pyspnego(client: Callable[[], Any], server: Callable[[], Any]) -> Handshakes:
    """Handshakes of pyspnego.

    Args:
        client: makes an initiator.
        server: makes an acceptor.
    """

    def handshakes(times: int) -> Sides:
        sides, clock = Sides(), time.thread_time
        for _ in range(times):
            start = clock()
            initiator = client()
            token = initiator.step()
            sides.initiator += clock() - start
            start = clock()
            acceptor = server()
            while token is not None:
                token = acceptor.step(token)
                now = clock()
                sides.acceptor += now - start
                if token is None:
                    break
                token = initiator.step(token)
                start = clock()
                sides.initiator += start - now
            assert initiator.complete
            assert acceptor.complete
        return sides

    return handshakes


def asked(peer: GssPeer, what: str) -> Handshakes:
    """Handshakes that a peer makes with itself in its own process, where it measures them.

    Args:
        peer: which.
        what: as it calls them.
    """

    def handshakes(times: int) -> Sides:
        reply, sides = peer.ask(do=what, times=times), Sides()
        sides.initiator, sides.acceptor = reply["initiator"], reply["acceptor"]
        return sides

    return handshakes


def compare_sides(
    runs: Mapping[str, Handshakes], effort: Effort
) -> tuple[dict[str, Series], dict[str, tuple[Series, Series]]]:
    """Both sides together, and the initiator's and the acceptor's, of every contender."""
    seen: dict[str, list[tuple[Sides, int]]] = {name: [] for name in runs}

    def timed(name: str) -> Timed:
        def measured(times: int) -> float:
            sides = runs[name](times)
            seen[name].append((sides, times))
            return sides.initiator + sides.acceptor

        return measured

    series = compare({name: timed(name) for name in runs}, effort)
    halves: dict[str, tuple[Series, Series]] = {}
    for name, all_of_them in seen.items():
        last = all_of_them[-effort.rounds :]
        initiators = Series([sides.initiator / times for sides, times in last])
        halves[name] = initiators, Series([sides.acceptor / times for sides, times in last])
    return series, halves
