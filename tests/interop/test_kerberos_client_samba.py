"""Our client against a domain controller of Samba, whose KDC does what Active Directory's does with names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from securestream.credentials import Password
from securestream.errors import NotAuthorized
from securestream.provider import Effect
from securestream.redaction import Secret
from securestream_providers.kerberos.client import (
    ClientSettings,
    InitialTicket,
    PasswordKeys,
    Session,
    change_password,
    client_name,
    initial_ticket,
    renew,
    s4u2proxy,
    s4u2self,
    service_ticket,
    user_to_user,
)
from securestream_providers.kerberos.effects import KdcRequest
from securestream_providers.kerberos.network import performer
from securestream_providers.krb5.kdc_error import KdcLogonDenied, KdcTargetUnknown
from securestream_providers.krb5.names import KerberosName
from tests.interop.peers.samba_ad import LDAP, REALM, USERS, WEB, SambaDomain
from tests.providers.kerberos.driving import drive, options


@pytest.fixture(scope="module")
def domain(samba_domain: SambaDomain) -> SambaDomain:
    """The domain of the run."""
    return samba_domain


class Client:
    """Runs sub-handshakes against the domain."""

    def __init__(self, domain: SambaDomain, **settings: Any) -> None:
        self.domain = domain
        self.session = Session(ClientSettings(domain.config, **settings), options())
        self.answers: dict[type[Effect[Any]], Callable[[Any], Any]] = {KdcRequest: performer().perform_blocking}

    def run(self, part: Any) -> Any:
        """The result of a sub-handshake."""
        return self.domain.run(drive, part, self.answers)

    def log_on(self, name: str, password: str | None = None) -> InitialTicket:
        """A first ticket, for a name as a user writes it."""
        secret = USERS[name] if password is None else password
        principal = client_name(Password(name, secret), self.session.settings)
        made: InitialTicket = self.run(initial_ticket(self.session, principal, PasswordKeys(Secret(secret))))
        return made


def name(text: str) -> KerberosName:
    return KerberosName.parse(text, REALM)


@pytest.mark.parametrize("etype", [17, 18])
def test_a_user_logs_on_and_gets_a_service_ticket(domain: SambaDomain, etype: int) -> None:
    client = Client(domain, etypes=(etype,))
    made = client.log_on("alice")
    assert made.ticket.key.etype == etype
    found = client.run(service_ticket(client.session, made.ticket, name(WEB)))
    assert found.ticket.server == name(WEB)


def test_rc4_logs_on_where_it_is_allowed(domain: SambaDomain) -> None:
    assert Client(domain, etypes=(23,)).log_on("alice").ticket.key.etype == 23


@pytest.mark.parametrize("typed", ["alice@AD.TEST", "alice@ad.test"])
def test_an_enterprise_name_is_replaced_by_the_accounts_own(domain: SambaDomain, typed: str) -> None:
    made = Client(domain, enterprise=True).log_on(typed, USERS["alice"])
    assert made.ticket.client == name("alice")


@pytest.mark.parametrize("typed", ["ad.test\\alice", "alice@ad.test"])
def test_names_in_windows_notation_are_found(domain: SambaDomain, typed: str) -> None:
    client = Client(domain, canonicalize=True)
    config = domain.config
    realms = {**config.realms, "ad.test": config.realms[REALM]}
    settings = replace(client.session.settings, config=replace(config, realms=realms))
    client.session = Session(settings, options())
    assert client.log_on(typed, USERS["alice"]).ticket.client == name("alice")


def test_another_case_of_the_name_is_accepted_with_canonicalisation(domain: SambaDomain) -> None:
    assert Client(domain, canonicalize=True).log_on("ALICE", USERS["alice"]).ticket.client == name("alice")


def test_fast(domain: SambaDomain) -> None:
    armor = Client(domain).log_on("carol").ticket
    client = Client(domain, armor=armor)
    made = client.log_on("alice")
    assert client.run(service_ticket(client.session, made.ticket, name(WEB))).ticket.client == name("alice")
    with pytest.raises(KdcLogonDenied):
        client.log_on("alice", "wrong")


def test_refusals_are_told(domain: SambaDomain) -> None:
    client = Client(domain)
    with pytest.raises(KdcLogonDenied, match="alice"):
        client.log_on("alice", "wrong")
    with pytest.raises(KdcLogonDenied, match="nobody"):
        client.log_on("nobody", "secret")
    tgt = client.log_on("alice").ticket
    with pytest.raises(KdcTargetUnknown, match="nothing"):
        client.run(service_ticket(client.session, tgt, name("HTTP/nothing.ad.test")))


@pytest.mark.parametrize("in_fast", [True, False])
def test_a_service_delegates_a_user_it_vouches_for(domain: SambaDomain, in_fast: bool) -> None:
    client = Client(domain)
    tgt = client.log_on("websvc").ticket
    if not in_fast:
        client.session.fast_realms.clear()
    evidence = client.run(s4u2self(client.session, tgt, name("alice")))
    assert evidence.client == name("alice")
    found = client.run(s4u2proxy(client.session, tgt, evidence, name(LDAP)))
    assert (found.client, found.server) == (name("alice"), name(LDAP))
    with pytest.raises((NotAuthorized, KdcTargetUnknown)):
        client.run(s4u2proxy(client.session, tgt, evidence, name(WEB)))


def test_a_service_is_a_peer_by_its_ticket(domain: SambaDomain) -> None:
    client = Client(domain)
    peer = client.log_on("websvc").ticket
    found = client.run(user_to_user(client.session, client.log_on("alice").ticket, name(WEB), peer.ticket))
    assert found.ticket.is_session_key


def test_a_password_is_changed(domain: SambaDomain) -> None:
    client = Client(domain)
    keys = PasswordKeys(Secret(USERS["carol"]))
    with pytest.raises(NotAuthorized, match="password"):
        client.run(change_password(client.session, name("carol"), keys, Secret("a")))
    assert client.log_on("carol").ticket.client == name("carol")


def test_a_ticket_is_renewed(domain: SambaDomain) -> None:
    client = Client(domain, renew_lifetime=timedelta(days=1))
    tgt = client.log_on("alice").ticket
    assert client.run(renew(client.session, tgt)).ticket != tgt.ticket
