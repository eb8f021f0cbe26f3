"""The machine: its states, both roles, wrong calls, limits, and what is left of a failure."""

from __future__ import annotations

import gc
import traceback
import weakref
from collections.abc import Generator
from typing import Any, cast

import pytest

from securestream.drive import respond_blocking
from securestream.errors import (
    BadSignature,
    ErrorKind,
    HandshakeError,
    InvalidToken,
    LimitExceeded,
    LogonDenied,
    MalformedMessage,
    NotAuthorized,
    PeerGone,
    SecureStreamError,
    ServiceFailed,
    UsageError,
)
from securestream.machine import HandshakeMachine, State, clear_frames, owed_token, told_to_peer
from securestream.options import Limits
from securestream.provider import Admission, Established, Exchange, Handshake
from tests.core.handshakes import Ask, asking, established, generator, raising, script


class TestInitiator:
    def test_it_goes_from_new_over_exchanging_to_established(self) -> None:
        got: list[bytes] = []
        machine = HandshakeMachine(script(b"one", b"two", last=b"three", got=got))
        states = [machine.state]
        assert machine.step().token == b"one"
        states.append(machine.state)
        assert machine.step(b"1").token == b"two"
        step = machine.step(b"2")
        states.append(machine.state)
        assert states == [State.NEW, State.EXCHANGING, State.ESTABLISHED]
        assert step.token == b"three"
        assert step.established is not None
        assert step.established.peer.name == "bob"
        assert got == [b"1", b"2"]

    def test_nothing_to_send_and_an_empty_token_differ(self) -> None:
        machine = HandshakeMachine(script(b"", None, last=b""))
        assert machine.step().token == b""
        assert machine.step(b"").token is None
        assert machine.step(b"").token == b""

    def test_no_last_token_is_none(self) -> None:
        machine = HandshakeMachine(script(b"x"))
        machine.step()
        assert machine.step(b"y").token is None

    def test_a_token_before_it_spoke_is_refused_and_ends_it(self) -> None:
        machine = HandshakeMachine(script(b"one"))
        with pytest.raises(UsageError, match="initiator speaks first"):
            machine.step(b"too early")
        assert machine.state is State.FAILED


class TestAcceptor:
    def test_its_first_step_may_bring_the_first_token(self) -> None:
        got: list[bytes] = []
        machine = HandshakeMachine(script(None, b"answer", got=got))
        assert machine.step(b"hello").token == b"answer"
        assert got == [b"hello"]

    def test_it_may_also_be_started_without_one(self) -> None:
        machine = HandshakeMachine(script(None, b"answer"))
        step = machine.step()
        assert (step.token, step.need, step.established) == (None, None, None)
        assert machine.step(b"hello").token == b"answer"

    def test_its_first_token_waits_for_what_it_needs_before(self) -> None:
        got: list[object] = []

        def needing() -> Handshake:
            got.append((yield from Ask("which key?")))
            got.append((yield from Exchange()))
            return established(b"answer")

        machine = HandshakeMachine(needing())
        assert machine.step(b"hello").need == Ask("which key?")
        assert machine.step(3).token == b"answer"
        assert got == [3, b"hello"]

    def test_it_is_counted_then(self) -> None:
        machine = HandshakeMachine(asking(Ask()), Limits(token_size=1))
        machine.step(b"hello")
        with pytest.raises(UsageError, match="initiator speaks first"):
            machine.step(3)

        def needing() -> Handshake:
            yield from Ask()
            yield from Exchange()
            return established()

        machine = HandshakeMachine(needing(), Limits(token_size=1))
        machine.step(b"hello")
        with pytest.raises(LimitExceeded):
            machine.step(3)


