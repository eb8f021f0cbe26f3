"""CredSSP with pyspnego, token by token: NTLM, and Kerberos through python-gssapi at its end ([MS-CSSP])."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest
from anyio.from_thread import start_blocking_portal

from securestream.ambient import system_options
from securestream.credentials import Accounts, Credential, Credentials, Keytab, Password
from securestream.drive import respond_blocking
from securestream.errors import Downgrade, ErrorKind, LogonDenied, NotAuthorized, PeerRefused, SecureStreamError
from securestream.machine import HandshakeMachine, owed_token
from securestream.provider import Admit, Established, SecurityContext, SecurityPackage, TargetName
from securestream.records.base import RecordConnection
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.credssp.policy import NEWEST, Use
from securestream_providers.kerberos import EmbeddedKdc, Kerberos
from securestream_providers.krb5.keytab import write_keytab
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.interop.credssp_ends import ALICE, CA, DOMAIN, LEAF, PASSWORD, USER
from tests.interop.expected_credssp import CREDSSP, KERBEROS_INSIDE, VERSIONS
from tests.interop.matrix import Filler
from tests.interop.negotiate_ends import ROLES, Theirs
from tests.interop.peers import gssapi_spnego, pyspnego
from tests.interop.peers.accounts import ntlm_environment
from tests.interop.peers.foreign import Refused
from tests.interop.peers.gssapi_krb5 import MUTUAL, PROTECTED, KerberosPeer
from tests.interop.peers.gssapi_spnego import SpnegoPeer
from tests.interop.peers.mit_tools import MitTools
from tests.interop.peers.pyspnego_credssp import CredSspPeer, Inside

pytestmark = pytest.mark.interop

HOST: Final = "localhost"
TARGET: Final = TargetName(f"HTTP/{HOST}")
THEIR_TARGET: Final = f"HTTP@{HOST}"
REALM: Final = "OURS.TEST"
SIZES: Final = (1, 16384, 100_000)
MOST: Final = 20
PEER: Final = pyspnego.NAME
DELEGATED: Final = "password delegated, data both ways"


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of pyspnego."""
    return require(pyspnego)


@pytest.fixture
def accounts(tmp_path: Path, version: str) -> dict[str, str]:
    """Where pyspnego knows our user."""
    return ntlm_environment(tmp_path, {(DOMAIN, USER): PASSWORD})


class Stopped(Exception):
    """The foreign end neither said anything nor was complete."""


def package(
    negotiation: SecurityPackage | None = None,
    *,
    version: int = NEWEST,
    vulnerable: Use = "refused",
    tls: Schannel | None = None,
) -> CredSsp:
    """Ours, for both roles."""
    return CredSsp(
        Negotiate(Ntlm()) if negotiation is None else negotiation,
        Schannel(trust=CA.pem) if tls is None else tls,
        delegation=Delegation(TARGET),
        version=version,
        vulnerable_peers=vulnerable,
    )


def start(role: Theirs, theirs: CredSspPeer, inside: Inside = "spnego") -> CredSspPeer:
    """Begin the foreign end."""
    if role == "initiator":
        theirs.initiate(ALICE, PASSWORD, THEIR_TARGET, inside=inside)
    else:
        theirs.accept(LEAF, inside=inside)
    return theirs


def begin(role: Theirs, ours: CredSsp, credential: Credential, admit: Admit | None = None) -> HandshakeMachine:
    """Our end; `role` is the foreign one's."""
    if role == "initiator":
        accepting = ours.accept(Credentials(LEAF.credential, credential), system_options())
        return HandshakeMachine(accepting, admit=admit)
    return HandshakeMachine(ours.initiate(credential, TARGET, system_options()))


def ours_of(role: Theirs) -> Credential:
    """What our end of NTLM has."""
    return Accounts.memory(**{ALICE: PASSWORD}) if role == "initiator" else Password(ALICE, PASSWORD)


def converse(ours: HandshakeMachine, theirs: CredSspPeer, role: Theirs) -> Established:
    """Run a handshake; what our end refuses is told to theirs, and raised."""
    token = theirs.step(None) if role == "initiator" else None
    for _ in range(MOST):
        try:
            step = respond_blocking(ours, token)
        except SecureStreamError as error:
            if role == "initiator" and (owed := owed_token(error)) is not None:  # an acceptor gets nothing but an end
                error.add_note(said(theirs, owed))
            raise
        if step.established is not None:
            if step.token is not None:
                theirs.step(step.token)
            assert theirs.complete
            return step.established
        token = theirs.step(step.token or b"")
        if token is None:
            break
    raise Stopped


def said(theirs: CredSspPeer, token: bytes) -> str:
    """What it makes of our refusal."""
    try:
        theirs.step(token)
    except Refused as refused:
        return f"it said {refused}"
    return "it said nothing"


