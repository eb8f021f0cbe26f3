"""krb5.conf as a value (MIT's krb5.conf(5)): parsed from text, never found or read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True)
class KdcAddress:
    """Where a KDC, or another server of a realm, listens.

    Args:
        host: a name or an address.
        port: 88 for KDCs, 464 for kpasswd by default.
        transport: ``"any"`` (UDP, then TCP), ``"udp"``, ``"tcp"`` or ``"https"`` ([MS-KKDCP]).
        path: of an https URL.
    """

    host: str
    port: int = 88
    transport: str = "any"
    path: str = ""


@dataclass(frozen=True)
class RealmConfig:
    """What is configured for one realm.

    Args:
        kdcs: its KDCs, in order; empty leaves it to DNS SRV records.
        kpasswd_servers: its password servers; empty: the KDCs' hosts at port 464.
        http_anchors: PEM files of the authorities that KKDCP servers are verified with; empty: the system's.
        settings: everything else of the realm's section, the first value of each.
        auth_to_local: the rules that map principals to local accounts, as they are written.
    """

    kdcs: tuple[KdcAddress, ...] = ()
    kpasswd_servers: tuple[KdcAddress, ...] = ()
    http_anchors: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    auth_to_local: tuple[str, ...] = ()


@dataclass(frozen=True)
class Krb5Config:
    """The configuration of Kerberos for one process or one package; no global state.

    Args:
        default_realm: of names without one; empty where there is none.
        realms: by name.
        domain_realm: host names and ``.domains`` (lower case) to realms.
        capaths: client realm to server realm to the realms between, in order; an empty tuple is a direct path.
        permitted_etypes: what is asked for and accepted, the preferred first.
        forwardable: whether tickets are asked to be.
        proxiable: likewise.
        canonicalize: whether KDCs may answer with another name than was asked for.
        ticket_lifetime: asked for; `None` as long as the KDC gives.
        renew_lifetime: asked for; `None` for tickets that are not renewable.
        clock_skew: the most that clocks may differ.
        dns_lookup_kdc: whether SRV records find KDCs (needs the extra ``dns``).
        kdc_timeout: seconds after which a silent KDC is given up beside the next one.
        udp_preference_limit: octets above which a request goes by TCP at once.
        default_ccache_name: of the default cache; empty for the built-in one.
        default_keytab_name: of the default keytab; empty for the built-in one.
        settings: everything else of [libdefaults], the first value of each.
        tkt_etypes: what is asked of the authentication service (``default_tkt_enctypes``); empty: `permitted_etypes`.
        tgs_etypes: likewise of the ticket-granting service (``default_tgs_enctypes``).
        allow_weak_crypto: what the file says; it enables nothing by itself, since the package names weak types.
        allow_rc4: likewise.
        allow_des3: likewise.
        default_realm_from: who said so, ``default_realm of /etc/krb5.conf, line 2``; empty where the program did.
    """

    default_realm: str = ""
    realms: Mapping[str, RealmConfig] = field(default_factory=dict[str, RealmConfig])
    domain_realm: Mapping[str, str] = field(default_factory=dict[str, str])
    capaths: Mapping[str, Mapping[str, tuple[str, ...]]] = field(
        default_factory=dict[str, Mapping[str, tuple[str, ...]]]
    )
    permitted_etypes: tuple[int, ...] = (18, 17, 20, 19, 26, 25)
    forwardable: bool = False
    proxiable: bool = False
    canonicalize: bool = False
    ticket_lifetime: timedelta | None = None
    renew_lifetime: timedelta | None = None
    clock_skew: timedelta = timedelta(minutes=5)
    dns_lookup_kdc: bool = True
    kdc_timeout: float = 1.0
    udp_preference_limit: int = 1465
    default_ccache_name: str = ""
    default_keytab_name: str = ""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    tkt_etypes: tuple[int, ...] = ()
    tgs_etypes: tuple[int, ...] = ()
    allow_weak_crypto: bool = False
    allow_rc4: bool = False
    allow_des3: bool = False
    default_realm_from: str = field(default="", compare=False)

    def configured_realm(self, realm: str) -> str:
        """The realm that somebody configured by default_realm, [realms], [domain_realm] or [capaths]; empty for none.

        Case does not matter, and neither do the further labels of its name: users write ``CORP`` for CORP.EXAMPLE.COM.
        """
        named = (self.default_realm, *self.realms, *self.domain_realm.values(), *self.capaths)
        if realm in named:
            return realm
        wanted = realm.casefold()
        return next((name for name in named if f"{name.casefold()}.".startswith(f"{wanted}.")), "")
