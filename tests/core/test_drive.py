"""Performing effects: who performs what, failures from outside, cancellation, expensive work, and the blocking twin."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import pytest

from securestream import drive
from securestream.drive import Performer, Services, default_services, respond, respond_blocking
from securestream.errors import LimitExceeded, LogonDenied, MissingService, ServiceFailed, UsageError
from securestream.machine import HandshakeMachine, State, Step
from securestream.provider import Compute, Effect, Exchange, FirstUse, Handshake, Metadata, VerifyKeys
from tests.core.handshakes import NOW, Ask, asking, established, raising, script

pytestmark = pytest.mark.anyio

made: list[Performer] = []
"""Performers that `make_counting` made."""


class Counting(Performer):
    """Counts what it performed."""

    def __init__(self) -> None:
        self.performed = 0

    def perform_blocking(self, effect: Any) -> int:
        self.performed += 1
        return self.performed


def make_counting() -> Performer:
    """A factory as an effect names it."""
    made.append(Counting())
    return made[-1]


@dataclass(frozen=True, repr=False)
class Counted(Effect[int]):
    """Performed by default by what `make_counting` makes."""

    performer = f"{__name__}:make_counting"


Respond = Callable[..., Awaitable[Step]]


async def _blocking(machine: HandshakeMachine, token: bytes | None = None, services: Services | None = None) -> Step:
    return respond_blocking(machine, token, services)


@pytest.fixture(params=[respond, _blocking], ids=["async", "blocking"])
def perform(request: pytest.FixtureRequest) -> Respond:
    """Both drivers; what is said of one holds for the other."""
    function: Respond = request.param
    return function


class TestWho:
    async def test_a_registered_performer_performs(self, perform: Respond) -> None:
        async def answer(ask: Ask) -> int:
            return len(ask.question)

        got: list[int] = []
        services = Services()
        services.register(Ask, answer, blocking=lambda ask: len(ask.question))
        step = await perform(HandshakeMachine(asking(Ask("four"), got)), None, services)
        assert step.established is not None
        assert got == [4]

    async def test_an_async_function_is_no_blocking_performer(self) -> None:
        """A coroutine in place of its reply would tell a server that a nonce was never used."""

        async def used(effect: FirstUse) -> bool:
            return False

        with pytest.raises(UsageError, match="async one of FirstUse as the second argument"):
            Services().register(FirstUse, blocking=used)  # type: ignore[arg-type]  # what must not work

    async def test_a_blocking_performer_serves_asynchronous_callers_in_a_thread(self) -> None:
        threads: list[int] = []

        def answer(ask: Ask) -> int:
            threads.append(threading.get_ident())
            return 0

        services = Services()
        services.register(Ask, blocking=answer)
        await respond(HandshakeMachine(asking(Ask())), None, services)
        assert threads != [threading.get_ident()]

    def test_an_asynchronous_performer_cannot_serve_blocking_callers(self) -> None:
        async def answer(ask: Ask) -> int:
            return 0

        services = Services()
        services.register(Ask, answer)
        with pytest.raises(MissingService, match="Ask"):
            respond_blocking(HandshakeMachine(asking(Ask())), None, services)

    async def test_the_default_performer_is_made_once_for_its_services(self, perform: Respond) -> None:
        made.clear()
        one, two = Services(), Services()
        got: list[int] = []
        for services in (one, one, two):
            await perform(HandshakeMachine(asking(Counted(), got)), None, services)
        assert len(made) == 2
        assert got == [1, 2, 1], "its state outlives a handshake and belongs to its Services"

    def test_it_is_made_once_when_many_threads_ask_at_once(self) -> None:
        made.clear()
        services = Services()
        found: list[Performer] = []
        threads = [threading.Thread(target=lambda: found.append(services.performer_of(Counted))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, found))) == 1

    async def test_registering_overrides_the_default(self, perform: Respond) -> None:
        services = Services()
        services.register_performer(Counted, Counting())
        made.clear()
        await perform(HandshakeMachine(asking(Counted())), None, services)
        assert made == []

    async def test_nobody_is_a_missing_service_that_names_the_effect(self, perform: Respond) -> None:
        machine = HandshakeMachine(asking(Ask()))
        with pytest.raises(MissingService, match="nobody performs Ask") as caught:
            await perform(machine, None, Services())
        assert caught.value.effect is Ask
        assert machine.state is State.FAILED

    async def test_without_services_the_process_wide_ones_serve(self, perform: Respond) -> None:
        key = threading.get_ident().to_bytes(8, "big") + NOW.isoformat().encode() + perform.__name__.encode()
        got: list[bool] = []
        for _ in range(2):
            await perform(
                HandshakeMachine(asking(FirstUse(key + str(id(got)).encode(), NOW + timedelta(days=9999)), got))
            )
        assert got == [True, False], "a replay cache that is new for each connection is none"
        assert default_services() is default_services()

    async def test_announcements_without_an_outer_handshake_are_ignored(self, perform: Respond) -> None:
        got: list[bytes | None] = []
        await perform(HandshakeMachine(asking(Metadata(b"x"), got)))
        assert got == [None]
        step = await perform(HandshakeMachine(asking(VerifyKeys(b"a", b"b"))))
        assert step.established is not None

    async def test_it_runs_until_the_next_token(self, perform: Respond) -> None:
        def handshake() -> Handshake:
            yield from Metadata(b"")
            yield from Metadata(b"")
            yield from Exchange(b"token")
            return established()

        machine = HandshakeMachine(handshake())
        assert (await perform(machine)).token == b"token"
        with pytest.raises(UsageError):
            await perform(machine)
        assert (await perform(machine, b"reply")).established is not None


def failing(error: Exception) -> Services:
    services = Services()

    async def fail(ask: Ask) -> int:
        raise error

    def fail_blocking(ask: Ask) -> int:
        raise error

    services.register(Ask, fail, blocking=fail_blocking)
    return services


class TestFailures:
    @pytest.mark.parametrize("error", [OSError("unreachable"), TimeoutError("slow"), ConnectionResetError()])
    async def test_an_os_error_becomes_a_failed_service(self, perform: Respond, error: OSError) -> None:
        machine = HandshakeMachine(asking(Ask()))
        with pytest.raises(ServiceFailed, match="Ask could not be performed") as caught:
            await perform(machine, None, failing(error))
        assert caught.value.effect is Ask
        assert caught.value.__cause__ is error
        assert machine.state is State.FAILED

    async def test_the_handshake_may_go_on_elsewhere(self, perform: Respond) -> None:
        def handshake() -> Handshake:
            try:
                yield from Ask("first KDC")
            except ServiceFailed:
                yield from Exchange(b"fallback")
            return established()

        step = await perform(HandshakeMachine(handshake()), None, failing(OSError()))
        assert step.token == b"fallback"

    async def test_an_error_of_the_family_is_thrown_in_as_it_is(self, perform: Respond) -> None:
        denied = LogonDenied("no")
        with pytest.raises(LogonDenied) as caught:
            await perform(HandshakeMachine(asking(Ask())), None, failing(denied))
        assert caught.value is denied

    async def test_a_bug_of_a_performer_is_raised_as_the_bug_it_is(self, perform: Respond) -> None:
        caught_inside: list[Exception] = []

        def handshake() -> Handshake:
            try:
                yield from Ask()
            except Exception as error:
                caught_inside.append(error)
            return established()

        machine = HandshakeMachine(handshake())
        with pytest.raises(ZeroDivisionError):
            await perform(machine, None, failing(ZeroDivisionError()))
        assert caught_inside == [], "no handshake can hide it"
        assert machine.state is State.FAILED

    async def test_a_bug_leaves_no_locals_of_the_performer(self, perform: Respond) -> None:
        def answer(ask: Ask) -> int:
            secret = "hunter2"
            raise ZeroDivisionError(str(len(secret)))

        services = Services()
        services.register(Ask, blocking=answer)
        with pytest.raises(ZeroDivisionError) as caught:
            await perform(HandshakeMachine(asking(Ask())), None, services)
        trace = caught.value.__traceback__
        while trace is not None:
            assert "secret" not in trace.tb_frame.f_locals or trace.tb_frame.f_locals["secret"] is None
            trace = trace.tb_next


class TestCancellation:
    async def test_it_closes_the_handshake_without_being_thrown_in(self) -> None:
        seen: list[BaseException] = []

        def handshake() -> Handshake:
            try:
                yield from Ask()
            except BaseException as error:
                seen.append(error)
                raise
            return established()

        async def never(ask: Ask) -> int:
            await anyio.sleep_forever()
            return 0

        services = Services()
        services.register(Ask, never)
        machine = HandshakeMachine(handshake())
        with anyio.move_on_after(0.05) as scope:
            await respond(machine, None, services)
        assert scope.cancelled_caught
        assert [type(error) for error in seen] == [GeneratorExit]
        assert machine.state is State.FAILED

    def test_an_interrupt_closes_it_for_blocking_callers(self) -> None:
        def interrupted(ask: Ask) -> int:
            raise KeyboardInterrupt

        services = Services()
        services.register(Ask, blocking=interrupted)
        machine = HandshakeMachine(asking(Ask()))
        with pytest.raises(KeyboardInterrupt):
            respond_blocking(machine, None, services)
        assert machine.state is State.FAILED


class TestCompute:
    async def test_it_runs_in_a_worker_thread(self) -> None:
        got: list[int] = []
        await respond(HandshakeMachine(asking(Compute(threading.get_ident), got)))
        assert got != [threading.get_ident()]

    def test_blocking_callers_compute_themselves(self) -> None:
        got: list[int] = []
        respond_blocking(HandshakeMachine(asking(Compute(threading.get_ident), got)))
        assert got == [threading.get_ident()]

    async def test_what_it_raises_is_the_handshakes_own_to_catch(self, perform: Respond) -> None:
        def compute() -> bytes:
            raise ValueError("no point on the curve")

        def handshake() -> Handshake:
            try:
                yield from Compute(compute)
            except ValueError:
                raise LogonDenied("bad key") from None
            return established()

        with pytest.raises(LogonDenied):
            await perform(HandshakeMachine(handshake()))
        with pytest.raises(ValueError, match="curve"):
            await perform(HandshakeMachine(asking(Compute(compute))))

    async def test_few_run_at_once_and_the_queue_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """SECURITY: before authentication everything is bounded, expensive work too."""
        monkeypatch.setattr(drive, "COMPUTE_QUEUE", 3)
        release = threading.Event()
        running, most = [0], [0]
        lock = threading.Lock()
        refused: list[LimitExceeded] = []
        enough = anyio.Event()
        services = Services()

        def work() -> None:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            release.wait(10)
            with lock:
                running[0] -= 1

        async def one() -> None:
            try:
                await respond(HandshakeMachine(asking(Compute(work))), None, services)
            except LimitExceeded as error:
                refused.append(error)
                if len(refused) == 4:
                    enough.set()

        async with anyio.create_task_group() as tasks:
            for _ in range(drive.COMPUTE_THREADS + 3 + 4):
                tasks.start_soon(one)
            with anyio.fail_after(10):
                await enough.wait()
            release.set()
        assert len(refused) == 4
        assert most[0] <= drive.COMPUTE_THREADS

    async def test_anyios_own_threads_stay_free(self) -> None:
        """A stranger that makes us compute does not stop the program's other work in threads."""
        release = threading.Event()
        services = Services()

        async def one() -> None:
            await respond(HandshakeMachine(asking(Compute(lambda: release.wait(60)))), None, services)

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(one)
            await anyio.sleep(0.05)
            with anyio.fail_after(20):
                assert await anyio.to_thread.run_sync(lambda: "free") == "free"
            release.set()


async def test_the_drivers_frames_hold_no_token_of_a_failure(perform: Respond) -> None:
    machine = HandshakeMachine(raising(LogonDenied("no"), Exchange(None)))
    await perform(machine)
    token = bytes.fromhex("0badc0de")
    with pytest.raises(LogonDenied) as caught:
        await perform(machine, token)
    trace = caught.value.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(drive.__file__.rpartition("/")[0]):
            assert token not in [value for value in trace.tb_frame.f_locals.values() if isinstance(value, bytes)]
        trace = trace.tb_next


async def test_a_machine_may_be_responded_to_by_several_tasks_in_turn(perform: Respond) -> None:
    machine = HandshakeMachine(script(b"1", b"2"))
    assert (await perform(machine)).token == b"1"
    assert (await perform(machine, b"a")).token == b"2"
    assert (await perform(machine, b"b")).established is not None
