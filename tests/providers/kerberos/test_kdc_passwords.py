"""The password service, asked by hand-made requests (RFC 3244)."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.krb5.keys import Key, random_key, string_to_key
from securestream_providers.krb5.kpasswd import (
    CHANGE,
    SET,
    ChangePasswdData,
    PasswordRequest,
    PasswordResult,
    frame_request,
    read_reply,
    read_result,
)
from securestream_providers.krb5.messages import (
    ApRep,
    ApReq,
    Authenticator,
    EncApRepPart,
    EncKrbPrivPart,
    EncryptedData,
    EncryptionKey,
    HostAddress,
    KrbError,
    KrbPriv,
)
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, KeyUsage, TicketFlags
from tests.providers.kerberos.forged import REALM, Bench, Got, hours, name, options

CHANGEPW = name("kadmin", "changepw")
NEW = "battery staple"


@pytest.fixture
def bench() -> Bench:
    """A realm with two users; the administrator may set passwords."""
    made = Bench(KdcPolicy(password_admins=(f"admin@{REALM}",)))
    made.kdc.add_principal("alice", "correct horse", etypes=(18,))
    made.kdc.add_principal("admin", "administrator", etypes=(18,))
    return made


def _ask(bench: Bench, got: Got, data: bytes, *, version: int = CHANGE, **wrong: Any) -> tuple[bytes | None, Key]:
    """The reply to a request that is right but for what is `wrong`, and the subkey."""
    subkey = random_key(18, os.urandom)
    crealm, cname = got.client
    now: datetime = wrong.get("moment", bench.clock.now)
    told = EncryptionKey(subkey.etype, subkey.contents.reveal()) if wrong.get("subkey", True) else None
    authenticator = Authenticator(5, crealm, cname, None, 0, now, told, 7)
    cipher = got.session.encrypt(KeyUsage.AP_REQ_AUTHENTICATOR, authenticator.encode(), os.urandom)
    ap_req = ApReq(5, 14, 0, got.ticket, EncryptedData(got.session.etype, None, cipher)).encode()
    here = HostAddress(2, bytes((192, 0, 2, 7)))
    private = EncKrbPrivPart(data, None, None, wrong.get("sequence", 7), here).encode()
    key: Key = wrong.get("private_key", subkey)
    sealed = EncryptedData(key.etype, None, key.encrypt(KeyUsage.KRB_PRIV, private, os.urandom))
    request = frame_request(PasswordRequest(version, ap_req, KrbPriv(5, 21, sealed).encode()))
    passwords = bench.kdc.passwords
    return passwords.handle(request, now=bench.clock.now, source="192.0.2.7", local="192.0.2.1"), subkey


def _result(got: Got, reply: bytes | None, subkey: Key) -> int:
    """The code of a reply, checked as a client does."""
    assert reply is not None
    framed = read_reply(reply)
    assert framed.ap_rep
    sealed = ApRep.decode(framed.ap_rep).enc_part
    assert EncApRepPart.decode(got.session.decrypt(KeyUsage.AP_REP, sealed.cipher)).seq_number == 7
    private = KrbPriv.decode(framed.body).enc_part
    part = EncKrbPrivPart.decode(subkey.decrypt(KeyUsage.KRB_PRIV, private.cipher))
    assert part.s_address == HostAddress(2, bytes((192, 0, 2, 1)))
    assert part.seq_number == 7
    return read_result(part.user_data)[0]


def _error(reply: bytes | None) -> KrbError:
    assert reply is not None
    framed = read_reply(reply)
    assert not framed.ap_rep
    return KrbError.decode(framed.body)


def _changes(bench: Bench, got: Got, data: bytes, **how: Any) -> int:
    reply, subkey = _ask(bench, got, data, **how)
    return _result(got, reply, subkey)


def test_a_user_changes_the_own_password_by_either_version(bench: Bench) -> None:
    for kvno, (version, data) in enumerate(
        ((CHANGE, NEW.encode()), (SET, ChangePasswdData(b"another horse").encode())), start=2
    ):
        got = bench.tgt("alice", sname=CHANGEPW)
        assert _changes(bench, got, data, version=version) == PasswordResult.SUCCESS
        account = bench.kdc.database.find(bench.kdc.name("alice"))
        assert account is not None
        assert account.kvno == kvno
        assert {stored.key.etype for stored in account.keys} == {18}
    assert bench.key("alice") == string_to_key(18, "another horse", REALM + "alice")
    bench.tgt("alice")


def test_a_ticket_by_forwarding_or_renewal_is_not_enough(bench: Bench) -> None:
    """CVE-2022-2031: only a ticket that the password itself made, for this service, changes the password."""
    tgt = bench.tgt("alice", kdc_options=options(KdcOptions.RENEWABLE))
    reply, _ = _ask(bench, tgt, NEW.encode())
    assert _error(reply).error_code == ErrorCode.AP_NOT_US
    got = bench.tgt("alice", sname=CHANGEPW)
    inside = bench.opened(got, "kadmin/changepw")
    later = bench.resealed(got, "kadmin/changepw", replace(inside, flags=inside.flags & ~TicketFlags.INITIAL))
    assert _changes(bench, later, NEW.encode()) == PasswordResult.INITIAL_FLAG_NEEDED
    bench.tgt("alice")  # with the old password


def test_only_an_administrator_sets_the_password_of_another(bench: Bench) -> None:
    data = ChangePasswdData(NEW.encode(), name("alice"), REALM).encode()
    bench.kdc.add_principal("bob", "correct horse", etypes=(18,))
    bob, admin = bench.tgt("bob", sname=CHANGEPW), bench.tgt("admin", sname=CHANGEPW)
    assert _changes(bench, bob, data, version=SET) == PasswordResult.ACCESS_DENIED
    assert _changes(bench, admin, data, version=SET) == PasswordResult.SUCCESS
    assert bench.key("alice") == string_to_key(18, NEW, REALM + "alice")
    for target in (name("krbtgt", REALM), name("kadmin", "changepw"), name("nobody")):
        data = ChangePasswdData(NEW.encode(), target, REALM).encode()
        assert _changes(bench, admin, data, version=SET) == PasswordResult.HARD_ERROR


@pytest.mark.parametrize(
    ("data", "how", "code"),
    [
        (b"short", {}, PasswordResult.SOFT_ERROR),
        (b"x" * 5000, {}, PasswordResult.SOFT_ERROR),
        (b"\xff\xfe\xfd" * 5, {}, PasswordResult.SOFT_ERROR),
        (NEW.encode(), {"version": 2}, PasswordResult.BAD_VERSION),
        (NEW.encode(), {"version": SET}, PasswordResult.MALFORMED),
        (NEW.encode(), {"sequence": 8}, PasswordResult.AUTH_ERROR),
        (NEW.encode(), {"private_key": random_key(18, os.urandom)}, PasswordResult.MALFORMED),
        (NEW.encode(), {"private_key": random_key(17, os.urandom)}, PasswordResult.MALFORMED),
    ],
)
def test_what_is_wrong_has_its_result(bench: Bench, data: bytes, how: dict[str, Any], code: PasswordResult) -> None:
    assert _changes(bench, bench.tgt("alice", sname=CHANGEPW), data, **how) == code
    account = bench.kdc.database.find(bench.kdc.name("alice"))
    assert account is not None
    assert account.kvno == 1


def test_what_is_no_proof_is_an_error(bench: Bench) -> None:
    got = bench.tgt("alice", sname=CHANGEPW)
    assert _error(_ask(bench, got, b"", subkey=False)[0]).error_code == ErrorCode.AP_NOKEY
    late = bench.clock.now + timedelta(minutes=6)
    assert _error(_ask(bench, got, b"", moment=late)[0]).error_code == ErrorCode.AP_SKEW
    bench.clock.now += hours(1)
    assert _error(_ask(bench, got, NEW.encode())[0]).error_code == ErrorCode.AP_TKT_EXPIRED


def test_replies_and_noise_are_not_answered(bench: Bench) -> None:
    got = bench.tgt("alice", sname=CHANGEPW)
    reply, _ = _ask(bench, got, NEW.encode())
    assert reply is not None
    error, _ = _ask(bench, got, b"", subkey=False)
    assert error is not None
    for octets in (reply, error, b"", b"\0\6\0\1\0\0", os.urandom(80), bytes(70000)):
        assert bench.kdc.passwords.handle(octets, now=bench.clock.now) is None
