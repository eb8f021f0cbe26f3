"""SECURITY 18, NEGOEX: nothing completes without a VERIFY in both directions over everything that was said."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from securestream.errors import Downgrade, HandshakeError, InvalidToken, Unsupported, UsageError
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags, Role
from securestream.provider import SecurityPackage
from securestream_providers.krb5.keys import make_key
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import NegState, NegTokenResp
from securestream_providers.negotiate.negoex.conversation import Conversation
from securestream_providers.negotiate.negoex.messages import (
    CRITICAL,
    NO_KEY,
    AlertMessage,
    Body,
    Element,
    ExchangeMessage,
    Message,
    MessageType,
    NegoMessage,
    VerifyMessage,
    messages_of,
)
from securestream_providers.negotiate.negoex.package import Negoex
from tests.core.handshakes import options
from tests.providers.negotiate.negoex.hops import KEYS, Hops, HopsContext
from tests.providers.negotiate.negoex.meeting import (
    ONE,
    TWO,
    Meeting,
    meet,
    on_leg,
    rewritten,
    without,
)

INITIATOR, ACCEPTOR = Role.INITIATOR, Role.ACCEPTOR
SCHEME = ONE.info.negoex_scheme or uuid.UUID(int=0)
OTHER = TWO.info.negoex_scheme or uuid.UUID(int=0)
UNKNOWN = uuid.UUID(int=99)

Exchange = tuple[tuple[Hops, ...], tuple[Hops, ...]]
EXCHANGES: dict[str, Exchange] = {
    "one hop": ((ONE, TWO), (ONE, TWO)),
    "two hops": ((replace(ONE, hops=2),), (replace(ONE, hops=2),)),
    "early keys": ((replace(ONE, hops=3, keys="early"),), (replace(ONE, hops=3, keys="early"),)),
    "ALERT": ((replace(ONE, hops=3, keys="early"),), (replace(ONE, hops=3),)),
    "the acceptor prefers another": ((ONE, TWO), (TWO, ONE)),
}


def refused(met: Meeting, role: Role, kind: type[HandshakeError] = Downgrade, why: str = "") -> None:
    """That end refused, and not both have a context."""
    assert isinstance(met.errors.get(role), kind), (met.errors, met.said)
    assert why in str(met.errors[role])
    assert not met.complete


def changed(kind: MessageType, change: Callable[[Any], Body]) -> Callable[[bytes], bytes]:
    """Rewrites the bodies of one type of message."""

    def alter(message: Message) -> Message:
        return replace(message, body=change(message.body)) if message.kind is kind else message

    return lambda token: rewritten(token, alter)


def replaced_by(octets: bytes) -> Callable[[bytes], bytes]:
    """Puts these in the place of a token."""
    return lambda token: octets


def inserted(at: int, kind: MessageType, body: Body) -> Callable[[bytes], bytes]:
    """Puts a message in a place, and renumbers those behind it."""

    def alter(token: bytes) -> bytes:
        messages = list(messages_of(token))
        first = messages[0]
        messages.insert(at, Message(kind, 0, first.conversation, body))
        return b"".join(replace(one, sequence=first.sequence + n).encode() for n, one in enumerate(messages))

    return alter


# --- any damage -------------------------------------------------------------------------------------------------------


def is_unproved(name: str, met: Meeting, leg: int, at: int) -> bool:
    """Whether nothing proves an octet: the padding of the last VERIFY, and a token that comes after both of them, which
    is the mechanism's own to protect, and which this one does not.
    """
    for message in messages_of(met.tokens[leg]):
        offset = at - message.start
        if not 0 <= offset < len(message.encode()):
            continue
        if isinstance(message.body, VerifyMessage):
            return 76 <= offset < 80
        return name == "early keys" and message.kind is MessageType.AP_REQUEST and offset >= 64
    return False


@pytest.mark.parametrize("name", EXCHANGES)
def test_no_altered_octet_goes_unseen(name: str) -> None:
    mine, theirs = EXCHANGES[name]
    untouched = meet(mine, theirs)
    assert untouched.complete
    proofs = [leg for leg, said in enumerate(untouched.said) if any("VERIFY" in one for one in said)]
    for leg, token in enumerate(untouched.tokens):
        for at in range(leg % 3, len(token), 3):

            def alter(octets: bytes, at: int = at) -> bytes:
                return octets[:at] + bytes((octets[at] ^ 0x41,)) + octets[at + 1 :]

            met = meet(mine, theirs, alter=on_leg(leg, alter))
            if leg >= proofs[-1] and is_unproved(name, untouched, leg, at):
                continue
            assert not met.complete, f"octet {at} of token {leg}"


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_token_that_is_cut_repeated_or_swapped_completes_nothing(name: str) -> None:
    mine, theirs = EXCHANGES[name]
    tokens = meet(mine, theirs).tokens
    for leg, token in enumerate(tokens):
        for other in (b"", token[:-1], token + token, *(one for one in tokens if one != token)):
            met = meet(mine, theirs, alter=on_leg(leg, replaced_by(other)))
            assert not met.complete


# --- VERIFY -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("leg", "role"), [(0, ACCEPTOR), (1, INITIATOR)])
def test_a_verify_that_is_removed_completes_nothing(leg: int, role: Role) -> None:
    met = meet([ONE], [ONE], alter=on_leg(leg, without(MessageType.VERIFY)))
    assert role not in met.outcomes, "it waits, or has refused"


def test_a_peer_that_leaves_its_verify_out_is_refused() -> None:
    """The acceptor's last word has none: the initiator is complete, and has no more to say."""
    early = (replace(ONE, hops=2, keys="early"),)
    met = meet(early, early, alter=on_leg(1, without(MessageType.VERIFY)))
    refused(met, INITIATOR, why="VERIFY is missing")


