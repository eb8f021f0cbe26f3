"""Negotiate with Samba: LDAP sealed by GSS-SPNEGO, GENSEC in both roles, winbind's ntlm_auth (RFC 4178, MS-SPNG)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol

import pytest

import securestream as ss
from examples.ldap_whoami import GSS_SPNEGO, Ldap, LdapError
from securestream.ambient import system_options
from securestream.drive import Services, respond_blocking
from securestream.options import ContextFlags, Options, Role
from securestream.principal import NameType
from securestream.provider import Capability, Exchange, Handshake, PackageInfo, TargetName, Unusable
from securestream.redaction import Secret
from securestream.sasl import Gssapi, GssSpnego
from securestream_providers.kerberos import Kerberos
from securestream_providers.kerberos import client as kdc_client
from securestream_providers.kerberos.cli.running import run
from securestream_providers.krb5.ccache import write_ccache
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.tickets import TicketCache
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import NegTokenInit, frame, unframe
from securestream_providers.ntlm import Ntlm
from tests.interop.expected_negotiate_samba import LEVELS, MECHANISMS, TABLE
from tests.interop.matrix import Filler
from tests.interop.peers import gensec as gensec_peers
from tests.interop.peers import samba_ad as peers
from tests.interop.peers import winbind
from tests.interop.peers.foreign import Refused
from tests.interop.peers.gensec import SEALED, Feature, GensecPeer
from tests.interop.peers.places import ROOT
from tests.interop.peers.samba_ad import ADDRESS, LDAP, NETBIOS, REALM, USERS, WEB, SambaDomain
from tests.interop.peers.winbind import HelperPeer

pytestmark = pytest.mark.interop

SERVER, GENSEC, HELPER = peers.NAME, gensec_peers.NAME, winbind.NAME
WINDOWS_NAME = f"{NETBIOS}\\alice"
NAMES = (WINDOWS_NAME, f"{REALM}\\alice", f"alice@{REALM}")
SIZES = (0, 1, 17, 1000, 60000)
ANONYMOUS_SID = "S-1-5-7"
PROTECTION = {"sign": ss.Protection.SIGN, "encrypt and sign": ss.Protection.ENCRYPT_AND_SIGN}
FEATURES: dict[str, tuple[Feature, ...]] = {"sign": ("sign",), "encrypt and sign": SEALED}
OID = {"Kerberos": "1.2.840.113554.1.2.2", "NTLM": "1.3.6.1.4.1.311.2.2.10"}


class Unheard:
    """A mechanism that only our end has heard of."""

    info = PackageInfo("Unheard", "Shared by nobody", Capability.INTEGRITY, 100, oids=("1.3.6.1.4.1.99999.1",))

    def usable(self, credential: ss.Credential | None, role: Role) -> Unusable | None:
        """It always seems to be."""
        return None

    def initiate(self, credential: ss.Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """Begins, and gets no answer."""
        yield from Exchange(b"is anybody there?")
        raise AssertionError("somebody is")

    def accept(self, credential: ss.Credential | None, options: Options) -> Handshake:
        """Waits for a token that never comes."""
        yield from Exchange()
        raise AssertionError("somebody came")


class Stepped(Protocol):
    """What a handshake needs of a peer."""

    complete: bool

    def step(self, token: bytes | None) -> bytes | None:
        """Take a token, give the next."""
        ...


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of Samba."""
    return require(peers)


@pytest.fixture(scope="module")
def domain(version: str, samba_domain: SambaDomain) -> SambaDomain:
    """The domain of the run."""
    return samba_domain


@pytest.fixture(scope="module")
def gensec(domain: SambaDomain) -> Iterator[GensecPeer]:
    """A peer whose acceptor is the domain controller."""
    with GensecPeer(domain) as peer:
        yield peer


@pytest.fixture(scope="module")
def sid(domain: SambaDomain) -> str:
    """Alice's security identifier, by Kerberos without a negotiation."""
    with domain.run(socket.create_connection, (ADDRESS, 389), 10) as connection:
        ldap = Ldap(connection)
        domain.run(ldap.bind, Gssapi(Kerberos(config=domain.config)), password(), LDAP)
        return ldap.who_am_i()


def password(secret: str = USERS["alice"], *, mechanism: str = "Kerberos") -> ss.Password:
    """Alice's credential, in the form that leads to a mechanism."""
    return ss.Password(f"alice@{REALM}" if mechanism == "Kerberos" else WINDOWS_NAME, secret)


