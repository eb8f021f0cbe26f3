"""Keys: what each encryption type refuses, which checksums belong to it, and the limits of passwords."""

from __future__ import annotations

import traceback
from dataclasses import replace

import pytest

from securestream.errors import BadSignature, MalformedMessage, Unsupported, UsageError
from securestream.redaction import Secret
from securestream_providers.krb5.keys import (
    Key,
    cf2,
    hmac_md5_checksum,
    key_of_seed,
    make_key,
    prf_plus,
    random_key,
    string_to_key,
)
from securestream_providers.krb5.numbers import ChecksumType, EncryptionType
from tests.providers.krb5.keys import ETYPES, counting, key

BELONGING = {16: (12,), 17: (15,), 18: (16,), 19: (19,), 20: (20,), 23: (-138, -137), 25: (17,), 26: (18,)}
each_etype = pytest.mark.parametrize("etype", ETYPES)


@each_etype
def test_only_keyed_checksums_that_belong_to_the_key_are_accepted(etype: int) -> None:
    mine = key(etype)
    assert mine.checksum_type == BELONGING[etype][0]
    for kind in {*ChecksumType, 0, 3, 4, 5, 6, 8, 9, 10, 99}:
        if kind in BELONGING[etype]:
            mine.verify(17, b"data", mine.checksum(17, b"data", kind), kind)
            continue
        with pytest.raises(BadSignature, match="does not belong"):
            mine.verify(17, b"data", mine.checksum(17, b"data"), kind)
        with pytest.raises(UsageError, match="does not belong"):
            mine.checksum(17, b"data", kind)


def test_a_checksum_type_may_come_unsigned() -> None:
    mine = key(23)
    mine.verify(17, b"data", mine.checksum(17, b"data"), 0xFFFFFF76)


@each_etype
def test_a_checksum_is_bound_to_usage_data_and_length(etype: int) -> None:
    mine = key(etype)
    made = mine.checksum(6, b"data")
    mine.verify(6, memoryview(b"data"), bytearray(made))
    for usage, data, checksum in ((7, b"data", made), (6, b"date", made), (6, b"data", made[:-1]), (6, b"data", b"")):
        with pytest.raises(BadSignature, match="altered"):
            mine.verify(usage, data, checksum)
    with pytest.raises(BadSignature):
        key(etype, 2).verify(6, b"data", made)


def test_rc4_maps_usages_as_deployed_and_not_9() -> None:
    mine, confounder = key(23), bytes(8)
    for asked, same in ((3, 8), (23, 13)):
        assert mine.encrypt(asked, b"x", lambda _: confounder) == mine.encrypt(same, b"x", lambda _: confounder)
        assert mine.checksum(asked, b"x") == mine.checksum(same, b"x")
    assert mine.encrypt(9, b"x", lambda _: confounder) != mine.encrypt(8, b"x", lambda _: confounder)


def test_hmac_md5_under_an_aes_key_is_made_for_pa_for_user_alone() -> None:
    made = hmac_md5_checksum(key(18), 17, b"user")
    assert made == hmac_md5_checksum(replace(key(18), etype=17), 17, b"user")  # the octets count, and not the type
    assert hmac_md5_checksum(key(23), 17, b"user") == key(23).checksum(17, b"user")
    with pytest.raises(BadSignature):
        key(18).verify(17, b"user", made, ChecksumType.HMAC_MD5)


@pytest.mark.parametrize("etype", [0, 1, 2, 3, 24, 99, -1])
def test_des_and_unknown_types_can_be_held_and_not_used(etype: int) -> None:
    mine = make_key(etype, bytes(8))
    for use in (
        lambda: mine.encrypt(1, b"", counting()),
        lambda: mine.decrypt(1, bytes(64)),
        lambda: mine.checksum(1, b""),
        lambda: mine.verify(1, b"", b""),
        lambda: mine.prf(b""),
        lambda: mine.checksum_type,
        lambda: random_key(etype, counting()),
        lambda: string_to_key(etype, "password", "salt"),
        lambda: cf2(mine, mine, b"a", b"b"),
    ):
        with pytest.raises(Unsupported, match="not supported"):
            use()


@each_etype
def test_a_key_of_the_wrong_length_is_malformed(etype: int) -> None:
    octets = key(etype).contents.reveal()
    for wrong in (b"", octets[:-1], octets + b"\0"):
        with pytest.raises(MalformedMessage, match="octets"):
            make_key(etype, wrong)
        held = Key(etype, Secret(wrong))
        with pytest.raises(MalformedMessage):
            held.decrypt(1, bytes(64))
        with pytest.raises(MalformedMessage):
            held.checksum(1, b"")
        with pytest.raises(MalformedMessage):
            held.prf(b"")
    with pytest.raises(UsageError):
        key_of_seed(etype, bytes(3))


