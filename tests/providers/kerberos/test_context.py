"""Kerberos contexts: every size, every damage, any EC and RRC, expiry, export, and tokens in words."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest

from securestream.errors import BadSignature, ContextError, ContextExpired, OutOfSequence, Unsupported, UsageError
from securestream.options import ContextFlags, Options, Protection
from securestream.provider import Cover
from securestream_providers.kerberos import Kerberos, KerberosContext
from securestream_providers.krb5.gss_token import ContextToken, frame, unframe
from securestream_providers.krb5.keys import make_key
from securestream_providers.krb5.numbers import KeyUsage
from securestream_providers.krb5.sequence import Window
from tests.providers.kerberos.ends import (
    EVERY,
    NOW,
    STRONG,
    Realm,
    established,
    meet,
    options,
    package,
)

by_type = pytest.mark.parametrize("etype", EVERY)
by_strong = pytest.mark.parametrize("etype", STRONG)
LARGE = (4095, 4096, 8191, 8192, 8193, 65536, 200_001)


def contexts(etype: int = 18, *, dce: bool = False) -> tuple[KerberosContext, KerberosContext]:
    """Two ends of a type."""
    flags = ContextFlags.MUTUAL | (ContextFlags.DCE_STYLE if dce else ContextFlags.NONE)
    return established(Realm(etype), mine=options(1, flags=flags))


# --- round trips -----------------------------------------------------------------------------------------------------


@by_type
def test_every_size_goes_there_and_back(etype: int) -> None:
    one, two = contexts(etype)
    draw = random.Random(etype)
    for size in (*range(101), *LARGE):
        data = draw.randbytes(size)
        for kind in (bytes, bytearray, memoryview):
            token = one.wrap(kind(data))
            assert two.unwrap(kind(token)) == (data, True)
            assert len(token) <= size + one.sizes.wrap_overhead
            assert one.unwrap(two.wrap(kind(data), encrypt=False)) == (data, False)
            signature = one.sign(kind(data))
            assert len(signature) == one.sizes.signature
            two.verify(kind(data), kind(signature))


@by_type
@pytest.mark.parametrize("dce", [False, True])
def test_every_size_goes_in_parts(etype: int, dce: bool) -> None:
    one, two = contexts(etype, dce=dce)
    draw = random.Random(etype)
    for size in (*range(0, 101, 8 if etype == 16 else 1), 8192, 65536):
        parts = [
            (draw.randbytes(24), Cover.SIGNED),
            (draw.randbytes(size), Cover.SEALED),
            (draw.randbytes(3), Cover.UNTOUCHED),
            (draw.randbytes(16), Cover.SEALED),
            (draw.randbytes(8), Cover.SIGNED),
        ]
        sealed = one.seal(parts)
        assert [len(part) for part in sealed.parts] == [len(data) for data, _ in parts]
        assert len(sealed.signature) == one.signature_size(parts)
        again = [(data, cover) for data, (_, cover) in zip(sealed.parts, parts, strict=True)]
        assert two.unseal(again, sealed.signature) == tuple(data for data, _ in parts)


@by_strong
def test_outside_of_dce_the_signature_and_the_data_are_a_token(etype: int) -> None:
    """As Windows' EncryptMessage makes it for LDAP."""
    one, two = contexts(etype)
    sealed = one.seal([(b"message", Cover.SEALED)])
    assert two.unwrap(sealed.signature + sealed.parts[0]) == (b"message", True)


@by_strong
def test_in_dce_style_they_are_one_too(etype: int) -> None:
    """EC is a block there, and the rotation is RRC and EC together ([MS-KILE] 3.4.5.4.1)."""
    one, two = contexts(etype, dce=True)
    sealed = one.seal([(b"message", Cover.SEALED)])
    assert sealed.signature[4:6] == b"\0\x10"
    assert two.unwrap(sealed.signature + sealed.parts[0]) == (b"message", True)


# --- what a receiver must take (RFC 4121 4.2.5) ----------------------------------------------------------------------


@by_strong
@pytest.mark.parametrize("encrypt", [False, True])
def test_any_rotation_is_taken(etype: int, encrypt: bool) -> None:
    one, two = contexts(etype)
    size = len(one.wrap(b"some data", encrypt=encrypt)) - 16
    one, two = contexts(etype)
    for rotation in (*range(size + 3), 255, 65535):
        token = one.wrap(b"some data", encrypt=encrypt)
        body = token[16:]
        turned = rotation % len(body)
        body = body[len(body) - turned :] + body[: len(body) - turned]
        made = token[:6] + rotation.to_bytes(2, "big") + token[8:16] + body
        assert two.unwrap(made) == (b"some data", encrypt)


