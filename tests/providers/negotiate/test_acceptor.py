"""The acceptor against hand-made initiators: what it chooses, what it demands, what it says when it gives up."""

from __future__ import annotations

import pytest

from securestream.errors import (
    Downgrade,
    InvalidToken,
    LogonDenied,
    NoCommonMechanism,
    NoCredentials,
    PeerRefused,
)
from securestream.machine import HandshakeMachine, owed_token
from securestream.negotiation import Verdict
from securestream.options import Role
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    HINTS,
    KERBEROS,
    MS_KERBEROS,
    NTLM,
    OLD_KERBEROS,
    MechTypeList,
    NegState,
    NegTokenInit2,
    frame,
    unframe,
)
from tests.providers.negotiate.ends import NOBODY, acceptor, initiator, offer, options, resp, response, types
from tests.providers.negotiate.toy import FIRST, SECOND, THIRD, Toy

INCOMPLETE, COMPLETED = NegState.ACCEPT_INCOMPLETE, NegState.ACCEPT_COMPLETED


def test_the_first_choice_of_both_completes_without_mics() -> None:
    toy = Toy(legs=2)
    end = acceptor(Negotiate(toy, Toy(SECOND))).step(offer(FIRST, SECOND, token=toy.token(1)))
    assert end.established is not None
    assert end.token == resp(COMPLETED, FIRST, toy.token(2))
    report = end.established.negotiation
    assert report is not None
    assert report.offered == (FIRST, SECOND)
    assert not report.protected


@pytest.mark.parametrize("name", [MS_KERBEROS, OLD_KERBEROS, KERBEROS])
@pytest.mark.parametrize("rest", [(), (KERBEROS, NTLM), (MS_KERBEROS,)])
def test_the_name_that_was_offered_is_the_one_that_is_chosen(name: str, rest: tuple[str, ...]) -> None:
    """Windows refuses another name of the same mechanism; an alias in front is the first choice all the same."""
    toy = Toy(KERBEROS)
    end = acceptor(Negotiate(toy)).step(offer(name, *rest, token=toy.token(1)))
    assert end.established is not None
    assert response(end.token).supported_mech == name
    assert response(end.token).neg_state is COMPLETED


def test_an_alias_is_known_to_an_initiator_too() -> None:
    toy = Toy(KERBEROS)
    client = initiator(Negotiate(toy))
    client.step()
    assert client.step(resp(COMPLETED, MS_KERBEROS, toy.token(2))).established is not None


def test_the_initiators_order_decides_and_has_to_be_proved() -> None:
    toys = Toy(FIRST), Toy(SECOND)
    answer = response(acceptor(Negotiate(*toys)).step(offer(SECOND, FIRST, token=Toy(SECOND, legs=3).token(1))).token)
    assert answer.supported_mech == SECOND
    assert answer.neg_state is NegState.REQUEST_MIC  # this end would have preferred the other one
    assert answer.mech_list_mic


def test_the_optimistic_token_is_only_for_the_first_of_the_list() -> None:
    toy = Toy(legs=3)
    machine = acceptor(Negotiate(toy))
    answer = machine.step(offer(SECOND, FIRST, token=toy.token(1))).token
    assert answer == resp(NegState.REQUEST_MIC, FIRST)
    assert machine.step(resp(None, None, toy.token(1))).token == resp(INCOMPLETE, None, toy.token(2))


def test_an_offer_may_come_without_a_token() -> None:
    toy = Toy(legs=3)
    machine = acceptor(Negotiate(toy))
    assert machine.step(offer(FIRST)).token == resp(INCOMPLETE, FIRST)
    assert machine.step(resp(token=toy.token(1))).token == resp(INCOMPLETE, None, toy.token(2))
    assert machine.step(resp(token=toy.token(3))).token == resp(COMPLETED)


def test_an_unasked_mic_is_verified_and_answered() -> None:
    toy = Toy(legs=3)
    machine = acceptor(Negotiate(toy))
    machine.step(offer(FIRST, token=toy.token(1)))
    mic = toy.context(Role.INITIATOR).sign(types(FIRST))
    end = machine.step(resp(token=toy.token(3), mic=mic))
    assert end.established is not None
    assert end.established.negotiation is not None
    assert end.established.negotiation.protected
    answer = response(end.token)
    assert answer.neg_state is COMPLETED
    toy.context(Role.INITIATOR).verify(types(FIRST), answer.mech_list_mic or b"")


def test_a_mic_beside_a_single_token() -> None:
    toy = Toy(legs=1)
    mic = toy.context(Role.INITIATOR).sign(types(FIRST))
    end = acceptor(Negotiate(toy)).step(offer(FIRST, token=toy.token(1), mic=mic))
    assert end.established is not None
    assert response(end.token).mech_list_mic
    with pytest.raises(Downgrade):
        acceptor(Negotiate(toy)).step(offer(FIRST, token=toy.token(1), mic=bytes(32)))
    copied = acceptor(Negotiate(toy)).step(offer(FIRST, token=toy.token(1), mic=toy.token(1)))
    assert copied.token == resp(COMPLETED, FIRST)


def test_the_mic_covers_the_list_as_it_was_received() -> None:
    """With a name twice, and in an order of its own."""
    toy = Toy(legs=1)
    machine = acceptor(Negotiate(toy))
    oids = (THIRD, FIRST, FIRST, SECOND)
    machine.step(offer(*oids))
    mic = toy.context(Role.INITIATOR).sign(types(*oids))
    assert machine.step(resp(token=toy.token(1), mic=mic)).established is not None


