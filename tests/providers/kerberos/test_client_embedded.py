"""The client against the embedded KDC: UDP, TCP and HTTPS, aliases, trust, delegation, another clock."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from securestream.credentials import Password
from securestream.errors import NoCredentials
from securestream.options import Options
from securestream.provider import Effect, TargetName
from securestream.redaction import Secret
from securestream_providers.kerberos import EmbeddedKdc
from securestream_providers.kerberos.client import (
    ClientSettings,
    InitialTicket,
    KeytabKeys,
    PasswordKeys,
    Session,
    change_password,
    initial_ticket,
    obtain,
    renew,
    s4u2proxy,
    s4u2self,
    service_ticket,
)
from securestream_providers.kerberos.credentials import Tickets
from securestream_providers.kerberos.effects import KdcRequest, RecallTickets, RememberTickets
from securestream_providers.kerberos.network import performer
from securestream_providers.krb5.config import KdcAddress, RealmConfig
from securestream_providers.krb5.kdc_error import KdcLogonDenied, KdcNotAuthorized, KdcRefused
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import NameType, TicketFlags
from securestream_providers.krb5.tickets import TicketCache
from tests.certificates import authority
from tests.providers.kerberos.driving import drive, options

T = TypeVar("T")

PASSWORD = "correct horse"
KEYS = PasswordKeys(Secret(PASSWORD))
WEB = "HTTP/web.example.com"


def realm(**settings: Any) -> EmbeddedKdc:
    kdc = EmbeddedKdc("EXAMPLE.COM", **settings)
    kdc.add_principal("alice", PASSWORD)
    kdc.add_service(WEB)
    return kdc


async def drive_async(part: Any, answers: dict[type[Effect[Any]], Callable[[Any], Any]]) -> Any:
    """`driving.drive` with performers that are awaited."""
    from securestream.drive import Services, respond
    from securestream.machine import HandshakeMachine
    from securestream.principal import unauthenticated
    from securestream.provider import Established, Handshake

    results: list[Any] = []

    def whole() -> Handshake:
        results.append((yield from part))
        nothing: Any = None
        return Established(nothing, unauthenticated("Kerberos"))

    services = Services()
    for effect, answer in answers.items():
        services.register(effect, answer)
    await respond(HandshakeMachine(whole()), None, services)
    return results[0]


class Client:
    """Runs sub-handshakes against KDCs without sockets."""

    def __init__(self, *kdcs: EmbeddedKdc, at: Callable[[], datetime] | None = None, **settings: Any) -> None:
        config = replace(kdcs[0].config, **settings.pop("config", {}))
        self.settings = ClientSettings(config, **settings)
        self.options: Options = options(at)
        self.session = Session(self.settings, self.options)
        self.kdcs = {kdc.realm: kdc for kdc in kdcs}
        self.asked: list[KdcRequest] = []
        self.kept: list[RememberTickets] = []

    def run(self, part: Any) -> Any:
        """The result of a sub-handshake."""
        answers: dict[type[Effect[Any]], Callable[[Any], Any]] = {
            KdcRequest: self._ask,
            RecallTickets: lambda _: None,
            RememberTickets: self.kept.append,
        }
        return drive(part, answers)

    def _ask(self, effect: KdcRequest) -> bytes:
        self.asked.append(effect)
        kdc = self.kdcs[effect.realm]
        now = kdc.clock()
        if effect.service.value == "kpasswd":
            reply = kdc.passwords.handle(effect.message, now=now, source="127.0.0.1", local="127.0.0.1")
        else:
            reply = kdc.kdc.handle(effect.message, now=now, source="127.0.0.1", stream=True)
        assert reply is not None
        return reply

    def log_on(self, name: KerberosName | str = "alice", keys: Any = KEYS) -> InitialTicket:
        """A first ticket."""
        principal = name if isinstance(name, KerberosName) else KerberosName.parse(name, "EXAMPLE.COM")
        made: InitialTicket = self.run(initial_ticket(self.session, principal, keys))
        return made


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_over_the_network(stream: bool) -> None:
    async with realm() as kdc:
        session = Session(ClientSettings(kdc.config, stream=stream), options())
        answers: dict[type[Effect[Any]], Callable[[Any], Any]] = {KdcRequest: performer().perform}
        made = await drive_async(initial_ticket(session, kdc.name("alice"), KEYS), answers)
        found = await drive_async(service_ticket(session, made.ticket, kdc.name(WEB)), answers)
        assert found.ticket.server == kdc.name(WEB)
        await drive_async(change_password(session, kdc.name("alice"), KEYS, Secret("another horse")), answers)
        with pytest.raises(KdcLogonDenied):
            await drive_async(initial_ticket(session, kdc.name("alice"), KEYS), answers)


@pytest.mark.anyio
async def test_through_a_proxy(tmp_path: Path) -> None:
    root = authority()
    root.write(tmp_path, "ca")
    certificate, key = root.leaf(["127.0.0.1"]).write(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with realm(https=context) as kdc:
        proxy = KdcAddress("127.0.0.1", kdc.server.https_port, "https")
        configured = RealmConfig((proxy,), http_anchors=(str(tmp_path / "ca.pem"),))
        session = Session(ClientSettings(replace(kdc.config, realms={"EXAMPLE.COM": configured})), options())
        answers: dict[type[Effect[Any]], Callable[[Any], Any]] = {KdcRequest: performer().perform}
        made = await drive_async(initial_ticket(session, kdc.name("alice"), KEYS), answers)
        assert made.ticket.client == kdc.name("alice")


def test_an_enterprise_name_becomes_the_accounts_own() -> None:
    kdc = realm()
    kdc.change("alice", aliases=("alice@corp.example",))
    client = Client(kdc, enterprise=True)
    name = KerberosName("EXAMPLE.COM", ("alice@corp.example",), NameType.ENTERPRISE)
    assert client.log_on(name).ticket.client == kdc.name("alice")
    with pytest.raises(KdcLogonDenied):
        Client(kdc).log_on("bob")


def test_fast_and_its_wrong_password() -> None:
    kdc = realm()
    client = Client(kdc, armor=Client(kdc).log_on().ticket)
    made = client.log_on()
    assert made.fast_available
    assert client.run(service_ticket(client.session, made.ticket, kdc.name(WEB))).ticket.client == kdc.name("alice")
    with pytest.raises(KdcLogonDenied):
        client.log_on(keys=PasswordKeys(Secret("wrong")))


def test_a_kdc_with_another_clock_teaches_its_time() -> None:
    there = datetime.now(UTC) + timedelta(hours=5)
    kdc = realm(clock=lambda: there)
    client = Client(kdc)
    made = client.log_on()
    assert abs(made.kdc_offset - timedelta(hours=5)) < timedelta(minutes=1)
    assert client.run(service_ticket(client.session, made.ticket, kdc.name(WEB))).ticket.end_time > there


def test_a_realm_that_trusts_another() -> None:
    home, other = realm(), EmbeddedKdc("OTHER.COM")
    other.add_service("HTTP/web.other.com")
    home.trust("OTHER.COM", "shared by both")
    other.trust("EXAMPLE.COM", "shared by both")
    client = Client(home, other)
    tgt = client.log_on().ticket
    target = KerberosName("OTHER.COM", ("HTTP", "web.other.com"), NameType.SRV_HST)
    found = client.run(service_ticket(client.session, tgt, target))
    assert found.ticket.server == target
    assert [str(ticket.server) for ticket in found.path] == ["krbtgt/OTHER.COM@EXAMPLE.COM"]
    again = client.run(service_ticket(client.session, tgt, target, known=found.path))
    assert again.path[0] is found.path[0]
    assert [effect.realm for effect in client.asked[-1:]] == ["OTHER.COM"]


def test_renewal() -> None:
    moment = [datetime.now(UTC)]
    kdc = realm(clock=lambda: moment[0])
    client = Client(kdc, at=lambda: moment[0], lifetime=timedelta(hours=1), renew_lifetime=timedelta(hours=5))
    tgt = client.log_on().ticket
    moment[0] += timedelta(minutes=50)
    later = client.run(renew(client.session, tgt))
    assert later.end_time > tgt.end_time
    moment[0] += timedelta(hours=6)
    with pytest.raises(KdcRefused):
        client.run(renew(client.session, later))


def test_a_service_delegates_as_its_list_allows() -> None:
    kdc = realm()
    kdc.add_service("ldap/dc.example.com")
    kdc.add_service("cifs/files.example.com")
    kdc.change(WEB, trusted_to_auth=True, delegate_to=("ldap/dc.example.com",))
    client = Client(kdc, forwardable=True)
    tgt = client.log_on(kdc.name(WEB), KeytabKeys(kdc.entries(WEB))).ticket
    evidence = client.run(s4u2self(client.session, tgt, kdc.name("alice")))
    assert evidence.client == kdc.name("alice")
    found = client.run(s4u2proxy(client.session, tgt, evidence, kdc.name("ldap/dc.example.com")))
    assert (found.client, found.server) == (kdc.name("alice"), kdc.name("ldap/dc.example.com"))
    with pytest.raises(KdcNotAuthorized):
        client.run(s4u2proxy(client.session, tgt, evidence, kdc.name("cifs/files.example.com")))


def test_tickets_at_hand_fetch_others_and_cannot_log_on() -> None:
    kdc = realm()
    client = Client(kdc)
    tgt = client.log_on().ticket
    held = Tickets(TicketCache(tgt.client, (tgt,)))
    found = client.run(obtain(client.settings, held, TargetName(f"{WEB}@EXAMPLE.COM"), client.options))
    assert found.ticket.server == kdc.name(WEB)
    late = Client(kdc, at=lambda: tgt.end_time + timedelta(minutes=1))
    with pytest.raises(NoCredentials, match="expired"):
        late.run(obtain(late.settings, held, TargetName(f"{WEB}@EXAMPLE.COM"), late.options))


def test_a_ticket_about_to_end_is_fetched_again_with_a_password_and_renewed_without() -> None:
    moment = [datetime.now(UTC)]
    kdc = realm(clock=lambda: moment[0])
    client = Client(kdc, at=lambda: moment[0], lifetime=timedelta(hours=1), renew_lifetime=timedelta(hours=5))
    tgt = client.log_on().ticket
    assert tgt.flags & TicketFlags.RENEWABLE
    moment[0] += timedelta(minutes=57)
    held = Tickets(TicketCache(tgt.client, (tgt,)))
    found = client.run(obtain(client.settings, held, TargetName(f"{WEB}@EXAMPLE.COM"), client.options))
    assert found.tgt is not None
    assert found.tgt.end_time > tgt.end_time
    credential = Password("alice@EXAMPLE.COM", PASSWORD)
    anew = client.run(obtain(client.settings, credential, TargetName(f"{WEB}@EXAMPLE.COM"), client.options))
    assert anew.tgt is not None
    assert anew.tgt.flags & TicketFlags.INITIAL
