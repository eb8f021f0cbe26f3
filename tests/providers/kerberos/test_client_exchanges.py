"""AS and TGS exchanges of the client, against a KDC in memory."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from securestream.credentials import CredentialCache, Credentials, Password
from securestream.errors import InvalidToken, LogonDenied, NoAuthority, Unsupported
from securestream.provider import TargetName
from securestream.redaction import Secret
from securestream_providers.kerberos.client import (
    ClientSettings,
    InitialTicket,
    PasswordKeys,
    Session,
    forwarded_tgt,
    initial_ticket,
    obtain,
    renew,
    service_ticket,
    user_to_user,
)
from securestream_providers.kerberos.client.referrals import next_in_hierarchy
from securestream_providers.kerberos.effects import KdcRequest, RecallTickets
from securestream_providers.krb5 import preauth
from securestream_providers.krb5.kdc_error import KdcLogonDenied, KdcTimeSkew, PasswordExpired
from securestream_providers.krb5.messages import EtypeInfo2Entry, KrbError, PrincipalName
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, NameType, PaType, TicketFlags
from securestream_providers.krb5.tickets import TicketCache
from tests.providers.kerberos.driving import drive, options
from tests.providers.kerberos.scripted_kdc import ALICE, CONFIG, NOW, PASSWORD, REALM, SERVICE, ScriptedKdc

KEYS = PasswordKeys(Secret(PASSWORD))


def session(settings: ClientSettings | None = None, at: datetime = NOW) -> Session:
    return Session(settings or ClientSettings(CONFIG), options(lambda: at))


def log_on(kdc: ScriptedKdc, asking: Session | None = None, client: KerberosName = ALICE) -> InitialTicket:
    return drive(initial_ticket(asking or session(), client, KEYS), kdc.answers())


def test_a_password_gets_a_ticket_by_encrypted_timestamp() -> None:
    kdc = ScriptedKdc()
    made = log_on(kdc)
    assert made.ticket.client == ALICE
    assert made.ticket.server.components == ("krbtgt", REALM)
    assert made.fast_available
    assert len(kdc.seen) == 2


def test_a_principal_without_pre_authentication_is_answered_at_once() -> None:
    kdc = ScriptedKdc(preauth=False)
    assert log_on(kdc).ticket.client == ALICE
    assert len(kdc.seen) == 1


def test_the_cookie_is_echoed() -> None:
    kdc = ScriptedKdc()
    log_on(kdc)
    assert preauth.find_padata(kdc.seen[0].padata, PaType.FX_COOKIE) is None
    assert preauth.find_padata(kdc.seen[1].padata, PaType.FX_COOKIE) == b"cookie"


def test_a_wrong_password_is_refused() -> None:
    kdc = ScriptedKdc(preauth=False)
    with pytest.raises(LogonDenied, match="alice"):
        drive(initial_ticket(session(), ALICE, PasswordKeys(Secret("wrong"))), kdc.answers())


@pytest.mark.parametrize("etype", [17, 18, 19, 20, 25, 26])
def test_every_encryption_type_logs_on(etype: int) -> None:
    assert log_on(ScriptedKdc(etype=etype)).ticket.client == ALICE


def test_a_weak_type_is_asked_for_only_by_name() -> None:
    kdc = ScriptedKdc(etype=23)
    config = replace(CONFIG, permitted_etypes=(18, 23))
    with pytest.raises(Unsupported, match="weak"):
        log_on(kdc, session(ClientSettings(config)))
    assert log_on(kdc, session(ClientSettings(config, weak=frozenset([23])))).ticket.client == ALICE


def test_an_iteration_count_that_starves_us_is_refused() -> None:
    kdc = ScriptedKdc(etype_info=(EtypeInfo2Entry(18, "salt", bytes([255, 255, 255, 255])),))
    with pytest.raises(Unsupported, match="iterations"):
        log_on(kdc)


def test_a_skew_is_learned_and_kept_after_an_authenticated_reply() -> None:
    kdc = ScriptedKdc(clock=NOW + timedelta(hours=2))
    asking = session()
    made = log_on(kdc, asking)
    assert made.kdc_offset == asking.offset == timedelta(hours=2)
    drive(service_ticket(asking, made.ticket, SERVICE), kdc.answers())
    assert [spoken.request.msg_type for spoken in kdc.seen] == [10, 10, 10, 10, 12]


def test_an_expired_password_is_reported_as_such() -> None:
    with pytest.raises(PasswordExpired, match="kpasswd") as caught:
        log_on(ScriptedKdc(errors=[ErrorCode.KEY_EXPIRED]))
    assert caught.value.code == ErrorCode.KEY_EXPIRED


def test_fast_hides_the_exchange_in_armor() -> None:
    kdc = ScriptedKdc()
    armor = log_on(kdc).ticket
    kdc.seen.clear()
    made = log_on(kdc, session(ClientSettings(CONFIG, armor=armor)))
    assert made.ticket.client == ALICE
    assert all(spoken.armor is not None for spoken in kdc.seen)
    assert len(kdc.seen) == 2


def test_offered_fast_is_used_once_the_kdc_offers_it() -> None:
    kdc = ScriptedKdc()
    armor = log_on(kdc).ticket
    kdc.seen.clear()
    log_on(kdc, session(ClientSettings(CONFIG, armor=armor, armor_policy="offered")))
    assert [spoken.armor is not None for spoken in kdc.seen] == [False, True, True]
    kdc = ScriptedKdc(fast=False, tgt_key=kdc.tgt_key)
    assert log_on(kdc, session(ClientSettings(CONFIG, armor=armor, armor_policy="offered"))).ticket.client == ALICE


def test_a_ticket_granting_request_uses_fast_where_the_kdc_is_known_to_do_it() -> None:
    kdc = ScriptedKdc()
    asking = session()
    made = log_on(kdc, asking)
    drive(service_ticket(asking, made.ticket, SERVICE), kdc.answers())
    assert kdc.seen[-1].armor is not None
    asking.fast_realms.clear()
    drive(service_ticket(asking, made.ticket, SERVICE), kdc.answers())
    assert kdc.seen[-1].armor is None


def test_a_client_is_referred_to_its_realm() -> None:
    def refer(error: KrbError) -> KrbError:
        return replace(error, crealm="CHILD.EXAMPLE.COM") if error.error_code == ErrorCode.WRONG_REALM else error

    kdc = ScriptedKdc(errors=[ErrorCode.WRONG_REALM], error_hook=refer)
    asking = session(ClientSettings(CONFIG, enterprise=True))
    name = KerberosName(REALM, ("alice@corp",), NameType.ENTERPRISE)
    kdc.preauth = False
    kdc.etype_info = None
    keys = PasswordKeys(Secret(PASSWORD))
    with pytest.raises(LogonDenied):  # the key has another salt there: that it was asked is what counts
        drive(initial_ticket(asking, name, keys), kdc.answers())
    assert [request.realm for request in kdc.requests] == [REALM, "CHILD.EXAMPLE.COM"]


def test_clients_referred_in_a_circle_are_refused() -> None:
    def refer(error: KrbError) -> KrbError:
        return replace(error, crealm="B" if error.realm == REALM else REALM)

    kdc = ScriptedKdc(errors=[ErrorCode.WRONG_REALM] * 9, error_hook=refer)
    with pytest.raises(InvalidToken, match="circle"):
        log_on(kdc, session(ClientSettings(CONFIG, canonicalize=True)))
    assert len(kdc.seen) == 2


def test_a_service_is_found_by_referral() -> None:
    kdc = ScriptedKdc(refer={REALM: "B.EXAMPLE.COM"})
    asking = session()
    made = log_on(kdc, asking)
    found = drive(service_ticket(asking, made.ticket, replace(SERVICE, realm="")), kdc.answers())
    assert found.ticket.server == replace(SERVICE, realm="B.EXAMPLE.COM")
    assert [ticket.server.components[1] for ticket in found.path] == ["B.EXAMPLE.COM"]


def test_services_referred_in_a_circle_are_refused() -> None:
    kdc = ScriptedKdc(refer={REALM: "B", "B": "C", "C": REALM})
    asking = session()
    made = log_on(kdc, asking)
    with pytest.raises(InvalidToken, match="circle"):
        drive(service_ticket(asking, made.ticket, SERVICE), kdc.answers())


def test_referrals_have_a_limit() -> None:
    kdc = ScriptedKdc(refer={REALM: "R0", **{f"R{n}": f"R{n + 1}" for n in range(50)}})
    asking = session()
    made = log_on(kdc, asking)
    with pytest.raises(InvalidToken, match="more than"):
        drive(service_ticket(asking, made.ticket, SERVICE), kdc.answers())
    assert len(kdc.requests) < 20


def test_capaths_say_the_way() -> None:
    config = replace(CONFIG, capaths={REALM: {"D": ("B", "C")}})
    kdc = ScriptedKdc()
    asking = session(ClientSettings(config))
    made = log_on(kdc, asking)
    found = drive(service_ticket(asking, made.ticket, replace(SERVICE, realm="D")), kdc.answers())
    assert [ticket.server.components[1] for ticket in found.path] == ["B", "C", "D"]
    assert [request.realm for request in kdc.requests[-4:]] == [REALM, "B", "C", "D"]


def test_the_hierarchy_of_names_leads_up_and_down() -> None:
    assert next_in_hierarchy("A.EXAMPLE.COM", "B.EXAMPLE.COM") == "EXAMPLE.COM"
    assert next_in_hierarchy("EXAMPLE.COM", "B.EXAMPLE.COM") == "B.EXAMPLE.COM"
    assert next_in_hierarchy("A.COM", "B.ORG") == "B.ORG"


def test_user_to_user_sends_the_peers_ticket() -> None:
    kdc = ScriptedKdc()
    asking = session()
    tgt = log_on(kdc, asking).ticket
    found = drive(user_to_user(asking, tgt, ALICE, tgt.ticket), kdc.answers()).ticket
    body = kdc.seen[-1].body
    assert body.kdc_options & KdcOptions.ENC_TKT_IN_SKEY
    assert body.additional_tickets is not None
    assert body.additional_tickets[0].encode() == tgt.ticket == found.second_ticket
    assert found.is_session_key


def test_a_forwarded_ticket_must_be_marked_so() -> None:
    kdc = ScriptedKdc()
    asking = session()
    tgt = log_on(kdc, asking).ticket
    with pytest.raises(InvalidToken, match="forwarded"):
        drive(forwarded_tgt(asking, tgt), kdc.answers())
    kdc.flags |= TicketFlags.FORWARDED
    assert drive(forwarded_tgt(asking, tgt), kdc.answers()).flags & TicketFlags.FORWARDED


def test_a_ticket_is_renewed() -> None:
    kdc = ScriptedKdc()
    asking = session(ClientSettings(CONFIG, lifetime=timedelta(hours=1), renew_lifetime=timedelta(days=1)))
    tgt = log_on(kdc, asking).ticket
    kdc.clock += timedelta(minutes=30)
    later = session(at=kdc.clock)
    later.fast_realms = asking.fast_realms
    drive(renew(later, tgt), kdc.answers())
    assert kdc.seen[-1].body.kdc_options & KdcOptions.RENEW


def test_too_big_for_datagrams_is_asked_again_by_stream() -> None:
    kdc = ScriptedKdc(errors=[ErrorCode.RESPONSE_TOO_BIG])
    log_on(kdc)
    assert [request.stream for request in kdc.requests] == [False, True, False]


def test_obtain_logs_on_asks_and_remembers() -> None:
    kdc = ScriptedKdc()
    target = TargetName("host/db.example.com")
    credential, asked_at = Password("alice", PASSWORD), options(lambda: NOW)
    found = drive(obtain(ClientSettings(CONFIG), credential, target, asked_at), kdc.answers())
    assert found.ticket.server == SERVICE
    assert found.tgt is not None
    (kept,) = kdc.remembered
    assert kept.tickets == (found.tgt, found.ticket)
    assert kept.client == ALICE
    answers = kdc.answers()
    answers[RecallTickets] = lambda _: TicketCache(ALICE, kept.tickets, kept.configuration, kept.kdc_offset)
    asked = len(kdc.requests)
    again = drive(obtain(ClientSettings(CONFIG), credential, target, asked_at), answers)
    assert again.ticket is found.ticket
    assert again.fast_available
    assert len(kdc.requests) == asked


def test_of_several_forms_of_an_identity_the_first_is_used() -> None:
    cached, ntlm_user = CredentialCache("FILE:/nowhere"), Password("CORP\\alice", "for NTLM")
    kdc = ScriptedKdc()
    logged_on = drive(initial_ticket(session(), ALICE, KEYS), kdc.answers())
    answers = kdc.answers()
    answers[RecallTickets] = lambda _: TicketCache(ALICE, (logged_on.ticket,))
    target, asked_at = TargetName("host/db.example.com"), options(lambda: NOW)
    found = drive(obtain(ClientSettings(CONFIG), Credentials(cached, ntlm_user), target, asked_at), answers)
    assert found.ticket.client == ALICE
    assert found.tgt is logged_on.ticket


def test_no_answer_from_any_kdc_is_said_so() -> None:
    def silent(_: KdcRequest) -> bytes:
        raise NoAuthority("no KDC of EXAMPLE.COM answers")

    with pytest.raises(NoAuthority):
        drive(initial_ticket(session(), ALICE, KEYS), {KdcRequest: silent})


def test_a_persistent_skew_says_how_many_seconds() -> None:
    with pytest.raises(KdcTimeSkew, match=r"\+7200 seconds"):
        log_on(ScriptedKdc(errors=[37, 37], clock=NOW + timedelta(hours=2)))


def test_an_unknown_client_is_named() -> None:
    with pytest.raises(KdcLogonDenied, match="bob@EXAMPLE"):
        log_on(ScriptedKdc(errors=[6]), client=KerberosName(REALM, ("bob",)))


def test_damaged_replies_raise_nothing_but_our_family() -> None:
    from securestream.errors import ContextError, HandshakeError, MalformedMessage

    kdc = ScriptedKdc(preauth=False)
    rest = os.urandom

    def damaged(effect: KdcRequest) -> bytes:
        octets = bytearray(kdc.ask(effect))
        octets[int.from_bytes(rest(2), "big") % len(octets)] ^= 1 << (rest(1)[0] & 7)
        return bytes(octets)

    for _ in range(60):
        try:
            drive(initial_ticket(session(), ALICE, KEYS), {KdcRequest: damaged})
        except HandshakeError:
            continue
        except (
            ContextError,
            MalformedMessage,
        ) as problem:  # pragma: no cover  a bug
            pytest.fail(f"{problem!r} leaves the client")


def test_names_compare_as_principals() -> None:
    assert KerberosName.of(PrincipalName(10, ("alice",)), REALM) == ALICE
