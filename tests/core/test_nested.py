"""An inner handshake inside an outer one: what passes through, what is the outer's, what is closed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from securestream.drive import Services, respond_blocking
from securestream.errors import InvalidToken, LimitExceeded, LogonDenied, PeerGone, ServiceFailed, UsageError
from securestream.machine import HandshakeMachine
from securestream.nested import Nested
from securestream.options import Limits
from securestream.provider import Exchange, Handshake, VerifyKeys
from tests.core.handshakes import ALICE, SHARED_KEY, Ask, PlainContext, established, options, pair, raising, run, script


def wrapping(handshake: Handshake, letter: bytes, *, speaks_first: bool) -> Handshake:
    """Puts `letter` before each inner token, as SPNEGO puts its own message around one."""
    with Nested(handshake) as inner:
        outer_token = b"" if speaks_first else (yield from Exchange())[1:]
        step = yield from (inner.step() if speaks_first else inner.step(outer_token))
        while step.established is None:
            reply = yield from Exchange(None if step.token is None else letter + step.token)
            step = yield from inner.step(reply[1:])
        outcome = inner.established
    return established(None if outcome.token is None else letter + outcome.token)


def test_two_nested_ends_reach_their_outcome() -> None:
    mine, theirs = options(), options()
    initiator = HandshakeMachine(wrapping(SHARED_KEY.initiate(ALICE, None, mine), b"I", speaks_first=True))
    acceptor = HandshakeMachine(wrapping(SHARED_KEY.accept(ALICE, theirs), b"A", speaks_first=False))
    outcomes = run(initiator, acceptor)
    assert [outcome.peer.name for outcome in outcomes] == ["bob", "bob"]


def test_nesting_may_be_deep() -> None:
    mine, theirs = SHARED_KEY.initiate(ALICE, None, options()), SHARED_KEY.accept(ALICE, options())
    for letter in (b"1", b"2", b"3"):
        mine = wrapping(mine, letter, speaks_first=True)
        theirs = wrapping(theirs, letter, speaks_first=False)
    run(HandshakeMachine(mine), HandshakeMachine(theirs))


def test_effects_pass_through_to_the_driver_with_their_replies() -> None:
    got: list[int] = []

    def inner() -> Handshake:
        got.append((yield from Ask("inner")))
        return established()

    def outer() -> Handshake:
        with Nested(inner()) as nested:
            step = yield from nested.step()
        assert step.established is not None
        return established()

    services = Services()
    services.register(Ask, blocking=lambda ask: len(ask.question))
    respond_blocking(HandshakeMachine(outer()), services=services)
    assert got == [5]


def test_the_named_effects_are_the_outers() -> None:
    def inner() -> Handshake:
        yield from VerifyKeys(b"own", b"peer")
        return established()

    seen: list[VerifyKeys] = []

    def outer() -> Handshake:
        with Nested(inner(), answers=(VerifyKeys,)) as nested:
            step = yield from nested.step()
            assert isinstance(step.need, VerifyKeys)
            seen.append(step.need)
            complete = [nested.is_established]
            step = yield from nested.step(None)
            complete.append(nested.is_established)
            assert complete == [False, True]
        return established()

    machine = HandshakeMachine(outer())
    assert machine.step().established is not None, "the driver never saw the effect"
    assert seen == [VerifyKeys(b"own", b"peer")]


def test_a_failure_from_outside_reaches_the_inner_handshake() -> None:
    tried: list[str] = []

    def inner() -> Handshake:
        for place in ("first", "second"):
            try:
                yield from Ask(place)
            except ServiceFailed:
                tried.append(place)
            else:
                break
        return established()

    def outer() -> Handshake:
        with Nested(inner()) as nested:
            yield from nested.step()
        return established()

    machine = HandshakeMachine(outer())
    assert machine.step().need == Ask("first")
    assert machine.fail(ServiceFailed("down")).need == Ask("second")
    assert machine.step(1).established is not None
    assert tried == ["first"]


def test_a_failure_that_the_inner_one_lets_pass_reaches_the_outer_which_may_go_on() -> None:
    """Negotiate tries its next mechanism."""

    def outer() -> Handshake:
        with Nested(script_asking()) as first:
            try:
                yield from first.step()
            except ServiceFailed:
                pass
        with Nested(script(b"second")) as second:
            step = yield from second.step()
            yield from second.step((yield from Exchange(step.token)))
            return second.established

    def script_asking() -> Handshake:
        yield from Ask("kdc")
        return established()

    machine = HandshakeMachine(outer())
    machine.step()
    assert machine.fail(ServiceFailed("no KDC")).token == b"second"
    assert machine.step(b"ok").established is not None


def test_an_inner_one_that_gets_over_a_failure_of_the_outers_is_established() -> None:
    def inner() -> Handshake:
        with suppress(ServiceFailed):
            yield from Ask("cache")
        return established()

    def outer() -> Handshake:
        with Nested(inner(), answers=(Ask,)) as nested:
            yield from nested.step()
            assert not nested.is_established
            yield from nested.fail(ServiceFailed("down"))
            return nested.established

    assert HandshakeMachine(outer()).step().established is not None


def test_the_token_of_an_inner_error_is_enveloped_by_the_outer() -> None:
    def outer() -> Handshake:
        with Nested(raising(LogonDenied("no", token=b"inner"))) as nested:
            try:
                yield from nested.step()
            except LogonDenied as error:
                raise LogonDenied(str(error), token=b"outer:" + (error.token or b"")) from error
        return established()

    with pytest.raises(LogonDenied) as caught:
        HandshakeMachine(outer()).step()
    assert caught.value.token == b"outer:inner"


def closing(closed: list[str]) -> Handshake:
    try:
        yield from Exchange(b"x")
        yield from Ask()
    finally:
        closed.append("inner")
    return established()


def outer_around(handshake: Handshake) -> Handshake:
    with Nested(handshake) as nested:
        step = yield from nested.step()
        yield from nested.step((yield from Exchange(step.token)))
    return established()


def close(machine: HandshakeMachine) -> None:
    machine.close()


def be_gone(machine: HandshakeMachine) -> None:
    with pytest.raises(PeerGone):
        machine.fail(PeerGone())


def be_too_long(machine: HandshakeMachine) -> None:
    with pytest.raises(LimitExceeded):
        machine.step(bytes(1 << 17))


@pytest.mark.parametrize("leave", [close, be_gone, be_too_long])
def test_leaving_closes_the_inner_generator(leave: Callable[[HandshakeMachine], None]) -> None:
    closed: list[str] = []
    machine = HandshakeMachine(outer_around(closing(closed)))
    machine.step()
    assert closed == []
    leave(machine)
    assert closed == ["inner"]


def test_closing_during_a_need_that_passes_through_closes_the_inner_generator_too() -> None:
    closed: list[str] = []
    machine = HandshakeMachine(outer_around(closing(closed)))
    machine.step()
    assert machine.step(b"y").need == Ask()
    machine.close()
    assert closed == ["inner"]


def refuse(machine: HandshakeMachine) -> None:
    with pytest.raises(InvalidToken):
        machine.step(b"refused")


def accept(machine: HandshakeMachine) -> None:
    assert machine.step(b"accepted").established is not None


@pytest.mark.parametrize(("leave", "discarded"), [(refuse, True), (close, True), (accept, False)])
def test_an_outer_that_fails_discards_what_the_inner_one_established(
    leave: Callable[[HandshakeMachine], None], discarded: bool
) -> None:
    outcome = established(b"last")
    assert isinstance(outcome.result, PlainContext)

    def inner() -> Handshake:
        yield from ()
        return outcome

    def outer() -> Handshake:
        with Nested(inner()) as nested:
            step = yield from nested.step()
            if (yield from Exchange(step.token)) == b"refused":
                raise InvalidToken("refused")
            return nested.established

    machine = HandshakeMachine(outer())
    assert machine.step().token == b"last"
    leave(machine)
    assert outcome.result.discarded is discarded


def test_inner_tokens_are_limited() -> None:
    def outer() -> Handshake:
        with Nested(script(b"x"), limits=Limits(token_size=4)) as nested:
            step = yield from nested.step()
            yield from nested.step((yield from Exchange(step.token)))
        return established()

    machine = HandshakeMachine(outer())
    machine.step()
    with pytest.raises(LimitExceeded):
        machine.step(b"12345")


def test_the_outcome_is_there_only_at_the_end() -> None:
    nested = Nested(script(b"x"))
    with pytest.raises(UsageError, match="not complete"):
        _ = nested.established


def test_altered_inner_tokens_fail_the_outer_ones() -> None:
    initiator, acceptor = pair(SHARED_KEY, ALICE, ALICE)
    with pytest.raises(InvalidToken):
        run(initiator, acceptor, alter=lambda leg, token: token[:-1])
