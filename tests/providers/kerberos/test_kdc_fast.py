"""FAST at the authentication service, by hand-made requests (RFC 6113)."""

from __future__ import annotations

import os

import pytest

from securestream.errors import BadSignature
from securestream_providers.krb5.fast import (
    armor_key,
    check_finished,
    client_challenge,
    read_kdc_challenge,
    strengthen,
    unwrap_reply,
)
from securestream_providers.krb5.keys import Key, make_key, random_key
from securestream_providers.krb5.messages import (
    ApReq,
    AsRep,
    AsReq,
    Authenticator,
    Checksum,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    KdcReqBody,
    KrbError,
    MethodData,
    PaData,
)
from securestream_providers.krb5.messages_fast import FastArmor, FastArmoredReq, FastReq, FastResponse, PaFxFastRequest
from securestream_providers.krb5.numbers import ErrorCode, KeyUsage, PaType, TicketFlags
from securestream_providers.krb5.preauth import check_request_checksum
from tests.providers.kerberos.forged import NOON, REALM, Bench, Got, hours, name, offered


@pytest.fixture(scope="module")
def bench() -> Bench:
    """A realm with alice, and a host whose ticket is the armor."""
    made = Bench()
    made.kdc.add_principal("alice", "correct horse")
    made.kdc.add_service("host/armor")
    return made


@pytest.fixture(scope="module")
def armor(bench: Bench) -> Got:
    """The armor ticket."""
    return bench.tgt("host/armor")


def _request(bench: Bench, armor: Got, *padata: PaData, **wrong: object) -> tuple[bytes, Key]:
    """An armored AS-REQ; what stands outside of the armor is nonsense."""
    inner = bench.body(name("alice"))
    outer = bench.body(name("nobody"), name("nowhere"))
    sealed, key = bench.fast(armor, outer.encode(), padata, inner, **wrong)
    return AsReq(5, 10, (sealed,), outer).encode(), key


def _challenged(
    bench: Bench, armor: Got, long_term: Key, *more: PaData, outer_sent: KdcReqBody | None = None
) -> tuple[bytes, Key]:
    """An armored AS-REQ whose challenge is made with the key of its own armor."""
    inner, outer = bench.body(name("alice")), bench.body(name("nobody"))
    subkey = random_key(armor.session.etype, os.urandom)
    key = armor_key(subkey, armor.session)
    crealm, cname = armor.client
    told = Authenticator(
        5, crealm, cname, None, 0, bench.clock.now, EncryptionKey(subkey.etype, subkey.contents.reveal())
    )
    cipher = armor.session.encrypt(KeyUsage.AP_REQ_AUTHENTICATOR, told.encode(), os.urandom)
    ap_req = ApReq(5, 14, 0, armor.ticket, EncryptedData(armor.session.etype, None, cipher)).encode()
    challenge = client_challenge(key, long_term, bench.clock.now, os.urandom)
    plain = FastReq(0, (challenge, *more), inner).encode()
    armored = FastArmoredReq(
        FastArmor(1, ap_req),
        Checksum(key.checksum_type, key.checksum(KeyUsage.FAST_REQ_CHECKSUM, outer.encode())),
        EncryptedData(key.etype, None, key.encrypt(KeyUsage.FAST_ENC, plain, os.urandom)),
    )
    padata = (PaData(PaType.FX_FAST, PaFxFastRequest(armored).encode()),)
    return AsReq(5, 10, padata, outer_sent or outer).encode(), key


def _inside(error: KrbError, key: Key) -> tuple[FastResponse, KrbError]:
    """What an error holds in its armor."""
    response = unwrap_reply(key, offered(error)[PaType.FX_FAST], 4711)
    (inner,) = [one.padata_value for one in response.padata if one.padata_type == PaType.FX_ERROR]
    return response, KrbError.decode(inner)


def test_the_armored_error_offers_the_encrypted_challenge(bench: Bench, armor: Got) -> None:
    request, key = _request(bench, armor)
    response, inner = _inside(bench.error(request), key)
    assert inner.error_code == ErrorCode.PREAUTH_REQUIRED
    types = {one.padata_type for one in response.padata}
    assert {PaType.ENCRYPTED_CHALLENGE, PaType.ETYPE_INFO2, PaType.FX_COOKIE} <= types
    assert PaType.ENC_TIMESTAMP not in types
    assert response.finished is None