@pytest.mark.parametrize(
    "wrong",
    [
        {"checksum": bytes(12)},
        {"checksum": b""},
        {"checksum": bytes(11)},
        {"checksum_type": 1},
        {"checksum_type": 7},
        {"checksum_type": 0xFFFFFF76},
    ],
)
@pytest.mark.parametrize(("leg", "role"), [(0, ACCEPTOR), (1, INITIATOR)])
def test_a_verify_that_does_not_fit_is_refused(wrong: dict[str, Any], leg: int, role: Role) -> None:
    """CRC and MD5 without a key prove nothing, and a type that belongs to another encryption type does not fit."""
    met = meet([ONE], [ONE], alter=on_leg(leg, changed(MessageType.VERIFY, lambda body: replace(body, **wrong))))
    refused(met, role, why="VERIFY does not fit")


def test_an_unknown_kind_of_checksum_is_refused() -> None:
    unknown = changed(MessageType.VERIFY, lambda body: VerifyMessage(SCHEME, 16, bytes(12), checksum_scheme=2))
    refused(meet([ONE], [ONE], alter=on_leg(0, unknown)), ACCEPTOR, Unsupported, "checksum scheme 2")


def forged(usage: int, key: bytes, covered: Callable[[bytes, int], bytes]) -> Callable[[bytes], bytes]:
    """Replaces the VERIFY at the end of the first token by one with this key, usage and input."""

    def alter(token: bytes) -> bytes:
        *_, last = messages_of(token)
        checksum = make_key(18, key).checksum(usage, covered(token, last.start))
        return token[: last.start] + replace(last, body=VerifyMessage(SCHEME, 16, checksum)).encode()

    return alter


def test_the_initiators_verify_is_of_its_key_usage_and_of_all_before_it() -> None:
    key = KEYS[INITIATOR]
    assert meet([ONE], [ONE], alter=on_leg(0, forged(25, key, lambda token, at: token[:at]))).complete
    for wrong in (
        forged(23, key, lambda token, at: token[:at]),
        forged(25, KEYS[ACCEPTOR], lambda token, at: token[:at]),
        forged(25, key, lambda token, at: token[: at - 1]),
        forged(25, key, lambda token, at: token),
        forged(25, key, lambda token, at: b""),
    ):
        refused(meet([ONE], [ONE], alter=on_leg(0, wrong)), ACCEPTOR, why="VERIFY does not fit")