def negotiate(domain: SambaDomain, mechanism: str) -> Negotiate:
    """Our package as an initiator that comes to use `mechanism`."""
    return Negotiate(Kerberos(config=domain.config), Ntlm()) if mechanism == "Kerberos" else Negotiate(Ntlm())


def initiator(
    domain: SambaDomain, package: ss.SecurityPackage, credential: ss.Credential, level: str = "encrypt and sign"
) -> ss.HandshakeMachine:
    """Our end to the domain controller's."""
    options = system_options(protection=PROTECTION[level])
    return ss.HandshakeMachine(package.initiate(credential, TargetName(LDAP), options))


def acceptor(
    domain: SambaDomain,
    *,
    secret: str = USERS["alice"],
    level: str = "encrypt and sign",
    flags: ContextFlags = ContextFlags.NONE,
    first: tuple[ss.SecurityPackage, ...] | None = None,
    ntlm: Ntlm | None = None,
    server_first: bool = False,
) -> ss.HandshakeMachine:
    """Our end, which knows the keys of `WEB` and alice's password.

    Args:
        domain: where the keys are from.
        secret: what it takes for the password.
        level: the protection.
        flags: what is asked beside it.
        first: what stands before NTLM, by default Kerberos.
        ntlm: NTLM, if not as it is by default.
        server_first: it sends its list before it is asked.
    """
    before = (Kerberos(config=domain.config),) if first is None else first
    known = ss.Credentials(ss.Keytab(domain.keytab), ss.Accounts.memory(**dict.fromkeys(NAMES, secret)))
    options = system_options(protection=PROTECTION[level], flags=flags)
    package = Negotiate(*before, ntlm or Ntlm(), server_first=server_first)
    return ss.HandshakeMachine(package.accept(known, options))


def complete(
    domain: SambaDomain,
    ours: ss.HandshakeMachine,
    theirs: Stepped,
    *,
    alter: Callable[[bytes], bytes] | None = None,
) -> ss.Established:
    """Run a handshake, `alter` being done to the first token on its way; what our end established."""
    services = Services()
    token = domain.run(respond_blocking, ours, None, services).token
    ours_next = token is None
    established: ss.Established | None = None
    while True:
        if not ours_next:
            assert token is not None
            token = theirs.step(alter(token) if alter else token)
            alter = None
        elif established is None:
            if token is None:
                token = theirs.step(None)
                assert token is not None
            step = domain.run(respond_blocking, ours, alter(token) if alter else token, services)
            alter = None
            established, token = step.established, step.token
        if token is None:
            break
        ours_next = not ours_next
    assert established is not None
    assert theirs.complete
    return established


def context_of(established: ss.Established) -> ss.SecurityContext:
    """The security context, which every mechanism here ends with."""
    assert isinstance(established.result, ss.SecurityContext)
    return established.result


def chosen(established: ss.Established) -> tuple[str, bool]:
    """The chosen mechanism, and whether the list of them is proved."""
    assert established.negotiation is not None
    assert established.negotiation.chosen is not None
    return established.negotiation.chosen.mechanism, established.negotiation.protected


def check_protection(context: ss.SecurityContext, gensec: GensecPeer, level: str) -> str:
    """Send data of several sizes each way."""
    assert context.session_key == gensec.session_key()
    seals = level == "encrypt and sign"
    assert ("seal" in gensec.features()) is seals
    for size in SIZES:
        data = bytes(index % 251 for index in range(size))
        sealed = context.wrap(data, encrypt=seals)
        assert size < 16 or (data in sealed) is not seals
        assert gensec.unwrap(sealed) == data
        assert context.unwrap(gensec.wrap(data)) == (data, seals)
    return f"{'sealed' if seals else 'signed'} each way, {max(SIZES)} octets"


# --- LDAP -------------------------------------------------------------------------------------------------------------


def who_am_i(package: ss.SecurityPackage, credential: ss.Credential, target: str = LDAP) -> tuple[str, ss.Established]:
    """Whom the domain's LDAP server sees, everything after the logon sealed."""
    with socket.create_connection((ADDRESS, 389), 10) as connection:
        ldap = Ldap(connection)
        established = ldap.bind(GssSpnego(package), credential, target)
        return ldap.who_am_i(), established


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_ldap_is_sealed(domain: SambaDomain, version: str, mechanism: str, sid: str, matrix: Filler) -> None:
    package = negotiate(domain, mechanism)
    seen, established = domain.run(who_am_i, package, password(mechanism=mechanism))
    assert seen == sid
    assert chosen(established) == (mechanism, mechanism == "NTLM")
    assert established.peer.name == (LDAP if mechanism == "Kerberos" else "")
    matrix.fill(TABLE, SERVER, version, "server", f"LDAP sealed, {mechanism}", "Who am I? alice")


