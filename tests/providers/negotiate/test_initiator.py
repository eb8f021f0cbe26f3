"""The initiator against hand-made acceptors: what it offers, what it takes, what it says when it gives up."""

from __future__ import annotations

import pytest

from securestream.credentials import Credential
from securestream.errors import (
    Downgrade,
    ErrorKind,
    InvalidToken,
    LogonDenied,
    NoAuthority,
    NoCommonMechanism,
    PeerRefused,
    TimeSkew,
)
from securestream.machine import owed_token
from securestream.negotiation import Verdict
from securestream.options import Options, Role
from securestream.provider import Exchange, Handshake, SecurityContext, TargetName
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    HINTS,
    MechTypeList,
    NegState,
    NegTokenInit,
    NegTokenInit2,
    frame,
    unframe,
)
from tests.providers.negotiate.ends import initiator, offer, resp, response, types
from tests.providers.negotiate.toy import FIRST, SECOND, SKEW, THIRD, Toy


def offered(token: bytes | None) -> NegTokenInit:
    """A first message."""
    assert token is not None
    message = unframe(token)
    assert isinstance(message, NegTokenInit)
    return message


def test_the_first_mechanism_is_offered_with_its_token() -> None:
    toy = Toy(SECOND)
    message = offered(initiator(Negotiate(toy, Toy())).step().token)
    assert message == NegTokenInit(MechTypeList((SECOND, FIRST)), mech_token=toy.token(1))
    assert message.req_flags is None


def test_what_cannot_be_used_is_not_offered() -> None:
    machine = initiator(Negotiate(Toy(THIRD, usable_reason="no key"), Toy(SECOND, failure=NoAuthority("gone")), Toy()))
    assert offered(machine.step().token).mech_types.mech_types == (FIRST,)
    end = machine.step(resp(NegState.ACCEPT_COMPLETED, FIRST, Toy().token(2))).established
    assert end is not None
    assert end.negotiation is not None
    assert [(one.verdict, one.reason, one.kind) for one in end.negotiation.mechanisms] == [
        (Verdict.PASSED_OVER, "no key", None),
        (Verdict.PASSED_OVER, "gone", ErrorKind.NO_AUTHORITY),
        (Verdict.CHOSEN, "", None),
    ]
    assert end.negotiation.offered == (FIRST,)


def test_an_error_that_is_no_reason_to_go_on_ends_it() -> None:
    machine = initiator(Negotiate(Toy(SECOND, failure=LogonDenied("wrong password")), Toy()))
    with pytest.raises(LogonDenied, match="wrong password"):
        machine.step()


def test_where_nothing_is_left_every_reason_is_told() -> None:
    machine = initiator(Negotiate(Toy(usable_reason="no key"), Toy(SECOND, failure=TimeSkew("300 s", token=b"x"))))
    with pytest.raises(NoCommonMechanism) as raised:
        machine.step()
    assert "Toy1: no key" in str(raised.value)
    assert "Toy2: 300 s" in str(raised.value)
    assert raised.value.kind is ErrorKind.TIME_SKEW
    assert owed_token(raised.value) is None
    assert raised.value.negotiation is not None


@pytest.mark.parametrize("state", [NegState.ACCEPT_COMPLETED, None])
@pytest.mark.parametrize("chosen", [FIRST, None])
@pytest.mark.parametrize("legs", [1, 2])
def test_state_and_choice_may_be_left_out(legs: int, chosen: str | None, state: NegState | None) -> None:
    toy = Toy(legs=legs)
    machine = initiator(Negotiate(toy, Toy(SECOND)))
    machine.step()
    end = machine.step(resp(state, chosen, toy.token(2) if legs == 2 else None))
    assert end.established is not None
    assert end.token is None


@pytest.mark.parametrize("state", [NegState.ACCEPT_INCOMPLETE, None])
def test_states_of_later_messages_may_be_left_out(state: NegState | None) -> None:
    toy = Toy(legs=4)
    machine = initiator(Negotiate(toy))
    machine.step()
    third = response(machine.step(resp(state, FIRST, toy.token(2))).token)
    assert third.response_token == toy.token(3)
    assert third.supported_mech is None
    assert machine.step(resp(None, None, toy.token(4))).established is not None


@pytest.mark.parametrize("last", [b"", resp(), resp(NegState.ACCEPT_COMPLETED)])
def test_the_acceptors_last_leg_may_be_empty(last: bytes) -> None:
    for legs in (1, 3):
        toy = Toy(legs=legs)
        machine = initiator(Negotiate(toy))
        machine.step()
        if legs == 3:
            machine.step(resp(NegState.ACCEPT_INCOMPLETE, FIRST, toy.token(2)))
        end = machine.step(last).established
        assert end is not None
        assert end.negotiation is not None
        assert not end.negotiation.protected


