"""Negotiate: whatever a peer says, or somebody makes of it, nothing hangs and nothing unproved completes."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from securestream.credentials import Accounts
from securestream.errors import SecureStreamError
from securestream.options import ContextFlags, Role
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    HINTS,
    MechTypeList,
    NegState,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
    frame,
    unframe,
)
from securestream_providers.ntlm import Ntlm
from tests.providers.negotiate.ends import Meeting, acceptor, initiator, meet, offer, talk, types
from tests.providers.negotiate.toy import FIRST, SECOND, THIRD, Toy
from tests.providers.ntlm.ends import ALICE, store

OIDS = st.lists(st.sampled_from((FIRST, SECOND, THIRD, "1.2.840.113554.1.2.2", "2.999.1")), min_size=1, max_size=6)
OCTETS = st.none() | st.binary(max_size=40)
RESPONSES = st.builds(
    NegTokenResp, st.none() | st.sampled_from(NegState), st.none() | OIDS.map(lambda oids: oids[0]), OCTETS, OCTETS
)


@given(RESPONSES)
def test_later_messages_survive_their_octets(message: NegTokenResp) -> None:
    assert NegTokenResp.decode(message.encode()) == message


@given(OIDS, OCTETS, OCTETS)
def test_first_messages_survive_their_octets(oids: list[str], token: bytes | None, mic: bytes | None) -> None:
    message = NegTokenInit(MechTypeList(tuple(oids)), None, token, mic)
    found = unframe(frame(message))
    assert found == message
    assert isinstance(found, NegTokenInit)
    assert found.mech_types_octets == message.mech_types.encode()


@given(OIDS, OCTETS, OCTETS, st.booleans())
def test_first_messages_of_servers_survive_their_octets(
    oids: list[str], token: bytes | None, mic: bytes | None, hints: bool
) -> None:
    message = NegTokenInit2(MechTypeList(tuple(oids)), None, token, HINTS if hints else None, mic)
    if hints or mic is not None:
        assert unframe(frame(message)) == message


# --- a peer that says anything in any order ---------------------------------------------------------------------------


@st.composite
def scripts(draw: st.DrawFn, role: Role, legs: int) -> list[tuple[NegTokenResp, bool]]:
    """What a peer in `role` says, likely the right thing; and whether its MIC is the right one."""
    oid = draw(st.sampled_from((FIRST, SECOND)))
    toy = Toy(oid, legs=legs)
    own = 2 if role is Role.ACCEPTOR else 1
    tokens = [toy.token(number) for number in range(own, legs + 3, 2)]
    mics = {
        good: toy.context(role if good else role.other).sign(types(SECOND, FIRST) if good else types(FIRST))
        for good in (True, False)
    }
    found: list[tuple[NegTokenResp, bool]] = []
    for _ in range(6):
        kind = draw(st.sampled_from(("none", "good", "wrong", "copy")))
        token = draw(st.sampled_from((*tokens, *tokens, None, b"", b"something")))
        mic = {"none": None, "good": mics[True], "wrong": mics[False], "copy": token}[kind]
        state = draw(st.none() | st.sampled_from(NegState))
        supported = draw(st.sampled_from((None, None, oid, FIRST, SECOND, THIRD)))
        found.append((NegTokenResp(state, supported, token, mic), kind == "good" and mic != token))
    return found


@given(st.data(), st.integers(1, 4), st.booleans())
def test_no_acceptor_completes_what_it_did_not_prove(data: st.DataObject, legs: int, needs_mic: bool) -> None:
    """An initiator of two mechanisms, against an acceptor that answers by any messages in any order."""
    toys = (Toy(SECOND, legs=legs, needs_mic=needs_mic), Toy(FIRST, legs=legs, needs_mic=needs_mic))
    machine = initiator(Negotiate(*toys))
    machine.step()
    proved = demanded = False
    for number, (message, good) in enumerate(data.draw(scripts(Role.ACCEPTOR, legs))):
        demanded |= message.neg_state is NegState.REQUEST_MIC
        try:
            step = machine.step(message.encode())
        except SecureStreamError:
            return
        if step.established is not None:
            proved = good
            report = step.established.negotiation
            assert report is not None
            assert report.chosen is not None
            assert message.neg_state is not NegState.REJECT
            second = report.chosen.identifier == FIRST
            assert report.protected is proved
            assert proved or not (needs_mic or second or (number == 0 and demanded))
            return
        assert step.token
        assert number <= legs, "it goes on and on"
    raise AssertionError("it waits for ever")


@given(st.data(), st.integers(1, 4), st.booleans(), st.booleans())
def test_no_initiator_completes_what_it_did_not_prove(
    data: st.DataObject, legs: int, needs_mic: bool, optimistic: bool
) -> None:
    """An acceptor that lacks the first of the list, or prefers the other, against an initiator that says anything."""
    have = data.draw(st.sampled_from(((FIRST,), (FIRST, SECOND), (SECOND, FIRST), (SECOND,))))
    machine = acceptor(Negotiate(*(Toy(oid, legs=legs, needs_mic=needs_mic) for oid in have)))
    messages = [offer(SECOND, FIRST, token=Toy(SECOND).token(1) if optimistic else None)]
    script = data.draw(scripts(Role.INITIATOR, legs))
    proofs = [False, *(good for _, good in script)]
    messages += [message.encode() for message, _ in script]
    for number, (message, good) in enumerate(zip(messages, proofs, strict=True)):
        try:
            step = machine.step(message)
        except SecureStreamError:
            return
        if step.established is not None:
            report = step.established.negotiation
            assert report is not None
            assert report.protected is good
            assert good or (have[0] == SECOND and not needs_mic)
            return
        assert step.token
        assert number <= legs + 1, "it goes on and on"
    raise AssertionError("it waits for ever")


# --- somebody in between ----------------------------------------------------------------------------------------------


def _damage(token: bytes, kind: str, place: int, octets: bytes) -> bytes:
    place %= len(token)
    if kind == "flip":
        return token[:place] + bytes((token[place] ^ (octets[0] or 1),)) + token[place + 1 :]
    if kind == "cut":
        return token[:place]
    if kind == "remove":
        return token[:place] + token[place + len(octets) :]
    return token[:place] + octets + token[place:]


@given(
    st.booleans(),
    st.integers(0, 4),
    st.sampled_from(("flip", "cut", "remove", "insert")),
    st.integers(0, 2000),
    st.binary(min_size=1, max_size=4),
)
def test_damage_fails_closed(behind: bool, number: int, kind: str, place: int, octets: bytes) -> None:
    """NTLM as first or second choice: one damaged message, and either both know, or it made no difference."""
    client = Negotiate(Toy(SECOND), Ntlm(), ntlm="always") if behind else Negotiate(Ntlm(), Toy(SECOND))
    met = meet(
        client,
        Negotiate(Ntlm()),
        initiating=ALICE,
        accepting=Accounts(store()),
        alter=lambda current, token: _damage(token, kind, place, octets) if current == number else token,
    )
    _ended(met)
    for end in (met.initiator, met.acceptor):
        if end is not None:
            assert end.negotiation is not None
            assert end.negotiation.protected
            assert end.peer.package == "NTLM"


def _ended(met: Meeting) -> None:
    """Neither end waits for ever; what is established at both works."""
    assert met.errors or (met.initiator is not None and met.acceptor is not None)
    if not met.errors:
        assert met.contexts[0].flags & ContextFlags.INTEGRITY == met.contexts[1].flags & ContextFlags.INTEGRITY
        talk(met)


def test_every_octet_of_a_small_exchange() -> None:
    """Each octet that is not the mechanism's, in several ways: no end waits, and nothing unproved is established."""
    client, server = Negotiate(Toy(SECOND), Toy(legs=3)), Negotiate(Toy(legs=3))
    honest = meet(client, server)
    for number, token in enumerate(honest.tokens):
        for place, mask in itertools.product(range(len(token)), (0x01, 0x10, 0xFF)):

            def alter(current: int, octets: bytes, at: tuple[int, int, int] = (number, place, mask)) -> bytes:
                return _damage(octets, "flip", at[1], bytes((at[2],))) if current == at[0] else octets

            met = meet(client, server, alter=alter)
            _ended(met)
            for end in (met.initiator, met.acceptor):
                if end is not None:
                    assert end.negotiation is not None
                    assert end.negotiation.protected