def test_the_example_asks_by_gss_spnego(domain: SambaDomain, sid: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / "ldap_whoami.py"), f"alice@{REALM}", "dc1.ad.test"]
    command += ["--mechanism", GSS_SPNEGO, "--address", ADDRESS, "--kdc", ADDRESS]
    environment = {**os.environ, "SECURESTREAM_PASSWORD": USERS["alice"]}

    def ask() -> tuple[str, str]:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout, done.stderr

    assert domain.run(ask) == (f"{sid}\n", "")


def test_ldap_by_fallback_says_why(domain: SambaDomain, version: str, sid: str, matrix: Filler) -> None:
    package = Negotiate(Kerberos(config=domain.config), Ntlm(), ntlm="always")
    target = "ldap/nobody.ad.test"
    seen, established = domain.run(who_am_i, package, password(), target)
    assert seen == sid
    assert chosen(established) == ("NTLM", True)
    assert target in str(established.negotiation)
    matrix.fill(TABLE, SERVER, version, "server", "LDAP sealed, NTLM by fallback", "unknown SPN, named in the report")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_ldap_refuses_a_wrong_password(domain: SambaDomain, version: str, mechanism: str, matrix: Filler) -> None:
    with pytest.raises((ss.LogonDenied, LdapError)) as refused:
        domain.run(who_am_i, negotiate(domain, mechanism), password("wrong", mechanism=mechanism))
    if mechanism == "NTLM":
        assert "failed with 49" in str(refused.value)  # invalidCredentials (RFC 4511 4.1.9)
    matrix.fill(TABLE, SERVER, version, "server", f"LDAP, wrong password, {mechanism}", "refused")


def test_ldap_as_nobody_is_refused_here_since_nothing_would_be_sealed(
    domain: SambaDomain, version: str, matrix: Filler
) -> None:
    with pytest.raises(ss.QualityNotMet, match="CONFIDENTIALITY"):
        domain.run(who_am_i, Negotiate(Ntlm()), ss.Anonymous())
    matrix.fill(TABLE, SERVER, version, "server", "LDAP, anonymous", "refused here: nobody's key seals nothing")


# --- GENSEC -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_gensec_accepts(
    domain: SambaDomain, gensec: GensecPeer, version: str, mechanism: str, level: str, sid: str, matrix: Filler
) -> None:
    gensec.accept(features=FEATURES[level])
    ours = initiator(domain, negotiate(domain, mechanism), password(mechanism=mechanism), level)
    established = complete(domain, ours, gensec)
    assert chosen(established) == (mechanism, mechanism == "NTLM")
    assert gensec.peer() == sid
    seen = check_protection(context_of(established), gensec, level)
    matrix.fill(TABLE, GENSEC, version, "acceptor", f"{mechanism}, {level}", seen)


def begin(gensec: GensecPeer, mechanism: str, level: str = "encrypt and sign", secret: str = USERS["alice"]) -> None:
    """Begin at GENSEC's initiator, as alice."""
    uses: Literal["MUST_USE_KERBEROS", "DONT_USE_KERBEROS"]
    uses = "MUST_USE_KERBEROS" if mechanism == "Kerberos" else "DONT_USE_KERBEROS"
    gensec.initiate("alice", secret, WEB, domain=NETBIOS, kerberos=uses, features=FEATURES[level])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_gensec_initiates(
    domain: SambaDomain, gensec: GensecPeer, version: str, mechanism: str, level: str, sid: str, matrix: Filler
) -> None:
    begin(gensec, mechanism, level)
    established = complete(domain, acceptor(domain, level=level), gensec)
    assert chosen(established) == (mechanism, mechanism == "NTLM")
    peer = established.peer
    assert (peer.name, peer.authority) == ("alice", REALM if mechanism == "Kerberos" else NETBIOS)
    assert peer.sid == (sid if mechanism == "Kerberos" else None)
    seen = check_protection(context_of(established), gensec, level)
    matrix.fill(TABLE, GENSEC, version, "initiator", f"{mechanism}, {level}", seen)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_gensec_refuses_a_wrong_password(
    domain: SambaDomain, gensec: GensecPeer, version: str, mechanism: str, matrix: Filler
) -> None:
    gensec.accept()
    with pytest.raises((ss.LogonDenied, Refused)):
        complete(
            domain, initiator(domain, negotiate(domain, mechanism), password("wrong", mechanism=mechanism)), gensec
        )
    seen = "refused by the KDC" if mechanism == "Kerberos" else "refused"
    matrix.fill(TABLE, GENSEC, version, "acceptor", f"wrong password, {mechanism}", seen)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_of_gensec_is_refused(
    domain: SambaDomain, gensec: GensecPeer, version: str, mechanism: str, matrix: Filler
) -> None:
    begin(gensec, mechanism, secret="wrong")
    with pytest.raises(Refused if mechanism == "Kerberos" else ss.LogonDenied):
        complete(domain, acceptor(domain), gensec)
    seen = "refused by the KDC" if mechanism == "Kerberos" else "refused"
    matrix.fill(TABLE, GENSEC, version, "initiator", f"wrong password, {mechanism}", seen)


