"""TLS 1.3 handshakes: ours beside `ssl` itself, both over memory."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from benchmarks import pairs
from benchmarks.measure import OURS, Effort, Section, Series, compare, micro
from securestream.ambient import system_options
from securestream.credentials import Certificate
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine
from securestream.provider import TargetName

STDLIB = "ssl"


class _Stdlib:
    def __init__(self) -> None:
        pem = pairs.certificate()
        self._server = pairs.server_context(pem)
        self._client = pairs.client_context(pem)
        self.sides = (0.0, 0.0)

    def __call__(self, times: int) -> float:
        clock = time.thread_time
        taken = [0.0, 0.0]
        for _ in range(times):
            to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
            start = clock()
            client = self._client.wrap_bio(to_client, to_server, server_hostname=pairs.HOST)
            taken[0] += clock() - start
            start = clock()
            server = self._server.wrap_bio(to_server, to_client, server_side=True)
            taken[1] += clock() - start
            for side, end in ((0, client), (1, server), (0, client), (1, server)):
                start = clock()
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                taken[side] += clock() - start
            assert server.version() == "TLSv1.3"
        self.sides = taken[0], taken[1]
        return sum(taken)


class _Ours:
    def __init__(self) -> None:
        from securestream_providers.schannel import Schannel

        pem = pairs.certificate()
        self._client = Schannel(trust=pem, minimum_version="TLSv1.3")
        self._server = Schannel(minimum_version="TLSv1.3")
        self._certificate = Certificate(pem)
        self._options = system_options()
        self._services = Services()
        self.sides = (0.0, 0.0)

    def __call__(self, times: int) -> float:
        clock, services = time.thread_time, self._services
        taken = [0.0, 0.0]
        for _ in range(times):
            start = clock()
            client = HandshakeMachine(self._client.initiate(None, TargetName(pairs.HOST), self._options))
            taken[0] += clock() - start
            start = clock()
            server = HandshakeMachine(self._server.accept(self._certificate, self._options))
            taken[1] += clock() - start
            token: bytes | None = None
            done = 0
            for side, end in ((0, client), (1, server), (0, client), (1, server)):
                start = clock()
                step = respond_blocking(end, token, services)
                taken[side] += clock() - start
                token = step.token
                done += step.established is not None
            assert done == 2
        self.sides = taken[0], taken[1]
        return sum(taken)


def handshakes(effort: Effort) -> Section:
    """The rows of TLS handshakes."""
    ends: dict[str, _Stdlib | _Ours] = {STDLIB: _Stdlib(), OURS: _Ours()}
    halves: dict[str, list[tuple[float, float]]] = {name: [] for name in ends}

    def timed(name: str) -> Callable[[int], float]:
        def measured(times: int) -> float:
            total = ends[name](times)
            client, server = ends[name].sides
            halves[name].append((client / times, server / times))
            return total

        return measured

    series = compare({name: timed(name) for name in ends}, effort)
    section = Section(
        "TLS 1.3: full handshakes with a P-256 certificate, CPU µs",
        ("", "client", "server", "both", "× ssl"),
        notes=[
            "Ours runs on the engine `ssl` and adds the checks of SECURITY rule 11: names, usage, chain, principal."
        ],
    )
    for name in series:
        last = halves[name][-effort.rounds :]
        sides = [Series([pair[side] for pair in last]) for side in (0, 1)]
        times = series[name].times(series[STDLIB])
        section.rows.append((name, *(micro(side) for side in sides), micro(series[name]), f"{times:.2f}"))
    return section