class TestAdmission:
    """A handshake asks for the verdict on its peer while it can still tell it."""

    @staticmethod
    def submitting(told: list[object] | None = None) -> Handshake:
        """Submits its outcome, and tells a refusal to the peer."""
        yield from Exchange(b"hello")
        try:
            yield from Admission(established())
        except HandshakeError as refused:
            if told is not None:
                told.append(refused)
            refused.token = b"go away"
            raise
        yield from Exchange(b"come in")
        return established()

    def test_whoever_made_the_machine_is_asked_between_two_tokens(self) -> None:
        asked: list[Established] = []
        machine = HandshakeMachine(self.submitting(), admit=asked.append)
        assert machine.step().token == b"hello"
        assert asked == []
        assert machine.step(b"I am bob").token == b"come in"
        assert [one.peer.name for one in asked] == ["bob"]
        assert machine.step(b"thanks").established is not None

    def test_a_refusal_is_thrown_in_and_what_the_handshake_makes_of_it_is_owed(self) -> None:
        def refuse(outcome: Established) -> None:
            raise NotAuthorized(f"not {outcome.peer.name}")

        told: list[object] = []
        machine = HandshakeMachine(self.submitting(told), admit=refuse)
        machine.step()
        with pytest.raises(NotAuthorized, match="not bob") as refused:
            machine.step(b"I am bob")
        assert told == [refused.value]
        assert owed_token(refused.value) == b"go away"
        assert machine.state is State.FAILED

    def test_a_bug_of_whoever_judges_is_raised_as_the_bug_it_is(self) -> None:
        def broken(outcome: Established) -> None:
            raise ZeroDivisionError

        told: list[object] = []
        machine = HandshakeMachine(self.submitting(told), admit=broken)
        machine.step()
        with pytest.raises(ZeroDivisionError):
            machine.step(b"I am bob")
        assert told == []
        assert machine.state is State.FAILED

    def test_it_may_be_asked_several_times(self) -> None:
        def twice() -> Handshake:
            yield from Admission(established())
            yield from Admission(established())
            return established(b"done")

        asked: list[Established] = []
        assert HandshakeMachine(twice(), admit=asked.append).step().token == b"done"
        assert len(asked) == 2

    def test_without_a_judge_it_is_a_need_like_any_other(self) -> None:
        machine = HandshakeMachine(self.submitting())
        machine.step()
        assert isinstance(machine.step(b"I am bob").need, Admission)
        assert machine.step().token == b"come in"

    def test_where_nobody_judges_everybody_is_admitted(self) -> None:
        machine = HandshakeMachine(self.submitting())
        respond_blocking(machine)
        assert respond_blocking(machine, b"I am bob").token == b"come in"


class TestNeeds:
    def test_a_need_is_shown_and_its_reply_goes_back(self) -> None:
        got: list[int] = []
        machine = HandshakeMachine(asking(Ask("how many?"), got))
        step = machine.step()
        assert machine.state is State.NEEDING
        assert step.need == Ask("how many?")
        assert step.token is None
        machine.step(3)
        assert got == [3]

    def test_a_reply_of_none_is_a_reply(self) -> None:
        got: list[int] = []
        machine = HandshakeMachine(asking(Ask(), got))
        machine.step()
        assert machine.step(None).established is not None
        assert got == [None]

    def test_a_reply_is_no_token_and_is_not_counted(self) -> None:
        machine = HandshakeMachine(asking(Ask()), Limits(token_size=1, legs=0, handshake_octets=0))
        machine.step()
        assert machine.step(12345678).established is not None

    def test_a_failure_is_thrown_in_and_may_be_dealt_with(self) -> None:
        def trying() -> Handshake:
            try:
                yield from Ask("first")
            except ServiceFailed:
                yield from Ask("second")
            return established()

        machine = HandshakeMachine(trying())
        machine.step()
        assert machine.fail(ServiceFailed("down")).need == Ask("second")
        assert machine.step(1).established is not None

    def test_a_failure_that_is_not_dealt_with_is_raised(self) -> None:
        machine = HandshakeMachine(asking(Ask()))
        machine.step()
        failure = ServiceFailed("down")
        with pytest.raises(ServiceFailed) as caught:
            machine.fail(failure)
        assert caught.value is failure
        assert machine.state is State.FAILED


