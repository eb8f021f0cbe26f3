"""Two Kerberos ends in memory, with a ticket that nobody but the service's key vouches for."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Credential, Keytab
from securestream.drive import Services
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, ContextFlags, Options, Protection, Role
from securestream.provider import FirstUse, TargetName
from securestream.services.replay import MemoryReplay
from securestream_providers.kerberos import Kerberos, KerberosContext, Tickets
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.keys import Key, make_key, random_key
from securestream_providers.krb5.keytab import write_keytab
from securestream_providers.krb5.messages import (
    AuthorizationData,
    AuthorizationElement,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    Ticket,
    TransitedEncoding,
)
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import AdType, KeyUsage, TicketFlags
from securestream_providers.krb5.pac import PacBuffer
from securestream_providers.krb5.pac_signing import sign_ticket
from securestream_providers.krb5.tickets import CachedTicket, KeytabEntry, TicketCache
from tests.providers.meeting import Alter, Met

REALM = "CORP.EXAMPLE"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALICE = KerberosName.parse(f"alice@{REALM}")
SERVICE = KerberosName.parse(f"host/files.corp.example@{REALM}")
TARGET = TargetName("host/files.corp.example")
BINDINGS = ChannelBindings(b"tls-exporter:" + bytes(range(32)))
OTHER_BINDINGS = ChannelBindings(b"tls-exporter:" + bytes(32))
STRONG = (17, 18, 19, 20, 25, 26)
WEAK = {16: "des3-cbc-sha1-kd", 23: "rc4-hmac"}
EVERY = (*STRONG, *WEAK)
CONFIG = Krb5Config(default_realm=REALM)
_drawn = random.Random(4711)


def weak_of(etype: int) -> tuple[str, ...]:
    """What `Kerberos(weak=...)` must name for a type."""
    return (WEAK[etype],) if etype in WEAK else ()


def package(etype: int = 18, **more: Any) -> Kerberos:
    """A package that allows `etype` first; others after it."""
    given: dict[str, Any] = {"config": replace(CONFIG, permitted_etypes=(etype,)), "weak": weak_of(etype)}
    return Kerberos(**(given | more))


def key_of(etype: int = 18) -> Key:
    """A fresh key."""
    return random_key(etype, _drawn.randbytes)


@dataclass
class Realm:
    """A KDC's knowledge, and what it would put into a ticket; each test forges what it wants."""

    etype: int = 18
    service: KerberosName = SERVICE
    client: KerberosName = ALICE
    kvno: int | None = 1
    key: Key = field(default_factory=key_of)
    krbtgt: Key = field(default_factory=key_of)
    session: Key | None = None

    def __post_init__(self) -> None:
        if self.key.etype != self.etype:
            self.key = key_of(self.etype)
        if self.session is None:
            self.session = key_of(self.etype)

    @property
    def keytab(self) -> Keytab:
        """The service's."""
        return keytab((self.service, self.kvno or 1, self.key))

    def part(self, **more: Any) -> EncTicketPart:
        """What the ticket holds."""
        assert self.session is not None
        given: dict[str, Any] = {
            "flags": TicketFlags.PRE_AUTHENT | TicketFlags.FORWARDABLE,
            "key": EncryptionKey(self.session.etype, self.session.contents.reveal()),
            "crealm": self.client.realm,
            "cname": self.client.principal_name,
            "transited": TransitedEncoding(1, b""),
            "authtime": NOW - timedelta(hours=1),
            "starttime": None,
            "endtime": NOW + timedelta(hours=9),
        }
        return EncTicketPart(**(given | more))

    def with_pac(self, buffers: Iterable[PacBuffer], **more: Any) -> EncTicketPart:
        """The same with a signed PAC."""
        return sign_ticket(self.part(**more), buffers, self.key, self.krbtgt)

    def seal(self, part: EncTicketPart, *, key: Key | None = None, name: KerberosName | None = None) -> bytes:
        """The ticket itself."""
        key, name = key or self.key, name or self.service
        sealed = EncryptedData(key.etype, self.kvno, key.encrypt(KeyUsage.TICKET, part.encode(), _drawn.randbytes))
        return Ticket(5, name.realm, name.principal_name, sealed).encode()

    def cached(self, part: EncTicketPart | None = None, ticket: bytes | None = None, **more: Any) -> CachedTicket:
        """The ticket with what its owner knows of it."""
        part = part or self.part()
        given: dict[str, Any] = {
            "client": self.client,
            "server": self.service,
            "key": make_key(part.key.keytype, part.key.keyvalue),
            "ticket": ticket or self.seal(part),
            "flags": part.flags,
            "auth_time": part.authtime,
            "start_time": part.starttime,
            "end_time": max(part.endtime, NOW + timedelta(hours=1)),
        }
        return CachedTicket(**(given | more))

    def tickets(self, part: EncTicketPart | None = None, **more: Any) -> Tickets:
        """A credential of the ticket."""
        return Tickets(TicketCache(self.client, (self.cached(part, **more),)))


