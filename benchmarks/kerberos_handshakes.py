"""Kerberos: the AP exchange beside MIT krb5 through python-gssapi."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from benchmarks.kerberos_realm import Realm, mit, realm, service
from benchmarks.measure import OURS, Effort, Section, Series, Target, Timed, compare, micro, ratio
from benchmarks.ntlm import Sides
from securestream.ambient import system_options
from securestream.credentials import Credential, Keytab
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags, Options
from securestream.provider import TargetName
from securestream_providers.kerberos import Kerberos, Tickets
from securestream_providers.krb5.ccache import read_ccache

MIT: Final = "MIT krb5"
ETYPE: Final = 18


class Setting:
    """What the handshakes need, made once as a program makes it: cached tickets, a keytab, a replay cache."""

    def __init__(self, found: Realm) -> None:
        self.package = Kerberos(config=found.kdc.krb5_config())
        self.tickets: Credential = Tickets(read_ccache(found.cache(ETYPE).read_bytes()))
        self.keytab: Credential = Keytab(found.keytab)
        flags = ContextFlags.MUTUAL | ContextFlags.REPLAY | ContextFlags.SEQUENCE
        self.options: Options = system_options(flags=flags)
        self.services = Services()
        time.sleep(2.5)  # a file that was written just now may change unseen, and is read anew in each handshake
        self.target = TargetName(service(ETYPE))

    def handshakes(self, times: int) -> Sides:
        """The CPU seconds of both sides."""
        sides, clock, services = Sides(), time.thread_time, self.services
        for _ in range(times):
            a = clock()
            client = HandshakeMachine(self.package.initiate(self.tickets, self.target, self.options))
            first = respond_blocking(client, None, services).token
            b = clock()
            server = HandshakeMachine(self.package.accept(self.keytab, self.options))
            respond_blocking(server, None, services)  # it may load its keys before it listens
            step = respond_blocking(server, first, services)
            c = clock()
            last = respond_blocking(client, step.token, services)
            d = clock()
            assert step.established is not None
            assert last.established is not None
            sides.initiator += b - a + d - c
            sides.acceptor += c - b
        return sides


def handshakes(effort: Effort) -> Section:
    """The rows of the AP exchange."""
    section = Section(
        "Kerberos: AP exchange, aes256-sha1, CPU µs",
        ("", "initiator", "acceptor", "both"),
        notes=[
            "With mutual authentication and subkeys; the ticket, from MIT's KDC, is at hand, and has a PAC.",
            "Our acceptor has seen the ticket before, as with each but a client's first connection.",
            "Ours remembers in memory what was used; MIT krb5 reads its cache's file, and checks no replays here.",
        ],
    )
    found, peer = realm(), mit(ETYPE)
    if found is None or peer is None:
        section.targets.append(Target("AP exchange, both sides, beside MIT krb5", 2, None))
        return section
    setting = Setting(found)

    def theirs(times: int) -> Sides:
        reply, sides = peer.ask(do="handshake", times=times), Sides()
        sides.initiator, sides.acceptor = reply["initiator"], reply["acceptor"]
        return sides

    runs: dict[str, Callable[[int], Sides]] = {OURS: setting.handshakes, MIT: theirs}
    halves: dict[str, list[Sides]] = {name: [] for name in runs}
    counts = dict.fromkeys(runs, 0)

    def timed(name: str) -> Timed:
        def measured(times: int) -> float:
            sides = runs[name](times)
            halves[name].append(sides)
            counts[name] = times
            return sides.initiator + sides.acceptor

        return measured

    series = compare({name: timed(name) for name in runs}, effort)

    def side(name: str, which: str) -> Series:
        return Series([getattr(sides, which) / counts[name] for sides in halves[name][-effort.rounds :]])

    acceptors = {name: side(name, "acceptor") for name in runs}
    section.rows += [
        (name, micro(side(name, "initiator")), micro(acceptors[name]), micro(series[name])) for name in series
    ]
    section.targets += [
        Target("AP exchange, both sides, beside MIT krb5", 2, ratio(series, MIT, OURS)),
        Target("AP exchange, acceptor, beside MIT krb5", 1.2, ratio(acceptors, MIT, OURS)),
    ]
    return section