def test_an_initiator_takes_no_verify_of_its_own_kind() -> None:
    """Reflection: with one key for both ends its own checksum would fit, were it not for the key usage."""

    def reflect(token: bytes) -> bytes:
        last = list(messages_of(token))[-1]
        start = last.start
        covered = first[0] + token[:start]
        checksum = make_key(18, KEYS[ACCEPTOR]).checksum(25, covered)
        return token[:start] + replace(last, body=VerifyMessage(SCHEME, 16, checksum)).encode()

    first: list[bytes] = []

    def alter(leg: int, token: bytes) -> bytes:
        first.append(token)
        return reflect(token) if leg == 1 else token

    refused(meet([ONE], [ONE], alter=alter), INITIATOR, why="VERIFY does not fit")


# --- ALERT ------------------------------------------------------------------------------------------------------------


def test_an_alert_delays_verify_and_never_waives_it() -> None:
    """In place of the proof comes "no key yet", again and again: nothing completes."""
    alert = AlertMessage(SCHEME, NO_KEY)

    def instead(message: Message) -> Message:
        if message.kind is MessageType.VERIFY:
            return replace(message, kind=MessageType.ALERT, body=alert)
        return message

    for legs in ({0}, {1}, {0, 1}, set(range(10))):

        def alter(leg: int, token: bytes, legs: set[int] = legs) -> bytes:
            return rewritten(token, instead) if leg in legs else token

        assert not meet([ONE], [ONE], alter=alter).complete, legs


def test_an_alert_of_another_scheme_or_reason_changes_nothing() -> None:
    for body in (AlertMessage(OTHER, NO_KEY), AlertMessage(SCHEME, (Element(1, bytes(8)),)), AlertMessage(SCHEME, ())):
        met = meet([ONE], [ONE], alter=on_leg(1, inserted(2, MessageType.ALERT, body)))
        refused(met, INITIATOR, why="VERIFY does not fit")


@pytest.mark.parametrize(("scheme", "again"), [(SCHEME, True), (OTHER, False)])
def test_verify_is_made_again_for_who_asks_for_the_scheme_that_runs(scheme: uuid.UUID, again: bool) -> None:
    machine = HandshakeMachine(Negoex((replace(ONE, hops=3, keys="early"), TWO)).initiate(None, None, options()))
    first = machine.step().token
    assert first is not None
    peer = Conversation(ACCEPTOR)
    assert peer.hear(first).verify is not None
    peer.add(MessageType.ACCEPTOR_NEGO, NegoMessage(bytes(32), (SCHEME, OTHER)))
    peer.add(MessageType.CHALLENGE, ExchangeMessage(SCHEME, b"\1"))
    peer.add(MessageType.ALERT, AlertMessage(scheme, NO_KEY))
    second = machine.step(peer.take()).token
    assert second is not None
    heard = peer.hear(second)
    assert heard.token is not None
    assert (heard.verify is not None) is again


# --- the lists --------------------------------------------------------------------------------------------------------


def test_a_scheme_that_is_removed_from_the_initiators_list_is_missed() -> None:
    """Who removes the stronger scheme, with its token and its proof, is seen by the proof of the weaker one."""

    def strip(token: bytes) -> bytes:
        kept = [one for one in messages_of(token) if getattr(one.body, "scheme", OTHER) == OTHER]
        first = kept[0]
        assert isinstance(first.body, NegoMessage)
        kept[0] = replace(first, body=replace(first.body, schemes=(OTHER,)))
        return b"".join(replace(one, sequence=number).encode() for number, one in enumerate(kept))

    met = meet([ONE, TWO], [ONE, TWO], alter=on_leg(0, strip))
    assert met.errors, "the numbers do not fit"
    assert not met.complete


