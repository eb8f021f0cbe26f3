"""Rule 19: NTLM stands in for Kerberos only where nobody is known who could be asked, or where the caller says so.

Whatever an attacker does between the client, its KDC and the server, not one octet of NTLM leaves a client that is not
to use it.
"""

from __future__ import annotations

import itertools
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from types import ModuleType

import pytest

from securestream.credentials import Accounts, Anonymous, Credential, CredentialCache, Credentials, NtHash, Password
from securestream.errors import (
    Downgrade,
    ErrorKind,
    HandshakeError,
    InvalidToken,
    NoAuthority,
    NoAuthorityKnown,
    NoCommonMechanism,
    PeerRefused,
    SecureStreamError,
    TargetUnknown,
)
from securestream.provider import TargetName
from securestream_providers.kerberos import EmbeddedKdc, Kerberos, Tickets
from securestream_providers.kerberos.effects import KdcRequest
from securestream_providers.kerberos.errors import error_token
from securestream_providers.kerberos.network.performer import KdcPerformer
from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from securestream_providers.krb5.numbers import ErrorCode
from securestream_providers.krb5.tickets import TicketCache
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    KERBEROS,
    NTLM,
    MechTypeList,
    NegState,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
    frame,
    unframe,
)
from securestream_providers.negotiate.policy import NtlmUse
from securestream_providers.ntlm import Ntlm
from tests.providers.negotiate.falling_back import (
    ACCOUNTS,
    NOW,
    PASSWORD,
    REALM,
    SPN,
    Alter,
    Ask,
    Attempt,
    always,
    attempt,
    corp,
    is_for_a_service,
    kdc_error,
    logged_on,
    unaltered,
)

ALICE = Password("alice", PASSWORD)
HASH = NtHash("alice", bytes(16))
CONFIGURED = Krb5Config(default_realm=REALM, realms={REALM: RealmConfig()}, dns_lookup_kdc=False)
NOWHERE = Krb5Config(dns_lookup_kdc=False)
UNLESS_SAID: tuple[NtlmUse | None, ...] = (None, "no-kdc")
"""What is tried where nothing may turn anybody to NTLM."""
CHALLENGE = b"NTLMSSP\0\x02\0\0\0" + bytes(44)


def end(config: Krb5Config = CONFIGURED, ntlm: NtlmUse | None = None) -> Negotiate:
    """A client of both mechanisms; by default it follows the rule."""
    return Negotiate(Kerberos(config=config), Ntlm(), ntlm=ntlm)


@lru_cache(maxsize=1)
def standing() -> EmbeddedKdc:
    """The realm, where nothing in it is changed."""
    return corp()


def nobody(effect: KdcRequest) -> bytes:
    """There is no KDC that anybody knows."""
    raise NoAuthorityKnown(f"no KDC of {effect.realm} is known")


# --- defaults --------------------------------------------------------------------------------------------------------


def _tickets() -> Tickets:
    tgt = logged_on(standing())
    return Tickets(TicketCache(tgt.client, (tgt,)))


