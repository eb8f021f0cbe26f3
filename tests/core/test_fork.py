"""SECURITY 5: live contexts are discarded in a forked child."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from examples.custom_provider import SharedKeyContext
from securestream import fork
from securestream.errors import ContextExpired
from securestream.provider import SecurityContext
from tests.core.handshakes import ALICE, SHARED_KEY, PlainContext, pair, run

FORKS = hasattr(os, "fork")
# Python 3.12 warns of forks beside threads, which other tests leave behind; the children here do nothing with them
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
needs_fork = pytest.mark.skipif(not FORKS, reason="this platform has no fork")


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work` is true in a forked child."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def contexts() -> tuple[SecurityContext, SecurityContext]:
    found: list[SecurityContext] = []
    for outcome in run(*pair(SHARED_KEY, ALICE, ALICE)):
        assert isinstance(outcome.result, SecurityContext)
        found.append(outcome.result)
    return found[0], found[1]


def refuses(use: Callable[[], object]) -> bool:
    try:
        use()
    except ContextExpired:
        return True
    return False


@needs_fork
def test_a_context_is_discarded_in_a_forked_child_and_lives_on_in_its_parent() -> None:
    initiator, acceptor = contexts()
    sealed = initiator.wrap(b"before")
    assert in_child(
        lambda: (
            refuses(lambda: initiator.wrap(b"x"))
            and refuses(lambda: acceptor.unwrap(sealed))
            and refuses(lambda: initiator.sign(b"x"))
        )
    )
    assert acceptor.unwrap(sealed).data == b"before"
    assert acceptor.unwrap(initiator.wrap(b"after")).data == b"after"


@needs_fork
def test_no_nonce_comes_twice_across_a_fork() -> None:
    """Parent and child would both seal under the next sequence number."""
    initiator, _ = contexts()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, initiator.wrap(b"child")[: SharedKeyContext.HEADER.size])
        except ContextExpired:
            os.write(write, b"refused")
        finally:
            os._exit(0)
    os.close(write)
    header = initiator.wrap(b"parent")[: SharedKeyContext.HEADER.size]
    seen = os.read(read, 100)
    os.close(read)
    os.waitpid(child, 0)
    assert seen == b"refused" != header


@needs_fork
def test_a_context_made_in_the_child_works_there() -> None:
    def work() -> bool:
        initiator, acceptor = contexts()
        return acceptor.unwrap(initiator.wrap(b"x")).data == b"x"

    assert in_child(work)


def test_one_that_fails_to_discard_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork, "_live", set[object]())  # what else lives in this process is none of this test's

    class Failing(PlainContext):
        def discard(self) -> None:
            super().discard()
            raise RuntimeError("cannot")

    held: list[PlainContext] = [PlainContext(), Failing(), PlainContext(), Failing()]
    with pytest.raises(RuntimeError):
        vars(fork)["_discard_all"]()
    assert [context.discarded for context in held] == [True] * 4


def test_contexts_are_not_kept_alive_by_being_watched() -> None:
    before = len(vars(fork)["_live"])
    PlainContext()
    assert len(vars(fork)["_live"]) <= before