@pytest.mark.parametrize("leg", [0, 1])
@pytest.mark.parametrize("schemes", [(OTHER, SCHEME), (SCHEME,), (SCHEME, OTHER, UNKNOWN)])
def test_a_list_that_is_rewritten_is_seen(leg: int, schemes: tuple[uuid.UUID, ...]) -> None:
    kind = (MessageType.INITIATOR_NEGO, MessageType.ACCEPTOR_NEGO)[leg]
    rewrite = changed(kind, lambda body: NegoMessage(getattr(body, "random", bytes(32)), schemes))
    assert not meet([ONE, TWO], [ONE, TWO], alter=on_leg(leg, rewrite)).complete


def test_metadata_that_is_altered_or_removed_is_seen() -> None:
    for leg, kind in enumerate((MessageType.INITIATOR_META_DATA, MessageType.ACCEPTOR_META_DATA)):
        change = changed(kind, lambda body: ExchangeMessage(SCHEME, b"Y"))
        assert not meet([ONE], [ONE], alter=on_leg(leg, change)).complete
        assert not meet([ONE], [ONE], alter=on_leg(leg, without(kind))).complete


def test_an_optimistic_token_that_is_removed_is_seen() -> None:
    """The acceptor would only seem to have ignored it; the initiator begins anew, and its VERIFY tells."""
    gone = without(MessageType.AP_REQUEST)
    met = meet([ONE], [ONE], alter=on_leg(0, lambda token: without(MessageType.VERIFY)(gone(token))))
    assert not met.complete


def test_an_acceptor_answers_the_optimistic_scheme_only_if_it_has_it() -> None:
    def swap(token: bytes) -> bytes:
        return changed(MessageType.ACCEPTOR_NEGO, lambda body: NegoMessage(bytes(32), (OTHER,)))(token)

    refused(meet([ONE, TWO], [ONE, TWO], alter=on_leg(1, swap)), INITIATOR, InvalidToken, "not among those that it has")


# --- what does not belong there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("leg", [0, 1])
def test_critical_extensions_and_other_versions_are_refused(leg: int) -> None:
    kind = (MessageType.INITIATOR_NEGO, MessageType.ACCEPTOR_NEGO)[leg]
    role = (ACCEPTOR, INITIATOR)[leg]
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"extensions": (Element(CRITICAL | 5, b""),)}, "insists on the extension 0x80000005"),
        ({"extensions": (Element(5, b""), Element(CRITICAL, b"x"))}, "insists"),
        ({"version": 1}, "speaks version 1"),
    )
    for change, why in changes:

        def extend(body: NegoMessage, change: dict[str, Any] = change) -> NegoMessage:
            return replace(body, **change)

        alter = changed(kind, extend)
        refused(meet([ONE], [ONE], alter=on_leg(leg, alter)), role, Unsupported, why)


def test_an_extension_that_is_not_critical_is_passed_over_and_proved() -> None:
    alter = changed(
        MessageType.INITIATOR_NEGO, lambda body: NegoMessage(bytes(32), (SCHEME,), (Element(5, b"whatever"),))
    )
    refused(meet([ONE], [ONE], alter=on_leg(0, alter)), ACCEPTOR, why="VERIFY does not fit")


