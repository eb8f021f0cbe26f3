"""Properties of NEGOEX: what is written is read, and whatever comes, an end refuses by its own errors or goes on."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import HandshakeError, MalformedMessage
from securestream.machine import HandshakeMachine
from securestream.options import Role
from securestream_providers.negotiate.negoex.messages import (
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
from tests.providers.negotiate.negoex.hops import Hops, Keys
from tests.providers.negotiate.negoex.meeting import ONE, TWO, meet

KNOWN = tuple(scheme for one in (ONE, TWO) if (scheme := one.info.negoex_scheme) is not None)
U32 = st.integers(0, 0xFFFFFFFF)
schemes = st.sampled_from(KNOWN) | st.uuids()
elements = st.lists(st.builds(Element, U32, st.binary(max_size=20)), max_size=3).map(tuple)
negos = st.builds(
    NegoMessage,
    st.binary(min_size=32, max_size=32),
    st.lists(schemes, max_size=5).map(tuple),
    elements,
    st.integers(0, (1 << 64) - 1) | st.just(0),
)
exchanges = st.builds(ExchangeMessage, schemes, st.binary(max_size=50))
verifies = st.builds(VerifyMessage, schemes, U32, st.binary(max_size=30), U32)
alerts = st.builds(AlertMessage, schemes, elements, U32)
BODIES: dict[MessageType, st.SearchStrategy[Body]] = {
    **dict.fromkeys(MessageType, exchanges),
    MessageType.INITIATOR_NEGO: negos,
    MessageType.ACCEPTOR_NEGO: negos,
    MessageType.VERIFY: verifies,
    MessageType.ALERT: alerts,
}


@st.composite
def conversations(draw: st.DrawFn, start: int = 0, conversation: bytes | None = None) -> list[Message]:
    """Messages that follow one another, in any order of types."""
    shared = draw(st.binary(min_size=16, max_size=16)) if conversation is None else conversation
    kinds = draw(st.lists(st.sampled_from(MessageType), min_size=1, max_size=8))
    return [Message(kind, start + n, shared, draw(BODIES[kind])) for n, kind in enumerate(kinds)]


@given(conversations())
def test_messages_survive_their_octets(messages: list[Message]) -> None:
    token = b"".join(message.encode() for message in messages)
    read = list(messages_of(token))
    assert [replace(message, start=0) for message in read] == messages
    assert [token[one.start : one.start + len(one.encode())] for one in read] == [one.encode() for one in messages]


@given(st.binary(max_size=300))
def test_any_octets_are_messages_or_malformed(octets: bytes) -> None:
    try:
        read = list(messages_of(octets))
    except MalformedMessage:
        return
    assert read


@given(conversations())
def test_an_acceptor_completes_nothing_for_what_proves_nothing(messages: list[Message]) -> None:
    machine = HandshakeMachine(Negoex((ONE, TWO)).accept(None, options()))
    machine.step()
    try:
        step = machine.step(b"".join(message.encode() for message in messages))
    except HandshakeError:
        return
    assert step.established is None
    assert step.token, "it goes on"


@given(st.data(), st.sampled_from([1, 2, 3]))
def test_an_initiator_completes_nothing_for_what_proves_nothing(data: st.DataObject, hops: int) -> None:
    machine = HandshakeMachine(Negoex((replace(ONE, hops=hops), TWO)).initiate(None, None, options()))
    token = machine.step().token
    assert token is not None
    *_, last = messages_of(token)
    answer = data.draw(conversations(last.sequence + 1, last.conversation))
    try:
        step = machine.step(b"".join(message.encode() for message in answer))
    except HandshakeError:
        return
    assert step.established is None
    assert step.token, "it goes on"


ORDERS = st.permutations([ONE, TWO])
KEYS: st.SearchStrategy[Keys] = st.sampled_from(("end", "early"))


@given(ORDERS, ORDERS, st.integers(1, 5), KEYS, KEYS, st.booleans())
def test_two_ends_agree_whatever_they_prefer(
    mine: list[Hops], theirs: list[Hops], hops: int, key: Keys, other_key: Keys, waits: bool
) -> None:
    met = meet(
        [replace(one, hops=hops, keys=key, waits=waits) for one in mine],
        [replace(one, hops=hops, keys=other_key) for one in theirs],
    )
    assert met.complete, met.errors
    assert met.chosen(Role.INITIATOR) == met.chosen(Role.ACCEPTOR) == theirs[0].name
