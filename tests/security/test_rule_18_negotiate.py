"""SECURITY 18: nothing completes unless both ends saw one list; each clause against hand-made peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from securestream.credentials import Accounts
from securestream.errors import (
    Downgrade,
    HandshakeError,
    InvalidToken,
    NoCommonMechanism,
    PeerRefused,
    SecureStreamError,
    UsageError,
)
from securestream.machine import owed_token
from securestream.options import ContextFlags, Protection, Role
from securestream.wire import der
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import NEGOEX, NTLM, SPNEGO, NegState, NegTokenResp
from securestream_providers.ntlm import Ntlm
from tests.providers.negotiate.ends import (
    Meeting,
    acceptor,
    altered,
    initiator,
    meet,
    offer,
    options,
    resp,
    response,
    talk,
    types,
    with_list,
    without_mic,
)
from tests.providers.negotiate.toy import FIRST, SECOND, THIRD, Toy
from tests.providers.ntlm.ends import ALICE, store

LEGS = range(1, 6)


def one() -> Toy:
    """The initiator's first choice, which the acceptor lacks where nothing else is said."""
    return Toy(SECOND)


def refused_by(met: Meeting, role: Role, kind: type[SecureStreamError] = Downgrade) -> str:
    """The sentence of that end's refusal, after which nobody has a context."""
    assert isinstance(met.errors[role], kind), met.errors
    assert (met.initiator if role is Role.INITIATOR else met.acceptor) is None
    return str(met.errors[role])


# --- integrity is always asked for ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protection", Protection)
def test_integrity_is_asked_of_the_mechanism_at_every_level(protection: Protection) -> None:
    toy = Toy()
    mine = options(1, protection=protection, flags=ContextFlags.NONE)
    assert not meet(Negotiate(toy), Negotiate(toy), mine=mine, theirs=mine).errors
    assert len(toy.started) == 2
    assert all(ContextFlags.INTEGRITY in flags for flags in toy.started)


@pytest.mark.parametrize("legs", LEGS)
def test_without_integrity_only_the_first_choice_may_be_taken(legs: int) -> None:
    weak = Toy(legs=legs, integrity=False)
    met = meet(Negotiate(weak), Negotiate(weak))
    assert not met.errors
    assert not met.reports[0].protected
    met = meet(Negotiate(one(), weak), Negotiate(weak))
    assert met.initiator is None
    assert met.acceptor is None
    assert any(isinstance(error, Downgrade) for error in met.errors.values())


def test_an_initiator_takes_no_second_choice_without_integrity_whatever_the_acceptor_says() -> None:
    machine = initiator(Negotiate(one(), weak := Toy(legs=2, integrity=False)))
    machine.step()
    machine.step(resp(NegState.ACCEPT_INCOMPLETE, FIRST))
    with pytest.raises(Downgrade, match="first choice"):
        machine.step(resp(NegState.ACCEPT_COMPLETED, None, weak.token(2)))


def test_an_acceptor_takes_no_second_choice_without_integrity_whatever_the_initiator_says() -> None:
    machine = acceptor(Negotiate(weak := Toy(legs=1, integrity=False)))
    machine.step(offer(SECOND, FIRST, token=b"optimistic"))
    with pytest.raises(Downgrade, match="first choice"):
        machine.step(resp(token=weak.token(1), mic=b"anything"))


def test_a_mic_where_there_is_no_integrity_is_refused() -> None:
    machine = acceptor(Negotiate(weak := Toy(legs=1, integrity=False)))
    with pytest.raises(Downgrade, match="none is due"):
        machine.step(offer(FIRST, token=weak.token(1), mic=b"anything"))


# --- MICs that are removed, wrong, copied, reflected ------------------------------------------------------------------


def _responses(met: Meeting) -> list[int]:
    """The numbers of the tokens that carry a MIC."""
    return [
        number
        for number, message in enumerate(met.messages)
        if isinstance(message, NegTokenResp) and message.mech_list_mic
    ]


