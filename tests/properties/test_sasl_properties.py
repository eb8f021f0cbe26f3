"""SASL: messages survive their octets, and whatever somebody makes of an exchange, nothing unproved completes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import FramingError, SecureStreamError
from securestream.framing.base import SealedFrame
from securestream.framing.sasl import SaslFraming
from securestream.options import Protection, Role
from securestream.sasl import Gs2Krb5, Gssapi, ScramSha256
from securestream.sasl.gs2 import Gs2Header, escape, unescape
from securestream.sasl.scram_messages import ClientFinal, ClientFirst, ServerFirst
from tests.core.sasl.ends import (
    ALICE,
    BINDINGS,
    SEAL,
    Meeting,
    Realm,
    accounts,
    kerberos,
    meet,
    options,
)

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)
NONCES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1, max_size=40)
KINDS = st.text("abcXYZ019.-", min_size=1, max_size=20)
HEADERS = st.builds(Gs2Header, st.sampled_from("ny"), authzid=NAMES | st.just("")) | st.builds(
    Gs2Header, st.just("p"), KINDS, NAMES | st.just("")
)
OCTETS = st.binary(min_size=1, max_size=64)


@given(NAMES)
def test_names_survive_their_escapes(name: str) -> None:
    escaped = escape(name)
    assert "," not in escaped
    assert unescape(escaped) == name


@given(HEADERS, st.binary(max_size=40), st.booleans())
def test_headers_survive_their_octets(header: Gs2Header, rest: bytes, nonstandard: bool) -> None:
    found, left = Gs2Header.unpack((b"F," if nonstandard else b"") + header.pack() + rest)
    assert (found.flag, found.binding, found.authzid) == (header.flag, header.binding, header.authzid)
    assert (found.nonstandard, left) == (nonstandard, rest)


@given(HEADERS, NAMES, NONCES)
def test_first_messages_survive_their_octets(header: Gs2Header, user: str, nonce: str) -> None:
    message = ClientFirst.make(header, user, nonce)
    assert ClientFirst.unpack(message.pack()) == message


@given(NONCES, OCTETS, st.integers(1, 999_999_999))
def test_answers_survive_their_octets(nonce: str, salt: bytes, iterations: int) -> None:
    message = ServerFirst.make(nonce, salt, iterations)
    assert ServerFirst.unpack(message.pack()) == message


@given(OCTETS, NONCES, st.binary(min_size=32, max_size=32))
def test_last_messages_survive_their_octets(bound: bytes, nonce: str, proof: bytes) -> None:
    unproven = ClientFinal.without_proof(bound, nonce)
    found = ClientFinal.unpack(ClientFinal.make(unproven, proof), 32)
    assert (found.bound, found.nonce, found.proof, found.unproven) == (bound, nonce, proof, unproven)


# --- somebody in between ---------------------------------------------------------------------------------------------

REALM = Realm()
STORE = accounts()
BOUND = partial(options, channel_bindings=BINDINGS)


def by_scram(alter: Callable[[int, bytes], bytes]) -> Meeting:
    plus = ScramSha256(plus=True)
    return meet(plus, plus, ALICE, STORE, mine=BOUND(seed=1), theirs=BOUND(seed=2), alter=alter)


def by_gs2(alter: Callable[[int, bytes], bytes]) -> Meeting:
    plus = Gs2Krb5(kerberos(), plus=True)
    return meet(plus, plus, REALM.tickets(), REALM.keytab, mine=BOUND(seed=1), theirs=BOUND(seed=2), alter=alter)


def by_gssapi(alter: Callable[[int, bytes], bytes]) -> Meeting:
    gssapi = Gssapi(kerberos())
    return meet(
        gssapi, gssapi, REALM.tickets(), REALM.keytab, mine=options(SEAL, 1), theirs=options(SEAL, 2), alter=alter
    )


EXCHANGES = st.sampled_from([(by_scram, 4), (by_gs2, 2), (by_gssapi, 5)])


@st.composite
def damages(draw: st.DrawFn) -> tuple[Any, int, Callable[[bytes], bytes]]:
    """An exchange, one of its tokens, and what becomes of it."""
    exchange, legs = draw(EXCHANGES)
    leg = draw(st.integers(0, legs - 1))
    kind = draw(st.sampled_from(("flip", "cut", "grow", "replace")))
    at, bit = draw(st.floats(0, 0.999)), draw(st.integers(0, 7))
    more = draw(st.binary(min_size=1, max_size=20))

    def damage(token: bytes) -> bytes:
        place = int(len(token) * at)
        if kind == "replace" or not token:
            return more
        if kind == "cut":
            return token[:place]
        if kind == "grow":
            return token + more
        return token[:place] + bytes((token[place] ^ 1 << bit,)) + token[place + 1 :]

    return exchange, leg, damage


@given(damages())
def test_no_damage_completes_an_exchange_otherwise_than_it_would(
    damaged: tuple[Any, int, Callable[[bytes], bytes]],
) -> None:
    exchange, leg, damage = damaged
    changed = False

    def alter(number: int, token: bytes) -> bytes:
        nonlocal changed
        if number != leg:
            return token
        made = damage(token)
        changed = made != token
        return made

    found: Meeting = exchange(alter)
    assert all(isinstance(error, SecureStreamError) for error in found.errors.values())
    if not changed or not found.errors:
        # an optional extension, or the case of a letter: whatever it was, both agree on everything that counts
        one, other = found.layers
        assert (one.protection, one.bound, one.authzid) == (other.protection, other.bound, other.authzid)
        assert found.outcomes[1].peer.name == "alice"
        assert one.protection is (SEAL if exchange is by_gssapi else Protection.NONE)
    elif Role.ACCEPTOR in found.errors:
        assert found.server is None


# --- the layer's frames ----------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=600), max_size=6), st.lists(st.integers(0, 4000), max_size=12))
def test_buffers_are_read_back_however_they_were_cut(messages: list[bytes], cuts: list[int]) -> None:
    framing, found = SaslFraming(600, 600), list[bytes]()
    octets = b"".join(framing.sealed_header(len(message)) + message for message in messages)
    places = sorted(min(cut, len(octets)) for cut in cuts)
    for start, end in zip([0, *places], [*places, len(octets)], strict=True):
        framing.receive_data(octets[start:end])
        while (event := framing.next_event()) is not None:
            assert isinstance(event, SealedFrame)
            found.append(bytes(event.data))
    assert found == messages
    assert framing.trailing_data() == b""


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_octets_end_in_buffers_or_in_a_framing_error_alike_however_they_were_cut(octets: bytes, cut: int) -> None:
    def outcome(parts: list[bytes]) -> list[object]:
        framing, seen = SaslFraming(100, 100), list[object]()
        try:
            for part in parts:
                framing.receive_data(part)
                while (event := framing.next_event()) is not None:
                    assert isinstance(event, SealedFrame)
                    seen.append(bytes(event.data))
        except FramingError as error:
            return [*seen, str(error)]
        return seen

    assert outcome([octets]) == outcome([octets[:cut], octets[cut:]])