@by_strong
@pytest.mark.parametrize("extra", [1, 15, 16, 17, 64, 65535])
def test_any_filler_is_taken(etype: int, extra: int) -> None:
    one, two = contexts(etype)
    number = int.from_bytes(one.sign(b"")[8:16], "big")
    key = make_key(etype, one.session_key)
    start, end = b"\x05\x04\x06\xff" + extra.to_bytes(2, "big"), number.to_bytes(8, "big")
    sealed = key.encrypt(KeyUsage.INITIATOR_SEAL, b"data" + bytes(extra) + start + bytes(2) + end, draw_again)
    turned = sealed[-40:] + sealed[:-40]
    assert two.unwrap(start + b"\0\x28" + end + turned) == (b"data", True)


def draw_again(size: int) -> bytes:
    """Random octets that repeat."""
    return random.Random(1).randbytes(size)


# --- damage ----------------------------------------------------------------------------------------------------------


def refused(work: Callable[[], object]) -> bool:
    """Whether our own error came."""
    try:
        work()
    except ContextError:
        return True
    return False


@by_type
@pytest.mark.parametrize("encrypt", [False, True])
def test_any_altered_octet_and_any_cut_is_noticed(etype: int, encrypt: bool) -> None:
    one, two = contexts(etype)
    token = one.wrap(b"thirty octets of important data", encrypt=encrypt)
    for at in range(len(token)):
        altered = bytearray(token)
        altered[at] ^= 1 + at % 7
        assert refused(partial(two.unwrap, altered)), at
        assert refused(partial(two.unwrap, token[:at])), at
    assert refused(lambda: two.unwrap(token + b"\0"))
    assert two.unwrap(token).data == b"thirty octets of important data"


@by_type
def test_any_altered_octet_of_a_signature_is_noticed(etype: int) -> None:
    one, two = contexts(etype)
    signature = one.sign(b"data")
    for at in range(len(signature)):
        altered = bytearray(signature)
        altered[at] ^= 0x10
        assert refused(partial(two.verify, b"data", altered))
    assert refused(lambda: two.verify(b"Data", signature))
    two.verify(b"data", signature)


@by_type
@pytest.mark.parametrize("dce", [False, True])
def test_parts_cannot_be_altered_moved_or_renamed(etype: int, dce: bool) -> None:
    one, two = contexts(etype, dce=dce)
    covers = (Cover.SIGNED, Cover.SEALED, Cover.SIGNED)
    sealed = one.seal(list(zip((b"head", b"data" * 4, b"tail"), covers, strict=True)))
    for place, part in enumerate(sealed.parts):
        parts = list(sealed.parts)
        parts[place] = bytes((part[0] ^ 1,)) + part[1:]
        assert refused(partial(two.unseal, list(zip(parts, covers, strict=True)), sealed.signature))
    turned = list(zip(sealed.parts[::-1], covers, strict=True))
    assert refused(lambda: two.unseal(turned, sealed.signature))
    other = (Cover.SIGNED, Cover.SIGNED, Cover.SIGNED)
    assert refused(lambda: two.unseal(list(zip(sealed.parts, other, strict=True)), sealed.signature))
    assert two.unseal(list(zip(sealed.parts, covers, strict=True)), sealed.signature)[1] == b"data" * 4


@by_type
def test_what_is_reflected_is_refused(etype: int) -> None:
    for end in contexts(etype):
        assert refused(partial(end.unwrap, end.wrap(b"x")))
        assert refused(partial(end.unwrap, end.wrap(b"x", encrypt=False)))
        assert refused(partial(end.verify, b"x", end.sign(b"x")))


@by_type
def test_a_refused_message_changes_nothing(etype: int) -> None:
    one, two = contexts(etype)
    first, second = one.wrap(b"first"), one.wrap(b"second")
    with pytest.raises(BadSignature):
        two.unwrap(first[:-1] + bytes((first[-1] ^ 1,)))
    with pytest.raises(OutOfSequence, match="missing"):
        two.unwrap(second)
    assert two.unwrap(first).data == b"first"
    with pytest.raises(OutOfSequence, match="replay"):
        two.unwrap(first)
    assert two.unwrap(second).data == b"second"


def test_a_number_from_outside_is_refused() -> None:
    one, two = contexts()
    with pytest.raises(UsageError):
        one.seal([(b"x", Cover.SEALED)], sequence=1)
    with pytest.raises(UsageError):
        two.unseal([(b"x", Cover.SEALED)], b"", sequence=1)


def test_des3_seals_whole_blocks() -> None:
    with pytest.raises(UsageError, match="multiple of 8"):
        contexts(16)[0].seal([(b"x", Cover.SEALED)])


# --- the window ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 64])
def test_numbers_go_on_past_their_end(bits: int) -> None:
    window = Window((1 << bits) - 1, bits, replay=True, order=True)
    window.take((1 << bits) - 1)
    window.take(0)
    with pytest.raises(OutOfSequence, match="replay"):
        window.take((1 << bits) - 1)