def test_gensec_accepts_our_second_choice_with_mics(
    domain: SambaDomain, gensec: GensecPeer, version: str, sid: str, matrix: Filler
) -> None:
    gensec.accept()
    established = complete(domain, initiator(domain, Negotiate(Unheard(), Ntlm()), password(mechanism="NTLM")), gensec)
    assert chosen(established) == ("NTLM", True)
    assert gensec.peer() == sid
    check_protection(context_of(established), gensec, "encrypt and sign")
    matrix.fill(TABLE, GENSEC, version, "acceptor", "first choice missing, NTLM with MICs", "MICs verified both ways")


def test_we_accept_gensecs_second_choice_with_mics(
    domain: SambaDomain, gensec: GensecPeer, version: str, matrix: Filler
) -> None:
    gensec.initiate("alice", USERS["alice"], WEB, domain=NETBIOS)  # it begins by Kerberos under Microsoft's name
    established = complete(domain, acceptor(domain, first=(Unheard(),)), gensec)
    assert established.negotiation is not None
    assert established.negotiation.offered[-2:] == (OID["Kerberos"], OID["NTLM"])
    assert chosen(established) == ("NTLM", True)
    check_protection(context_of(established), gensec, "encrypt and sign")
    matrix.fill(TABLE, GENSEC, version, "initiator", "first choice missing, NTLM with MICs", "MICs verified both ways")


def only(oid: str) -> Callable[[bytes], bytes]:
    """What an attacker does who takes every mechanism but one off an initiator's list."""

    def alter(token: bytes) -> bytes:
        message = unframe(token)
        assert isinstance(message, NegTokenInit)
        kept = replace(message.mech_types, mech_types=(oid,))
        return frame(NegTokenInit(kept))

    return alter


def test_gensec_refuses_a_list_that_was_altered(
    domain: SambaDomain, gensec: GensecPeer, version: str, matrix: Filler
) -> None:
    gensec.accept()
    package = Negotiate(Kerberos(config=domain.config), Ntlm(), ntlm="always")
    with pytest.raises(Refused, match="Access Denied"):
        complete(domain, initiator(domain, package, password()), gensec, alter=only(OID["NTLM"]))
    matrix.fill(TABLE, GENSEC, version, "acceptor", "altered list of mechanisms", "refused")


def test_a_list_of_gensecs_that_was_altered_is_refused(
    domain: SambaDomain, gensec: GensecPeer, version: str, matrix: Filler
) -> None:
    gensec.initiate("alice", USERS["alice"], WEB, domain=NETBIOS)
    with pytest.raises(ss.Downgrade, match="altered the list"):
        complete(domain, acceptor(domain), gensec, alter=only(OID["NTLM"]))
    matrix.fill(TABLE, GENSEC, version, "initiator", "altered list of mechanisms", "refused")


def test_gensec_accepts_nobody(domain: SambaDomain, gensec: GensecPeer, version: str, matrix: Filler) -> None:
    gensec.accept()
    established = complete(domain, initiator(domain, Negotiate(Ntlm()), ss.Anonymous()), gensec)
    assert gensec.peer() == ANONYMOUS_SID
    check_protection(context_of(established), gensec, "encrypt and sign")
    matrix.fill(TABLE, GENSEC, version, "acceptor", "anonymous NTLM", "nobody, sealed by a key that anybody knows")


def test_gensec_is_nobody(domain: SambaDomain, gensec: GensecPeer, version: str, matrix: Filler) -> None:
    gensec.initiate(None, "", WEB, kerberos="DONT_USE_KERBEROS")
    with pytest.raises(ss.LogonDenied):
        complete(domain, acceptor(domain, ntlm=Ntlm(extended_security="optional")), gensec)
    gensec.initiate(None, "", WEB, kerberos="DONT_USE_KERBEROS")
    # Samba 4.17 goes without extended session security where it has no password
    ours = acceptor(domain, ntlm=Ntlm(allow_anonymous=True, extended_security="optional"))
    established = complete(domain, ours, gensec)
    assert established.peer.name_type is NameType.ANONYMOUS
    context = context_of(established)
    for number in range(3):  # one way: it numbers the messages of both ways together, which others do not
        data = bytes(number * 100)
        assert context.unwrap(gensec.wrap(data)) == (data, True)
    matrix.fill(TABLE, GENSEC, version, "initiator", "anonymous NTLM", "refused; nobody where that is allowed")


