"""Rule 13: what a KDC's reply must hold; the forgeries come from a KDC, or somebody in the middle, that lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from securestream.errors import HandshakeError, InvalidToken, LogonDenied, Unsupported
from securestream.options import Options
from securestream.redaction import Secret
from securestream_providers import kerberos
from securestream_providers.kerberos import client as client_package
from securestream_providers.kerberos.client import (
    ClientSettings,
    InitialTicket,
    PasswordKeys,
    Session,
    initial_ticket,
    s4u2proxy,
    service_ticket,
)
from securestream_providers.kerberos.effects import KdcRequest
from securestream_providers.krb5 import fast, preauth
from securestream_providers.krb5.kdc_error import KdcRefused, KdcTimeSkew
from securestream_providers.krb5.keys import random_key
from securestream_providers.krb5.messages import (
    AsRep,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    EtypeInfo2Entry,
    KrbError,
    PaData,
    PrincipalName,
    TgsRep,
    Ticket,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode, PaType, TicketFlags
from tests.providers.kerberos.driving import drive, options
from tests.providers.kerberos.scripted_kdc import ALICE, CONFIG, NOW, PASSWORD, REALM, SERVICE, ScriptedKdc

KEYS = PasswordKeys(Secret(PASSWORD))
MALLORY = PrincipalName(1, ("mallory",))
OTHER_SERVICE = PrincipalName(3, ("host", "evil.example.com"))


def now() -> Options:
    return options(lambda: NOW)


def session(**settings: Any) -> Session:
    return Session(ClientSettings(CONFIG, **settings), now())


def log_on(kdc: ScriptedKdc, asking: Session | None = None) -> InitialTicket:
    return drive(initial_ticket(asking or session(), ALICE, KEYS), kdc.answers())


def renamed(reply: Any, name: PrincipalName, realm: str = REALM) -> Any:
    """The reply with another name on the outside of its ticket, where nothing protects it."""
    ticket = Ticket.decode(reply.ticket)
    return replace(reply, ticket=replace(ticket, sname=name, realm=realm).encode())


FORGED_PARTS: dict[str, Callable[[Any], Any]] = {
    "nonce": lambda part: replace(part, nonce=part.nonce ^ 1),
    "service": lambda part: replace(part, sname=OTHER_SERVICE),
    "realm of the service": lambda part: replace(part, srealm="EVIL.EXAMPLE.COM"),
    "ended already": lambda part: replace(part, endtime=NOW - timedelta(seconds=1)),
    "ends before it starts": lambda part: replace(
        part, starttime=NOW + timedelta(hours=3), endtime=NOW + timedelta(hours=2)
    ),
    "starts later than now": lambda part: replace(part, starttime=NOW + timedelta(minutes=6)),
    "type of the session key": lambda part: replace(part, key=EncryptionKey(23, bytes(16))),
    "unknown type of the session key": lambda part: replace(part, key=EncryptionKey(3, bytes(8))),
    "session key that is none": lambda part: replace(part, key=EncryptionKey(18, bytes(5))),
}

FORGED_REPLIES: dict[str, Callable[[Any], Any]] = {
    "client": lambda reply: replace(reply, cname=MALLORY),
    "realm of the client": lambda reply: replace(reply, crealm="EVIL.EXAMPLE.COM"),
    "name of the ticket": lambda reply: renamed(reply, OTHER_SERVICE),
    "realm of the ticket": lambda reply: renamed(reply, Ticket.decode(reply.ticket).sname, "EVIL.EXAMPLE.COM"),
    "ticket that is none": lambda reply: replace(reply, ticket=b"\x61\x03\x02\x01\x05"),
    "encryption type": lambda reply: replace(reply, enc_part=EncryptedData(23, None, reply.enc_part.cipher)),
    "ciphertext": lambda reply: replace(
        reply, enc_part=EncryptedData(18, None, reply.enc_part.cipher[:-1] + bytes([reply.enc_part.cipher[-1] ^ 1]))
    ),
}


@pytest.mark.parametrize("lie", FORGED_PARTS)
def test_a_first_ticket_with_other_contents_than_asked_is_refused(lie: str) -> None:
    with pytest.raises(HandshakeError):
        log_on(ScriptedKdc(part=FORGED_PARTS[lie]))


def test_a_start_within_the_skew_is_a_ticket_of_now() -> None:
    kdc = ScriptedKdc(part=lambda part: replace(part, starttime=NOW + timedelta(minutes=4)))
    assert log_on(kdc).ticket.start_time == NOW + timedelta(minutes=4)


@pytest.mark.parametrize("lie", FORGED_REPLIES)
def test_a_first_reply_altered_outside_of_its_sealed_part_is_refused(lie: str) -> None:
    with pytest.raises(HandshakeError):
        log_on(ScriptedKdc(reply=FORGED_REPLIES[lie]))


@pytest.mark.parametrize("in_fast", [True, False])
@pytest.mark.parametrize("lie", FORGED_PARTS)
def test_a_service_ticket_with_other_contents_than_asked_is_refused(lie: str, in_fast: bool) -> None:
    kdc, asking = ScriptedKdc(), session()
    tgt = log_on(kdc, asking).ticket
    if not in_fast:
        asking.fast_realms.clear()
    kdc.part = FORGED_PARTS[lie]
    with pytest.raises(HandshakeError):
        drive(service_ticket(asking, tgt, SERVICE), kdc.answers())


@pytest.mark.parametrize("lie", FORGED_REPLIES)
def test_a_service_reply_altered_outside_of_its_sealed_part_is_refused(lie: str) -> None:
    kdc, asking = ScriptedKdc(), session()
    tgt = log_on(kdc, asking).ticket
    asking.fast_realms.clear()
    kdc.reply = FORGED_REPLIES[lie]
    with pytest.raises(HandshakeError):
        drive(service_ticket(asking, tgt, SERVICE), kdc.answers())


def test_other_names_are_accepted_where_canonicalisation_was_asked() -> None:
    made = log_on(ScriptedKdc(reply=FORGED_REPLIES["client"]), session(canonicalize=True))
    assert made.ticket.client == KerberosName(REALM, ("mallory",))


def test_canonicalisation_does_not_excuse_a_ticket_that_differs_from_the_sealed_part() -> None:
    """CVE-2017-11103: the name was taken from the ticket's outside."""
    kdc, asking = ScriptedKdc(), session(canonicalize=True)
    tgt = log_on(kdc, asking).ticket
    asking.fast_realms.clear()
    kdc.reply = lambda reply: renamed(reply, OTHER_SERVICE)
    with pytest.raises(InvalidToken, match="sealed part"):
        drive(service_ticket(asking, tgt, SERVICE), kdc.answers())


