"""A handshake as a machine that is stepped: the enumerable form, for callers who own their protocol.

The only place in the project that resumes a handshake's generator. Everything else, nesting included, steps this.

    NEW -> EXCHANGING | NEEDING -> ESTABLISHED | FAILED
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from enum import Enum
from types import FrameType
from typing import Any, Final

from securestream.errors import (
    ContextError,
    HandshakeError,
    InternalFailure,
    InvalidToken,
    LimitExceeded,
    MalformedMessage,
    SecureStreamError,
    UsageError,
)
from securestream.options import Limits
from securestream.provider import Admission, Admit, Effect, Established, Exchange, Handshake
from securestream.redaction import Redacted
from securestream.values import made_quickly


class State(Enum):
    """Where a machine stands."""

    NEW = "new"
    EXCHANGING = "exchanging"
    """The next `HandshakeMachine.step` takes the peer's token."""
    NEEDING = "needing"
    """The next `HandshakeMachine.step` takes the reply to `Step.need`."""
    ESTABLISHED = "established"
    FAILED = "failed"


@made_quickly
@dataclass(frozen=True, repr=False)
class Step(Redacted):
    """What a machine wants after a step.

    Args:
        token: for the peer; `None` is nothing to send, ``b""`` an empty token.
        need: an effect to perform before the next step; `token` is then `None`.
        established: the outcome, at the end; `token` is then the last one for the peer, if any.
    """

    token: bytes | None = None
    need: Effect[Any] | None = None
    established: Established | None = None


_NEW: Final = State.NEW  # asked at each step, and members of an Enum are found slowly
_EXCHANGING: Final = State.EXCHANGING
_LISTENING: Final = Step()
"""Nothing to send and nothing to perform: what an acceptor wants first."""
_LIMITS: Final = Limits()
_ASYNCHRONOUS: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class HandshakeMachine:
    """Steps a handshake.

    Args:
        handshake: what `SecurityPackage.initiate` or ``accept`` returned; the machine owns it from now on.
        limits: `Limits.token_size`, ``legs`` and ``handshake_octets`` are checked before a token is looked at.
        admit: answers `Admission`, which is an effect like any other without it.
    """

    def __init__(self, handshake: Handshake, limits: Limits | None = None, *, admit: Admit | None = None) -> None:
        self._handshake: Handshake | None = handshake
        self._limits = _LIMITS if limits is None else limits
        self._admit = admit
        self._state = _NEW
        self._legs = 0
        self._octets = 0
        self._early: bytes | None = None
        """The peer's first token, while an acceptor still needs something else (its keys, its configuration)."""

    def __repr__(self) -> str:
        return f"<HandshakeMachine {self._state.value}>"

    @property
    def state(self) -> State:
        """Where the machine stands."""
        return self._state

    def step(self, reply: Any = None) -> Step:
        """Go on to the next token, need or outcome.

        Args:
            reply: in `State.NEW` nothing, or, for an acceptor, the peer's first token; in `State.EXCHANGING` the peer's
                token; in `State.NEEDING` the reply to the effect.

        Raises:
            HandshakeError: the handshake failed; its ``token``, if any, is owed to the peer.
            UsageError: there is nothing to step, or `reply` is not what this state takes.
        """
        try:
            handshake = self._handshake
            if handshake is None:
                raise UsageError(f"the handshake is {self._state.value}: there is nothing to step")
            if self._state is _NEW:
                step = self._advance(handshake, None, None)
                if reply is None:
                    return step
                if step.need is not None:
                    self._early = reply
                    return step
                if step is not _LISTENING:
                    self.close()
                    raise UsageError("an initiator speaks first: step it without a token to begin")
            if self._state is _EXCHANGING:
                self._count(reply)
            step = self._advance(handshake, reply, None)
            return step if self._early is None else self._give_early(step)
        finally:
            del reply  # this frame is in the traceback of what is raised

    def fail(self, error: Exception) -> Step:
        """Throw a failure from outside (`ServiceFailed`, `PeerGone`, a refused logon) into the handshake.

        The handshake may try elsewhere; what it then wants is returned.

        Raises:
            SecureStreamError: the failure, or what the handshake made of it.
            UsageError: there is no running handshake.
        """
        handshake = self._handshake
        if handshake is None:
            raise UsageError(f"the handshake is {self._state.value}: it cannot fail any more")
        if self._state is State.NEW:
            self.close()
            raise error
        step = self._advance(handshake, None, error)
        return step if self._early is None else self._give_early(step)

    def _give_early(self, step: Step) -> Step:
        """Go on with the token that came early, once it is due."""
        if step.need is not None:
            return step
        token, self._early = self._early, None
        try:
            if step is not _LISTENING:
                self.close()
                raise UsageError("an initiator speaks first: step it without a token to begin")
            return self.step(token)
        finally:
            del token  # this frame is in the traceback of what is raised

    def close(self) -> None:
        """Abandon the handshake; its generator is closed. Idempotent; an established one is not changed."""
        if self._handshake is not None:
            handshake, self._handshake = self._handshake, None
            self._early = None
            self._state = State.FAILED
            handshake.close()

    def _count(self, token: Any) -> None:
        if not isinstance(token, bytes):
            raise UsageError("the peer's token is due: step the machine with its bytes")
        self._legs += 1
        self._octets += len(token)
        limits = self._limits
        if len(token) > limits.token_size or self._legs > limits.legs or self._octets > limits.handshake_octets:
            self.close()
            del token  # this frame is in the traceback of what is raised
            raise LimitExceeded(
                f"the peer's handshake is over the limit (token {limits.token_size} octets, {limits.legs} legs, "
                f"{limits.handshake_octets} octets in all): raise Options.limits if this peer is legitimate"
            )

    def _advance(self, handshake: Handshake, reply: Any, error: Exception | None) -> Step:
        while True:
            try:
                effect = handshake.throw(error) if error is not None else handshake.send(reply)
            except StopIteration as stop:
                return self._finish(stop.value)
            except (MalformedMessage, ContextError) as refused:
                self._drop(refused)
                raise InvalidToken(f"the peer's token is malformed or damaged: {refused}") from refused
            except BaseException as failure:  # whatever it is, no generator and no frame may keep keys; it is raised on
                self._drop(failure)
                raise
            finally:
                del reply, error  # this frame is in the traceback of what is raised
            if self._admit is None or not isinstance(effect, Admission):
                break
            reply, error = None, self._verdict(self._admit, effect)
            del effect  # as above
        if isinstance(effect, Exchange):
            self._state = _EXCHANGING
            return _LISTENING if effect.token is None else Step(token=effect.token)
        if not _is_effect(effect):
            self.close()
            raise TypeError(f"a handshake yields effects, not {type(effect).__name__}")
        self._state = State.NEEDING
        return Step(need=effect)

    def _verdict(self, admit: Admit, submitted: Admission) -> SecureStreamError | None:
        """The refusal of whoever judges, to be thrown in; `None` for none."""
        try:
            admit(submitted.established)
        except SecureStreamError as refused:
            return refused
        except BaseException as bug:  # it is raised on as what it is
            self.close()
            clear_frames(bug)
            raise
        finally:
            del submitted  # this frame is in the traceback of what is raised
        return None

    def _finish(self, outcome: object) -> Step:
        self._handshake = None
        if not isinstance(outcome, Established):
            self._state = State.FAILED
            raise TypeError(f"a handshake returns Established, not {type(outcome).__name__}")
        self._state = State.ESTABLISHED
        return Step(token=outcome.token, established=outcome)

    def _drop(self, failure: BaseException) -> None:
        self._handshake = self._early = None
        self._state = State.FAILED
        clear_frames(failure)