def test_a_single_leg_is_answered_by_a_request_for_a_mic() -> None:
    """RFC 4178 5 c IV: the acceptor's MIC comes with its first reply, ours goes out last."""
    toy = Toy(legs=1)
    machine = initiator(Negotiate(toy))
    first = machine.step().token
    mic = toy.context(Role.ACCEPTOR).sign(offered(first).mech_types.encode())
    end = machine.step(resp(NegState.REQUEST_MIC, FIRST, None, mic))
    assert end.established is not None
    assert end.established.negotiation is not None
    assert end.established.negotiation.protected
    last = response(end.token)
    assert last.neg_state is NegState.ACCEPT_COMPLETED
    toy.context(Role.ACCEPTOR).verify(types(FIRST), last.mech_list_mic or b"")


def test_a_mic_may_be_asked_for_later() -> None:
    """Not by RFC 4178 4.2.2, but an initiator that gives one gives nothing away."""
    toy = Toy(legs=5)
    machine = initiator(Negotiate(toy))
    machine.step()
    machine.step(resp(NegState.ACCEPT_INCOMPLETE, FIRST, toy.token(2)))
    last = response(machine.step(resp(NegState.REQUEST_MIC, None, toy.token(4))).token)
    assert last.response_token == toy.token(5)
    toy.context(Role.ACCEPTOR).verify(types(FIRST), last.mech_list_mic or b"")
    with pytest.raises(Downgrade):
        machine.step(resp(NegState.ACCEPT_COMPLETED))


def test_no_mic_is_sent_to_who_is_complete_with_one() -> None:
    toy = Toy(legs=2)
    machine = initiator(Negotiate(toy))
    machine.step()
    acceptor = toy.context(Role.ACCEPTOR)
    end = machine.step(resp(NegState.ACCEPT_COMPLETED, FIRST, toy.token(2), acceptor.sign(types(FIRST))))
    assert end.established is not None
    assert end.token is None
    context = end.established.result
    assert isinstance(context, SecurityContext)
    assert acceptor.unwrap(context.wrap(b"data")).data == b"data", "a MIC that was not sent counts as no message"


def test_another_choice_begins_anew() -> None:
    toy = Toy(legs=2)
    machine = initiator(Negotiate(Toy(SECOND), toy))
    first = machine.step().token
    second = response(machine.step(resp(NegState.REQUEST_MIC, FIRST)).token)
    assert second.response_token == toy.token(1)
    mic = toy.context(Role.ACCEPTOR).sign(offered(first).mech_types.encode())
    end = machine.step(resp(NegState.ACCEPT_INCOMPLETE, None, toy.token(2), mic))
    assert end.established is not None
    assert response(end.token).mech_list_mic
    report = end.established.negotiation
    assert report is not None
    assert report.chosen is not None
    assert report.chosen.identifier == FIRST
    assert "acceptor chose another" in report.reason_against("Toy2")


class Listener(Toy):
    """A mechanism whose acceptor speaks first."""

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        yield from Exchange()
        return (yield from super().initiate(credential, target, options))


def test_a_mechanism_that_would_only_listen_cannot_be_switched_to() -> None:
    machine = initiator(Negotiate(Toy(SECOND), Listener()))
    machine.step()
    with pytest.raises(InvalidToken, match="cannot begin in the middle"):
        machine.step(resp(NegState.REQUEST_MIC, FIRST))


@pytest.mark.parametrize("chosen", [FIRST, SECOND])
def test_a_copy_of_the_mic_beside_it_is_no_token(chosen: str) -> None:
    """It counts neither as a token nor as a MIC, so it only helps where none is due."""
    toy = Toy(chosen, legs=3)
    machine = initiator(Negotiate(Toy(SECOND, legs=3), Toy(FIRST, legs=3)))
    first = machine.step().token
    if chosen == FIRST:
        machine.step(resp(NegState.REQUEST_MIC, FIRST))
    machine.step(resp(NegState.ACCEPT_INCOMPLETE, None, toy.token(2)))
    mic = toy.context(Role.ACCEPTOR).sign(offered(first).mech_types.encode())
    answer = resp(NegState.ACCEPT_COMPLETED, None, mic, mic)
    if chosen == FIRST:
        with pytest.raises(Downgrade):
            machine.step(answer)
    else:
        assert machine.step(answer).established is not None


