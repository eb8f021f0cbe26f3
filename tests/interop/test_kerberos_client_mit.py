"""Our client against a KDC and a password server of MIT krb5."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from securestream.credentials import CredentialCache, Keytab, Password
from securestream.errors import LogonDenied, NotAuthorized
from securestream.provider import Effect, TargetName
from securestream.redaction import Secret
from securestream_providers.kerberos.client import (
    ClientSettings,
    InitialTicket,
    KeytabKeys,
    PasswordKeys,
    Session,
    change_password,
    forwarded_tgt,
    initial_ticket,
    obtain,
    password_service,
    renew,
    s4u2proxy,
    s4u2self,
    service_name,
    service_ticket,
    set_password,
    user_to_user,
)
from securestream_providers.kerberos.effects import KdcRequest, LoadKeytab, RecallTickets, RememberTickets
from securestream_providers.kerberos.network import performer
from securestream_providers.kerberos.performers import keytab_performer, tickets_performer
from securestream_providers.krb5.kdc_error import KdcLogonDenied, KdcTimeSkew, PasswordExpired
from securestream_providers.krb5.keys import make_key
from securestream_providers.krb5.keytab import read_keytab
from securestream_providers.krb5.messages import EncTicketPart, Ticket
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import KeyUsage, TicketFlags
from securestream_providers.krb5.tickets import CachedTicket
from tests.interop.peers import mit_kdc as mit
from tests.providers.kerberos.driving import drive, options

PASSWORD = "first secret"
HTTP = TargetName("HTTP/server.mit.test")


@pytest.fixture(scope="module")
def kdc(mit_kdc: mit.MitKdc) -> mit.MitKdc:
    """With principals for every test here."""
    mit_kdc.add_user("alice", PASSWORD.replace(" ", "_"))
    mit_kdc.add_user("bob", "bob_secret")
    mit_kdc.add_service("HTTP/server.mit.test")
    for etype, name in mit.ETYPES.items():
        mit_kdc.add_user(f"user{etype}", "secret_of_it", "-e", f"{name}:normal")
    return mit_kdc


class Client:
    """Runs sub-handshakes against a realm.

    Args:
        kdc: the realm.
        settings: of `ClientSettings`.
    """

    def __init__(self, kdc: mit.MitKdc, *, at: Callable[[], datetime] | None = None, **settings: Any) -> None:
        self.kdc = kdc
        self.settings = ClientSettings(kdc.krb5_config(), **settings)
        self.session = Session(self.settings, options(at))
        network, tickets = performer(), tickets_performer()
        self.requests: list[KdcRequest] = []

        def ask(effect: KdcRequest) -> bytes:
            self.requests.append(effect)
            return network.perform_blocking(effect)

        self.answers: dict[type[Effect[Any]], Callable[[Any], Any]] = {
            KdcRequest: ask,
            RecallTickets: tickets.perform_blocking,
            RememberTickets: tickets.perform_blocking,
            LoadKeytab: keytab_performer().perform_blocking,
        }

    def run(self, part: Any) -> Any:
        """The result of a sub-handshake."""
        return drive(part, self.answers)

    def name(self, text: str) -> KerberosName:
        """A principal of the realm."""
        return KerberosName.parse(text, self.kdc.realm)

    def log_on(self, name: str = "alice", password: str = PASSWORD.replace(" ", "_")) -> InitialTicket:
        """A first ticket."""
        made: InitialTicket = self.run(initial_ticket(self.session, self.name(name), PasswordKeys(Secret(password))))
        return made

    def service(self, tgt: CachedTicket, name: str = "HTTP/server.mit.test") -> CachedTicket:
        """A service's ticket."""
        found: CachedTicket = self.run(
            service_ticket(self.session, tgt, service_name(TargetName(name), self.settings.config))
        ).ticket
        return found

    def opened(self, ticket: CachedTicket) -> EncTicketPart:
        """What the service reads in a ticket."""
        sealed = Ticket.decode(ticket.ticket).enc_part
        for entry in read_keytab(self.kdc.default_keytab.read_bytes()):
            if (entry.principal, entry.key.etype, entry.kvno) == (ticket.server, sealed.etype, sealed.kvno):
                return EncTicketPart.decode(entry.key.decrypt(KeyUsage.TICKET, sealed.cipher))
        raise AssertionError("the keytab has no key for the ticket")