def test_a_referral_to_another_service_is_none() -> None:
    """Referrals are asked for always; they lead to ticket-granting services only."""
    kdc, asking = ScriptedKdc(), session()
    tgt = log_on(kdc, asking).ticket

    asking.fast_realms.clear()

    def other(reply: TgsRep) -> Any:
        return renamed(reply, OTHER_SERVICE)

    kdc.part, kdc.reply = FORGED_PARTS["service"], other
    with pytest.raises(InvalidToken, match="evil"):
        drive(service_ticket(asking, tgt, SERVICE), kdc.answers())


def test_times_and_flags_come_from_the_sealed_part() -> None:
    end = NOW + timedelta(hours=1)
    made = log_on(
        ScriptedKdc(part=lambda part: replace(part, endtime=end, flags=part.flags | TicketFlags.OK_AS_DELEGATE))
    )
    assert made.ticket.end_time == end
    assert made.ticket.flags & TicketFlags.OK_AS_DELEGATE


def test_a_ticket_that_lives_longer_than_asked_is_refused() -> None:
    kdc = ScriptedKdc(part=lambda part: replace(part, endtime=NOW + timedelta(days=2)))
    with pytest.raises(InvalidToken, match="longer"):
        log_on(kdc, session(lifetime=timedelta(hours=1)))


