"""Why NTLM? Each cause has a sentence of its own, with the exact name, realm or seconds, wherever somebody looks."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from securestream.cli.report import Report
from securestream.credentials import Credential, CredentialCache, Credentials, Keytab, NtHash, Password
from securestream.errors import ErrorKind, NoCommonMechanism, ServiceFailed
from securestream.negotiation import Verdict
from securestream.provider import TargetName
from securestream_providers.kerberos import EmbeddedKdc, Kerberos, Tickets
from securestream_providers.kerberos.network.performer import KdcPerformer
from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from securestream_providers.krb5.numbers import EncryptionType, ErrorCode
from securestream_providers.krb5.tickets import TicketCache
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.ntlm.crypto import nt_hash
from tests.providers.negotiate.falling_back import (
    NOW,
    PASSWORD,
    REALM,
    SPN,
    TARGET,
    Ask,
    always,
    attempt,
    corp,
    is_for_a_service,
    logged_on,
)

ALICE = Password("alice", PASSWORD)
NOWHERE = Krb5Config(dns_lookup_kdc=False)
HERE = Krb5Config(default_realm=REALM, realms={REALM: RealmConfig()}, dns_lookup_kdc=False)


@dataclass(frozen=True)
class Cause:
    """Why Kerberos cannot be had.

    Args:
        sentence: what the report says, in full.
        kind: of the error, `None` where the credential is not for Kerberos at all.
        kdc: who answers; `None`: the real performer asks who is configured.
        credential: the client's.
        config: its configuration; `None`: the system's.
        target: the service.
        nobody_known: whether there is nobody to ask, so that NTLM stands in without further words.
    """

    sentence: str
    kind: ErrorKind | None
    kdc: Ask | None = None
    credential: Credential = ALICE
    config: Krb5Config | None = HERE
    target: TargetName | None = TARGET
    nobody_known: bool = False

    @property
    def kerberos(self) -> Kerberos:
        """The package that it keeps from working."""
        return Kerberos(config=self.config)


Provoke = Callable[[ExitStack, pytest.MonkeyPatch, Path], Cause]
CAUSES: dict[str, Provoke] = {}


def cause(provoke: Provoke) -> Provoke:
    """Enter a cause into the table, by the function's name."""
    CAUSES[getattr(provoke, "__name__", "")] = provoke
    return provoke


@cause
def no_realm(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        "alice has no realm: write alice@REALM, or set default_realm in krb5.conf",
        ErrorKind.NO_AUTHORITY,
        config=NOWHERE,
        nobody_known=True,
    )