@pytest.mark.parametrize("role", ["acceptor", "initiator"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_server_speaks_first(
    domain: SambaDomain, gensec: GensecPeer, version: str, role: str, mechanism: str, matrix: Filler
) -> None:
    if role == "acceptor":
        gensec.accept()
        package = negotiate(domain, mechanism)
        package = Negotiate(*package.mechanisms, server_first=True)
        ours = initiator(domain, package, password(mechanism=mechanism))
    else:
        begin(gensec, mechanism)
        ours = acceptor(domain, server_first=True)
    established = complete(domain, ours, gensec)
    assert chosen(established)[0] == mechanism
    seen = check_protection(context_of(established), gensec, "encrypt and sign")
    matrix.fill(TABLE, GENSEC, version, role, f"{mechanism}, the server first", seen)


def test_gensec_initiates_in_dce_style(domain: SambaDomain, gensec: GensecPeer, version: str, matrix: Filler) -> None:
    gensec.initiate("alice", USERS["alice"], WEB, kerberos="MUST_USE_KERBEROS", features=(*SEALED, "dce style"))
    established = complete(domain, acceptor(domain, flags=ContextFlags.DCE_STYLE), gensec)
    context = context_of(established)
    assert ContextFlags.DCE_STYLE in context.flags
    data = b"a PDU"
    context.verify(data, gensec.sign(data))
    gensec.verify(data, context.sign(data))
    matrix.fill(TABLE, GENSEC, version, "initiator", "Kerberos, DCE style", "three legs; signed each way")


# --- winbind ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_winbind_accepts(domain: SambaDomain, version: str, mechanism: str, matrix: Filler) -> None:
    with HelperPeer(domain) as helper:
        ours = initiator(domain, negotiate(domain, mechanism), password(mechanism=mechanism))
        established = complete(domain, ours, helper)
        assert chosen(established) == (mechanism, mechanism == "NTLM")
        assert helper.user == WINDOWS_NAME
        assert helper.session_key() == context_of(established).session_key
    matrix.fill(TABLE, HELPER, version, "acceptor", mechanism, "alice, the same session key")


def test_winbind_refuses_a_wrong_password(domain: SambaDomain, version: str, matrix: Filler) -> None:
    with HelperPeer(domain) as helper, pytest.raises(Refused, match="NA"):
        complete(domain, initiator(domain, Negotiate(Ntlm()), password("wrong", mechanism="NTLM")), helper)
    matrix.fill(TABLE, HELPER, version, "acceptor", "wrong password, NTLM", "refused")


@pytest.fixture
def cache(domain: SambaDomain, tmp_path: Path) -> Path:
    """Alice's ticket-granting ticket in a file."""
    asking = kdc_client.Session(kdc_client.ClientSettings(domain.config), system_options())
    alice = KerberosName(REALM, ("alice",))
    part = kdc_client.initial_ticket(asking, alice, kdc_client.PasswordKeys(Secret(USERS["alice"])))
    file = tmp_path / "tickets"
    file.touch(mode=0o600)
    file.write_bytes(write_ccache(TicketCache(alice, (domain.run(run, part).ticket,))))
    return file


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_winbinds_client(domain: SambaDomain, version: str, mechanism: str, cache: Path, matrix: Filler) -> None:
    tickets = cache if mechanism == "Kerberos" else None
    with HelperPeer(domain, "alice", USERS["alice"], WEB, cache=tickets) as helper:
        established = complete(domain, acceptor(domain), helper)
        assert chosen(established) == (mechanism, mechanism == "NTLM")
        assert established.peer.name == "alice"
        assert helper.session_key() == context_of(established).session_key
    matrix.fill(TABLE, HELPER, version, "initiator", mechanism, "alice, the same session key")


def test_a_wrong_password_of_winbinds_client_is_refused(domain: SambaDomain, version: str, matrix: Filler) -> None:
    with HelperPeer(domain, "alice", "wrong", WEB) as helper, pytest.raises(ss.LogonDenied):
        complete(domain, acceptor(domain), helper)
    matrix.fill(TABLE, HELPER, version, "initiator", "wrong password, NTLM", "refused")
