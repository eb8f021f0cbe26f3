"""Negotiate: handshakes of Kerberos and of NTLM in SPNEGO, beside MIT's SPNEGO and pyspnego's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks import kerberos_handshakes, pairs
from benchmarks.kerberos_realm import mit, realm
from benchmarks.measure import OURS, Effort, Section, micro, ratio
from benchmarks.peers import gss_ntlmssp
from benchmarks.sides import Handshakes, asked, compare_sides, ours, pyspnego
from securestream.credentials import Credential
from securestream.drive import Services
from securestream.machine import HandshakeMachine
from securestream.options import Options
from securestream.provider import SecurityPackage, TargetName
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

MIT: Final = "MIT SPNEGO, raw calls"
SPNEGO: Final = "pyspnego"
BARE: Final = "securestream without SPNEGO"
ETYPE: Final = 18


@dataclass(frozen=True)
class Setting:
    """What handshakes of one mechanism need.

    Args:
        client: the initiator's credential.
        server: the acceptor's credential.
        target: the service.
        options: of both ends.
        services: what outlives a connection.
    """

    client: Credential
    server: Credential
    target: TargetName
    options: Options
    services: Services

    def handshakes(self, package: SecurityPackage) -> Handshakes:
        """Ours of `package` at both ends."""
        return ours(
            lambda: HandshakeMachine(package.initiate(self.client, self.target, self.options)),
            lambda: HandshakeMachine(package.accept(self.server, self.options)),
            self.services,
        )


def _kerberos() -> dict[str, Handshakes]:
    """The contenders of Kerberos; none where MIT krb5 is not installed."""
    found, peer = realm(), mit(ETYPE)
    if found is None or peer is None:
        return {}
    its = kerberos_handshakes.Setting(found)
    setting = Setting(its.tickets, its.keytab, its.target, its.options, its.services)
    return {
        OURS: setting.handshakes(Negotiate(its.package, Ntlm())),
        BARE: setting.handshakes(its.package),
        MIT: asked(peer, "negotiate"),
    }


def _ntlm() -> dict[str, Handshakes]:
    """The contenders of NTLM."""
    its = pairs.NtlmSetting()
    setting = Setting(its.password, its.accounts, its.target, its.options, its.services)
    contenders = {
        OURS: setting.handshakes(Negotiate(its.package)),
        BARE: setting.handshakes(its.package),
        SPNEGO: pyspnego(
            lambda: pairs.spnego_client("negotiate"),
            lambda: pairs.spnego_server("negotiate"),
        ),
    }
    if (peer := gss_ntlmssp()) is not None:
        contenders[MIT] = asked(peer, "negotiate")
    return contenders


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
        series, sides = compare_sides(runs, effort)
        for name, both in series.items():
            times = ratio(series, name, OURS)
            parts = [micro(half) for half in sides[name]]
            section.rows.append((mechanism, name, *parts, micro(both), "–" if times is None else f"{times:.2f}"))
    return section