@each_etype
def test_random_keys_have_the_type_and_differ(etype: int) -> None:
    one, other = random_key(etype, counting(1)), random_key(etype, counting(2))
    assert make_key(etype, one.contents.reveal()) == one != other


def test_des3_keys_have_odd_parity_and_are_not_weak() -> None:
    for octet in random_key(16, counting()).contents.reveal():
        assert octet.bit_count() % 2
    assert key_of_seed(16, bytes(21)).contents.reveal() == bytes.fromhex("01010101010101f1") * 3


@pytest.mark.parametrize("etype", [17, 18, 19, 20, 25, 26])
def test_iteration_counts_have_limits(etype: int) -> None:
    least = 4096 if etype in (17, 18) else 32768
    assert string_to_key(etype, "p", "s") == string_to_key(etype, "p", "s", least.to_bytes(4, "big"))
    for count in (0, 1, least - 1, 1_000_001, 0xFFFFFFFF):
        with pytest.raises(Unsupported, match="iterations"):
            string_to_key(etype, "p", "s", count.to_bytes(4, "big"))
    with pytest.raises(Unsupported):
        string_to_key(etype, "p", "s", bytes(4), least=0)  # RFC 3962 4: it stands for 2**32
    for malformed in (b"\x10\0", bytes(5)):
        with pytest.raises(Unsupported, match="malformed"):
            string_to_key(etype, "p", "s", malformed)


@pytest.mark.parametrize("parameters", [bytes(4), b"short", b"\xff" * 4])
def test_no_password_is_in_the_frames_of_a_refusal(parameters: bytes) -> None:
    with pytest.raises(Unsupported) as caught:
        string_to_key(18, "".join(("can", "ary")), "salt", parameters)
    found = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert found.stack[1:]
    assert not any("canary" in value for frame in found.stack[1:] for value in (frame.locals or {}).values())


def test_parameters_are_refused_where_there_are_none() -> None:
    for etype in (EncryptionType.RC4_HMAC, EncryptionType.DES3_CBC_SHA1_KD):
        string_to_key(etype, "p", "s", b"")
        with pytest.raises(Unsupported, match="malformed"):
            string_to_key(etype, "p", "s", bytes(4))


@each_etype
def test_empty_passwords_and_salts_give_keys(etype: int) -> None:
    assert make_key(etype, string_to_key(etype, "", "").contents.reveal()).etype == etype


@each_etype
def test_prf_plus_is_a_prefix_of_itself_and_bounded(etype: int) -> None:
    mine = key(etype)
    long = prf_plus(mine, b"pepper", 100)
    assert [prf_plus(mine, b"pepper", n) for n in (0, 1, 33)] == [long[:n] for n in (0, 1, 33)]
    with pytest.raises(UsageError):
        prf_plus(mine, b"pepper", 255 * len(mine.prf(b"")) + 1)


def test_cf2_mixes_types_and_takes_that_of_the_first() -> None:
    for one in ETYPES:
        for other in ETYPES:
            assert cf2(key(one), key(other, 2), b"a", b"b").etype == one


@each_etype
def test_keys_derived_for_many_usages_do_not_pile_up(etype: int) -> None:
    mine = key(etype)
    sealed = [mine.encrypt(usage, b"data", counting()) for usage in range(200)]
    signed = [mine.checksum(usage, b"data") for usage in range(200)]
    for usage in range(200):
        assert mine.decrypt(usage, sealed[usage]).startswith(b"data")
        mine.verify(usage, b"data", signed[usage])
    assert max(len(kept) for kept in (mine._derived.encryption, mine._derived.signing)) <= 64  # pyright: ignore[reportPrivateUsage]  nothing else shows it


@each_etype
def test_no_key_and_no_plaintext_is_in_the_frames_of_a_refusal(etype: int) -> None:
    mine = key(etype)
    sealed = bytearray(mine.encrypt(1, b"canary plaintext that is long enough to be found", counting()))
    sealed[-1] ^= 1
    with pytest.raises(BadSignature) as caught:
        mine.decrypt(1, sealed)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    inner = shown[shown.index("return self.for_usage") :]
    assert "canary" not in inner
    assert repr(mine.contents.reveal())[2:-1] not in inner
    assert repr(mine) == f"Key(etype={etype!r}, contents=Secret(...))"