class TestWrongCalls:
    @pytest.mark.parametrize("wrong", [None, 5, "text", bytearray(b"x")])
    def test_only_bytes_are_a_token(self, wrong: object) -> None:
        machine = HandshakeMachine(script(b"x", b"y"))
        machine.step()
        with pytest.raises(UsageError, match="token is due"):
            machine.step(wrong)
        assert machine.state is State.EXCHANGING, "a caller's slip does not end the handshake"
        assert machine.step(b"right").token == b"y"

    @pytest.mark.parametrize("call", ["step", "fail"])
    def test_an_established_one_has_no_more_steps(self, call: str) -> None:
        machine = HandshakeMachine(script())
        machine.step()
        with pytest.raises(UsageError, match="established"):
            machine.step(b"") if call == "step" else machine.fail(PeerGone())

    @pytest.mark.parametrize("call", ["step", "fail"])
    def test_a_failed_one_has_no_more_steps(self, call: str) -> None:
        machine = HandshakeMachine(script(b"x"))
        machine.close()
        with pytest.raises(UsageError, match="failed"):
            machine.step(b"") if call == "step" else machine.fail(PeerGone())

    def test_failing_a_new_one_raises_the_failure(self) -> None:
        machine = HandshakeMachine(script(b"x"))
        with pytest.raises(PeerGone):
            machine.fail(PeerGone())
        assert machine.state is State.FAILED


class TestLimits:
    def test_a_token_of_the_limit_passes_and_one_octet_more_fails(self) -> None:
        for size, fits in ((8, True), (9, False)):
            machine = HandshakeMachine(script(b"x", b"y"), Limits(token_size=8))
            machine.step()
            if fits:
                assert machine.step(bytes(size)).token == b"y"
                continue
            with pytest.raises(LimitExceeded):
                machine.step(bytes(size))
            assert machine.state is State.FAILED

    def test_the_first_token_of_an_acceptor_is_limited_too(self) -> None:
        got: list[bytes] = []
        machine = HandshakeMachine(script(None, got=got), Limits(token_size=8))
        with pytest.raises(LimitExceeded):
            machine.step(bytes(9))
        assert got == [], "the handshake never saw it"

    def test_legs_are_limited(self) -> None:
        machine = HandshakeMachine(script(*[b"x"] * 10), Limits(legs=3))
        machine.step()
        for _ in range(3):
            machine.step(b"y")
        with pytest.raises(LimitExceeded):
            machine.step(b"y")

    def test_octets_of_all_tokens_are_limited(self) -> None:
        machine = HandshakeMachine(script(*[b"x"] * 10), Limits(handshake_octets=10))
        machine.step()
        machine.step(bytes(6))
        with pytest.raises(LimitExceeded):
            machine.step(bytes(5))

    def test_passing_a_limit_closes_the_generator(self) -> None:
        closed: list[bool] = []

        def handshake() -> Handshake:
            try:
                yield from Exchange(b"x")
            finally:
                closed.append(True)
            return established()

        machine = HandshakeMachine(handshake(), Limits(token_size=1))
        machine.step()
        with pytest.raises(LimitExceeded):
            machine.step(b"long")
        assert closed == [True]


class TestFailures:
    def test_a_handshake_error_is_raised_as_it_is_with_its_token(self) -> None:
        machine = HandshakeMachine(raising(LogonDenied("no", token=b"reject"), Exchange(b"x")))
        machine.step()
        with pytest.raises(LogonDenied) as caught:
            machine.step(b"y")
        assert owed_token(caught.value) == b"reject"
        assert machine.state is State.FAILED

    def test_a_malformed_message_becomes_an_invalid_token(self) -> None:
        machine = HandshakeMachine(raising(MalformedMessage("too short")))
        with pytest.raises(InvalidToken, match="too short") as caught:
            machine.step()
        assert isinstance(caught.value.__cause__, MalformedMessage)

    def test_a_bad_signature_inside_a_handshake_becomes_an_invalid_token(self) -> None:
        machine = HandshakeMachine(raising(BadSignature("mechListMIC")))
        with pytest.raises(InvalidToken):
            machine.step()

    @pytest.mark.parametrize("bug", [KeyError("x"), ZeroDivisionError(), RuntimeError("x"), AssertionError()])
    def test_a_bug_is_raised_as_the_bug_it_is(self, bug: Exception) -> None:
        machine = HandshakeMachine(raising(bug, Exchange(b"x")))
        machine.step()
        with pytest.raises(type(bug)) as caught:
            machine.step(b"y")
        assert caught.value is bug
        assert machine.state is State.FAILED
        assert told_to_peer(bug).kind is ErrorKind.INTERNAL

    def test_an_interrupt_passes_and_ends_it(self) -> None:
        machine = HandshakeMachine(raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            machine.step()
        assert machine.state is State.FAILED

    def test_a_handshake_that_yields_no_effect_is_a_bug(self) -> None:
        def handshake() -> Generator[Any, Any, Any]:
            yield 5

        machine = HandshakeMachine(cast("Handshake", handshake()))
        with pytest.raises(TypeError, match="yields effects"):
            machine.step()
        assert machine.state is State.FAILED

    def test_a_handshake_that_returns_nothing_is_a_bug(self) -> None:
        def handshake() -> Generator[Any, Any, Any]:
            yield from Exchange(b"x")

        machine = HandshakeMachine(cast("Handshake", handshake()))
        machine.step()
        with pytest.raises(TypeError, match="returns Established"):
            machine.step(b"")
        assert machine.state is State.FAILED

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (LogonDenied("no"), ErrorKind.LOGON_DENIED),
            (UsageError("no"), ErrorKind.INVALID_TOKEN),
            (ValueError("password hunter2"), ErrorKind.INTERNAL),
        ],
    )
    def test_the_peer_is_told_no_detail_of_what_is_not_its_business(self, error: Exception, kind: ErrorKind) -> None:
        told = told_to_peer(error)
        assert told.kind is kind
        assert "hunter2" not in str(told)