@pytest.mark.parametrize("etype", sorted(mit.ETYPES))
def test_every_encryption_type_logs_on_and_gets_a_service_ticket(kdc: mit.MitKdc, etype: int) -> None:
    client = Client(kdc, etypes=(etype,))
    made = client.log_on(f"user{etype}", "secret_of_it")
    assert made.ticket.key.etype == etype
    ticket = client.service(made.ticket)
    part = client.opened(ticket)
    assert KerberosName.of(part.cname, part.crealm) == client.name(f"user{etype}")
    assert make_key(part.key.keytype, part.key.keyvalue) == ticket.key


def test_a_wrong_password_and_an_unknown_name_are_told_apart_by_their_sentences(kdc: mit.MitKdc) -> None:
    client = Client(kdc)
    with pytest.raises(KdcLogonDenied, match="alice"):
        client.log_on(password="wrong")
    with pytest.raises(KdcLogonDenied, match="nobody"):
        client.log_on("nobody")


def test_a_principal_without_pre_authentication_logs_on(kdc: mit.MitKdc) -> None:
    kdc.add_user("open", "open_secret", "-requires_preauth")
    client = Client(kdc)
    assert client.log_on("open", "open_secret").ticket.client == client.name("open")
    assert len(client.requests) == 1
    with pytest.raises(LogonDenied):
        client.log_on("open", "wrong")


def test_a_keytab_logs_on(kdc: mit.MitKdc) -> None:
    client = Client(kdc)
    entries = read_keytab(kdc.default_keytab.read_bytes())
    name = client.name("HTTP/server.mit.test")
    own = tuple(entry for entry in entries if entry.principal == name)
    made = client.run(initial_ticket(client.session, name, KeytabKeys(own)))
    assert made.ticket.client == name


def test_a_keytab_credential_obtains(kdc: mit.MitKdc) -> None:
    client = Client(kdc)
    found = client.run(obtain(client.settings, Keytab(kdc.default_keytab), HTTP, options()))
    assert found.ticket.server == client.name("HTTP/server.mit.test")


def test_by_tcp(kdc: mit.MitKdc) -> None:
    client = Client(kdc, stream=True)
    assert client.service(client.log_on().ticket).server == client.name("HTTP/server.mit.test")


def test_fast_with_an_armor_ticket(kdc: mit.MitKdc) -> None:
    armor = Client(kdc).log_on("bob", "bob_secret").ticket
    client = Client(kdc, armor=armor)
    made = client.log_on()
    assert made.fast_available
    assert client.opened(client.service(made.ticket)).cname.name_string == ("alice",)
    with pytest.raises(KdcLogonDenied, match="alice"):
        client.log_on(password="wrong")
    assert Client(kdc, armor=armor, armor_policy="offered").log_on().ticket.client == client.name("alice")


def test_a_skew_is_learned(kdc: mit.MitKdc) -> None:
    client = Client(kdc, at=lambda: datetime.now(UTC) - timedelta(hours=3))
    made = client.log_on()
    assert abs(made.kdc_offset - timedelta(hours=3)) < timedelta(minutes=1)
    assert client.service(made.ticket).end_time > datetime.now(UTC)
    late = Client(kdc)
    late.session.offset = timedelta(hours=3)
    assert late.service(made.ticket).client == late.name("alice")
    assert abs(late.session.offset) < timedelta(minutes=1)


def test_an_expired_password_is_said_so_and_can_be_changed(kdc: mit.MitKdc) -> None:
    kdc.add_user("late", "late_secret", "+needchange")
    client = Client(kdc)
    with pytest.raises(PasswordExpired, match="late"):
        client.log_on("late", "late_secret")
    old = PasswordKeys(Secret("late_secret"))
    client.run(change_password(client.session, client.name("late"), old, Secret("new secret of late")))
    assert client.log_on("late", "new secret of late").ticket.client == client.name("late")


def test_a_password_that_policy_forbids_is_refused_with_the_servers_words(kdc: mit.MitKdc) -> None:
    kdc.kadmin("addpol -minlength 12 long")
    kdc.add_user("brief", "brief_secret_0", "-policy", "long")
    client = Client(kdc)
    keys = PasswordKeys(Secret("brief_secret_0"))
    with pytest.raises(NotAuthorized, match="12"):
        client.run(change_password(client.session, client.name("brief"), keys, Secret("short")))


def test_an_administrator_sets_a_password(kdc: mit.MitKdc) -> None:
    kdc.add_user("root/admin", "root_secret")
    kdc.add_user("carol", "carol_secret")
    client = Client(kdc)
    name, keys = client.name("root/admin"), PasswordKeys(Secret("root_secret"))
    made = client.run(initial_ticket(client.session, name, keys, service=password_service(kdc.realm)))
    client.run(set_password(client.session, made.ticket, client.name("carol"), Secret("carols new secret")))
    assert client.log_on("carol", "carols new secret").ticket.client == client.name("carol")
    client.run(set_password(client.session, made.ticket, None, Secret("roots new secret")))
    assert client.log_on("root/admin", "roots new secret").ticket.client == name