def _copied(message: NegTokenResp) -> NegTokenResp:
    return replace(message, mech_list_mic=message.response_token)


def _damaged(message: NegTokenResp) -> NegTokenResp:
    mic = message.mech_list_mic or b"\0"
    return replace(message, mech_list_mic=mic[:-1] + bytes((mic[-1] ^ 1,)))


def _completed(message: NegTokenResp) -> NegTokenResp:
    return replace(message, neg_state=NegState.ACCEPT_COMPLETED, mech_list_mic=None)


CHANGES: dict[str, Callable[[NegTokenResp], NegTokenResp]] = {
    "stripped": without_mic,
    "copied": _copied,
    "damaged": _damaged,
    "stripped and completed": _completed,
}


@pytest.mark.parametrize("legs", LEGS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_mic_that_was_tampered_with_completes_nothing(legs: int, change: str) -> None:
    """Whichever of the two MICs it is: the end that was due it refuses, and tells the other one."""
    client, server = Negotiate(one(), Toy(legs=legs)), Negotiate(Toy(legs=legs))
    carriers = _responses(meet(client, server))
    assert len(carriers) == 2
    for number in carriers:
        receiver = Role.ACCEPTOR if number % 2 == 0 else Role.INITIATOR
        met = meet(client, server, alter=altered(number, CHANGES[change]))
        refused_by(met, receiver)
        if number == carriers[0]:  # the other end is not complete yet
            refused_by(met, receiver.other, PeerRefused)


@pytest.mark.parametrize("legs", LEGS)
def test_a_list_that_was_rewritten_completes_nothing(legs: int) -> None:
    """Somebody removes the first choice, which both ends have.

    An acceptor that sends the mechanism's last token sees nothing wrong with what looks like a first choice; the
    initiator, which has the last word then, gives up.
    """
    both = Negotiate(Toy(SECOND, legs=legs), Toy(legs=legs))
    met = meet(both, both, alter=with_list(FIRST))
    if legs % 2:
        refused_by(met, Role.ACCEPTOR)
        refused_by(met, Role.INITIATOR, PeerRefused)
    else:
        refused_by(met, Role.INITIATOR)


@pytest.mark.parametrize("state", [NegState.REQUEST_MIC, NegState.ACCEPT_INCOMPLETE])
def test_a_choice_that_was_rewritten_completes_nothing(state: NegState) -> None:
    """Somebody writes the second choice into the acceptor's answer, and plays its part as well as he can."""
    toys = Toy(SECOND, legs=3), Toy(legs=3)
    machine = initiator(Negotiate(*toys))
    machine.step()
    machine.step(resp(state, FIRST))
    machine.step(resp(NegState.ACCEPT_INCOMPLETE, None, toys[1].token(2)))
    with pytest.raises(Downgrade):
        machine.step(resp(NegState.ACCEPT_COMPLETED))


def test_a_choice_that_was_not_offered_is_refused() -> None:
    machine = initiator(Negotiate(one()))
    machine.step()
    with pytest.raises(NoCommonMechanism, match="not offered"):
        machine.step(resp(NegState.ACCEPT_INCOMPLETE, THIRD))


def test_our_own_mic_sent_back_proves_nothing() -> None:
    toy = Toy(legs=3)
    machine = initiator(Negotiate(one(), toy))
    machine.step()
    machine.step(resp(NegState.REQUEST_MIC, FIRST))
    own = response(machine.step(resp(NegState.ACCEPT_INCOMPLETE, None, toy.token(2))).token).mech_list_mic
    assert own
    with pytest.raises(Downgrade, match="does not fit"):
        machine.step(resp(NegState.ACCEPT_COMPLETED, None, None, own))


def test_our_own_first_token_sent_back_is_refused() -> None:
    machine = initiator(Negotiate(Toy()))
    first = machine.step().token
    with pytest.raises(InvalidToken, match="no NegTokenResp"):
        machine.step(first)


def test_our_own_answer_sent_back_is_refused() -> None:
    machine = acceptor(Negotiate(toy := Toy(legs=3)))
    own = machine.step(offer(FIRST, token=toy.token(1))).token
    with pytest.raises(InvalidToken):
        machine.step(own)


def test_a_copy_of_the_token_is_no_mic_for_an_acceptor() -> None:
    toy = Toy(legs=1)
    machine = acceptor(Negotiate(toy))
    machine.step(offer(SECOND, FIRST))
    with pytest.raises(Downgrade, match="did not prove"):
        machine.step(resp(token=toy.token(1), mic=toy.token(1)))


def test_a_copy_of_the_token_is_ignored_where_no_mic_is_due() -> None:
    """Windows 2000 and others (smbprotocol issue 137): the logon goes on, and nothing counts as proved."""
    toy = Toy(legs=2)
    machine = initiator(Negotiate(toy))
    machine.step()
    end = machine.step(resp(NegState.ACCEPT_COMPLETED, FIRST, toy.token(2), toy.token(2))).established
    assert end is not None
    assert end.negotiation is not None
    assert not end.negotiation.protected


# --- completion before its time ---------------------------------------------------------------------------------------


def test_completion_before_the_mechanism_is_complete_is_refused() -> None:
    """With a token or without, at the first answer or a later one."""
    for legs, when in ((3, 1), (4, 1), (5, 1), (5, 2)):
        toy = Toy(legs=legs)
        for token in (True, False):
            machine = initiator(Negotiate(toy))
            machine.step()
            for number in range(1, when):
                machine.step(resp(NegState.ACCEPT_INCOMPLETE, None, toy.token(2 * number)))
            answer = resp(NegState.ACCEPT_COMPLETED, None, toy.token(2 * when) if token else None)
            with pytest.raises(InvalidToken, match="complete"):
                machine.step(answer)


def test_completion_at_once_is_refused() -> None:
    machine = initiator(Negotiate(Toy(legs=2)))
    machine.step()
    with pytest.raises(InvalidToken, match="not complete"):
        machine.step(resp(NegState.ACCEPT_COMPLETED, FIRST))


@pytest.mark.parametrize("answer", [(NegState.ACCEPT_COMPLETED, None), (NegState.ACCEPT_INCOMPLETE, Toy().token(2))])
def test_another_mechanism_that_is_further_than_it_can_be_is_refused(answer: tuple[NegState, bytes | None]) -> None:
    machine = initiator(Negotiate(one(), Toy(legs=2)))
    machine.step()
    with pytest.raises(InvalidToken, match="not seen"):
        machine.step(resp(answer[0], FIRST, answer[1]))


def test_an_empty_answer_completes_only_a_mechanism_that_is_complete() -> None:
    machine = initiator(Negotiate(Toy(legs=2)))
    machine.step()
    with pytest.raises(InvalidToken):
        machine.step(b"")
    machine = initiator(Negotiate(toy := Toy(legs=3, needs_mic=True)))
    machine.step()
    machine.step(resp(NegState.ACCEPT_INCOMPLETE, FIRST, toy.token(2)))
    with pytest.raises(Downgrade):
        machine.step(b"")


# --- request-mic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legs", LEGS)
def test_request_mic_for_the_first_choice_demands_both(legs: int) -> None:
    """The acceptor would have preferred another mechanism, had it been offered (RFC 4178 5)."""
    toy = Toy(legs=legs)
    client, server = Negotiate(toy, Toy(THIRD)), Negotiate(Toy(THIRD), toy)
    met = meet(client, server)
    talk(met)
    assert all(report.protected for report in met.reports)
    first = met.messages[1]
    assert isinstance(first, NegTokenResp)
    assert first.neg_state is NegState.REQUEST_MIC
    for number in _responses(met):
        assert met.errors == {}
        refused_by(
            meet(client, server, alter=altered(number, without_mic)), Role.INITIATOR if number % 2 else Role.ACCEPTOR
        )


def test_request_mic_cannot_be_taken_away() -> None:
    """Somebody writes accept-incomplete over it: the acceptor goes on to demand its MIC."""
    toy = Toy(legs=3)
    client, server = Negotiate(toy, Toy(THIRD)), Negotiate(Toy(THIRD), toy)
    met = meet(client, server, alter=altered(1, lambda message: replace(message, neg_state=NegState.ACCEPT_INCOMPLETE)))
    refused_by(met, Role.ACCEPTOR)


@pytest.mark.parametrize("legs", LEGS)
def test_a_mechanism_that_wants_mics_gets_them_for_the_first_choice(legs: int) -> None:
    toy = Toy(legs=legs, needs_mic=True)
    met = meet(Negotiate(toy), Negotiate(toy))
    talk(met)
    carriers = _responses(met)
    assert len(carriers) == 2 or legs == 1
    for number in carriers:
        refused_by(
            meet(Negotiate(toy), Negotiate(toy), alter=altered(number, without_mic)),
            Role.INITIATOR if number % 2 else Role.ACCEPTOR,
        )


# --- what has no SPNEGO around it, or too much of it ------------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"NTLMSSP\0" + bytes(48), b"\x60\x0b" + bytes(11), Toy().token(2), b"\x6f\x00"])
def test_an_initiator_that_sent_spnego_refuses_a_raw_answer(answer: bytes) -> None:
    machine = initiator(Negotiate(Toy()))
    machine.step()
    with pytest.raises(InvalidToken, match="no NegTokenResp") as raised:
        machine.step(answer)
    assert response(owed_token(raised.value)).neg_state is NegState.REJECT


def test_raw_tokens_pass_the_same_policy() -> None:
    accounts = Accounts(store())
    met = meet(Ntlm(), Negotiate(Ntlm()), initiating=ALICE, accepting=accounts)
    assert met.established[1].negotiation is not None
    assert met.established[1].negotiation.offered == ()
    assert not met.established[1].negotiation.protected
    for server in (Negotiate(Toy(), Ntlm(), ntlm="never"), Negotiate(Ntlm(), bare="refused"), Negotiate(Toy())):
        met = meet(Ntlm(), server, initiating=ALICE, accepting=accounts)
        refused_by(met, Role.ACCEPTOR, NoCommonMechanism)
        assert len(met.tokens) == 1


def test_policy_against_ntlm_holds_inside_spnego() -> None:
    accounts = Accounts(store())
    met = meet(Negotiate(Ntlm()), Negotiate(Toy(), Ntlm(), ntlm="never"), initiating=ALICE, accepting=accounts)
    assert "policy forbids it" in refused_by(met, Role.ACCEPTOR, NoCommonMechanism)


def test_spnego_in_spnego_is_refused() -> None:
    with pytest.raises(UsageError, match="in a negotiation"):
        Negotiate(Negotiate(Toy()))
    with pytest.raises(NoCommonMechanism):
        acceptor(Negotiate(Toy())).step(offer(SPNEGO, token=offer(FIRST)))
    with pytest.raises(InvalidToken):
        acceptor(Negotiate(Toy())).step(offer(FIRST, token=offer(FIRST, token=Toy().token(1))))
    machine = initiator(Negotiate(Toy()))
    machine.step()
    with pytest.raises(NoCommonMechanism, match="not offered"):
        machine.step(resp(NegState.ACCEPT_INCOMPLETE, SPNEGO, offer(FIRST)))


def test_negoex_without_spnego_is_refused() -> None:
    """It is no mechanism of GSS-API by itself ([MS-NEGOEX] 1.3)."""
    toy = Toy(NEGOEX)
    with pytest.raises(NoCommonMechanism):
        acceptor(Negotiate(toy)).step(der.element(0x60, der.oid_octets(NEGOEX) + toy.token(1)))
    with pytest.raises(InvalidToken):
        acceptor(Negotiate(toy)).step(b"NEGOEXTS" + bytes(32))


# --- NTLM: the list is always proved ----------------------------------------------------------------------------------


def _ntlm(alter: Callable[[int, bytes], bytes] = lambda number, token: token, *, second: bool = False) -> Meeting:
    client = Negotiate(one(), Ntlm(), ntlm="always") if second else Negotiate(Ntlm())
    return meet(client, Negotiate(Ntlm()), initiating=ALICE, accepting=Accounts(store()), alter=alter)


@pytest.mark.parametrize("second", [False, True], ids=["first", "second"])
def test_ntlm_always_proves_the_list(second: bool) -> None:
    """As first choice, too ([MS-SPNG] 3.3.5.1); numbers go on after it, and the RC4 streams begin anew."""
    met = _ntlm(second=second)
    carriers = _responses(met)
    assert len(carriers) == 2
    for number in carriers:
        message = met.messages[number]
        assert isinstance(message, NegTokenResp)
        assert (message.mech_list_mic or b"")[-4:] == bytes(4)  # sequence number 0
        for change in CHANGES.values():
            refused_by(_ntlm(altered(number, change), second=second), Role.INITIATOR if number % 2 else Role.ACCEPTOR)
    initiating, accepting = met.contexts
    assert initiating.wrap(b"data")[12:16] == b"\x01\0\0\0"
    assert accepting.wrap(b"data")[12:16] == b"\x01\0\0\0"
    talk(_ntlm(second=second))


@pytest.mark.parametrize("oids", [(NTLM, SECOND), (SECOND,), (NTLM, NTLM)])
def test_ntlm_with_another_list_is_refused(oids: tuple[str, ...]) -> None:
    met = _ntlm(with_list(*oids))
    assert met.initiator is None
    assert met.acceptor is None
    assert any(isinstance(error, HandshakeError) for error in met.errors.values())


def test_ntlm_that_is_called_complete_too_early_is_refused() -> None:
    """With the CHALLENGE: our AUTHENTICATE does not leave any more."""
    met = _ntlm(altered(1, lambda message: replace(message, neg_state=NegState.ACCEPT_COMPLETED)))
    refused_by(met, Role.INITIATOR, InvalidToken)
    sent = met.messages[2]
    assert isinstance(sent, NegTokenResp)
    assert sent.neg_state is NegState.REJECT
    assert sent.response_token is None


def test_a_failed_proof_leaves_no_context_that_works() -> None:
    toy = Toy(legs=3)
    machine = initiator(Negotiate(one(), toy))
    machine.step()
    machine.step(resp(NegState.REQUEST_MIC, FIRST))
    machine.step(resp(NegState.ACCEPT_INCOMPLETE, None, toy.token(2)))
    assert [context.is_discarded for context in toy.made] == [False]
    with pytest.raises(Downgrade):
        machine.step(resp(NegState.ACCEPT_COMPLETED, None, None, Toy().context(Role.ACCEPTOR).sign(types(FIRST))))
    assert [context.is_discarded for context in toy.made] == [True]
    early = Toy(legs=3)
    machine = initiator(Negotiate(early))
    machine.step()
    with pytest.raises(InvalidToken):
        machine.step(resp(NegState.ACCEPT_COMPLETED, FIRST, early.token(2)))
    assert [context.is_discarded for context in early.made] == [True]
    weak = Toy(legs=1, integrity=False)
    with pytest.raises(Downgrade):
        acceptor(Negotiate(Toy(THIRD), weak)).step(offer(FIRST, THIRD, token=weak.token(1)))
    assert [context.is_discarded for context in weak.made] == [True]