MISPLACED: tuple[tuple[int, int, MessageType, Body], ...] = (
    (0, 0, MessageType.AP_REQUEST, ExchangeMessage(SCHEME, b"")),
    (0, 1, MessageType.INITIATOR_NEGO, NegoMessage(bytes(32), (SCHEME,))),
    (0, 1, MessageType.ACCEPTOR_NEGO, NegoMessage(bytes(32), (SCHEME,))),
    (0, 1, MessageType.ACCEPTOR_META_DATA, ExchangeMessage(OTHER, b"")),
    (0, 2, MessageType.INITIATOR_META_DATA, ExchangeMessage(SCHEME, b"")),
    (0, 2, MessageType.AP_REQUEST, ExchangeMessage(SCHEME, b"")),
    (0, 2, MessageType.CHALLENGE, ExchangeMessage(SCHEME, b"")),
    (1, 1, MessageType.ACCEPTOR_NEGO, NegoMessage(bytes(32), (SCHEME,))),
    (1, 1, MessageType.INITIATOR_META_DATA, ExchangeMessage(OTHER, b"")),
    (1, 1, MessageType.AP_REQUEST, ExchangeMessage(SCHEME, b"")),
    (1, 2, MessageType.CHALLENGE, ExchangeMessage(SCHEME, b"")),
    (0, 3, MessageType.INITIATOR_META_DATA, ExchangeMessage(OTHER, b"")),
    (1, 3, MessageType.ACCEPTOR_META_DATA, ExchangeMessage(OTHER, b"")),
    (2, 0, MessageType.INITIATOR_META_DATA, ExchangeMessage(SCHEME, b"")),
    (2, 0, MessageType.INITIATOR_NEGO, NegoMessage(bytes(32), (SCHEME,))),
)


@pytest.mark.parametrize(("leg", "at", "kind", "body"), MISPLACED)
def test_what_comes_twice_or_out_of_turn_is_refused(leg: int, at: int, kind: MessageType, body: Body) -> None:
    two = (replace(ONE, hops=2),)
    refused(meet(two, two, alter=on_leg(leg, inserted(at, kind, body))), (ACCEPTOR, INITIATOR)[leg % 2], InvalidToken)


@pytest.mark.parametrize("kind", [MessageType.INITIATOR_META_DATA, MessageType.AP_REQUEST])
def test_nothing_that_counts_may_stand_behind_a_verify(kind: MessageType) -> None:
    """An acceptor that is complete by the first token would have acted on what that VERIFY does not cover."""
    silent = replace(ONE, keys="early", metadata=None)
    body = ExchangeMessage(SCHEME, b"forged")

    def behind(token: bytes) -> bytes:
        if kind is MessageType.AP_REQUEST:
            token = without(kind)(token)
        return inserted(len(list(messages_of(token))), kind, body)(token)

    theirs = replace(ONE, keys="early", heard=[])
    met = meet([silent], [theirs], alter=on_leg(0, behind))
    refused(met, ACCEPTOR, InvalidToken, "out of turn")
    assert Role.ACCEPTOR not in met.outcomes
    assert not theirs.heard


@pytest.mark.parametrize(("leg", "kind"), [(0, MessageType.INITIATOR_NEGO), (1, MessageType.ACCEPTOR_NEGO)])
def test_a_first_token_without_schemes_is_refused(leg: int, kind: MessageType) -> None:
    met = meet([ONE], [ONE], alter=on_leg(leg, without(kind)))
    refused(met, (ACCEPTOR, INITIATOR)[leg], InvalidToken, "does not say which schemes it has")


def test_an_initiator_that_begins_with_nothing_is_refused() -> None:
    """The acceptor named its schemes and waits for a token of one."""
    met = meet(*EXCHANGES["the acceptor prefers another"], alter=on_leg(2, without(MessageType.AP_REQUEST)))
    refused(met, ACCEPTOR, InvalidToken, "no token of a scheme")


def test_an_answer_to_a_token_that_was_not_sent_is_refused() -> None:
    answer = inserted(2, MessageType.CHALLENGE, ExchangeMessage(SCHEME, b"\0"))
    met = meet([replace(ONE, waits=True)], [ONE], alter=on_leg(1, answer))
    refused(met, INITIATOR, InvalidToken, "a token that was not sent")


def test_two_proofs_in_one_token_are_refused() -> None:
    """Of which only one would be looked at."""
    alter = inserted(4, MessageType.VERIFY, VerifyMessage(OTHER, 16, b""))
    refused(meet([ONE], [ONE], alter=on_leg(0, alter)), ACCEPTOR, InvalidToken, "VERIFY twice")