def exchange(established: Established, theirs: CredSspPeer) -> None:
    """Data both ways over the connection."""
    assert not isinstance(established.result, SecurityContext)
    connection: RecordConnection = established.result
    for size in SIZES:
        data = bytes((index * 7 + size) % 256 for index in range(size))
        connection.send(data)
        assert theirs.unwrap(connection.data_to_send()) == data
        assert b"".join(connection.receive_plain(theirs.wrap(data))) == data


def check(established: Established, theirs: CredSspPeer, role: Theirs) -> None:
    """Who is who, what was delegated, and data."""
    if role == "initiator":
        assert established.delegated == Password(ALICE, PASSWORD)
        assert str(established.peer) == ALICE
    else:
        assert theirs.delegated() == (DOMAIN, USER, PASSWORD)
        assert theirs.peer() == ALICE
    exchange(established, theirs)


# --- NTLM ---


@pytest.mark.parametrize("number", VERSIONS)
@pytest.mark.parametrize("role", ROLES)
def test_its_version_decides(accounts: dict[str, str], role: Theirs, number: int, version: str, matrix: Filler) -> None:
    theirs = start(role, CredSspPeer(accounts, version=number))
    old: Use = "accepted" if number < 5 else "refused"
    check(converse(begin(role, package(vulnerable=old), ours_of(role)), theirs, role), theirs, role)
    matrix.fill(CREDSSP, PEER, version, role, f"version {number}", DELEGATED)


@pytest.mark.parametrize("number", VERSIONS[1:])
@pytest.mark.parametrize("role", ROLES)
def test_our_version_decides(accounts: dict[str, str], role: Theirs, number: int, version: str, matrix: Filler) -> None:
    theirs = start(role, CredSspPeer(accounts))
    old: Use = "accepted" if number < 5 else "refused"
    ours = package(version=number, vulnerable=old)
    check(converse(begin(role, ours, ours_of(role)), theirs, role), theirs, role)
    matrix.fill(CREDSSP, PEER, version, role, f"our version {number}", DELEGATED)


@pytest.mark.parametrize("role", ROLES)
def test_ntlm_without_spnego(accounts: dict[str, str], role: Theirs, version: str, matrix: Filler) -> None:
    theirs = start(role, CredSspPeer(accounts), inside="ntlm")
    check(converse(begin(role, package(Ntlm()), ours_of(role)), theirs, role), theirs, role)
    matrix.fill(CREDSSP, PEER, version, role, "NTLM without SPNEGO", DELEGATED)


@pytest.mark.parametrize("role", ROLES)
def test_tls_1_2(accounts: dict[str, str], role: Theirs, version: str, matrix: Filler) -> None:
    theirs = start(role, CredSspPeer(accounts, tls=ssl.TLSVersion.TLSv1_2))
    established = converse(begin(role, package(), ours_of(role)), theirs, role)
    check(established, theirs, role)
    assert not isinstance(established.result, SecurityContext)
    assert established.result.session.version == "TLSv1.2"
    matrix.fill(CREDSSP, PEER, version, role, "TLSv1.2", DELEGATED)


@pytest.mark.parametrize("role", ROLES)
def test_a_vulnerable_peer_is_refused(accounts: dict[str, str], role: Theirs, version: str, matrix: Filler) -> None:
    theirs = start(role, CredSspPeer(accounts, version=4))
    with pytest.raises(Downgrade):
        converse(begin(role, package(), ours_of(role)), theirs, role)
    assert role == "initiator" or not theirs.has_credentials()
    matrix.fill(CREDSSP, PEER, version, role, "version 4, refused", "refused by us")


@pytest.mark.parametrize("role", ROLES)
def test_a_vulnerable_version_of_ours_is_refused(
    accounts: dict[str, str], role: Theirs, version: str, matrix: Filler
) -> None:
    theirs = start(role, CredSspPeer(accounts, minimum=5))
    with pytest.raises(Refused, match="minimum"):
        converse(begin(role, package(version=4, vulnerable="accepted"), ours_of(role)), theirs, role)
    matrix.fill(CREDSSP, PEER, version, role, "our version 4, refused", "refused by it")


def test_a_wrong_password_of_its_is_refused_and_told(accounts: dict[str, str], version: str, matrix: Filler) -> None:
    theirs = CredSspPeer(accounts)
    theirs.initiate(ALICE, "wrong", THEIR_TARGET)
    with pytest.raises(LogonDenied) as refused:
        converse(begin("initiator", package(), ours_of("initiator")), theirs, "initiator")
    (note,) = refused.value.__notes__
    assert "InvalidCredentialError" in note
    matrix.fill(CREDSSP, PEER, version, "initiator", "wrong password", "refused and told")


