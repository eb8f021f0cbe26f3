"""Kerberos: the AP exchange beside MIT krb5 through python-gssapi."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.kerberos_realm import Realm, mit, realm, service
from benchmarks.measure import OURS, Effort, Section, Target, micro, ratio
from benchmarks.sides import asked, compare_sides, ours
from securestream.ambient import system_options
from securestream.credentials import Credential, Keytab
from securestream.drive import Services
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

    def client(self) -> HandshakeMachine:
        """A fresh initiator."""
        return HandshakeMachine(self.package.initiate(self.tickets, self.target, self.options))

    def server(self) -> HandshakeMachine:
        """A fresh acceptor."""
        return HandshakeMachine(self.package.accept(self.keytab, self.options))


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

    runs = {OURS: ours(setting.client, setting.server, setting.services), MIT: asked(peer, "handshake")}
    series, sides = compare_sides(runs, effort)
    acceptors = {name: halves[1] for name, halves in sides.items()}
    section.rows += [(name, *(micro(half) for half in sides[name]), micro(series[name])) for name in series]
    section.targets += [
        Target("AP exchange, both sides, beside MIT krb5", 2, ratio(series, MIT, OURS)),
        Target("AP exchange, acceptor, beside MIT krb5", 1.2, ratio(acceptors, MIT, OURS)),
    ]
    return section