def test_a_mechanism_without_keys_gives_way_to_the_next() -> None:
    without = Toy(SECOND, refusal=NoCredentials("no keytab"))
    toy = Toy(legs=1)
    machine = acceptor(Negotiate(without, toy))
    assert machine.step(offer(SECOND, FIRST, token=without.token(1))).token == resp(NegState.REQUEST_MIC, FIRST)
    mic = toy.context(Role.INITIATOR).sign(types(SECOND, FIRST))
    end = machine.step(resp(token=toy.token(1), mic=mic)).established
    assert end is not None
    assert end.negotiation is not None
    assert end.negotiation.reason_against("Toy2") == "no keytab"


def test_a_mechanism_that_gave_way_is_not_tried_by_another_name() -> None:
    without = Toy(KERBEROS, refusal=NoCredentials("no keytab"))
    machine = acceptor(Negotiate(without, Toy(legs=1)))
    answer = machine.step(offer(MS_KERBEROS, KERBEROS, FIRST, token=without.token(1))).token
    assert answer == resp(NegState.REQUEST_MIC, FIRST)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_without_a_common_mechanism_every_reason_is_told() -> None:
    machine = acceptor(Negotiate(Toy(), Toy(SECOND, usable_reason="no key")))
    with pytest.raises(NoCommonMechanism) as raised:
        machine.step(offer(THIRD, SECOND, token=b"anything"))
    assert owed_token(raised.value) == resp(NegState.REJECT)
    assert f"{THIRD}: this end does not have it" in str(raised.value)
    assert "Toy2: no key" in str(raised.value)
    report = raised.value.negotiation
    assert report is not None
    assert report.offered == (THIRD, SECOND)
    assert {one.verdict for one in report.mechanisms} <= {Verdict.PASSED_OVER, Verdict.OFFERED}


def test_an_error_token_of_the_mechanism_travels_in_the_refusal() -> None:
    refusing = Toy(refusal=LogonDenied("no", token=b"error token"))
    with pytest.raises(LogonDenied) as raised:
        acceptor(Negotiate(refusing, Toy(SECOND))).step(offer(FIRST, SECOND, token=refusing.token(1)))
    assert owed_token(raised.value) == resp(NegState.REJECT, FIRST, b"error token")


def test_a_refusal_of_the_initiator_ends_it_and_owes_nothing() -> None:
    toy = Toy(legs=3)
    for demanded in (False, True):
        machine = acceptor(Negotiate(toy))
        machine.step(offer(SECOND, FIRST) if demanded else offer(FIRST, token=toy.token(1)))
        with pytest.raises(PeerRefused, match="gave the negotiation up"):
            machine.step(resp(NegState.REJECT))


def test_a_refusal_in_place_of_the_mic_ends_it() -> None:
    machine = acceptor(Negotiate(toy := Toy(legs=2)))
    machine.step(offer(SECOND, FIRST))
    machine.step(resp(token=toy.token(1)))
    with pytest.raises(PeerRefused):
        machine.step(resp(NegState.REJECT))


@pytest.mark.parametrize("reply", [resp(), resp(COMPLETED), resp(mic=b"x")])
def test_a_missing_token_is_refused(reply: bytes) -> None:
    machine = acceptor(Negotiate(toy := Toy(legs=3)))
    machine.step(offer(FIRST, token=toy.token(1)))
    with pytest.raises(InvalidToken, match="no token") as raised:
        machine.step(reply)
    assert response(owed_token(raised.value)).neg_state is NegState.REJECT


@pytest.mark.parametrize("reply", [b"", b"NTLMSSP\0" + bytes(50), offer(FIRST, token=b"again"), b"\xa1\x02\x30\x80"])
def test_something_else_than_a_response_is_refused(reply: bytes) -> None:
    """The second message of an initiator is no NegTokenInit again (RFC 4178 4.2)."""
    machine = acceptor(Negotiate(toy := Toy(legs=3)))
    machine.step(offer(FIRST, token=toy.token(1)))
    with pytest.raises(InvalidToken) as raised:
        machine.step(reply)
    assert response(owed_token(raised.value)).neg_state is NegState.REJECT


def test_a_token_beside_the_last_mic_is_refused() -> None:
    toy = Toy(legs=2)
    machine = acceptor(Negotiate(toy))
    machine.step(offer(SECOND, FIRST))
    machine.step(resp(token=toy.token(1)))
    mic = toy.context(Role.INITIATOR).sign(types(SECOND, FIRST))
    with pytest.raises(InvalidToken, match="after the mechanism was complete"):
        machine.step(resp(None, None, b"more", mic))


@pytest.mark.parametrize("first", [b"", b"x", resp(), b"\x60\x00", frame(NegTokenInit2(MechTypeList((FIRST,))))[:-1]])
def test_a_first_token_of_nothing_known_is_refused(first: bytes) -> None:
    with pytest.raises(InvalidToken):
        acceptor(Negotiate(Toy())).step(first)


def test_a_first_message_of_a_server_is_refused() -> None:
    with pytest.raises(InvalidToken, match="server that speaks first"):
        acceptor(Negotiate(Toy())).step(frame(NegTokenInit2(MechTypeList((FIRST,)), neg_hints=HINTS)))


# --- speaking first ---------------------------------------------------------------------------------------------------


def test_an_acceptor_that_speaks_first_says_what_it_has() -> None:
    toy = Toy()
    package = Negotiate(toy, Toy(SECOND, usable_reason="no key"), server_first=True)
    machine = HandshakeMachine(package.accept(NOBODY, options(2)))
    hello = machine.step().token
    assert hello is not None
    assert unframe(hello) == NegTokenInit2(MechTypeList((FIRST,)), neg_hints=HINTS)
    end = machine.step(offer(FIRST, token=toy.token(1)))
    assert end.established is not None