def _is_effect(yielded: object) -> bool:
    return isinstance(yielded, Effect)


def clear_frames(failure: BaseException) -> None:
    """Clear the locals of the frames that `failure` left on its way: no key stays in a crash report.

    What it came from is followed as long as it was caught in one of those frames. An exception further back is
    somebody else's: trio raises a task's `Cancelled` in the task that cancels, with whatever is being handled there as
    its context, and the frames of that are alive.
    """
    left: set[FrameType] = set()
    pending: list[BaseException | None] = [failure]
    seen: set[int] = set()
    while pending:
        error = pending.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        entry = error.__traceback__
        if error is not failure and (entry is None or entry.tb_frame not in left):
            continue
        while entry is not None:
            left.add(entry.tb_frame)
            entry = entry.tb_next
        pending += (error.__cause__, error.__context__)
    for frame in left:
        if _may_clear(frame):
            try:
                frame.clear()
            except RuntimeError:  # it runs, or, since Python 3.13, it is suspended
                pass


def _may_clear(frame: FrameType) -> bool:
    """Before Python 3.13 clearing a suspended coroutine closes it, and an exception that several tasks share may have
    left frames of one that goes on: there only our own coroutines are cleared.
    """
    if sys.version_info >= (3, 13) or not frame.f_code.co_flags & _ASYNCHRONOUS:
        return True
    return str(frame.f_globals.get("__name__", "")).startswith("securestream")


def owed_token(error: BaseException) -> bytes | None:
    """The error token that the peer is still owed after `error`, or `None`."""
    return error.token if isinstance(error, HandshakeError) else None


def told_to_peer(error: BaseException) -> HandshakeError:
    """What a peer may be told of `error`: itself where it is ours, else an internal failure without details."""
    if isinstance(error, HandshakeError):
        if error.told is None:
            return error
        return HandshakeError("the handshake was refused", kind=error.told, token=error.token)
    if isinstance(error, SecureStreamError):
        return HandshakeError("the handshake was refused")
    return InternalFailure("the handshake ended by an internal failure")
