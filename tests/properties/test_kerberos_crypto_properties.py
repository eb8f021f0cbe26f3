"""Kerberos cryptography: what was sealed opens, at every length; what was altered or cut does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import BadSignature
from securestream_providers.krb5.cfx_sealing import Part, Sealer, Unsealer, make_signer
from tests.providers.krb5.keys import CFX_ETYPES, ETYPES, counting, key

LARGE = 8192
etypes = st.sampled_from(ETYPES)
cfx_etypes = st.sampled_from(CFX_ETYPES)
plaintexts = st.one_of(
    st.binary(max_size=100),
    st.integers(LARGE - 70, LARGE + 70).map(lambda size: bytes(range(256)) * (size // 256) + bytes(size % 256)),
)
usages = st.integers(0, 1 << 31)


@pytest.mark.parametrize("etype", ETYPES)
def test_every_length_opens_again(etype: int) -> None:
    mine = key(etype)
    for size in range(101):
        data = bytes(range(size))
        found = mine.decrypt(11, mine.encrypt(11, data, counting(size)))
        assert found == data if etype != 16 else found.rstrip(b"\0") == data.rstrip(b"\0")


@given(etypes, usages, plaintexts, st.data())
def test_any_altered_octet_is_refused(etype: int, usage: int, plain: bytes, data: st.DataObject) -> None:
    mine = key(etype)
    sealed = bytearray(mine.encrypt(usage, plain, counting()))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadSignature):
        mine.decrypt(usage, sealed)


@given(etypes, plaintexts, st.data())
def test_any_truncation_is_refused(etype: int, plain: bytes, data: st.DataObject) -> None:
    mine = key(etype)
    sealed = mine.encrypt(2, plain, counting())
    with pytest.raises(BadSignature):
        mine.decrypt(2, sealed[: data.draw(st.integers(0, len(sealed) - 1))])


@given(etypes, st.binary(max_size=200))
def test_any_octets_are_refused(etype: int, octets: bytes) -> None:
    with pytest.raises(BadSignature):
        key(etype).decrypt(3, octets)


@given(cfx_etypes, st.lists(st.tuples(plaintexts, st.sampled_from([b"", bytes(16), b"odd"])), max_size=5))
def test_live_contexts_give_the_octets_of_the_key(etype: int, messages: list[tuple[bytes, bytes]]) -> None:
    drawn: list[bytes] = []

    def random(size: int) -> bytes:
        octets = counting(len(drawn))(size)
        drawn.extend(octets[at : at + 16] for at in range(0, size, 16))
        return octets

    mine = key(etype)
    sealer, unsealer = Sealer(mine, 24, random), Unsealer(mine, 24)
    for index, (data, trailer) in enumerate(messages):
        token = sealer.seal(memoryview(data), trailer, b"header")
        confounder = drawn[index]
        assert token == b"header" + mine.encrypt(24, data + trailer, lambda _: confounder)  # noqa: B023  called at once
        assert unsealer.unseal(token, 6, len(trailer)) == (data, trailer)
        assert unsealer.unseal(memoryview(token)[6:], 0, len(trailer)) == (data, trailer)
        assert len(token) == 6 + sealer.overhead + len(data) + len(trailer)


@given(cfx_etypes, plaintexts, st.data())
def test_a_live_context_refuses_what_was_altered_and_goes_on(etype: int, plain: bytes, data: st.DataObject) -> None:
    mine = key(etype)
    sealer, unsealer = Sealer(mine, 24, counting()), Unsealer(mine, 24)
    token = sealer.seal(plain, bytes(16))
    altered = bytearray(token)
    altered[data.draw(st.integers(0, len(token) - 1))] ^= data.draw(st.integers(1, 255))
    cut = token[: data.draw(st.integers(0, len(token) - 1))]
    for wrong in (bytes(altered), memoryview(cut)):
        with pytest.raises(BadSignature):
            unsealer.unseal(wrong, 0, 16)
    assert unsealer.unseal(token, 0, 16) == (plain, bytes(16))


parts_of_messages = st.lists(st.tuples(st.binary(max_size=70), st.booleans()), max_size=5)


def _exchanged(parts: list[Part], pieces: list[bytes]) -> list[Part]:
    other = iter(pieces)
    return [(next(other) if encrypted else data, encrypted) for data, encrypted in parts]


@given(cfx_etypes, parts_of_messages, st.binary(min_size=16, max_size=40), st.data())
def test_parts_open_again_and_each_is_covered(
    etype: int, drawn: list[tuple[bytes, bool]], trailer: bytes, data: st.DataObject
) -> None:
    mine, parts = key(etype), list[Part](drawn)
    sealer, unsealer = Sealer(mine, 24, counting()), Unsealer(mine, 24)
    front, pieces, behind = sealer.seal_parts(parts, trailer)
    sealed = _exchanged(parts, pieces)
    assert [len(piece) for piece in pieces] == [len(octets) for octets, encrypted in parts if encrypted]
    plain = [octets for octets, encrypted in parts if encrypted]
    assert unsealer.unseal_parts(front, sealed, behind) == (plain, trailer)
    if len(plain) == len(parts):
        assert mine.decrypt(24, b"".join((front, *pieces, behind))) == b"".join((*plain, trailer))
    laid = bytearray(b"".join((front, *(octets for octets, _ in sealed), behind)))
    laid[data.draw(st.integers(0, len(laid) - 1))] ^= data.draw(st.integers(1, 255))
    at, altered = 16, list[Part]()
    for octets, encrypted in sealed:
        altered.append((bytes(laid[at : at + len(octets)]), encrypted))
        at += len(octets)
    with pytest.raises(BadSignature):
        unsealer.unseal_parts(bytes(laid[:16]), altered, bytes(laid[at:]))


@given(etypes, usages, st.lists(st.binary(max_size=50), max_size=4))
def test_a_signer_covers_buffers_side_by_side(etype: int, usage: int, buffers: list[bytes]) -> None:
    mine = key(etype)
    mine.verify(usage, b"".join(buffers), make_signer(mine, usage)(*buffers))
