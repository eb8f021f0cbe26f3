"""Codecs of the exchanges with KDCs: FAST, pre-authentication, passwords, proxies, S4U, errors in words."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from securestream.errors import (
    BadSignature,
    HandshakeError,
    LogonDenied,
    MalformedMessage,
    NotAuthorized,
    TargetUnknown,
    TimeSkew,
    Unsupported,
)
from securestream_providers.krb5 import fast, kpasswd, preauth, s4u
from securestream_providers.krb5.kdc_error import (
    KdcRefused,
    PasswordExpired,
    extended_status,
    method_data,
    refusal,
)
from securestream_providers.krb5.keys import Key, make_key, random_key
from securestream_providers.krb5.kkdcp import unwrap_proxied, wrap_proxied
from securestream_providers.krb5.messages import (
    ApReq,
    AsReq,
    Checksum,
    EtypeInfo,
    EtypeInfo2,
    EtypeInfo2Entry,
    EtypeInfoEntry,
    KrbError,
    PaData,
    PrincipalName,
)
from securestream_providers.krb5.messages_fast import FastReq, PaFxFastRequest
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode, PaType

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ALICE = KerberosName("EXAMPLE.COM", ("alice",))
BOB = KerberosName("EXAMPLE.COM", ("bob",))
BY_TYPE = pytest.mark.parametrize("etype", [17, 18, 19, 20, 23, 25, 26])


def key(etype: int = 18) -> Key:
    return random_key(etype, os.urandom)


# --- FAST ------------------------------------------------------------------------------------------------------------


def test_an_armored_request_of_windows_is_opened(shared: Path) -> None:
    vectors: list[dict[str, Any]] = json.loads((shared / "vectors" / "kerberos_fast_preauth_samples.json").read_text())[
        "vectors"
    ]
    (vector,) = (one for one in vectors if one["id"] == "windows-fast-as-req")
    request = AsReq.decode(bytes.fromhex(vector["as_req"]))
    value = preauth.find_padata(request.padata, PaType.FX_FAST)
    assert value is not None
    armored = PaFxFastRequest.decode(value).armored_data
    assert armored.armor is not None
    ap_req = ApReq.decode(armored.armor.armor_value)
    assert ap_req.ticket.realm == "DOM1.LOCAL"
    session = make_key(18, bytes.fromhex(vector["armor_ticket_session_key"]))
    subkey = make_key(18, bytes.fromhex(vector["armor_authenticator_subkey"]))
    armor = fast.armor_key(subkey, session)
    assert armor.contents.reveal() == bytes.fromhex(vector["armor_key"])
    inner = fast.unwrap_request(armor, armored, request.body_octets)
    assert inner == FastReq.decode(bytes.fromhex(vector["krb_fast_req_plaintext"]))
    assert request.encode() == bytes.fromhex(vector["as_req"])
    with pytest.raises(BadSignature):
        fast.unwrap_request(armor, armored, request.body_octets[:-1] + b"!")


@BY_TYPE
def test_challenges_of_both_ends_are_read_by_the_other(etype: int) -> None:
    armor, long_term = key(18), key(etype)
    theirs = fast.client_challenge(armor, long_term, NOW, os.urandom).padata_value
    ours = fast.kdc_challenge(armor, long_term, NOW, os.urandom).padata_value
    assert fast.read_client_challenge(armor, long_term, theirs) == NOW
    assert fast.read_kdc_challenge(armor, long_term, ours) == NOW
    for wrong in (ours, theirs[:-1] + bytes([theirs[-1] ^ 1])):  # a challenge that is sent back proves nothing
        with pytest.raises(BadSignature):
            fast.read_client_challenge(armor, long_term, wrong)


# --- pre-authentication ----------------------------------------------------------------------------------------------


@BY_TYPE
def test_an_encrypted_timestamp_is_read_by_its_key_alone(etype: int) -> None:
    mine = key(etype)
    moment = NOW.replace(microsecond=123456)
    value = preauth.encrypted_timestamp(mine, moment, os.urandom).padata_value
    assert preauth.read_encrypted_timestamp(mine, value) == moment
    for other in (key(etype), key(17 if etype != 17 else 18)):
        with pytest.raises(BadSignature):
            preauth.read_encrypted_timestamp(other, value)


@BY_TYPE
def test_the_checksum_of_a_request_binds_it(etype: int) -> None:
    mine = key(etype)
    padata = (preauth.request_checksum(mine, b"request"),)
    preauth.check_request_checksum(mine, b"request", padata)
    unkeyed = PaData(PaType.REQ_ENC_PA_REP, Checksum(14, bytes(20)).encode())
    for octets, wrong in ((b"another", padata), (b"request", ()), (b"request", (unkeyed,))):
        with pytest.raises(BadSignature):
            preauth.check_request_checksum(mine, octets, wrong)


def test_etype_info2_wins_over_its_predecessors() -> None:
    new = PaData(PaType.ETYPE_INFO2, EtypeInfo2((EtypeInfo2Entry(18, "new", b"\0\0\x10\0"),)).encode())
    old = PaData(PaType.ETYPE_INFO, EtypeInfo((EtypeInfoEntry(17, b"old\xff"), EtypeInfoEntry(18, None))).encode())
    oldest = PaData(PaType.PW_SALT, b"oldest")
    chosen = preauth.choose_recipe(preauth.key_recipes((oldest, old, new), ALICE), (17, 18), ALICE)
    assert chosen == preauth.KeyRecipe(18, "new", b"\0\0\x10\0")
    recipes = preauth.key_recipes((oldest, old), ALICE)
    assert recipes[0].salt.encode("utf-8", "surrogateescape") == b"old\xff"
    assert recipes[1].salt == "EXAMPLE.COMalice"
    assert preauth.choose_recipe(preauth.key_recipes((oldest,), ALICE), (17,), ALICE) == preauth.KeyRecipe(17, "oldest")
    assert preauth.choose_recipe((), (17, 18), ALICE) == preauth.KeyRecipe(17, "EXAMPLE.COMalice")
    assert preauth.choose_recipe(recipes, (20,), ALICE) is None
    assert preauth.choose_recipe(recipes, (), ALICE) is None


# --- passwords and proxies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [kpasswd.CHANGE, kpasswd.SET])
def test_password_requests_and_replies_are_framed_both_ways(version: int) -> None:
    request = kpasswd.PasswordRequest(version, b"ap-req", b"krb-priv")
    octets = kpasswd.frame_request(request)
    assert kpasswd.read_request(octets) == request
    reply = kpasswd.PasswordReply(b"ap-rep", b"krb-priv")
    assert kpasswd.read_reply(kpasswd.frame_reply(reply)) == reply
    for damaged in (octets[:-1], octets + b"x", b"", octets[:5]):
        with pytest.raises(MalformedMessage):
            kpasswd.read_request(damaged)


def test_a_policy_of_active_directory_is_told_in_words() -> None:
    day = 24 * 60 * 60 * 10_000_000
    policy = b"\0\0" + b"".join(
        value.to_bytes(size, "big") for value, size in ((12, 4), (24, 4), (1, 4), (42 * day, 8), (day, 8))
    )
    told = kpasswd.result_text(policy)
    assert "12 characters" in told
    assert "24 passwords" in told
    assert kpasswd.result_text(b"too short\0") == "too short"


def test_proxied_messages_carry_their_length_and_realm() -> None:
    octets = wrap_proxied(b"message", "EXAMPLE.COM")
    assert unwrap_proxied(octets) == (b"message", "EXAMPLE.COM")
    assert octets == bytes.fromhex("301ea00d040b000000076d657373616765a10d1b0b4558414d504c452e434f4d")
    with pytest.raises(MalformedMessage):
        unwrap_proxied(octets.replace(b"\0\0\0\7", b"\0\0\0\6"))


# --- S4U -------------------------------------------------------------------------------------------------------------


@BY_TYPE
def test_a_user_named_by_a_service_is_read_and_bound_to_the_session(etype: int) -> None:
    session = key(etype)
    value = s4u.make_for_user(ALICE, session).padata_value
    assert s4u.read_for_user(value, session) == ALICE
    with pytest.raises(BadSignature):
        s4u.read_for_user(value, key(etype))
    forged = replace(s4u.PaForUser.decode(value), user_name=BOB.principal_name).encode()
    with pytest.raises(BadSignature):
        s4u.read_for_user(forged, session)


@pytest.mark.parametrize("kind", [1, 7, 14])
def test_an_unkeyed_checksum_names_nobody(kind: int) -> None:
    """CVE-2018-16860: whoever is in the middle could name another user."""
    value = s4u.PaForUser(ALICE.principal_name, ALICE.realm, Checksum(kind, bytes(16)), "Kerberos").encode()
    with pytest.raises(BadSignature):
        s4u.read_for_user(value, key())


def test_the_newer_form_is_bound_to_its_request() -> None:
    subkey = key()
    value = s4u.make_s4u_x509_user(ALICE, 7, subkey).padata_value
    identity = s4u.read_s4u_x509_user(value, subkey, 7)
    assert identity.cname == ALICE.principal_name
    answer = s4u.answer_s4u_x509_user(value, subkey).padata_value
    assert s4u.read_s4u_x509_user(answer, subkey, 7, usage=27).crealm == ALICE.realm
    for octets, nonce, by in ((value, 8, subkey), (value, 7, key()), (answer, 7, subkey)):
        with pytest.raises(BadSignature):
            s4u.read_s4u_x509_user(octets, by, nonce)


# --- errors ----------------------------------------------------------------------------------------------------------


def error(code: int, *, text: str | None = None, data: bytes | None = None) -> KrbError:
    name = PrincipalName(2, ("krbtgt", "EXAMPLE.COM"))
    return KrbError(5, 30, None, None, NOW, 0, code, None, None, "EXAMPLE.COM", name, text, data)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (ErrorCode.KEY_EXPIRED, PasswordExpired, "kpasswd"),
        (ErrorCode.AP_SKEW, TimeSkew, "clock"),
        (ErrorCode.C_PRINCIPAL_UNKNOWN, LogonDenied, "alice@EXAMPLE"),
        (ErrorCode.S_PRINCIPAL_UNKNOWN, TargetUnknown, "krbtgt/EXAMPLE"),
        (ErrorCode.ETYPE_NOSUPP, Unsupported, "AES"),
        (ErrorCode.PREAUTH_FAILED, LogonDenied, "password"),
        (ErrorCode.POLICY, NotAuthorized, "policy"),
        (ErrorCode.CLIENT_REVOKED, LogonDenied, "locked"),
    ],
)
def test_each_error_is_of_its_kind_and_keeps_its_code(code: int, kind: type[Exception], words: str) -> None:
    made = refusal(error(code), client=ALICE, realm="EXAMPLE.COM", now=NOW)
    assert isinstance(made, kind)
    assert isinstance(made, KdcRefused)
    assert made.code == code
    assert words in str(made)


@pytest.mark.parametrize("code", [*ErrorCode, 12345, -1])
def test_every_error_has_a_sentence(code: int) -> None:
    made = refusal(error(code), now=NOW)
    assert isinstance(made, HandshakeError)
    assert "{" not in str(made)


def test_a_strangers_text_is_one_short_printable_line() -> None:
    shown = str(refusal(error(60, text="bad\x1b[2J\nnews" + "x" * 1000)))
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert len(shown) < 400


def test_what_active_directory_adds_is_told() -> None:
    data = bytes.fromhex("3015a103020103a20e040c340200c00000000001000000")
    assert extended_status(error(18, data=data)) == 0xC0000234
    assert "locked out" in str(refusal(error(18, data=data)))
    assert method_data(error(18, data=data)) == ()


def test_typed_data_is_read_as_method_data() -> None:
    typed = bytes.fromhex("300f300da00402020085a105040361626300"[:-2])
    assert method_data(error(25, data=typed)) == (PaData(133, b"abc"),)
    with pytest.raises(MalformedMessage):
        method_data(error(25, data=b"nothing of the kind"))


def test_errors_of_others_are_read(shared: Path) -> None:
    vectors: list[dict[str, Any]] = json.loads((shared / "vectors" / "kerberos_fast_preauth_samples.json").read_text())[
        "vectors"
    ]
    errors = [KrbError.decode(bytes.fromhex(one["message"])) for one in vectors if "krb-error" in one["id"]]
    assert [one.error_code for one in errors] == [25, 25, 32]
    name = KerberosName("SAMBA.EXAMPLE.COM", ("LOCALDC$",))
    recipes = preauth.key_recipes(method_data(errors[0]), name)
    assert [recipe.etype for recipe in recipes][:2] == [18, 17]
    assert preauth.find_padata(method_data(errors[0]), PaType.FX_COOKIE) == b"MIT"
    assert extended_status(errors[2]) == 0xC0000133
