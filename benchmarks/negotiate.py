"""Negotiate: handshakes of Kerberos and of NTLM in SPNEGO, beside MIT's SPNEGO and pyspnego's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from benchmarks import kerberos_handshakes, pairs
from benchmarks.kerberos_realm import mit, realm
from benchmarks.measure import OURS, Effort, Section, Series, Timed, compare, micro, ratio
from benchmarks.ntlm import Sides
from benchmarks.peers import GssPeer, gss_ntlmssp
from securestream.credentials import Credential
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine
from securestream.options import Options
from securestream.provider import SecurityPackage, TargetName
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

MIT: Final = "MIT SPNEGO, raw calls"
SPNEGO: Final = "pyspnego"
BARE: Final = "securestream without SPNEGO"
ETYPE: Final = 18


class Setting:
    """What handshakes of one mechanism need.

    Args:
        package: at both ends.
        client: the initiator's credential.
        server: the acceptor's credential.
        target: the service.
        options: of both ends.
        services: what outlives a connection.
    """

    def __init__(
        self,
        package: SecurityPackage,
        client: Credential,
        server: Credential,
        target: TargetName,
        options: Options,
        services: Services,
    ) -> None:
        self._package, self._credentials = package, (client, server)
        self._target, self._options, self._services = target, options, services

    def handshakes(self, times: int) -> Sides:
        """The CPU seconds of both sides."""
        sides, clock, services, package = Sides(), time.thread_time, self._services, self._package
        ours, theirs = self._credentials
        for _ in range(times):
            start = clock()
            client = HandshakeMachine(package.initiate(ours, self._target, self._options))
            step = respond_blocking(client, None, services)
            sides.initiator += clock() - start
            start = clock()
            server = HandshakeMachine(package.accept(theirs, self._options))
            answer = respond_blocking(server, None, services)
            while True:
                if step.token is None:
                    break
                answer = respond_blocking(server, step.token, services)
                now = clock()
                sides.acceptor += now - start
                if answer.token is None:
                    break
                step = respond_blocking(client, answer.token, services)
                start = clock()
                sides.initiator += start - now
            assert step.established is not None
            assert answer.established is not None
        return sides


def _asking(peer: GssPeer) -> Callable[[int], Sides]:
    def handshakes(times: int) -> Sides:
        reply, sides = peer.ask(do="negotiate", times=times), Sides()
        sides.initiator, sides.acceptor = reply["initiator"], reply["acceptor"]
        return sides

    return handshakes


def _kerberos() -> dict[str, Callable[[int], Sides]]:
    """The contenders of Kerberos; none where MIT krb5 is not installed."""
    found, peer = realm(), mit(ETYPE)
    if found is None or peer is None:
        return {}
    its = kerberos_handshakes.Setting(found)
    rest = (its.tickets, its.keytab, its.target, its.options, its.services)
    return {
        OURS: Setting(Negotiate(its.package, Ntlm()), *rest).handshakes,
        BARE: Setting(its.package, *rest).handshakes,
        MIT: _asking(peer),
    }


def _ntlm() -> dict[str, Callable[[int], Sides]]:
    """The contenders of NTLM."""
    its = pairs.NtlmSetting()
    rest = (its.password, its.accounts, its.target, its.options, its.services)
    contenders: dict[str, Callable[[int], Sides]] = {
        OURS: Setting(Negotiate(its.package), *rest).handshakes,
        BARE: Setting(its.package, *rest).handshakes,
        SPNEGO: _pyspnego,
    }
    if (peer := gss_ntlmssp()) is not None:
        contenders[MIT] = _asking(peer)
    return contenders


def _pyspnego(times: int) -> Sides:
    import spnego

    os.environ.update(pairs.ntlm_environment())
    chosen: Mapping[str, Any] = {"protocol": "negotiate", "options": spnego.NegotiateOptions.use_negotiate}
    sides, clock = Sides(), time.thread_time
    for _ in range(times):
        start = clock()
        client = spnego.client(f"DOM\\{pairs.USER}", pairs.PASSWORD, hostname=pairs.HOST, **chosen)
        token = client.step()
        sides.initiator += clock() - start
        start = clock()
        server = spnego.server(**chosen)
        while token is not None:
            token = server.step(token)
            now = clock()
            sides.acceptor += now - start
            if token is None:
                break
            token = client.step(token)
            start = clock()
            sides.initiator += start - now
        assert client.complete
        assert server.complete
    return sides


def handshakes(effort: Effort) -> Section:
    """The rows of both mechanisms."""
    section = Section(
        "Negotiate: handshakes, CPU µs",
        ("", "", "initiator", "acceptor", "both", "× securestream"),
        notes=[
            "Kerberos, aes256-sha1, and NTLMv2 in SPNEGO, set up as in the tables of the mechanisms by themselves.",
            "*Without SPNEGO*: the mechanism alone; the difference is what the negotiation costs.",
            "MIT SPNEGO negotiates its own Kerberos, and gss-ntlmssp.",
        ],
    )
    for mechanism, runs in (("Kerberos", _kerberos()), ("NTLM", _ntlm())):
        if not runs:
            section.notes.append(f"{mechanism} was not measured: MIT krb5 or python-gssapi is not installed.")
            continue
        series, sides = _compared(runs, effort)
        for name, both in series.items():
            times = ratio(series, name, OURS)
            parts = [micro(half) for half in sides[name]]
            section.rows.append((mechanism, name, *parts, micro(both), "–" if times is None else f"{times:.2f}"))
    return section


def _compared(
    runs: Mapping[str, Callable[[int], Sides]], effort: Effort
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