def test_an_encrypted_challenge_gives_a_ticket_under_a_stronger_key(bench: Bench, armor: Got) -> None:
    request, key = _challenged(bench, armor, bench.key("alice"), PaData(PaType.REQ_ENC_PA_REP, b""))
    reply = bench.send(request)
    assert reply is not None
    assert reply[0] == 0x6B
    message = AsRep.decode(reply)
    assert message.padata is not None
    (sealed,) = message.padata
    response = unwrap_reply(key, sealed.padata_value, 4711)
    assert check_finished(key, response, message.ticket).components == ("alice",)
    (proof,) = [one.padata_value for one in response.padata if one.padata_type == PaType.ENCRYPTED_CHALLENGE]
    assert read_kdc_challenge(key, bench.key("alice"), proof) == NOON
    assert response.strengthen_key is not None
    strong = strengthen(make_key(response.strengthen_key.keytype, response.strengthen_key.keyvalue), bench.key("alice"))
    part = EncAsRepPart.decode(strong.decrypt(KeyUsage.AS_REP, message.enc_part.cipher))
    assert part.flags & TicketFlags.PRE_AUTHENT
    assert part.sname.name_string == ("krbtgt", REALM)
    check_request_checksum(strong, request, part.encrypted_pa_data or ())
    with pytest.raises(BadSignature):
        bench.key("alice").decrypt(KeyUsage.AS_REP, message.enc_part.cipher)


def test_a_wrong_challenge_is_refused_inside_the_armor(bench: Bench, armor: Got) -> None:
    request, key = _challenged(bench, armor, random_key(18, os.urandom))
    _, inner = _inside(bench.error(request), key)
    assert inner.error_code == ErrorCode.PREAUTH_FAILED


def test_an_encrypted_timestamp_is_no_proof_inside_and_a_challenge_none_outside(bench: Bench, armor: Got) -> None:
    request, key = _request(bench, armor, bench.timestamp(bench.key("alice")))
    assert _inside(bench.error(request), key)[1].error_code == ErrorCode.PREAUTH_REQUIRED
    loose = client_challenge(bench.key("alice"), bench.key("alice"), NOON, os.urandom)
    assert bench.error(bench.as_req("alice", None, loose)).error_code == ErrorCode.PREAUTH_REQUIRED


def test_what_stands_outside_of_the_armor_is_bound_to_it(bench: Bench, armor: Got) -> None:
    request, _ = _challenged(bench, armor, bench.key("alice"), outer_sent=bench.body(name("mallory")))
    assert bench.error(request).error_code == ErrorCode.PREAUTH_FAILED


def test_an_armor_that_is_no_armor_is_refused(bench: Bench, armor: Got) -> None:
    request, _ = _request(bench, armor, armor_type=2)
    assert bench.error(request).error_code == ErrorCode.PREAUTH_FAILED
    service = bench.ticket(armor, "host/armor")
    request, _ = _request(bench, service)
    assert bench.error(request).error_code == ErrorCode.AP_NOT_US
    request, _ = _request(bench, armor)
    bench.clock.now = NOON + hours(12)
    try:
        assert bench.error(request).error_code == ErrorCode.AP_TKT_EXPIRED
    finally:
        bench.clock.now = NOON


def test_critical_options_that_are_not_known_are_refused(bench: Bench, armor: Got) -> None:
    request, key = _request(bench, armor, options=0x20000000)
    assert _inside(bench.error(request), key)[1].error_code == ErrorCode.UNKNOWN_CRITICAL_FAST_OPTION
    request, key = _request(bench, armor, options=0x00000001)
    assert _inside(bench.error(request), key)[1].error_code == ErrorCode.PREAUTH_REQUIRED


def test_an_empty_pa_fx_fast_is_passed_over(bench: Bench) -> None:
    error = bench.error(bench.as_req("alice", None, PaData(PaType.FX_FAST, b"")))
    assert error.error_code == ErrorCode.PREAUTH_REQUIRED
    assert error.e_data is not None
    assert MethodData.decode(error.e_data).elements
