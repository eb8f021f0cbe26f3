"""Our client from one realm of MIT krb5 to another: by referral, by asking for the realm, and by capaths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from securestream.provider import Effect
from securestream.redaction import Secret
from securestream_providers.kerberos.client import ClientSettings, PasswordKeys, Session, initial_ticket, service_ticket
from securestream_providers.kerberos.effects import KdcRequest
from securestream_providers.kerberos.network import performer
from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from securestream_providers.krb5.kdc_error import KdcTargetUnknown
from securestream_providers.krb5.keytab import read_keytab
from securestream_providers.krb5.messages import EncTicketPart, Ticket
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import KeyUsage, TicketFlags
from securestream_providers.krb5.tickets import CachedTicket
from tests.interop.peers import mit_kdc as mit
from tests.providers.kerberos.driving import drive, options

A, B, C = "A.TEST", "B.TEST", "C.TEST"
ALICE = KerberosName(A, ("alice",))
SHARED = "shared_by_both"


@pytest.fixture(scope="module")
def realms(
    require: Callable[[ModuleType], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, mit.MitKdc]]:
    """A trusts B, and B trusts C; A and C share nothing."""
    require(mit)
    lenient = {"reject_bad_transit": "false"}  # which leaves the path of realms to be judged by services
    made = {name: mit.MitKdc(tmp_path_factory.mktemp(name), realm=name, settings=lenient) for name in (A, B, C)}
    try:
        for kdc in made.values():
            kdc.start()
        for one, other in ((A, B), (B, C)):
            for kdc in (made[one], made[other]):
                kdc.kadmin(f"addprinc -pw {SHARED} -e aes256-cts-hmac-sha1-96:normal krbtgt/{other}@{one}")
        made[A].add_user("alice", "alice_secret")
        made[B].add_service("HTTP/server.b.test")
        made[C].add_service("HTTP/server.c.test")
        yield made
    finally:
        for kdc in made.values():
            kdc.close()


def config(realms: dict[str, mit.MitKdc], **changes: object) -> Krb5Config:
    made = Krb5Config(
        default_realm=A,
        realms={name: RealmConfig((KdcAddress("127.0.0.1", kdc.port),)) for name, kdc in realms.items()},
        domain_realm={".b.test": B, ".c.test": C},
        dns_lookup_kdc=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # by name


def fetch(realms: dict[str, mit.MitKdc], settings: Krb5Config, service: KerberosName) -> list[CachedTicket]:
    """The tickets on the way to a service, its own last."""
    session = Session(ClientSettings(settings), options())
    answers: dict[type[Effect[Any]], Callable[[Any], Any]] = {KdcRequest: performer().perform_blocking}
    tgt = drive(initial_ticket(session, ALICE, PasswordKeys(Secret("alice_secret"))), answers).ticket
    found = drive(service_ticket(session, tgt, service), answers)
    return [*found.path, found.ticket]


def opened(kdc: mit.MitKdc, ticket: CachedTicket) -> EncTicketPart:
    sealed = Ticket.decode(ticket.ticket).enc_part
    for entry in read_keytab(kdc.default_keytab.read_bytes()):
        if entry.key.etype == sealed.etype:
            return EncTicketPart.decode(entry.key.decrypt(KeyUsage.TICKET, sealed.cipher))
    raise AssertionError("the keytab has no key for the ticket")


def test_the_next_realm_is_asked_for_by_its_name(realms: dict[str, mit.MitKdc]) -> None:
    tickets = fetch(realms, config(realms), KerberosName(B, ("HTTP", "server.b.test"), 3))
    assert [str(ticket.server) for ticket in tickets] == [f"krbtgt/{B}@{A}", f"HTTP/server.b.test@{B}"]
    part = opened(realms[B], tickets[-1])
    assert KerberosName.of(part.cname, part.crealm) == ALICE


def test_capaths_lead_through_a_realm_between(realms: dict[str, mit.MitKdc]) -> None:
    settings = config(realms, capaths={A: {C: (B,)}})
    tickets = fetch(realms, settings, KerberosName(C, ("HTTP", "server.c.test"), 3))
    assert [str(ticket.server) for ticket in tickets] == [
        f"krbtgt/{B}@{A}",
        f"krbtgt/{C}@{B}",
        f"HTTP/server.c.test@{C}",
    ]
    assert not tickets[-1].flags & TicketFlags.TRANSITED_POLICY_CHECKED
    assert opened(realms[C], tickets[-1]).transited.contents == B.encode()


def test_without_capaths_there_is_no_way_that_nobody_named(realms: dict[str, mit.MitKdc]) -> None:
    with pytest.raises(KdcTargetUnknown):
        fetch(realms, config(realms), KerberosName(C, ("HTTP", "server.c.test"), 3))