def test_a_window_remembers_so_much_and_no_more() -> None:
    window = Window(0, replay=True, order=False)
    for number in (0, 100, 64, 37):
        window.take(number)
    for number in (0, 36):
        with pytest.raises(OutOfSequence, match="too old"):
            window.take(number)
    for number in (100, 64, 37):
        with pytest.raises(OutOfSequence, match="replay"):
            window.take(number)
    window.take(99)


# --- time and export -------------------------------------------------------------------------------------------------


def test_it_ends_when_its_ticket_does() -> None:
    moment = [NOW]
    realm = Realm()

    def at(asked: Options) -> Options:
        def clock() -> datetime:
            return moment[0]

        return replace(asked, clock=clock)

    one, two = established(realm, mine=at(options(1)), theirs=at(options(2)))
    token, signature = one.wrap(b"x"), one.sign(b"x")
    assert two.expires is not None
    moment[0] = two.expires - timedelta(seconds=1)
    assert two.unwrap(token).data == b"x"
    moment[0] = two.expires
    for work in (
        lambda: two.wrap(b"x"),
        lambda: two.wrap(b"x", encrypt=False),
        lambda: two.unwrap(token),
        lambda: two.sign(b"x"),
        lambda: two.verify(b"x", signature),
        lambda: two.seal([(b"x", Cover.SEALED)]),
    ):
        with pytest.raises(ContextExpired, match="ticket"):
            work()


@by_type
def test_a_context_moves_to_another_place(etype: int) -> None:
    one, two = contexts(etype)
    two.unwrap(one.wrap(b"before"))
    late = one.wrap(b"while it moves")
    exported = two.export()
    with pytest.raises(ContextExpired):
        two.wrap(b"x")
    revived = Kerberos().import_context(exported, options())
    assert (revived.flags, revived.role, revived.expires, revived.bound) == (
        one.flags,
        one.role.other,
        NOW + timedelta(hours=9) + options().max_skew,
        False,
    )
    assert revived.unwrap(late).data == b"while it moves"
    with pytest.raises(OutOfSequence):
        revived.unwrap(late)
    assert one.unwrap(revived.wrap(b"after")).data == b"after"
    assert revived.derive(b"x", 32) == one.derive(b"x", 32)


def test_exported_octets_that_are_none() -> None:
    exported = contexts()[0].export()
    for size in range(len(exported)):
        with pytest.raises(UsageError):
            Kerberos().import_context(exported[:size])
    with pytest.raises(UsageError):
        Kerberos().import_context(exported + b"\0")


def test_without_sealing_nothing_is_sealed_and_all_is_taken() -> None:
    """.NET seals at level Sign, too."""
    realm = Realm()
    weaker = options(2, protection=Protection.SIGN)
    mine = options(1, protection=Protection.SIGN)
    one, two = meet(realm.tickets(), realm.keytab, mine=mine, theirs=weaker).contexts
    with pytest.raises(Unsupported):
        one.seal([(b"x", Cover.SEALED)])
    with pytest.raises(Unsupported):
        one.wrap(b"x")
    number = int.from_bytes(one.sign(b"")[8:16], "big")
    header = b"\x05\x04\x06\xff\0\0\0\0" + number.to_bytes(8, "big")
    sealed = make_key(18, one.session_key).encrypt(KeyUsage.INITIATOR_SEAL, b"data" + header, draw_again)
    assert two.unwrap(header + sealed) == (b"data", True)


# --- in words --------------------------------------------------------------------------------------------------------


def test_tokens_are_described() -> None:
    realm = Realm()
    met = meet(realm.tickets(), realm.keytab)
    one, _ = met.contexts
    package_ = package()
    assert "ticket for host/files.corp.example@CORP.EXAMPLE" in package_.describe_token(met.tokens[0])
    assert package_.describe_token(met.tokens[1]).startswith("Kerberos AP-REP")
    assert "from the initiator" in package_.describe_token(one.wrap(b"x"))
    assert package_.describe_token(one.sign(b"x")).startswith("Kerberos MIC token")
    refused_ = meet(realm.tickets(), Realm().keytab)
    assert "AP_BAD_INTEGRITY" in package_.describe_token(refused_.tokens[1])
    old = contexts(23)[0]
    assert "RFC 1964" in package_.describe_token(old.wrap(b"x"))
    for size in range(len(met.tokens[0])):
        assert package_.describe_token(met.tokens[0][:size])
    assert "no Kerberos token" in package_.describe_token(b"")


def test_frames() -> None:
    token = frame(b"\1\0", b"body" * 100)
    assert unframe(token) == ContextToken("1.2.840.113554.1.2.2", b"\1\0", b"body" * 100)