def test_tickets_are_renewed(kdc: mit.MitKdc) -> None:
    kdc.kadmin(f"modprinc -maxrenewlife 7d krbtgt/{kdc.realm}", "modprinc -maxrenewlife 7d alice")
    client = Client(kdc, lifetime=timedelta(hours=1), renew_lifetime=timedelta(days=1))
    tgt = client.log_on().ticket
    assert tgt.flags & TicketFlags.RENEWABLE
    renewed = client.run(renew(client.session, tgt))
    assert renewed.ticket != tgt.ticket
    assert renewed.end_time >= tgt.end_time
    assert client.service(renewed).client == client.name("alice")


def test_tickets_are_forwarded(kdc: mit.MitKdc) -> None:
    client = Client(kdc)
    handed = client.run(forwarded_tgt(client.session, client.log_on().ticket))
    assert handed.flags & TicketFlags.FORWARDED
    assert client.service(handed).client == client.name("alice")


def test_user_to_user(kdc: mit.MitKdc) -> None:
    client = Client(kdc)
    peer = client.log_on("bob", "bob_secret").ticket
    found = client.run(user_to_user(client.session, client.log_on().ticket, client.name("bob"), peer.ticket)).ticket
    sealed = Ticket.decode(found.ticket).enc_part
    part = EncTicketPart.decode(peer.key.decrypt(KeyUsage.TICKET, sealed.cipher))
    assert part.cname.name_string == ("alice",)


@pytest.mark.parametrize("in_fast", [True, False])
def test_a_service_gets_a_ticket_in_a_users_name(kdc: mit.MitKdc, in_fast: bool) -> None:
    kdc.kadmin("modprinc +ok_to_auth_as_delegate HTTP/server.mit.test")
    client = Client(kdc)
    name = client.name("HTTP/server.mit.test")
    own = tuple(e for e in read_keytab(kdc.default_keytab.read_bytes()) if e.principal == name)
    tgt = client.run(initial_ticket(client.session, name, KeytabKeys(own))).ticket
    if not in_fast:
        client.session.fast_realms.clear()
    found = client.run(s4u2self(client.session, tgt, client.name("bob")))
    part = client.opened(found)
    assert (part.cname.name_string, found.client) == (("bob",), client.name("bob"))
    # MIT's own database knows no services to delegate to: this refusal is all that it gives
    with pytest.raises(NotAuthorized):
        client.run(s4u2proxy(client.session, tgt, found, client.name("HTTP/server.mit.test")))


def test_a_cache_of_mits_kinit_is_used_and_ours_is_read_by_klist(kdc: mit.MitKdc, tmp_path: Path) -> None:
    cache = tmp_path / "cc"
    kdc.kinit("alice", PASSWORD.replace(" ", "_"), cache=cache)
    client = Client(kdc)
    found = client.run(obtain(client.settings, CredentialCache(f"FILE:{cache}"), HTTP, options()))
    assert client.opened(found.ticket).cname.name_string == ("alice",)
    asked = len(client.requests)
    again = client.run(obtain(client.settings, CredentialCache(f"FILE:{cache}"), HTTP, options()))
    assert again.ticket == found.ticket
    assert len(client.requests) == asked
    assert "HTTP/server.mit.test" in kdc.run("klist", cache=cache).stdout


def test_a_password_obtains_and_asks_no_second_time(kdc: mit.MitKdc) -> None:
    client = Client(kdc)
    credential = Password(f"alice@{kdc.realm}", PASSWORD.replace(" ", "_"))
    client.run(obtain(client.settings, credential, HTTP, options()))
    asked = len(client.requests)
    assert client.run(obtain(client.settings, credential, HTTP, options())).ticket.client == client.name("alice")
    assert len(client.requests) == asked


def test_a_skew_that_stays_is_told_in_seconds(kdc: mit.MitKdc) -> None:
    """The armor's clock cannot be mended by the hint alone when it moves on."""
    moments: Iterator[datetime] = iter(datetime.now(UTC) + timedelta(days=n) for n in range(100))
    client = Client(kdc, at=lambda: next(moments))
    with pytest.raises(KdcTimeSkew, match="seconds"):
        client.log_on()


def test_canonicalisation_is_asked_for(kdc: mit.MitKdc) -> None:
    made = Client(kdc, canonicalize=True).log_on()
    assert made.ticket.client == KerberosName(kdc.realm, ("alice",))