@pytest.mark.parametrize("left", ["nothing", "another request's"])
def test_the_flag_of_a_protected_request_without_its_right_checksum_is_refused(left: str) -> None:
    def forged(part: EncAsRepPart) -> EncAsRepPart:
        if left == "nothing":
            return replace(part, encrypted_pa_data=None)
        wrong = preauth.request_checksum(ScriptedKdc().long_term(), b"another request")
        return replace(part, encrypted_pa_data=(wrong,))

    with pytest.raises(InvalidToken, match="request"):
        log_on(ScriptedKdc(part=forged))


def test_a_request_altered_on_its_way_is_noticed() -> None:
    """Somebody takes an element out of the unprotected request; the KDC's checksum is over what it received."""
    kdc = ScriptedKdc(preauth=False)

    def in_the_middle(effect: KdcRequest) -> bytes:
        return kdc.ask(replace(effect, message=effect.message[:-1] + bytes([effect.message[-1] ^ 1])))

    with pytest.raises(HandshakeError):
        drive(initial_ticket(session(), ALICE, KEYS), {KdcRequest: in_the_middle})


def test_a_reply_under_another_key_is_a_refused_logon() -> None:
    def forged(reply: AsRep) -> AsRep:
        key = random_key(18, now().random)
        return replace(reply, enc_part=EncryptedData(18, None, key.encrypt(3, b"\x79\x00", now().random)))

    with pytest.raises(LogonDenied):
        log_on(ScriptedKdc(reply=forged))


# --- unauthenticated hints -------------------------------------------------------------------------------------------


def test_a_skew_is_believed_once() -> None:
    kdc = ScriptedKdc(errors=[37] * 10, clock=NOW + timedelta(days=1))
    asking = session()
    with pytest.raises(KdcTimeSkew):
        log_on(kdc, asking)
    assert len(kdc.seen) == 2
    assert asking.offset == timedelta(0)


def test_a_skew_that_no_reply_authenticates_is_not_kept() -> None:
    kdc, asking = ScriptedKdc(), session()
    tgt = log_on(kdc, asking).ticket
    kdc.clock, kdc.errors = NOW + timedelta(days=1), [ErrorCode.AP_SKEW, ErrorCode.S_PRINCIPAL_UNKNOWN]
    with pytest.raises(KdcRefused):
        drive(service_ticket(asking, tgt, SERVICE), kdc.answers())
    assert asking.offset == timedelta(0)


def test_an_encryption_type_that_was_not_asked_for_is_not_taken_from_a_hint() -> None:
    kdc = ScriptedKdc(etype_info=(EtypeInfo2Entry(23, None, None),))
    with pytest.raises(Unsupported):
        log_on(kdc)
    assert len(kdc.seen) == 1


def test_a_reply_under_an_encryption_type_that_was_not_asked_for_is_refused() -> None:
    """It could be read, with the right password: the KDC, or whoever is in its place, chose a weak type by itself."""
    with pytest.raises(Unsupported, match="not asked"):
        log_on(ScriptedKdc(etype=23, preauth=False))


def test_a_skew_is_believed_once_for_a_service_ticket_too() -> None:
    kdc, asking = ScriptedKdc(), session()
    tgt = log_on(kdc, asking).ticket
    kdc.seen.clear()
    kdc.errors = [ErrorCode.AP_SKEW] * 5
    with pytest.raises(KdcTimeSkew):
        drive(service_ticket(asking, tgt, SERVICE), kdc.answers())
    assert len(kdc.seen) == 2


def test_few_iterations_are_not_taken_from_a_hint() -> None:
    """One iteration would hand a guessable key to whoever is in the middle."""
    kdc = ScriptedKdc(etype_info=(EtypeInfo2Entry(18, "salt", bytes([0, 0, 0, 1])),))
    with pytest.raises(Unsupported, match="iterations"):
        log_on(kdc)
    assert len(kdc.seen) == 1


def test_a_kdc_that_asks_for_ever_more_is_left() -> None:
    kdc = ScriptedKdc(errors=[ErrorCode.PREAUTH_REQUIRED] * 100)
    with pytest.raises(HandshakeError):
        log_on(kdc)
    assert len(kdc.seen) <= 16


# --- FAST ------------------------------------------------------------------------------------------------------------


