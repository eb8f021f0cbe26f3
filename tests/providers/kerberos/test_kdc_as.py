"""The authentication service, asked by hand-made requests (RFC 4120 3.1)."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from securestream_providers.kerberos.kdc.policy import KdcPolicy, Lockout
from securestream_providers.krb5.keys import random_key, string_to_key
from securestream_providers.krb5.messages import AsRep, AsReq, EtypeInfo2, KrbError, PaData
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, NameType, PaType, TicketFlags
from securestream_providers.krb5.preauth import check_request_checksum
from tests.providers.kerberos.forged import NEVER, NOON, REALM, Bench, hours, name, offered, options


@pytest.fixture(scope="module")
def keys() -> Bench:
    """Keys of passwords are expensive: one realm for the tests that leave it as it is."""
    bench = Bench()
    bench.kdc.add_principal("alice", "correct horse", aliases=("al", "alice@corp.example"))
    bench.kdc.add_service("host/server.test")
    return bench


def test_preauthentication_is_asked_for_and_says_how_keys_are_made(keys: Bench) -> None:
    error = keys.error(keys.as_req("alice"))
    assert error.error_code == ErrorCode.PREAUTH_REQUIRED
    data = offered(error)
    entries = EtypeInfo2.decode(data[PaType.ETYPE_INFO2]).entries
    assert [entry.etype for entry in entries] == [18, 17, 20, 19]
    assert {entry.salt for entry in entries} == {REALM + "alice"}
    assert {PaType.ENC_TIMESTAMP, PaType.FX_FAST, PaType.FX_COOKIE} <= data.keys()
    assert string_to_key(18, "correct horse", entries[0].salt or "") == keys.key("alice")


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
def test_a_ticket_for_whoever_proves_the_key(keys: Bench, etype: int) -> None:
    key = keys.key("alice", etype)
    reply = keys.send(keys.as_req("alice", key, etype=(etype,)))
    assert reply is not None
    got = keys.open_as(reply, key)
    assert got.part.nonce == 4711
    assert got.part.sname.name_string == ("krbtgt", REALM)
    assert got.part.flags == TicketFlags.INITIAL | TicketFlags.PRE_AUTHENT
    assert got.session.etype == etype
    inside = keys.opened(got, f"krbtgt/{REALM}")
    assert inside.cname.name_string == ("alice",)
    assert inside.authtime == NOON
    assert inside.endtime == NOON + hours(10) == got.part.endtime


def test_the_padata_of_a_reply_says_how_its_key_is_made(keys: Bench) -> None:
    got = keys.tgt("alice")
    (info,) = [one for one in got.reply.padata or () if one.padata_type == PaType.ETYPE_INFO2]
    assert EtypeInfo2.decode(info.padata_value).entries[0].etype == 18


def test_a_wrong_key_is_refused(keys: Bench) -> None:
    error = keys.error(keys.as_req("alice", random_key(18, os.urandom)))
    assert error.error_code == ErrorCode.PREAUTH_FAILED
    assert PaType.ETYPE_INFO2 in offered(error)


@pytest.mark.parametrize("off", [-301, 301])
def test_a_clock_that_is_off_is_told_of(keys: Bench, off: int) -> None:
    stamp = keys.timestamp(keys.key("alice"), NOON + timedelta(seconds=off))
    assert keys.error(keys.as_req("alice", None, stamp)).error_code == ErrorCode.AP_SKEW


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"realm": "OTHER.EXAMPLE"}, ErrorCode.WRONG_REALM),
        ({"sname": name("krbtgt", "NOBODY")}, ErrorCode.S_PRINCIPAL_UNKNOWN),
        ({"sname": None}, ErrorCode.S_PRINCIPAL_UNKNOWN),
        ({"sname": name("alice")}, ErrorCode.MUST_USE_USER2USER),
        ({"etype": ()}, ErrorCode.ETYPE_NOSUPP),
        ({"etype": (23, 16, 1, 3)}, ErrorCode.ETYPE_NOSUPP),
        ({"kdc_options": options(KdcOptions.RENEW)}, ErrorCode.BADOPTION),
        ({"kdc_options": options(KdcOptions.ENC_TKT_IN_SKEY)}, ErrorCode.BADOPTION),
        ({"kdc_options": options(KdcOptions.CNAME_IN_ADDL_TKT)}, ErrorCode.BADOPTION),
        ({"kdc_options": options(KdcOptions.REQUEST_ANONYMOUS)}, ErrorCode.BADOPTION),
        ({"kdc_options": options(KdcOptions.POSTDATED)}, ErrorCode.CANNOT_POSTDATE),
        ({"from_time": NOON + hours(1)}, ErrorCode.CANNOT_POSTDATE),
        ({"till": NOON - hours(1)}, ErrorCode.NEVER_VALID),
    ],
)
def test_what_cannot_be_has_its_error(keys: Bench, changes: dict[str, object], code: ErrorCode) -> None:
    assert keys.error(keys.as_req("alice", keys.key("alice"), **changes)).error_code == code


def test_unknown_clients_are_told_so_unless_names_are_concealed(keys: Bench) -> None:
    assert keys.error(keys.as_req("mallory")).error_code == ErrorCode.C_PRINCIPAL_UNKNOWN
    hidden = Bench(KdcPolicy(conceal_unknown=True))
    hidden.kdc.add_principal("alice", "correct horse")
    wrong = random_key(18, os.urandom)
    for key in (None, wrong):
        known, unknown = (hidden.error(hidden.as_req(who, key)) for who in ("alice", "malic"))
        assert replace(known, cname=None, e_data=None) == replace(unknown, cname=None, e_data=None)
        assert len(known.e_data or b"") == len(unknown.e_data or b"")
        assert offered(known).keys() == offered(unknown).keys()


def test_enterprise_names_and_aliases_are_canonicalised(keys: Bench) -> None:
    key = keys.key("alice")
    for asked in (
        name("alice@corp.example", kind=NameType.ENTERPRISE),
        name(f"alice@{REALM.lower()}", kind=NameType.ENTERPRISE),
        name("al"),
    ):
        body = keys.body(asked, kdc_options=options(KdcOptions.CANONICALIZE))
        reply = keys.send(AsReq(5, 10, (keys.timestamp(key),), body).encode())
        assert reply is not None
        assert keys.open_as(reply, key).reply.cname.name_string == ("alice",)
    assert keys.error(AsReq(5, 10, None, keys.body(name("al"))).encode()).error_code == ErrorCode.C_PRINCIPAL_UNKNOWN


def test_lifetimes_flags_and_renewal(keys: Bench) -> None:
    wanted = options(KdcOptions.FORWARDABLE, KdcOptions.PROXIABLE, KdcOptions.RENEWABLE)
    got = keys.tgt("alice", kdc_options=wanted, till=NOON + hours(2), rtime=NOON + hours(24 * 30))
    flags = TicketFlags.FORWARDABLE | TicketFlags.PROXIABLE | TicketFlags.RENEWABLE
    assert got.part.flags == flags | TicketFlags.INITIAL | TicketFlags.PRE_AUTHENT
    assert (got.part.endtime, got.part.renew_till) == (NOON + hours(2), NOON + timedelta(days=7))
    longer = keys.tgt("alice", kdc_options=options(KdcOptions.RENEWABLE_OK), till=NOON + hours(48))
    assert (longer.part.endtime, longer.part.renew_till) == (NOON + hours(10), NOON + hours(48))


def test_the_reply_covers_the_request_when_the_client_asks(keys: Bench) -> None:
    key = keys.key("alice")
    request = keys.as_req("alice", key, PaData(PaType.REQ_ENC_PA_REP, b""))
    reply = keys.send(request)
    assert reply is not None
    got = keys.open_as(reply, key)
    assert got.part.flags & TicketFlags.ENC_PA_REP
    check_request_checksum(key, request, got.part.encrypted_pa_data or ())
    assert not keys.tgt("alice").part.flags & TicketFlags.ENC_PA_REP


def test_rc4_is_issued_only_when_it_is_named() -> None:
    for policy, code in ((KdcPolicy(), ErrorCode.ETYPE_NOSUPP), (KdcPolicy(etypes=(18, 23)), None)):
        bench = Bench(policy, etypes=(18, 23))
        bench.kdc.add_principal("old", "correct horse")
        reply = bench.send(bench.as_req("old", bench.key("old", 23), etype=(23,)))
        assert reply is not None
        assert (reply[0] == 0x6B) is (code is None)
        assert code is None or KrbError.decode(reply).error_code == code


def test_what_happened_to_an_account_is_told_to_its_owner_alone() -> None:
    bench = Bench()
    bench.kdc.add_principal("dora", "correct horse")
    cases = (
        ({"disabled": True}, ErrorCode.CLIENT_REVOKED),
        ({"disabled": False, "expires": NOON - hours(1)}, ErrorCode.NAME_EXP),
        ({"expires": None, "password_expires": NOON - hours(1)}, ErrorCode.KEY_EXPIRED),
    )
    for change, code in cases:
        bench.kdc.change("dora", **change)
        assert bench.error(bench.as_req("dora", bench.key("dora"))).error_code == code
        assert bench.error(bench.as_req("dora")).error_code == ErrorCode.PREAUTH_REQUIRED
        wrong = bench.error(bench.as_req("dora", random_key(18, os.urandom)))
        assert wrong.error_code == ErrorCode.PREAUTH_FAILED
    changepw = bench.send(bench.as_req("dora", bench.key("dora"), sname=name("kadmin", "changepw")))
    assert changepw is not None
    assert changepw[0] == 0x6B


def test_a_locked_principal_is_refused_with_the_right_key_too_and_for_a_time() -> None:
    bench = Bench(KdcPolicy(lockout=Lockout(3, timedelta(minutes=15), timedelta(minutes=15))))
    bench.kdc.add_principal("alice", "correct horse")
    right, wrong = bench.key("alice"), random_key(18, os.urandom)
    codes = [bench.error(bench.as_req("alice", wrong)).error_code for _ in range(4)]
    assert codes == [*[ErrorCode.PREAUTH_FAILED] * 3, ErrorCode.CLIENT_REVOKED]
    assert bench.error(bench.as_req("alice", right)).error_code == ErrorCode.CLIENT_REVOKED
    bench.clock.now += timedelta(minutes=16)
    bench.tgt("alice")
    for _ in range(2):
        bench.error(bench.as_req("alice", wrong))
    bench.tgt("alice")  # and forgets the failures before it
    for _ in range(2):
        assert bench.error(bench.as_req("alice", wrong)).error_code == ErrorCode.PREAUTH_FAILED
    bench.tgt("alice")


def test_without_preauthentication_a_ticket_comes_at_once() -> None:
    bench = Bench()
    bench.kdc.add_principal("open", "correct horse", requires_preauth=False)
    reply = bench.send(bench.as_req("open"))
    assert reply is not None
    assert not bench.open_as(reply, bench.key("open")).part.flags & TicketFlags.PRE_AUTHENT


def test_a_reply_names_the_last_logon() -> None:
    bench = Bench()
    bench.kdc.add_principal("alice", "correct horse")
    assert [one.lr_type for one in bench.tgt("alice").part.last_req] == [0]
    bench.clock.now += hours(1)
    assert [(one.lr_type, one.lr_value) for one in bench.tgt("alice").part.last_req] == [(2, NOON)]


def test_postdated_tickets_by_policy() -> None:
    bench = Bench(KdcPolicy(allow_postdated=True))
    bench.kdc.add_principal("alice", "correct horse")
    wanted = options(KdcOptions.POSTDATED)
    got = bench.tgt("alice", kdc_options=wanted, from_time=NOON + hours(5), till=NEVER)
    assert got.part.flags & TicketFlags.INVALID
    assert got.part.starttime == NOON + hours(5)
    bench.kdc.add_service("host/a")
    assert bench.error(bench.tgs_req(got, "host/a")).error_code == ErrorCode.AP_TKT_NYV
    validate = options(KdcOptions.VALIDATE)
    krbtgt = f"krbtgt/{REALM}"
    assert bench.error(bench.tgs_req(got, krbtgt, kdc_options=validate)).error_code == ErrorCode.AP_TKT_NYV
    bench.clock.now += hours(6)
    valid = bench.ticket(got, krbtgt, kdc_options=validate)
    assert not valid.part.flags & TicketFlags.INVALID
    bench.ticket(valid, "host/a")


def test_a_pac_is_left_out_of_services_tickets_on_request(keys: Bench) -> None:
    """The ticket-granting ticket has one all the same: it says which account asked."""
    without = PaData(PaType.PAC_REQUEST, bytes.fromhex("3005a003010100"))
    krbtgt = f"krbtgt/{REALM}"
    got = keys.tgt("alice", without)
    forwardable = keys.tgt("alice", without, kdc_options=options(KdcOptions.FORWARDABLE))
    forwarded = keys.ticket(forwardable, krbtgt, kdc_options=options(KdcOptions.FORWARDED))
    for one in (got, forwarded):
        assert keys.opened(one, krbtgt).authorization_data is not None
        assert keys.opened(keys.ticket(one, "host/server.test"), "host/server.test").authorization_data is None
    direct = keys.tgt("alice", without, sname=name("host", "server.test"))
    assert keys.opened(direct, "host/server.test").authorization_data is None


def test_a_realm_may_leave_out_the_pacs_of_services() -> None:
    bench = Bench(KdcPolicy(pac=False))
    bench.kdc.add_principal("alice", "correct horse")
    bench.kdc.add_service("host/a")
    got = bench.tgt("alice")
    assert bench.opened(got, f"krbtgt/{REALM}").authorization_data is not None
    assert bench.opened(bench.ticket(got, "host/a"), "host/a").authorization_data is None


def test_services_have_keys_of_their_own_each_time() -> None:
    bench = Bench()
    bench.kdc.add_service("host/a")
    bench.kdc.add_service("host/b")
    assert bench.key("host/a") != bench.key("host/b")
    assert AsRep.decode(bench.send(bench.as_req("host/a", bench.key("host/a"))) or b"").cname == name("host", "a")