DEFAULTS: dict[str, tuple[Callable[[], Credential | None], bool]] = {
    "the default cache": (lambda: None, False),
    "a cache": (lambda: CredentialCache("MEMORY:absent"), False),
    "tickets": (_tickets, False),
    "a keytab": (lambda: standing().keytab(SPN), False),
    "a password with a realm": (lambda: Password("alice@OFFICE.EXAMPLE", PASSWORD), False),
    "a password with a DNS domain": (lambda: Password(r"office.example\alice", PASSWORD), False),
    "tickets and a password": (lambda: Credentials(_tickets(), ALICE), False),
    "a keytab and a hash": (lambda: Credentials(standing().keytab(SPN), HASH), False),
    "nothing": (Credentials, False),
    "a password": (lambda: ALICE, True),
    "a password with a domain": (lambda: Password(r"OFFICE\alice", PASSWORD), True),
    "a hash": (lambda: HASH, True),
    "nobody": (Anonymous, True),
    "a password and its hash": (lambda: Credentials(ALICE, HASH), True),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_goes_by_the_credential(name: str) -> None:
    """Where no KDC is known, a password without a realm goes on to NTLM; tickets, keys and named realms never do."""
    make, expected = DEFAULTS[name]
    met = attempt(end(NOWHERE), make(), kdc=nobody, accepting=replace(ACCOUNTS, allow_anonymous=True))
    assert met.ntlm_left is expected
    if not expected:
        assert isinstance(met.error, HandshakeError)
        assert not met.sent
        assert end().ntlm_use(make()) == "never"
    else:
        assert end().ntlm_use(make()) == "no-kdc"


def test_the_callers_word_counts_more_than_the_default() -> None:
    assert attempt(end(NOWHERE, "always"), Password("alice@X", PASSWORD), kdc=nobody).ntlm_left
    assert not attempt(end(NOWHERE, "never"), ALICE, kdc=nobody).ntlm_left
    assert not attempt(end(CONFIGURED, "no-kdc"), ALICE, kdc=always(ErrorCode.SVC_UNAVAILABLE)).ntlm_left
    assert attempt(end(CONFIGURED, "always"), ALICE, kdc=always(ErrorCode.SVC_UNAVAILABLE)).ntlm_left


def test_installed_packages_add_no_mechanism(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [package.info.name for package in Negotiate().mechanisms] == ["Kerberos", "NTLM"]

    def forbidden(*_: object, **__: object) -> object:
        raise AssertionError("what is installed was looked up")

    monkeypatch.setattr("importlib.metadata.entry_points", forbidden)
    assert [package.info.name for package in Negotiate().mechanisms] == ["Kerberos", "NTLM"]
    assert [package.info.name for package in Negotiate(Kerberos()).mechanisms] == ["Kerberos"]


# --- an attacker at the KDC ------------------------------------------------------------------------------------------


def after(kdc: EmbeddedKdc, forged: bytes) -> Ask:
    """The logon is answered by the KDC, what follows by somebody else."""
    return lambda effect: forged if is_for_a_service(effect) else kdc.answer(effect)


def check_nothing_left(met: Attempt) -> None:
    """No NTLM, neither to the server nor to a KDC, and no authentication."""
    assert met.asked
    assert not met.ntlm_left
    assert not met.sent
    assert isinstance(met.error, HandshakeError)
    assert met.acceptor is None


@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.name)
def test_no_error_of_a_kdc_turns_a_configured_realm_to_ntlm(code: ErrorCode) -> None:
    """S_PRINCIPAL_UNKNOWN spoofed, and every other one: outside FAST anybody can make them."""
    kdc = standing()
    for ask in (always(code), after(kdc, kdc_error(code)), always(code, realm="ELSEWHERE.EXAMPLE")):
        check_nothing_left(attempt(end(kdc.config, "no-kdc"), ALICE, kdc=ask))


@pytest.mark.parametrize("octets", [b"", b"\x7e", b"\x6b\x02\x05\x00", b"NTLMSSP\0", bytes(100)])
def test_no_babble_of_a_kdc_turns_a_configured_realm_to_ntlm(octets: bytes) -> None:
    uses: tuple[NtlmUse | None, ...] = (None, "no-kdc", "always")
    for ntlm in uses:
        check_nothing_left(attempt(end(ntlm=ntlm), ALICE, kdc=lambda _: octets))


@pytest.fixture
def blocked() -> Iterator[dict[str, Krb5Config]]:
    """Configurations whose KDC is blocked: packets vanish, or connections are refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.socket() as refusing:
        silent.bind(("127.0.0.1", 0))
        refusing.bind(("127.0.0.1", 0))
        places = {
            "silent": KdcAddress("127.0.0.1", silent.getsockname()[1], "udp"),
            "refusing": KdcAddress("127.0.0.1", refusing.getsockname()[1], "tcp"),
        }
        yield {name: replace(CONFIGURED, realms={REALM: RealmConfig((place,))}) for name, place in places.items()}


@pytest.mark.parametrize("kind", ["silent", "refusing"])
@pytest.mark.parametrize("user", ["alice", rf"{REALM}\alice", rf"{REALM.lower()}\alice", f"alice@{REALM}"])
def test_a_blocked_kdc_turns_nobody_to_ntlm(blocked: dict[str, Krb5Config], kind: str, user: str) -> None:
    ask = KdcPerformer(0.15).perform_blocking
    for ntlm in UNLESS_SAID:
        met = attempt(end(blocked[kind], ntlm), Password(user, PASSWORD), kdc=ask)
        check_nothing_left(met)
        assert met.error is not None
        assert f"no KDC of {REALM}" in str(met.error)


def test_a_blocked_kdc_stops_tickets_too(blocked: dict[str, Krb5Config]) -> None:
    ask = KdcPerformer(0.15).perform_blocking
    both = Credentials(_tickets(), ALICE)
    for ntlm in UNLESS_SAID:
        check_nothing_left(attempt(end(blocked["refusing"], ntlm), both, kdc=ask))


def test_a_realm_is_configured_wherever_it_is_written_down() -> None:
    """A realm that only a default, a host's domain or a path names is no unknown one, however its name is written."""
    ways = (
        Krb5Config(default_realm=REALM),
        Krb5Config(realms={REALM: RealmConfig()}),
        Krb5Config(domain_realm={".corp.example": REALM}),
        Krb5Config(capaths={REALM: {"OTHER.EXAMPLE": ()}}),
    )
    for config, user in itertools.product(ways, (rf"{REALM}\alice", r"corp.example\alice", r"CORP\alice")):
        met = attempt(end(replace(config, dns_lookup_kdc=False), "no-kdc"), Password(user, PASSWORD))
        check_nothing_left(met)
        assert "no KDC of " in str(met.error)
        assert (f"{REALM} is configured: is that the realm" in str(met.error)) is (REALM not in user.upper())


def test_a_package_told_of_its_realm_has_it_configured() -> None:
    for kerberos in (
        Kerberos(config=NOWHERE, realm=REALM),
        Kerberos(config=NOWHERE, realm=REALM, kdc="tcp/127.0.0.1:1"),
    ):
        check_nothing_left(attempt(Negotiate(kerberos, Ntlm()), ALICE))


def test_a_forged_realm_leads_to_no_unknown_one() -> None:
    """WRONG_REALM says that the client is of another realm, whose KDC nobody knows: that excuses nothing."""
    kdc = standing()
    config = replace(kdc.config, canonicalize=True)

    def ask(effect: KdcRequest) -> bytes:
        if effect.realm != REALM:
            return nobody(effect)
        return kdc_error(ErrorCode.WRONG_REALM, realm="NOWHERE.EXAMPLE")

    met = attempt(end(config, "no-kdc"), ALICE, kdc=ask)
    assert [effect.realm for effect in met.asked] == [REALM, "NOWHERE.EXAMPLE"]
    check_nothing_left(met)


def test_a_service_of_a_realm_without_a_kdc_is_no_excuse() -> None:
    """Nor is a referral to one: the client's own KDC was there to be asked."""
    home = corp()
    home.trust("NOWHERE.EXAMPLE", "shared by both")
    config = replace(home.config, domain_realm={"files.corp.example": "NOWHERE.EXAMPLE"})

    def ask(effect: KdcRequest) -> bytes:
        return home.answer(effect) if effect.realm == REALM else nobody(effect)

    met = attempt(end(config, "no-kdc"), ALICE, kdc=ask)
    assert met.asked[-1].realm == "NOWHERE.EXAMPLE"
    check_nothing_left(met)


def test_tickets_of_a_realm_without_a_kdc_are_no_excuse() -> None:
    """Somebody gave the tickets."""
    met = attempt(end(NOWHERE, "no-kdc"), Credentials(_tickets(), ALICE), kdc=nobody)
    check_nothing_left(met)


# --- an attacker at the name server ----------------------------------------------------------------------------------


class _Problem(Exception):
    """An error as dnspython's module defines them."""

    __module__ = "dns.exception"


class _NoSuchName(_Problem):
    """NXDOMAIN, or no such record."""

    __module__ = "dns.resolver"


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What each look-up of SRV records comes to, in turn; the last for all that follow."""
    answers: list[Exception] = []

    def resolve(name: str, kind: str, lifetime: float) -> list[object]:
        raise answers.pop(0) if len(answers) > 1 else answers[0]

    stub = ModuleType("dns.resolver")
    vars(stub).update(resolve=resolve, NXDOMAIN=_NoSuchName, NoAnswer=_NoSuchName)
    monkeypatch.setitem(sys.modules, "dns", ModuleType("dns"))
    monkeypatch.setitem(sys.modules, "dns.resolver", stub)
    return answers


def test_dns_turns_no_configured_realm_to_ntlm(name_server: list[Exception]) -> None:
    for answer in (_NoSuchName(), _Problem()):
        name_server[:] = [answer]
        met = attempt(end(Krb5Config(default_realm=REALM), "no-kdc"), ALICE)
        check_nothing_left(met)


def test_a_name_server_that_does_not_answer_is_no_answer(name_server: list[Exception]) -> None:
    """Only "no such name" makes a realm an unknown one; whoever silences DNS has proved nothing."""
    user = Password(r"OFFICE\alice", PASSWORD)
    for answers in ([_Problem()], [_NoSuchName(), _Problem()], [_Problem(), _NoSuchName()]):
        name_server[:] = list(answers)
        met = attempt(end(Krb5Config(), "no-kdc"), user)
        check_nothing_left(met)
        assert "DNS did not answer" in str(met.error)
        assert met.error is not None
        assert isinstance(met.error.__cause__, NoAuthority)
        assert not isinstance(met.error.__cause__, NoAuthorityKnown)
    name_server[:] = [_NoSuchName()]
    met = attempt(end(Krb5Config()), user)
    assert met.ntlm_left
    assert "no KDC of OFFICE is configured, and DNS knows none" in met.report.reason_against("Kerberos")


# --- an attacker before the server -----------------------------------------------------------------------------------


def with_list(*oids: str) -> Alter:
    """The list is rewritten in the first message."""

    def rewrite(token: bytes) -> bytes:
        if token[:1] != b"\x60":
            return token
        message = unframe(token)
        assert isinstance(message, NegTokenInit)
        kept = message.mech_token if oids[0] == KERBEROS else None
        return frame(NegTokenInit(MechTypeList(oids), mech_token=kept))

    return rewrite


def response(change: Callable[[NegTokenResp], NegTokenResp]) -> Alter:
    """The server's messages are rewritten."""
    return lambda token: change(NegTokenResp.decode(token)).encode()


def stripped(message: NegTokenResp) -> NegTokenResp:
    """Without the MIC."""
    return replace(message, mech_list_mic=None)


def choosing(oid: str, state: NegState = NegState.ACCEPT_INCOMPLETE, token: bytes | None = None) -> Alter:
    """Whatever the server says, it chose this."""
    return lambda _: NegTokenResp(state, oid, token).encode()


BETWEEN: dict[str, tuple[Alter, Alter]] = {
    "the list rewritten": (with_list(NTLM), unaltered),
    "NTLM put in front": (with_list(NTLM, KERBEROS), unaltered),
    "NTLM put behind": (with_list(KERBEROS, NTLM), unaltered),
    "the list rewritten, the MIC stripped": (with_list(NTLM, KERBEROS), response(stripped)),
    "the MIC stripped": (unaltered, response(stripped)),
    "supportedMech rewritten": (unaltered, response(lambda message: replace(message, supported_mech=NTLM))),
    "NTLM chosen": (unaltered, choosing(NTLM)),
    "NTLM chosen, a MIC requested": (unaltered, choosing(NTLM, NegState.REQUEST_MIC)),
    "NTLM chosen and complete": (unaltered, choosing(NTLM, NegState.ACCEPT_COMPLETED)),
    "a challenge": (unaltered, choosing(NTLM, token=CHALLENGE)),
    "a challenge for Kerberos": (unaltered, choosing(KERBEROS, token=CHALLENGE)),
    "a raw challenge": (unaltered, lambda _: CHALLENGE),
    "a refusal": (unaltered, lambda _: NegTokenResp(NegState.REJECT).encode()),
    "a refusal for NTLM": (unaltered, choosing(NTLM, NegState.REJECT)),
    "hints for NTLM": (unaltered, lambda _: frame(NegTokenInit2(MechTypeList((NTLM,))))),
    "an offer of NTLM": (unaltered, lambda _: frame(NegTokenInit(MechTypeList((NTLM,))))),
}
for _code in (ErrorCode.S_PRINCIPAL_UNKNOWN, ErrorCode.AP_SKEW, ErrorCode.AP_NOKEY, ErrorCode.AP_TKT_EXPIRED):
    BETWEEN[f"Kerberos refused: {_code.name}"] = (
        unaltered,
        choosing(KERBEROS, NegState.REJECT, error_token(_code, NOW, REALM, None)),
    )
SURVIVED = {"the MIC stripped"}
"""There is none to be stripped where Kerberos was the first choice of both."""


@pytest.mark.parametrize("kind", BETWEEN)
@pytest.mark.parametrize("credential", ["password", "password and realm", "tickets and password"])
@pytest.mark.parametrize("ntlm", [None, "no-kdc"])
def test_nobody_between_the_ends_gets_an_octet_of_ntlm(kind: str, credential: str, ntlm: NtlmUse | None) -> None:
    kdc = standing()
    given: Credential = {
        "password": ALICE,
        "password and realm": Password(f"alice@{REALM}", PASSWORD),
        "tickets and password": Credentials(_tickets(), ALICE),
    }[credential]
    to_server, to_client = BETWEEN[kind]
    met = attempt(
        end(kdc.config, ntlm),
        given,
        kdc=kdc.answer,
        server=end(kdc.config),
        accepting=Credentials(kdc.keytab(SPN), ACCOUNTS),
        to_server=to_server,
        to_client=to_client,
    )
    assert not met.ntlm_left
    assert met.sent
    message = unframe(met.sent[0])
    assert isinstance(message, NegTokenInit)
    assert message.mech_types.mech_types == (KERBEROS,)
    if kind in SURVIVED or kind == "NTLM put behind":
        assert met.chosen in ("Kerberos", None)
    else:
        assert isinstance(met.error, SecureStreamError)
        assert met.initiator is None


def test_a_refusal_is_not_followed_by_another_try() -> None:
    """One list is offered once: a refusal ends it, and says what policy kept out."""
    kdc = standing()
    met = attempt(end(kdc.config), ALICE, kdc=kdc.answer)  # the server has no Kerberos
    assert isinstance(met.error, PeerRefused)
    assert met.error.kind is ErrorKind.NO_COMMON_MECHANISM
    assert len(met.sent) == 1
    assert "NTLM: it stands in for Kerberos only where no KDC is known" in str(met.error)


def test_even_where_ntlm_is_always_allowed_a_rewritten_list_is_found_out() -> None:
    kdc = standing()
    keytab = kdc.keytab(SPN)
    for to_client in (unaltered, response(stripped)):
        met = attempt(
            end(kdc.config, "always"),
            ALICE,
            kdc=kdc.answer,
            server=end(kdc.config),
            accepting=Credentials(keytab, ACCOUNTS),
            to_server=with_list(NTLM),
            to_client=to_client,
        )
        assert met.initiator is None
        assert met.acceptor is None
        assert isinstance(met.error, Downgrade | PeerRefused)


# --- what no mechanism may do ----------------------------------------------------------------------------------------


def test_a_password_that_a_kdc_refused_is_not_shown_to_the_server() -> None:
    kdc = standing()
    met = attempt(end(kdc.config, "always"), Password("alice", "wrong"), kdc=kdc.answer)
    check_nothing_left(met)
    assert met.error is not None
    assert met.error.kind is ErrorKind.LOGON_DENIED  # type: ignore[attr-defined]  # a HandshakeError, as was checked


def test_a_target_with_marshalled_data_is_tried_with_no_mechanism() -> None:
    kdc = standing()
    target = TargetName("host/files.corp.example1UWhRCAAAAAAAAAAAAAAAAAAAAAAAAAAAAwbEAYBAAAA")
    met = attempt(end(kdc.config, "always"), ALICE, kdc=kdc.answer, target=target)
    assert isinstance(met.error, TargetUnknown)
    assert not met.sent
    assert not met.asked


def test_a_babbling_answer_ends_it_even_where_ntlm_is_always_allowed() -> None:
    kdc = standing()
    met = attempt(end(kdc.config, "always"), ALICE, kdc=after(kdc, b"\x6d\x03\x02\x01\x05"))
    check_nothing_left(met)
    assert isinstance(met.error, InvalidToken)


def test_a_ticket_that_an_acceptor_cannot_open_turns_it_not_to_ntlm() -> None:
    """The version of its key stands there in clear; a server without any keytab is another matter."""
    kdc = corp()
    server = Credentials(kdc.keytab(SPN), ACCOUNTS)
    kdc.roll_keys(SPN, keep=0)
    met = attempt(end(kdc.config, "always"), ALICE, kdc=kdc.answer, server=end(kdc.config), accepting=server)
    assert not met.ntlm_left
    assert isinstance(met.error, PeerRefused)
    assert met.error.kind is ErrorKind.UNKNOWN_CREDENTIALS
    assert "version 2" in str(met.refused)
    assert len(met.sent) == 1


def test_an_acceptor_may_refuse_ntlm_too() -> None:
    server = Negotiate(Kerberos(config=NOWHERE), Ntlm(), ntlm="never")
    for client in (end(NOWHERE), Ntlm()):  # in SPNEGO, and bare
        met = attempt(client, ALICE, kdc=nobody, server=server, accepting=Credentials(standing().keytab(SPN), ACCOUNTS))
        assert met.acceptor is None
        assert isinstance(met.refused, NoCommonMechanism)
        assert 'NTLM: policy forbids it: ntlm="never"' in str(met.refused)


def test_the_accounts_of_these_tests_would_be_let_in() -> None:
    """What is refused above is refused by the rule, not by the server."""
    assert isinstance(ACCOUNTS, Accounts)
    assert attempt(end(NOWHERE), ALICE, kdc=nobody).chosen == "NTLM"
