"""The ticket-granting service, asked by hand-made requests (RFC 4120 3.3)."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from securestream_providers.kerberos.kdc.embedded import EmbeddedKdc
from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.krb5.fast import armor_key, strengthen, unwrap_reply
from securestream_providers.krb5.keys import make_key, random_key
from securestream_providers.krb5.messages import (
    AuthorizationData,
    AuthorizationElement,
    Checksum,
    EncryptedData,
    EncTgsRepPart,
    EncTicketPart,
    HostAddress,
    KrbError,
    PaData,
    TgsRep,
    TgsReq,
)
from securestream_providers.krb5.messages_fast import FastArmoredReq, FastReq, PaFxFastRequest
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import AdType, ErrorCode, KdcOptions, KeyUsage, NameType, PaType, TicketFlags
from securestream_providers.krb5.pac_principal import principal_of
from securestream_providers.krb5.pac_signing import verify_ticket
from tests.providers.kerberos.forged import NOON, REALM, Bench, Got, hours, name, offered, options

KRBTGT = f"krbtgt/{REALM}"
ASKED = options(KdcOptions.FORWARDABLE, KdcOptions.PROXIABLE, KdcOptions.RENEWABLE)


@pytest.fixture(scope="module")
def bench() -> Bench:
    """One realm for the tests that leave it as it is."""
    made = Bench()
    made.kdc.add_principal("alice", "correct horse")
    made.kdc.add_principal("bob", "battery staple")
    made.kdc.add_service("host/server.test", aliases=("host/server",), ok_as_delegate=True)
    return made


@pytest.fixture(scope="module")
def tgt(bench: Bench) -> Got:
    """A ticket-granting ticket of alice, with all flags."""
    return bench.tgt("alice", kdc_options=ASKED)


def test_a_service_ticket_for_the_session_key_or_the_subkey(bench: Bench, tgt: Got) -> None:
    for subkey in (None, random_key(17, os.urandom)):
        got = bench.ticket(tgt, "host/server.test", header={"subkey": subkey})
        inside = bench.opened(got, "host/server.test")
        assert inside.cname.name_string == ("alice",)
        assert inside.authtime == NOON
        assert got.session != tgt.session
        wanted = TicketFlags.PRE_AUTHENT | TicketFlags.OK_AS_DELEGATE | TicketFlags.TRANSITED_POLICY_CHECKED
        assert inside.flags == got.part.flags == wanted


def test_the_pac_of_a_service_ticket_says_who_the_client_is(bench: Bench, tgt: Got) -> None:
    inside = bench.opened(bench.ticket(tgt, "host/server.test"), "host/server.test")
    pac = verify_ticket(inside, bench.key("host/server.test"))
    assert pac is not None
    assert pac.logon_info is not None
    account = bench.kdc.database.find(bench.kdc.name("alice"))
    assert account is not None
    principal = principal_of(pac, KerberosName.of(inside.cname, inside.crealm))
    assert principal.sid == f"{bench.kdc.database.domain_sid}-{account.rid}"
    assert pac.requestor_sid is None
    assert pac.logon_info.effective_name == "alice"


def test_old_keys_of_the_ticket_granting_service_still_open_tickets() -> None:
    bench = Bench()
    bench.kdc.add_principal("alice", "correct horse")
    bench.kdc.add_service("host/a")
    got = bench.tgt("alice")
    bench.kdc.roll_keys(KRBTGT)
    bench.ticket(got, "host/a")
    assert bench.tgt("alice").ticket.enc_part.kvno == 2
    bench.kdc.roll_keys(KRBTGT)
    assert bench.error(bench.tgs_req(got, "host/a")).error_code == ErrorCode.AP_BADKEYVER


def test_forwarded_proxied_and_renewed_tickets(bench: Bench, tgt: Got) -> None:
    there = (HostAddress(2, bytes((192, 0, 2, 7))),)
    forwarded = bench.ticket(
        tgt, KRBTGT, kdc_options=options(KdcOptions.FORWARDED, KdcOptions.FORWARDABLE), addresses=there
    )
    assert forwarded.part.flags & TicketFlags.FORWARDED
    assert forwarded.part.flags & TicketFlags.FORWARDABLE
    assert forwarded.part.caddr == there
    assert bench.ticket(forwarded, "host/server.test").part.flags & TicketFlags.FORWARDED
    proxy = bench.ticket(tgt, "host/server.test", kdc_options=options(KdcOptions.PROXY))
    assert proxy.part.flags & TicketFlags.PROXY
    bench.clock.now = NOON + hours(9)
    try:
        renewed = bench.ticket(tgt, KRBTGT, kdc_options=options(KdcOptions.RENEW))
    finally:
        bench.clock.now = NOON
    assert renewed.part.endtime == NOON + hours(19)
    assert renewed.part.authtime == NOON
    assert renewed.part.renew_till == tgt.part.renew_till
    assert not renewed.part.flags & TicketFlags.INITIAL


@pytest.mark.parametrize(
    ("asked", "server"),
    [
        (KdcOptions.FORWARDED, KRBTGT),
        (KdcOptions.PROXY, "host/server.test"),
        (KdcOptions.RENEW, KRBTGT),
        (KdcOptions.VALIDATE, KRBTGT),
        (KdcOptions.REQUEST_ANONYMOUS, "host/server.test"),
        (KdcOptions.ENC_TKT_IN_SKEY, "alice"),
        (KdcOptions.CNAME_IN_ADDL_TKT, "host/server.test"),
    ],
)
def test_what_the_ticket_does_not_allow_is_refused(bench: Bench, asked: KdcOptions, server: str) -> None:
    plain = bench.tgt("alice")
    assert bench.error(bench.tgs_req(plain, server, kdc_options=options(asked))).error_code == ErrorCode.BADOPTION


def test_a_ticket_bound_to_an_address_serves_there_only(bench: Bench) -> None:
    bound = bench.tgt("alice", addresses=(HostAddress(2, bytes((192, 0, 2, 7))),))
    bench.ticket(bound, "host/server.test")
    reply = bench.send(bench.tgs_req(bound, "host/server.test"), source="192.0.2.8")
    assert reply is not None
    assert reply[0] == 0x7E


def test_names_that_are_not_there_and_expired_tickets(bench: Bench, tgt: Got) -> None:
    assert bench.error(bench.tgs_req(tgt, "host/nobody")).error_code == ErrorCode.S_PRINCIPAL_UNKNOWN
    assert bench.error(bench.tgs_req(tgt, "bob")).error_code == ErrorCode.MUST_USE_USER2USER
    assert bench.error(bench.tgs_req(tgt, "host/server")).error_code == ErrorCode.S_PRINCIPAL_UNKNOWN
    found = bench.ticket(tgt, "host/server", kdc_options=options(KdcOptions.CANONICALIZE))
    assert found.part.sname.name_string == ("host", "server.test")
    bench.clock.now = NOON + hours(11)
    try:
        assert bench.error(bench.tgs_req(tgt, "host/server.test")).error_code == ErrorCode.AP_TKT_EXPIRED
    finally:
        bench.clock.now = NOON


def test_user_to_user_encrypts_in_the_other_users_session_key(bench: Bench, tgt: Got) -> None:
    bobs = bench.tgt("bob")
    wanted = options(KdcOptions.ENC_TKT_IN_SKEY)
    got = bench.ticket(tgt, "bob", kdc_options=wanted, additional_tickets=(bobs.ticket,))
    assert not got.ticket.enc_part.kvno
    inside = EncTicketPart.decode(bobs.session.decrypt(KeyUsage.TICKET, got.ticket.enc_part.cipher))
    assert inside.cname.name_string == ("alice",)
    wrong = bench.tgs_req(tgt, "host/server.test", kdc_options=wanted, additional_tickets=(bobs.ticket,))
    assert bench.error(wrong).error_code == ErrorCode.SERVER_NOMATCH
    service = bench.ticket(tgt, "host/server.test")
    wrong = bench.tgs_req(tgt, "alice", kdc_options=wanted, additional_tickets=(service.ticket,))
    assert bench.error(wrong).error_code == ErrorCode.POLICY


def test_authorisation_data_of_the_client_is_kept_but_no_pac_of_it(bench: Bench, tgt: Got) -> None:
    pac = AuthorizationElement(AdType.WIN2K_PAC, b"forged")
    hidden = AuthorizationElement(AdType.IF_RELEVANT, AuthorizationData((pac,)).encode())
    kept = AuthorizationElement(AdType.IF_RELEVANT, AuthorizationData((AuthorizationElement(999, b"x"),)).encode())
    data = AuthorizationData((pac, hidden, AuthorizationElement(AdType.KDC_ISSUED, b"forged"), kept)).encode()
    sealed = tgt.session.encrypt(KeyUsage.TGS_REQ_AUTH_DATA_SESSION, data, os.urandom)
    body: dict[str, Any] = {"enc_authorization_data": EncryptedData(tgt.session.etype, None, sealed)}
    inside = bench.opened(bench.ticket(tgt, "host/server.test", **body), "host/server.test")
    assert inside.authorization_data is not None
    ours, theirs = inside.authorization_data.elements
    assert theirs == kept
    assert ours.ad_type == AdType.IF_RELEVANT
    assert verify_ticket(inside, bench.key("host/server.test")) is not None
    body = {"enc_authorization_data": EncryptedData(tgt.session.etype, None, bytes(40))}
    assert bench.error(bench.tgs_req(tgt, "host/server.test", **body)).error_code == ErrorCode.AP_BAD_INTEGRITY
    armor = AuthorizationData((AuthorizationElement(AdType.MANDATORY_FOR_KDC, b""),)).encode()
    sealed = tgt.session.encrypt(KeyUsage.TGS_REQ_AUTH_DATA_SESSION, armor, os.urandom)
    body = {"enc_authorization_data": EncryptedData(tgt.session.etype, None, sealed)}
    assert bench.error(bench.tgs_req(tgt, "host/server.test", **body)).error_code == ErrorCode.POLICY


def test_an_account_that_is_gone_or_disabled_loses_its_ticket() -> None:
    bench = Bench()
    bench.kdc.add_principal("dora", "correct horse")
    bench.kdc.add_service("host/a")
    got = bench.tgt("dora")
    bench.kdc.change("dora", disabled=True)
    assert bench.error(bench.tgs_req(got, "host/a")).error_code == ErrorCode.TGT_REVOKED
    bench.kdc.change("dora", disabled=False)
    bench.kdc.change("host/a", disabled=True)
    assert bench.error(bench.tgs_req(got, "host/a")).error_code == ErrorCode.SERVICE_REVOKED


def _two_realms(policy: KdcPolicy) -> tuple[Bench, EmbeddedKdc]:
    """Our realm with alice, and another that trusts it and has a service."""
    here = Bench(policy)
    here.kdc.add_principal("alice", "correct horse")
    there = EmbeddedKdc("OTHER.EXAMPLE", clock=here.clock)
    there.add_service("host/there.other")
    here.kdc.trust("OTHER.EXAMPLE", "between us", inbound=False)
    there.trust(REALM, "between us", outbound=False)
    return here, there


def test_a_ticket_for_another_realm_by_name_and_by_referral() -> None:
    here, there = _two_realms(KdcPolicy(host_realms={".other": "OTHER.EXAMPLE"}))
    tgt = here.tgt("alice")
    direct = here.ticket(tgt, "krbtgt/OTHER.EXAMPLE")
    assert direct.part.sname.name_string == ("krbtgt", "OTHER.EXAMPLE")
    referral = here.ticket(tgt, "host/there.other", kdc_options=options(KdcOptions.CANONICALIZE))
    assert referral.part.sname.name_string == ("krbtgt", "OTHER.EXAMPLE")
    assert here.error(here.tgs_req(tgt, "host/there.other")).error_code == ErrorCode.S_PRINCIPAL_UNKNOWN
    request = here.tgs_req(referral, "host/there.other", realm="OTHER.EXAMPLE")
    reply = there.kdc.handle(request, now=here.clock.now, stream=True)
    assert reply is not None
    got = here.open_tgs(reply, referral.session)
    assert got.reply.crealm == REALM
    assert got.part.flags & TicketFlags.TRANSITED_POLICY_CHECKED


def test_another_realm_does_not_speak_for_our_clients_nor_for_strangers() -> None:
    here, there = _two_realms(KdcPolicy())
    there.add_principal("eve", "correct horse")
    bridge = there.kdc.realm.database.find(KerberosName("OTHER.EXAMPLE", ("krbtgt", REALM)))
    assert bridge is None  # that direction is not trusted
    got = here.ticket(here.tgt("alice"), "krbtgt/OTHER.EXAMPLE")
    key = here.key("krbtgt/OTHER.EXAMPLE", got.ticket.enc_part.etype)
    inside = here.opened(got, "krbtgt/OTHER.EXAMPLE")
    for crealm, code in (("OTHER.EXAMPLE", ErrorCode.POLICY), ("THIRD.EXAMPLE", ErrorCode.POLICY)):
        part = replace(inside, crealm=crealm, authorization_data=None)
        cipher = key.encrypt(KeyUsage.TICKET, part.encode(), os.urandom)
        ticket = replace(got.ticket, enc_part=replace(got.ticket.enc_part, cipher=cipher))
        header = {"ticket": ticket, "client": (crealm, inside.cname)}
        request = here.tgs_req(got, "host/there.other", header=header, realm="OTHER.EXAMPLE")
        reply = there.kdc.handle(request, now=here.clock.now, stream=True)
        assert reply is not None
        assert KrbError.decode(reply).error_code == code


def test_fast_in_a_tgs_request_is_armored_by_the_subkey(bench: Bench, tgt: Got) -> None:
    subkey = random_key(18, os.urandom)
    key = armor_key(subkey, tgt.session)
    outer = bench.body(None, name("host", "elsewhere"))
    inner = bench.body(None, name("host", "server.test", kind=NameType.SRV_HST))
    header = bench.pa_tgs_req(tgt, outer.encode(), subkey=subkey)
    armored = FastArmoredReq(
        None,
        Checksum(key.checksum_type, key.checksum(KeyUsage.FAST_REQ_CHECKSUM, header.padata_value)),
        EncryptedData(key.etype, None, key.encrypt(KeyUsage.FAST_ENC, FastReq(0, (), inner).encode(), os.urandom)),
    )
    padata = (header, PaData(PaType.FX_FAST, PaFxFastRequest(armored).encode()))
    reply = bench.send(TgsReq(5, 12, padata, outer).encode())
    assert reply is not None
    assert reply[0] == 0x6D
    message = TgsRep.decode(reply)
    assert message.padata is not None
    (sealed,) = message.padata
    response = unwrap_reply(key, sealed.padata_value, 4711)
    assert response.strengthen_key is not None
    strong = make_key(response.strengthen_key.keytype, response.strengthen_key.keyvalue)
    part = EncTgsRepPart.decode(strengthen(strong, subkey).decrypt(KeyUsage.TGS_REP_SUBKEY, message.enc_part.cipher))
    assert part.sname.name_string == ("host", "server.test")
    unarmored = TgsReq(5, 12, (bench.pa_tgs_req(tgt, outer.encode()), padata[1]), outer).encode()
    assert bench.error(unarmored).error_code == ErrorCode.PREAUTH_FAILED


def test_skew_and_names_in_the_authenticator(bench: Bench, tgt: Got) -> None:
    late = bench.tgs_req(tgt, "host/server.test", header={"moment": NOON + timedelta(minutes=6)})
    assert bench.error(late).error_code == ErrorCode.AP_SKEW
    other = bench.tgs_req(tgt, "host/server.test", header={"client": (REALM, name("bob"))})
    assert bench.error(other).error_code == ErrorCode.AP_BADMATCH
    usage = bench.tgs_req(tgt, "host/server.test", header={"usage": KeyUsage.AP_REQ_AUTHENTICATOR})
    assert bench.error(usage).error_code == ErrorCode.AP_BAD_INTEGRITY
    assert not offered_or_none(bench, usage)


def offered_or_none(bench: Bench, request: bytes) -> dict[int, bytes]:
    """METHOD-DATA, if the error has any."""
    error = bench.error(request)
    return {} if error.e_data is None else offered(error)