def test_a_token_after_the_end_is_refused() -> None:
    for legs in (1, 3):
        toy = Toy(legs=legs)
        machine = initiator(Negotiate(toy))
        machine.step()
        if legs == 3:
            machine.step(resp(NegState.ACCEPT_INCOMPLETE, FIRST, toy.token(2)))
        with pytest.raises(InvalidToken, match="after the mechanism was complete"):
            machine.step(resp(NegState.ACCEPT_COMPLETED, None, b"more"))


@pytest.mark.parametrize("state", [NegState.ACCEPT_INCOMPLETE, NegState.REQUEST_MIC])
def test_who_is_not_complete_and_says_nothing_more_is_refused(state: NegState) -> None:
    """Neither end would have anything to say any more: it would hang."""
    toy = Toy(legs=3)
    machine = initiator(Negotiate(toy))
    machine.step()
    machine.step(resp(NegState.ACCEPT_INCOMPLETE, FIRST, toy.token(2)))
    with pytest.raises(InvalidToken, match="nothing more is due"):
        machine.step(resp(state))


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_refusal_at_once_shares_no_mechanism() -> None:
    machine = initiator(Negotiate(Toy()))
    machine.step()
    with pytest.raises(PeerRefused, match=FIRST) as raised:
        machine.step(resp(NegState.REJECT))
    assert raised.value.kind is ErrorKind.NO_COMMON_MECHANISM


@pytest.mark.parametrize("token", [None, b"neither a token nor an error"])
def test_a_later_refusal_is_of_the_logon(token: bytes | None) -> None:
    toy = Toy(legs=3)
    machine = initiator(Negotiate(toy))
    machine.step()
    machine.step(resp(NegState.ACCEPT_INCOMPLETE, FIRST, toy.token(2)))
    with pytest.raises(PeerRefused, match="refused the logon by Toy1") as raised:
        machine.step(resp(NegState.REJECT, None, token))
    assert raised.value.kind is ErrorKind.LOGON_DENIED


def test_a_refusal_with_the_token_that_is_due_is_a_refusal() -> None:
    toy = Toy(legs=2)
    machine = initiator(Negotiate(toy))
    machine.step()
    with pytest.raises(PeerRefused):
        machine.step(resp(NegState.REJECT, FIRST, toy.token(2)))


def test_what_the_mechanism_says_of_a_refusal_is_told() -> None:
    """As a refusal: nothing is owed to an acceptor that has ended it."""
    machine = initiator(Negotiate(Toy(legs=2)))
    machine.step()
    with pytest.raises(PeerRefused, match="400 s") as raised:
        machine.step(resp(NegState.REJECT, FIRST, SKEW))
    assert raised.value.kind is ErrorKind.TIME_SKEW


def test_a_failure_of_the_mechanism_is_sent_as_a_refusal() -> None:
    machine = initiator(Negotiate(Toy(legs=3)))
    machine.step()
    with pytest.raises(InvalidToken, match="token 2") as raised:
        machine.step(resp(NegState.ACCEPT_INCOMPLETE, FIRST, b"wrong"))
    assert response(owed_token(raised.value)).neg_state is NegState.REJECT


def test_damaged_octets_are_answered_by_a_refusal() -> None:
    machine = initiator(Negotiate(Toy()))
    machine.step()
    with pytest.raises(InvalidToken, match="acceptor's NegTokenResp is malformed") as raised:
        machine.step(b"\xa1\x03\x30\x80\x00")
    assert response(owed_token(raised.value)).neg_state is NegState.REJECT


# --- a server that speaks first ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hello",
    [
        frame(NegTokenInit2(MechTypeList((THIRD,)), neg_hints=HINTS)),
        frame(NegTokenInit2(None)),
        offer(SECOND),
        frame(NegTokenInit2(MechTypeList((SECOND,)), mech_list_mic=b"anything")),
    ],
)
def test_what_a_server_says_first_changes_nothing(hello: bytes) -> None:
    """Anybody can forge it; what is offered is ours to say."""
    machine = initiator(Negotiate(Toy(SECOND), Toy(), server_first=True))
    message = offered(machine.step(hello).token)
    assert message.mech_types.mech_types == (SECOND, FIRST)
    assert message.mech_token == Toy(SECOND).token(1)


@pytest.mark.parametrize("hello", [b"", resp(), b"NTLMSSP\0" + bytes(40), b"\x60\x00"])
def test_who_speaks_first_by_something_else_is_refused(hello: bytes) -> None:
    with pytest.raises(InvalidToken):
        initiator(Negotiate(Toy(), server_first=True)).step(hello)