@cause
def no_realm_nor_target(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return replace(no_realm(stack, monkeypatch, folder), target=None)


@cause
def no_kdc_known(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        "no KDC of OFFICE is configured; name one in [realms] of krb5.conf, or by kdc=",
        ErrorKind.NO_AUTHORITY,
        credential=Password(r"office\alice", PASSWORD),
        nobody_known=True,
    )


@cause
def no_kdc_of_a_configured_realm(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        f"no KDC of {REALM} is configured; name one in [realms] of krb5.conf, or by kdc=", ErrorKind.NO_AUTHORITY
    )


@cause
def no_kdc_of_the_first_label_of_a_realm(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        f"no KDC of CORP is configured; name one in [realms] of krb5.conf, or by kdc=; {REALM} is configured: is that "
        f"the realm, and users are to be written name@{REALM}?",
        ErrorKind.NO_AUTHORITY,
        credential=Password(r"CORP\alice", PASSWORD),
    )


@cause
def kdc_silent(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("127.0.0.1", 0))
    port: int = udp.getsockname()[1]
    return Cause(
        f"no KDC of {REALM} answers in time (127.0.0.1:{port}); check the network, or name another server",
        ErrorKind.NO_AUTHORITY,
        KdcPerformer(0.2).perform_blocking,
        config=replace(HERE, realms={REALM: RealmConfig((KdcAddress("127.0.0.1", port, "udp"),))}),
    )


@cause
def kdc_blocked(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    free = stack.enter_context(socket.socket())
    free.bind(("127.0.0.1", 0))  # bound, and does not listen: connections are refused
    port: int = free.getsockname()[1]
    config = replace(HERE, realms={REALM: RealmConfig((KdcAddress("127.0.0.1", port, "tcp"),))})
    return Cause(f"no KDC of {REALM} can be reached (127.0.0.1:{port}): ", ErrorKind.NO_AUTHORITY, config=config)


@cause
def kdc_fails(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    def fail(_: object) -> bytes:
        raise ServiceFailed(f"the proxy to {REALM} is away")

    return Cause(f"the proxy to {REALM} is away", ErrorKind.SERVICE_FAILED, fail)


@cause
def kdc_unavailable(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        f"the KDC of {REALM} cannot answer now; try again later",
        ErrorKind.NO_AUTHORITY,
        always(ErrorCode.SVC_UNAVAILABLE),
    )


@cause
def unknown_service(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    name = "HTTP/web.corp.example"
    return Cause(
        f"the KDC of {REALM} does not know the service {name}@{REALM}; check the target's name, or create that "
        "principal",
        ErrorKind.TARGET_UNKNOWN,
        corp().answer,
        target=TargetName(name),
    )


@cause
def unknown_realm_of_the_service(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        f"the KDC of {REALM} does not know the service krbtgt/OTHER.EXAMPLE@{REALM}; check the target's name, or "
        "create that principal",
        ErrorKind.TARGET_UNKNOWN,
        corp().answer,
        target=TargetName(f"{SPN}@OTHER.EXAMPLE"),
    )


@cause
def clock_skew(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        f"this machine's clock and that of the KDC of {REALM} differ by +4711 seconds; set the clock right",
        ErrorKind.TIME_SKEW,
        always(ErrorCode.AP_SKEW, ahead=timedelta(seconds=4711)),
    )


@cause
def unknown_user(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    kdc = EmbeddedKdc(REALM, clock=lambda: NOW)
    return Cause(
        f"the KDC of {REALM} does not know alice@{REALM}; check the name and the realm (upper case counts)",
        ErrorKind.UNKNOWN_CREDENTIALS,
        kdc.answer,
    )


@cause
def no_form_for_kerberos(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        "Kerberos needs a Password, a Keytab, a CredentialCache or Tickets",
        None,
        credential=NtHash("alice", nt_hash(PASSWORD)),
        nobody_known=True,
    )


@cause
def no_common_encryption_type(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        f"the KDC of {REALM} has no key of a type that we allow for alice@{REALM} or krbtgt/{REALM}@{REALM}; set AES "
        "keys there",
        ErrorKind.UNSUPPORTED,
        corp().answer,
        config=replace(HERE, permitted_etypes=(EncryptionType.CAMELLIA256_CTS_CMAC,)),
    )


@cause
def no_key_of_the_service(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        f"alice@{REALM} or {SPN}@{REALM} has no key; ask the realm's administrator to set one "
        "[the service has no key of a type that is allowed]",
        ErrorKind.UNSUPPORTED,
        corp(etypes=(EncryptionType.RC4_HMAC,)).answer,
    )


@cause
def expired_tickets(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    kdc = corp()
    tgt = replace(logged_on(kdc), end_time=NOW - timedelta(seconds=90))
    tickets = Tickets(TicketCache(tgt.client, (tgt,)))
    return Cause(
        f"the tickets of alice@{REALM} have expired, 90 seconds ago; log on again (securestream kinit)",
        ErrorKind.NO_CREDENTIALS,
        kdc.answer,
        credential=Credentials(tickets, ALICE),
    )


@cause
def tickets_that_the_kdc_finds_expired(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    tgt = logged_on(corp())
    return Cause(
        f"the ticket of alice@{REALM} has expired by the clock of the KDC of {REALM}; log on again (kinit)",
        ErrorKind.CONTEXT_EXPIRED,
        always(ErrorCode.AP_TKT_EXPIRED),
        credential=Credentials(Tickets(TicketCache(tgt.client, (tgt,))), ALICE),
    )


@cause
def no_tickets(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        "there is no ticket-granting ticket; log on (securestream kinit), or give a Password or Keytab",
        ErrorKind.NO_CREDENTIALS,
        credential=Credentials(CredentialCache(f"FILE:{folder}/absent"), ALICE),
    )


@cause
def no_key_in_the_keytab(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    keytab = of_somebody_else(corp(), f"bob@{REALM}")
    return Cause(
        f"the keytab has no key of bob@{REALM}; klist -k shows whose it has",
        ErrorKind.NO_CREDENTIALS,
        credential=Credentials(keytab, ALICE),
    )


@cause
def no_target(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    return Cause(
        "Kerberos needs the name of the service: give a target such as host/server.example.com",
        ErrorKind.TARGET_UNKNOWN,
        target=None,
    )


@cause
def no_configuration(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cause:
    monkeypatch.setenv("KRB5_CONFIG", f"{folder}/absent.conf")
    return Cause(
        f"no configuration of Kerberos is at {folder}/absent.conf: check KRB5_CONFIG",
        ErrorKind.SERVICE_FAILED,
        config=None,
    )


def of_somebody_else(kdc: EmbeddedKdc, principal: str) -> Credential:
    """A keytab of the realm's service that is used as if it were of somebody else."""
    octets = kdc.keytab(SPN).octets
    assert octets is not None
    return Keytab(octets=octets.reveal(), principal=principal)


@pytest.fixture(params=sorted(CAUSES))
def provoked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cause]:
    """Each cause in turn."""
    name: str = request.param
    with ExitStack() as stack:
        yield CAUSES[name](stack, monkeypatch, tmp_path)


def test_the_report_of_an_ntlm_session_says_why_it_is_one(provoked: Cause) -> None:
    client = Negotiate(provoked.kerberos, Ntlm(), ntlm="always")
    met = attempt(client, provoked.credential, kdc=provoked.kdc, target=provoked.target)
    assert met.error is None, met.error
    assert met.chosen == "NTLM"
    first, second = met.report.mechanisms
    assert (first.mechanism, first.verdict, first.kind) == ("Kerberos", Verdict.PASSED_OVER, provoked.kind)
    assert first.reason.startswith(provoked.sentence)
    assert second.verdict is Verdict.CHOSEN
    assert met.report.reason_against("kerberos") == first.reason
    assert f"Kerberos: passed over: {provoked.sentence}" in str(met.report)


def test_the_error_without_ntlm_says_why_nothing_is_left(provoked: Cause) -> None:
    client = Negotiate(provoked.kerberos, Ntlm(), ntlm="never")
    met = attempt(client, provoked.credential, kdc=provoked.kdc, target=provoked.target)
    error = met.error
    assert isinstance(error, NoCommonMechanism)
    assert error.kind is (provoked.kind or ErrorKind.NO_COMMON_MECHANISM)
    assert f"Kerberos: {provoked.sentence}" in str(error)
    assert 'NTLM: policy forbids it: ntlm="never"' in str(error)
    assert met.report.chosen is None
    assert not met.sent


def test_where_nobody_is_known_ntlm_stands_in_and_else_not(provoked: Cause) -> None:
    client = Negotiate(provoked.kerberos, Ntlm(), ntlm="no-kdc")
    met = attempt(client, provoked.credential, kdc=provoked.kdc, target=provoked.target)
    if provoked.nobody_known:
        assert met.chosen == "NTLM"
    else:
        assert isinstance(met.error, NoCommonMechanism)
        assert "only where no KDC is known" in str(met.error)
        assert not met.sent


def test_the_commands_say_it_too(provoked: Cause) -> None:
    client = Negotiate(provoked.kerberos, Ntlm(), ntlm="always")
    met = attempt(client, provoked.credential, kdc=provoked.kdc, target=provoked.target)
    told = io.StringIO()
    Report(told, told, verbose=True).negotiated(met.report)
    assert f"Kerberos: passed over: {provoked.sentence}" in told.getvalue()
    refused = attempt(Negotiate(provoked.kerberos, Ntlm(), ntlm="never"), provoked.credential, kdc=provoked.kdc).error
    assert refused is not None
    lines = io.StringIO()
    Report(lines, lines, as_json=True).fail(refused)
    considered = json.loads(lines.getvalue())["negotiation"]
    assert [one["mechanism"] for one in considered] == ["Kerberos", "NTLM"]


def default_realm_of(folder: Path) -> str:
    """A configuration as Debian's krb5-config leaves it where nobody answered its question."""
    path = folder / "krb5.conf"
    path.write_text(f"[libdefaults]\n\tdefault_realm = {REALM}\n\tdns_lookup_kdc = false\n", encoding="utf-8")
    return str(path)


def test_a_default_realm_that_nobody_chose_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The user wrote no realm, so what names one is not to be found in the program."""
    path = default_realm_of(tmp_path)
    monkeypatch.setenv("KRB5_CONFIG", path)
    told = f"no KDC of {REALM} is configured; name one in [realms] of krb5.conf, or by kdc= ({REALM} is the "
    met = attempt(Negotiate(), ALICE)
    assert isinstance(met.error, NoCommonMechanism)
    assert f"{told}default_realm of {path}, line 2)" in str(met.error)
    assert met.error.negotiation is not None
    assert f"{told}default_realm of {path}, line 2)" in (met.error.negotiation.reason_against("Kerberos") or "")
    assert "NTLM: it stands in for Kerberos only where no KDC is known" in str(met.error)
    assert not met.sent
    alone = attempt(Kerberos(), ALICE).error
    assert str(alone) == f"{told}default_realm of {path}, line 2)"
    given = attempt(Negotiate(Kerberos(realm=REALM), Ntlm()), ALICE)
    assert f"{told}realm= of the package)" in str(given.error)
    reported = attempt(Negotiate(ntlm="always"), ALICE)
    assert reported.report.reason_against("Kerberos") == f"{told}default_realm of {path}, line 2)"


@pytest.mark.parametrize("name", [f"alice@{REALM}", rf"{REALM}\alice", r"OFFICE\alice"])
def test_a_realm_that_the_user_wrote_is_the_users(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KRB5_CONFIG", default_realm_of(tmp_path))
    met = attempt(Negotiate(ntlm="never"), Password(name, PASSWORD))
    assert "no KDC of " in str(met.error)
    assert "default_realm" not in str(met.error)


def test_every_cause_has_a_sentence_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ExitStack() as stack:
        sentences = {name: provoke(stack, monkeypatch, tmp_path).sentence for name, provoke in CAUSES.items()}
    twice = {"no_realm_nor_target"}  # the same cause, seen before the target matters
    own = {name: sentence for name, sentence in sentences.items() if name not in twice}
    assert len(set(own.values())) == len(own) >= 8


def test_a_server_without_kerberos_is_a_cause_too() -> None:
    kdc = corp()
    client = Negotiate(Kerberos(config=kdc.config), Ntlm(), ntlm="always")
    met = attempt(client, ALICE, kdc=kdc.answer)
    assert met.chosen == "NTLM"
    assert met.report.reason_against("Kerberos") == "offered first; the acceptor chose another mechanism"
    assert met.report.protected
    alone = attempt(Negotiate(Kerberos(config=kdc.config), Ntlm()), ALICE, kdc=kdc.answer)
    assert "not offered: NTLM: it stands in for Kerberos only where no KDC is known" in str(alone.error)
    assert alone.refused is not None
    assert "NTLM: the initiator did not offer it" in str(alone.refused)


def test_a_user_whom_the_kdc_does_not_believe_is_no_cause() -> None:
    """A wrong password is not handed to the server once a KDC has refused it, whatever the policy is."""
    kdc = corp()
    for code in (ErrorCode.PREAUTH_FAILED, ErrorCode.CLIENT_REVOKED, ErrorCode.KEY_EXPIRED, ErrorCode.POLICY):
        met = attempt(Negotiate(Kerberos(config=kdc.config), Ntlm(), ntlm="always"), ALICE, kdc=always(code))
        assert met.error is not None
        assert not isinstance(met.error, NoCommonMechanism)
        assert not met.sent
        report = met.error.negotiation
        assert report is not None
        assert report.reason_against("Kerberos") == str(met.error)
        assert report.reason_against("NTLM") == "nothing is tried after this failure of Kerberos"
        assert report.chosen is None


def test_kerberos_is_chosen_where_it_can_be_had() -> None:
    kdc = corp()
    keytab = kdc.keytab(SPN)
    end = Negotiate(Kerberos(config=kdc.config), Ntlm())
    met = attempt(end, ALICE, kdc=kdc.answer, server=end, accepting=keytab)
    assert met.chosen == "Kerberos"
    assert [is_for_a_service(effect) for effect in met.asked][-1]
    assert not met.ntlm_left