@pytest.mark.parametrize("scheme", [OTHER, UNKNOWN])
@pytest.mark.parametrize(("leg", "kind"), [(1, MessageType.CHALLENGE), (2, MessageType.AP_REQUEST)])
def test_a_token_of_another_scheme_is_refused(leg: int, kind: MessageType, scheme: uuid.UUID) -> None:
    three = (replace(ONE, hops=3), replace(TWO, hops=3))
    alter = changed(kind, lambda body: ExchangeMessage(scheme, getattr(body, "payload", b"")))
    refused(meet(three, three, alter=on_leg(leg, alter)), (ACCEPTOR, INITIATOR)[leg % 2], InvalidToken, "scheme")


@pytest.mark.parametrize("place", [{"sequence": 99}, {"sequence": 0}, {"conversation": bytes(16)}])
def test_messages_of_another_place_or_conversation_are_refused(place: dict[str, Any]) -> None:
    for leg in (1, 2):
        moved = on_leg(leg, lambda token: rewritten(token, lambda one: replace(one, **place)))
        refused(meet(*EXCHANGES["two hops"], alter=moved), (ACCEPTOR, INITIATOR)[leg % 2], InvalidToken)


def test_our_own_token_sent_back_is_refused() -> None:
    first: list[bytes] = []

    def reflect(leg: int, token: bytes) -> bytes:
        first.append(token)
        return first[0] if leg == 1 else token

    refused(meet([ONE], [ONE], alter=reflect), INITIATOR, InvalidToken, "is due")


def test_negotiations_in_it_are_refused() -> None:
    for inner in (Negotiate(ONE), Negoex((ONE,))):
        package: SecurityPackage = inner
        with pytest.raises(UsageError):
            Negoex((package,))


def test_spnego_completes_only_after_it() -> None:
    """The acceptor calls the negotiation complete where its VERIFY is due."""
    two = Negotiate(replace(ONE, hops=2))

    def early(leg: int, token: bytes) -> bytes:
        if leg != 1:
            return token
        message = NegTokenResp.decode(token)
        assert message.response_token is not None
        stripped = without(MessageType.VERIFY)(message.response_token)
        return replace(message, neg_state=NegState.ACCEPT_COMPLETED, response_token=stripped).encode()

    met = meet(two, two, alter=early)
    refused(met, INITIATOR, InvalidToken, "complete before")


FAILING: tuple[tuple[int, Callable[[bytes], bytes]], ...] = (
    (1, changed(MessageType.VERIFY, lambda body: VerifyMessage(SCHEME, 16, b""))),
    (1, inserted(3, MessageType.CHALLENGE, ExchangeMessage(SCHEME, b"more"))),
    (1, lambda token: token[:-1]),
    (1, without(MessageType.VERIFY)),
    (0, changed(MessageType.VERIFY, lambda body: VerifyMessage(SCHEME, 16, b""))),
)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[HopsContext]:
    """Every context that is made."""
    contexts: list[HopsContext] = []
    original = HopsContext.__init__

    def noted(self: HopsContext, role: Role, flags: ContextFlags) -> None:
        original(self, role, flags)
        contexts.append(self)

    monkeypatch.setattr(HopsContext, "__init__", noted)
    return contexts


def check_contexts(made: list[HopsContext], met: Meeting) -> None:
    """Those that were given to somebody live, and no other."""
    kept = [outcome.result for outcome in met.outcomes.values()]
    assert len(kept) < len(made)
    assert [context.discarded for context in made] == [context not in kept for context in made]


@pytest.mark.parametrize(("leg", "alter"), FAILING)
def test_what_is_refused_keeps_no_context(leg: int, alter: Callable[[bytes], bytes], made: list[HopsContext]) -> None:
    met = meet([ONE], [ONE], alter=on_leg(leg, alter))
    assert not met.complete
    check_contexts(made, met)


def test_an_optimistic_token_that_comes_to_nothing_keeps_no_context(made: list[HopsContext]) -> None:
    met = meet(*EXCHANGES["the acceptor prefers another"])
    assert met.complete
    assert len(made) == 3
    check_contexts(made, met)