def test_a_user_of_its_who_is_not_admitted_is_refused_and_told(
    accounts: dict[str, str], version: str, matrix: Filler
) -> None:
    def refuse(outcome: Established) -> None:
        assert (str(outcome.peer), outcome.delegated) == (ALICE, None)
        raise NotAuthorized("not today")

    theirs = start("initiator", CredSspPeer(accounts))
    with pytest.raises(NotAuthorized) as refused:
        converse(begin("initiator", package(), ours_of("initiator"), refuse), theirs, "initiator")
    (note,) = refused.value.__notes__
    assert "Received NTStatus in TSRequest from acceptor" in note
    matrix.fill(CREDSSP, PEER, version, "initiator", "not admitted", "refused and told")


def test_a_wrong_password_of_ours_is_refused_and_told(accounts: dict[str, str], version: str, matrix: Filler) -> None:
    theirs = start("acceptor", CredSspPeer(accounts))
    with pytest.raises(PeerRefused) as refused:
        converse(begin("acceptor", package(), Password(ALICE, "wrong")), theirs, "acceptor")
    assert refused.value.kind is ErrorKind.LOGON_DENIED
    matrix.fill(CREDSSP, PEER, version, "acceptor", "wrong password", "refused and told")


# --- Kerberos ---


@dataclass(frozen=True)
class Ours:
    """Our realm, where MIT's library has a TGT of alice and the keys of `TARGET`."""

    kdc: EmbeddedKdc
    tools: MitTools

    def environment(self, accounts: dict[str, str]) -> dict[str, str]:
        """Variables of MIT's library."""
        return {**self.tools.environment(), **accounts}

    @property
    def kerberos(self) -> Kerberos:
        """Our package in this realm."""
        return Kerberos(config=self.kdc.config)

    def credential(self, role: Theirs) -> Credential:
        """What our end has."""
        return Keytab(self.tools.default_keytab) if role == "initiator" else Password(f"{USER}@{REALM}", PASSWORD)


@pytest.fixture(scope="module")
def ours(
    require: Callable[[ModuleType], str], version: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ours]:
    """The realm, served from a thread."""
    require(gssapi_spnego)
    kdc = EmbeddedKdc(REALM)
    kdc.add_principal(USER, PASSWORD)
    kdc.add_service(str(TARGET))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(kdc):
        tools = MitTools(tmp_path_factory.mktemp("ours"), REALM, kdc.server.port, kdc.server.password_port)
        tools.default_keytab.touch(mode=0o600)
        tools.default_keytab.write_bytes(write_keytab(kdc.entries(str(TARGET))))
        tools.kinit(USER, PASSWORD)
        yield Ours(kdc, tools)


def bare(environment: dict[str, str], role: Theirs) -> KerberosPeer:
    """MIT's Kerberos, begun."""
    peer = KerberosPeer(environment)
    if role == "initiator":
        peer.initiate(THEIR_TARGET, flags=(MUTUAL, *PROTECTED))
    else:
        peer.accept()
    return peer


def spnego(environment: dict[str, str], role: Theirs) -> KerberosPeer:
    """MIT's Kerberos in its SPNEGO, begun."""
    peer = SpnegoPeer(environment)
    if role == "initiator":
        peer.offer(THEIR_TARGET, ["krb5"])
    else:
        peer.choose(["krb5"])
    return peer


BEGINNINGS: Final = {"Kerberos through python-gssapi": bare, "Kerberos in SPNEGO through python-gssapi": spnego}


@pytest.mark.parametrize("option", KERBEROS_INSIDE)
@pytest.mark.parametrize("role", ROLES)
def test_kerberos_inside(
    ours: Ours, accounts: dict[str, str], role: Theirs, option: str, version: str, matrix: Filler
) -> None:
    negotiation: SecurityPackage = ours.kerberos if BEGINNINGS[option] is bare else Negotiate(ours.kerberos, Ntlm())
    with BEGINNINGS[option](ours.environment(accounts), role) as inside:
        theirs = start(role, CredSspPeer(accounts), inside=inside)
        # no certificate is verified: it is Kerberos that proves the host to which the password goes
        ends = begin(role, package(negotiation, tls=Schannel(verify="none")), ours.credential(role))
        established = converse(ends, theirs, role)
        if role == "initiator":
            assert established.delegated == Password(ALICE, PASSWORD)
            assert (established.peer.name, established.peer.authority) == (USER, REALM)
        else:
            assert theirs.delegated() == ("", f"{USER}@{REALM}", PASSWORD)
            assert theirs.peer() == f"{USER}@{REALM}"
            assert established.peer.is_authenticated
        exchange(established, theirs)
    matrix.fill(CREDSSP, PEER, version, role, option, DELEGATED)