def keytab(*keys: tuple[KerberosName, int, Key]) -> Keytab:
    """A keytab of principals, versions and keys."""
    return Keytab(octets=write_keytab([KeytabEntry(name, kvno, key, NOW) for name, kvno, key in keys]))


def critical(kind: int, data: bytes = b"data") -> AuthorizationData:
    """Authorisation data outside of AD-IF-RELEVANT."""
    return AuthorizationData((AuthorizationElement(kind, data),))


def if_relevant(*elements: tuple[int, bytes]) -> AuthorizationData:
    """Authorisation data inside of it."""
    inner = AuthorizationData(tuple(AuthorizationElement(kind, data) for kind, data in elements)).encode()
    return critical(AdType.IF_RELEVANT, inner)


def options(
    seed: int = 0,
    *,
    now: datetime = NOW,
    protection: Protection = Protection.ENCRYPT_AND_SIGN,
    bindings: ChannelBindings | None = None,
    policy: BindingPolicy = BindingPolicy.WHEN_ADVERTISED,
    flags: ContextFlags = ContextFlags.MUTUAL,
    source: str = "",
) -> Options:
    """Options whose clock stands and whose randomness repeats."""
    return Options(
        clock=lambda: now,
        random=random.Random(seed).randbytes,
        protection=protection,
        flags=flags,
        channel_bindings=bindings,
        binding_policy=policy,
        source=source,
    )


def new_services() -> Services:
    """Services with a replay cache by the tests' clock."""
    services = Services()
    services.register_performer(FirstUse, MemoryReplay(clock=lambda: NOW))
    return services


class Meeting(Met):
    """How a Kerberos handshake of two ends went."""

    @property
    def contexts(self) -> tuple[KerberosContext, KerberosContext]:
        """The initiator's and the acceptor's, after success."""
        one, two = (end.result for end in self.established)
        assert isinstance(one, KerberosContext)
        assert isinstance(two, KerberosContext)
        return one, two


def meet(
    initiating: Credential | None,
    accepting: Credential | None,
    *,
    client: Kerberos | None = None,
    server: Kerberos | None = None,
    mine: Options | None = None,
    theirs: Options | None = None,
    target: TargetName = TARGET,
    services: Services | None = None,
    alter: Alter = lambda leg, token: token,
) -> Meeting:
    """Let two ends authenticate in memory."""
    found = Meeting()
    mine, theirs = mine or options(1), theirs or options(2)
    machines = {
        Role.INITIATOR: HandshakeMachine((client or package()).initiate(initiating, target, mine), mine.limits),
        Role.ACCEPTOR: HandshakeMachine((server or package()).accept(accepting, theirs), theirs.limits),
    }
    found.run(machines, Role.INITIATOR, services or new_services(), alter)
    return found


def established(realm: Realm | None = None, **more: Any) -> tuple[KerberosContext, KerberosContext]:
    """The two contexts of a plain handshake."""
    realm = realm or Realm()
    end = package(realm.etype)
    given: dict[str, Any] = {"client": end, "server": end}
    return meet(realm.tickets(), realm.keytab, **(given | more)).contexts


def ticket_granting(realm: Realm) -> CachedTicket:
    """A ticket-granting ticket, which nobody here opens."""
    tgt = tgs_name(realm.service.realm)
    return realm.cached(server=tgt, ticket=realm.seal(realm.part(), name=tgt))
