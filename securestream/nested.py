"""An inner handshake run by an outer one: SPNEGO around Kerberos, CredSSP around SPNEGO."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any, Self

from securestream.errors import SecureStreamError, UsageError
from securestream.machine import HandshakeMachine, Step
from securestream.options import Limits
from securestream.provider import Effect, Established, Handshake, SecurityContext


class Nested:
    """Runs an inner handshake inside an outer one::

        with Nested(inner_package.initiate(...), answers=(VerifyKeys,)) as inner:
            step = yield from inner.step()
            ...

    Tokens, and the effects named in `answers`, are the outer's to deal with and come back as a `Step`; every other
    effect passes through to the driver, and so does a failure that the driver throws in. A `HandshakeError` of the
    inner handshake leaves `step`; the outer envelopes its token and raises again. Leaving the ``with`` closes the inner
    generator, which closing an outer one does not do by itself; leaving it by an error discards a context that the
    inner one had established already, since an outer that fails gives it to nobody.

    Args:
        handshake: the inner handshake.
        answers: effects that the outer answers itself.
        limits: bounds on the inner tokens.
    """

    def __init__(
        self, handshake: Handshake, *, answers: tuple[type[Effect[Any]], ...] = (), limits: Limits | None = None
    ) -> None:
        self._machine = HandshakeMachine(handshake, limits)
        self._answers = answers
        self._established: Established | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._machine.close()
        outcome = None if self._established is None else self._established.result
        if error is not None and isinstance(outcome, SecurityContext):
            outcome.discard()

    @property
    def established(self) -> Established:
        """The outcome of the inner handshake.

        Raises:
            UsageError: it is not there yet.
        """
        if self._established is None:
            raise UsageError("the inner handshake is not complete")
        return self._established

    @property
    def is_established(self) -> bool:
        """Whether the inner handshake is complete."""
        return self._established is not None

    def step(self, reply: Any = None) -> Generator[Effect[Any], Any, Step]:
        """Step the inner handshake with the peer's inner token, or with the answer to an effect of `answers`."""
        step = self._machine.step(reply)
        if step.need is not None:
            step = yield from self._pass_through(step)
        self._established = step.established
        return step

    def fail(self, error: Exception) -> Generator[Effect[Any], Any, Step]:
        """Throw a failure of something that the outer answers itself into the inner handshake."""
        step = yield from self._pass_through(self._machine.fail(error))
        self._established = step.established
        return step

    def _pass_through(self, step: Step) -> Generator[Effect[Any], Any, Step]:
        while step.need is not None and not isinstance(step.need, self._answers):
            try:
                result = yield from step.need
            except SecureStreamError as failure:
                step = self._machine.fail(failure)
            else:
                step = self._machine.step(result)
        return step