def armored(kdc: ScriptedKdc, **settings: Any) -> Session:
    """A session that requires FAST."""
    asking = session(armor=log_on(kdc).ticket, **settings)
    kdc.seen.clear()
    return asking


def test_required_armor_never_falls_back_when_the_kdc_does_without() -> None:
    kdc = ScriptedKdc()
    asking = armored(kdc)
    kdc.fast = False
    with pytest.raises(HandshakeError, match="FAST"):
        log_on(kdc, asking)
    assert all(preauth.find_padata(spoken.request.padata, PaType.FX_FAST) for spoken in kdc.seen)


@pytest.mark.parametrize(
    "code", [ErrorCode.PREAUTH_REQUIRED, ErrorCode.PADATA_TYPE_NOSUPP, ErrorCode.WRONG_REALM, ErrorCode.KEY_EXPIRED]
)
def test_an_error_outside_of_required_armor_ends_the_exchange(code: int) -> None:
    kdc = ScriptedKdc()
    asking = armored(kdc, canonicalize=True)
    asked: list[KdcRequest] = []

    def in_the_middle(effect: KdcRequest) -> bytes:
        asked.append(effect)
        name = PrincipalName(2, ("krbtgt", REALM))
        return KrbError(5, 30, None, None, NOW, 0, code, "EVIL", None, REALM, name).encode()

    with pytest.raises(HandshakeError, match="FAST"):
        drive(initial_ticket(asking, ALICE, KEYS), {KdcRequest: in_the_middle})
    assert len(asked) == 1


def test_a_reply_stripped_of_its_armor_is_refused() -> None:
    kdc = ScriptedKdc()
    asking = armored(kdc)
    kdc.reply = lambda reply: replace(reply, padata=None)
    with pytest.raises(InvalidToken, match="FAST"):
        log_on(kdc, asking)


@pytest.mark.parametrize("lie", ["no finished", "another ticket", "nonce", "challenge"])
def test_armor_that_does_not_fit_is_refused(lie: str) -> None:
    kdc = ScriptedKdc()
    asking = armored(kdc)

    def forged(response: Any) -> Any:
        if lie == "no finished":
            return replace(response, finished=None)
        if lie == "nonce":
            return replace(response, nonce=response.nonce ^ 1)
        if lie == "challenge":
            key = random_key(18, now().random)
            challenge = fast.kdc_challenge(key, key, NOW, now().random)
            return replace(response, padata=(PaData(PaType.ENCRYPTED_CHALLENGE, challenge.padata_value),))
        checksum = replace(response.finished.ticket_checksum, checksum=bytes(12))
        return replace(response, finished=replace(response.finished, ticket_checksum=checksum))

    kdc.finish = forged
    with pytest.raises(InvalidToken):
        log_on(kdc, asking)


def test_inside_armor_the_clients_name_is_the_authenticated_one() -> None:
    kdc = ScriptedKdc()
    asking = armored(kdc)
    kdc.reply = lambda reply: replace(reply, cname=MALLORY)
    assert log_on(kdc, asking).ticket.client == ALICE


def test_a_service_reply_stripped_of_its_armor_is_refused() -> None:
    kdc, asking = ScriptedKdc(), session()
    tgt = log_on(kdc, asking).ticket
    kdc.reply = lambda reply: replace(reply, padata=None)
    with pytest.raises(InvalidToken, match="FAST"):
        drive(service_ticket(asking, tgt, SERVICE), kdc.answers())


def test_a_ticket_for_somebody_else_is_refused_in_delegation() -> None:
    kdc, asking = ScriptedKdc(), session()
    tgt = log_on(kdc, asking).ticket
    evidence = replace(tgt, client=KerberosName(REALM, ("bob",)))
    with pytest.raises(InvalidToken, match="bob"):
        drive(s4u2proxy(asking, tgt, evidence, SERVICE), kdc.answers())


def test_there_is_no_way_to_check_a_password_without_a_keytab_of_our_own() -> None:
    """A KDC that nobody authenticated could say yes; whoever wants to check passwords uses the ticket on itself."""
    for module in (kerberos, client_package):
        assert not [name for name in dir(module) if "check_password" in name or "verify_password" in name]
