"""Kerberos in a domain of Active Directory, Samba's: PACs, S4U, kpasswd, LDAP sealed (MS-PAC, MS-SFU, RFC 3244)."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

import securestream as ss
from examples.ldap_whoami import Ldap, LdapError
from securestream.ambient import system_options
from securestream.drive import Services, respond_blocking
from securestream.options import ContextFlags
from securestream.provider import Established, TargetName
from securestream.redaction import Secret
from securestream.sasl import Gssapi
from securestream_providers.kerberos import Kerberos, Tickets
from securestream_providers.kerberos import client as kdc_client
from securestream_providers.kerberos.cli.running import run
from securestream_providers.krb5.kdc_error import KdcRefused
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.pac_principal import LOGON_SERVER
from securestream_providers.krb5.tickets import CachedTicket, TicketCache
from tests.interop.expected_kerberos import DOMAIN
from tests.interop.matrix import Filler
from tests.interop.peers import samba_ad as peers
from tests.interop.peers.places import ROOT
from tests.interop.peers.samba_ad import ADDRESS, GROUP, LDAP, REALM, USERS, WEB, SambaDomain

pytestmark = pytest.mark.interop

ALICE = KerberosName(REALM, ("alice",))
WEBSVC = KerberosName(REALM, ("websvc",))
WEB_NAME = KerberosName(REALM, tuple(WEB.split("/")))
LDAP_NAME = KerberosName(REALM, tuple(LDAP.split("/")))
DOMAIN_USERS = "513"
OWN_LOGON, SERVICE_ASSERTED = "S-1-18-1", "S-1-18-2"
"""Whether the domain saw the user's own logon, or takes a service's word ([MS-DTYP] 2.4.2.4)."""


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of Samba."""
    return require(peers)


@pytest.fixture(scope="module")
def domain(version: str, samba_domain: SambaDomain) -> SambaDomain:
    """The domain of the run."""
    return samba_domain


def session(domain: SambaDomain) -> kdc_client.Session:
    """A use of its KDC."""
    return kdc_client.Session(kdc_client.ClientSettings(domain.config), system_options())


def logged_on(domain: SambaDomain, asking: kdc_client.Session, user: str, password: str | None = None) -> CachedTicket:
    """The ticket-granting ticket of a user."""
    keys = kdc_client.PasswordKeys(Secret(password or USERS[user]))
    part = kdc_client.initial_ticket(asking, KerberosName(REALM, (user,)), keys)
    return domain.run(run, part).ticket


def package(domain: SambaDomain) -> Kerberos:
    """Our package in the domain, whose acceptor demands a PAC."""
    return Kerberos(config=domain.config, pac="required")


def handshake(domain: SambaDomain, credential: ss.Credential) -> Established:
    """Our initiator to our acceptor with the service's keytab, which demands a PAC: what the acceptor sees."""
    flags = ContextFlags.MUTUAL
    initiator = package(domain).initiate(credential, TargetName(WEB), system_options(flags=flags))
    acceptor = package(domain).accept(ss.Keytab(domain.keytab), system_options())
    ours, theirs, services = ss.HandshakeMachine(initiator), ss.HandshakeMachine(acceptor), Services()
    first = domain.run(respond_blocking, ours, None, services)
    answer = respond_blocking(theirs, first.token, services)
    assert domain.run(respond_blocking, ours, answer.token, services).established is not None
    assert answer.established is not None
    return answer.established


def check_alice(peer: ss.Principal) -> None:
    """Whether the PAC says who she is and to which groups she belongs."""
    assert (peer.name, peer.authority) == ("alice", REALM)
    assert peer.sid is not None
    authority = peer.sid.rpartition("-")[0]
    assert authority.startswith("S-1-5-21-")
    own = [group for group in peer.groups if group.startswith(f"{authority}-")]
    assert f"{authority}-{DOMAIN_USERS}" in own
    assert len(own) >= 2, f"{GROUP} is missing from {peer.groups}"
    assert peer.upn == "alice@ad.test"
    assert peer.claimed(LOGON_SERVER) == ("DC1",)


def test_the_pac_of_a_ticket_by_password(domain: SambaDomain, version: str, matrix: Filler) -> None:
    established = handshake(domain, ss.Password(f"alice@{REALM}", USERS["alice"]))
    check_alice(established.peer)
    assert OWN_LOGON in established.peer.groups
    matrix.fill(DOMAIN, peers.NAME, version, "server", "PAC of a service ticket", "verified: SID, groups, UPN")


def test_a_wrong_password_is_refused(domain: SambaDomain, version: str, matrix: Filler) -> None:
    with pytest.raises(ss.LogonDenied):
        handshake(domain, ss.Password(f"alice@{REALM}", "wrong"))
    matrix.fill(DOMAIN, peers.NAME, version, "server", "wrong password", "refused")