class TestWhatIsLeft:
    @pytest.mark.parametrize("error", [LogonDenied("no"), MalformedMessage("no"), KeyError("no")])
    def test_the_generator_is_dropped(self, error: Exception) -> None:
        machine = HandshakeMachine(raising(error))
        with pytest.raises((SecureStreamError, KeyError)):
            machine.step()
        assert generator(machine) is None

    def test_it_is_dropped_when_established(self) -> None:
        machine = HandshakeMachine(script())
        machine.step()
        assert generator(machine) is None

    def test_close_runs_the_generators_cleanup_and_may_be_repeated(self) -> None:
        closed: list[bool] = []

        def handshake() -> Handshake:
            try:
                yield from Exchange(b"x")
            finally:
                closed.append(True)
            return established()

        machine = HandshakeMachine(handshake())
        machine.step()
        machine.close()
        machine.close()
        assert closed == [True]
        assert machine.state is State.FAILED

    def test_close_leaves_an_established_one_established(self) -> None:
        machine = HandshakeMachine(script())
        machine.step()
        machine.close()
        assert machine.state is State.ESTABLISHED

    def test_no_key_stays_in_the_frames_of_a_failure_along_cause_and_context(self) -> None:
        class Key:
            def use(self) -> None:
                """Keep the name alive up to here."""

        keys: list[weakref.ref[Key]] = []

        def new_key() -> Key:
            key = Key()
            keys.append(weakref.ref(key))
            return key

        def innermost() -> None:
            key = new_key()
            try:
                raise ValueError("innermost")
            finally:
                key.use()

        def inner() -> None:
            key = new_key()
            try:
                innermost()
            except ValueError as error:
                key.use()
                raise KeyError("context") from error

        def handshake() -> Handshake:
            key = new_key()
            yield from Exchange(b"x")
            try:
                inner()
            except KeyError:
                key.use()
                raise LogonDenied("refused")  # noqa: B904 - the context is what is tested
            return established()

        machine = HandshakeMachine(handshake())
        machine.step()
        with pytest.raises(LogonDenied) as caught:
            machine.step(b"y")
        gc.collect()
        assert len(keys) == 3
        assert [key() for key in keys] == [None, None, None]
        assert isinstance(caught.value.__context__, KeyError), "and the chain itself is kept"

    def test_the_peers_token_is_in_no_frame_of_the_failure(self) -> None:
        machine = HandshakeMachine(raising(LogonDenied("no"), Exchange(None)))
        machine.step()
        try:
            machine.step(b"the token " + b"of the peer")
        except HandshakeError as error:
            report = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        else:
            pytest.fail("it should have failed")
        assert "token of the peer" not in report.replace('b"the token " + b"of the peer"', "")

    def test_frames_of_a_loop_of_causes_are_cleared_once(self) -> None:
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        clear_frames(one)

    def test_repr_shows_the_state_alone(self) -> None:
        machine = HandshakeMachine(script(b"secret"))
        machine.step()
        assert repr(machine) == "<HandshakeMachine exchanging>"

    def test_a_step_shows_no_octets(self) -> None:
        machine = HandshakeMachine(script(b"secret"))
        assert "secret" not in repr(machine.step())
