"""Runs sub-handshakes of the Kerberos client against functions that answer their effects."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from securestream.options import Options
from securestream.provider import Compute, Effect

T = TypeVar("T")

Answers = Mapping[type[Effect[Any]], Callable[[Any], Any]]


def drive(running: Generator[Effect[Any], Any, T], answers: Answers) -> T:
    """The result of a sub-handshake; what an answering function raises is thrown into it."""
    reply: Any = None
    failure: BaseException | None = None
    while True:
        try:
            need = running.send(reply) if failure is None else running.throw(failure)
        except StopIteration as end:
            result: T = end.value
            return result
        failure = None
        try:
            reply = need.function() if isinstance(need, Compute) else answers[type(need)](need)
        except Exception as problem:  # as a performer's
            failure = problem


def options(clock: Callable[[], datetime] | None = None) -> Options:
    """Options with the machine's randomness, and a clock to choose."""
    import os

    return Options(clock=clock or (lambda: datetime.now(UTC)), random=os.urandom)