def test_protocol_transition_and_constrained_delegation(domain: SambaDomain, version: str, matrix: Filler) -> None:
    asking = session(domain)
    tgt = logged_on(domain, asking, "websvc")
    evidence = domain.run(run, kdc_client.s4u2self(asking, tgt, ALICE, server=WEB_NAME))
    assert evidence.client == ALICE
    seen = handshake(domain, Tickets(TicketCache(ALICE, (evidence,)))).peer
    check_alice(seen)
    assert OWN_LOGON not in seen.groups
    assert SERVICE_ASSERTED in seen.groups
    proxy = domain.run(run, kdc_client.s4u2proxy(asking, tgt, evidence, LDAP_NAME))
    assert proxy.client == ALICE
    assert domain.run(who_am_i, domain, Tickets(TicketCache(ALICE, (proxy,)))) == seen.sid
    matrix.fill(DOMAIN, peers.NAME, version, "server", "S4U2self", "our acceptor saw alice and her PAC")
    matrix.fill(DOMAIN, peers.NAME, version, "server", "S4U2proxy", "LDAP saw alice")


def test_delegation_where_it_is_not_allowed_is_refused(domain: SambaDomain, version: str, matrix: Filler) -> None:
    asking = session(domain)
    tgt = logged_on(domain, asking, "websvc")
    evidence = domain.run(run, kdc_client.s4u2self(asking, tgt, ALICE, server=WEB_NAME))
    with pytest.raises(KdcRefused):
        domain.run(run, kdc_client.s4u2proxy(asking, tgt, evidence, KerberosName(REALM, ("cifs", "dc1.ad.test"))))
    matrix.fill(DOMAIN, peers.NAME, version, "server", "S4U2proxy to another service", "refused")


def test_a_password_is_changed(domain: SambaDomain, version: str, matrix: Filler) -> None:
    asking = session(domain)
    old, carol = kdc_client.PasswordKeys(Secret(USERS["carol"])), KerberosName(REALM, ("carol",))
    domain.run(run, kdc_client.change_password(asking, carol, old, Secret("Another.pw2")))
    logged_on(domain, asking, "carol", "Another.pw2")
    with pytest.raises(KdcRefused):
        logged_on(domain, asking, "carol")
    domain.run(
        run,
        kdc_client.change_password(
            asking, carol, kdc_client.PasswordKeys(Secret("Another.pw2")), Secret(USERS["carol"])
        ),
    )
    with pytest.raises(ss.NotAuthorized):
        domain.run(
            run, kdc_client.change_password(asking, WEBSVC, kdc_client.PasswordKeys(Secret("Web.pw1")), Secret("x"))
        )
    matrix.fill(DOMAIN, peers.NAME, version, "server", "kpasswd", "changed; one that is too short refused")


def who_am_i(domain: SambaDomain, credential: ss.Credential) -> str:
    """What its LDAP server says."""
    with socket.create_connection((ADDRESS, 389), 10) as connection:
        ldap = Ldap(connection)
        ldap.bind(Gssapi(package(domain)), credential, LDAP)
        return ldap.who_am_i()


def test_ldap_is_sealed(domain: SambaDomain, version: str, matrix: Filler) -> None:
    command = [sys.executable, ROOT / "examples" / "ldap_whoami.py", f"alice@{REALM}", "dc1.ad.test"]
    command += ["--address", ADDRESS, "--kdc", ADDRESS]
    environment = {**os.environ, "SECURESTREAM_PASSWORD": USERS["alice"]}
    ask = functools.partial(subprocess.run, env=environment, capture_output=True, text=True, timeout=60, check=False)
    done: subprocess.CompletedProcess[str] = domain.run(lambda: ask(command))
    alice = handshake(domain, ss.Password(f"alice@{REALM}", USERS["alice"])).peer
    assert (done.stdout, done.stderr) == (f"{alice.sid}\n", "")
    matrix.fill(DOMAIN, peers.NAME, version, "server", "LDAP, SASL GSSAPI, sealed", "Who am I? alice")


def test_ldap_refuses_a_ticket_for_another_service(domain: SambaDomain, version: str, matrix: Filler) -> None:
    asking = session(domain)
    tgt = logged_on(domain, asking, "alice")
    ticket = domain.run(run, kdc_client.service_ticket(asking, tgt, WEB_NAME)).ticket

    def bind() -> None:
        with socket.create_connection((ADDRESS, 389), 10) as connection:
            Ldap(connection).bind(Gssapi(package(domain)), Tickets(TicketCache(ALICE, (ticket,))), WEB)

    with pytest.raises((LdapError, ss.PeerRefused)):
        domain.run(bind)
    matrix.fill(DOMAIN, peers.NAME, version, "server", "LDAP, ticket for another service", "refused")
