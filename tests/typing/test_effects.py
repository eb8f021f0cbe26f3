"""The exact type of each effect's reply, as mypy and pyright see it, and the mistakes that they must refuse.

`assert_type` is for the checkers, which run over the tests in strict mode; an ignored mistake that is none any more
makes mypy fail (warn_unused_ignores). Running the functions shows that the replies arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Any, assert_type

from examples.custom_provider import SharedKeyPackage
from securestream.drive import Services, respond, respond_blocking
from securestream.machine import HandshakeMachine, Step
from securestream.nested import Nested
from securestream.options import Role
from securestream.provider import (
    Admission,
    Compute,
    Effect,
    Established,
    Exchange,
    FirstUse,
    Handshake,
    Metadata,
    SecurityContext,
    SecurityPackage,
    VerifyKeys,
)
from securestream.records.base import RecordConnection
from securestream.redaction import Secret
from tests.core.handshakes import ALICE, Ask, established, options

NOON = datetime(2026, 1, 1, tzinfo=UTC)


def each_reply_has_its_type() -> Handshake:
    token = yield from Exchange(b"token")
    assert_type(token, bytes)

    first = yield from FirstUse(b"key", NOON)
    assert_type(first, bool)

    number = yield from Compute(lambda: 6 * 7)
    assert_type(number, int)

    secret = yield from Compute(make_secret)
    assert_type(secret, Secret[bytes])

    metadata = yield from Metadata(b"own")
    assert_type(metadata, bytes | None)

    yield from VerifyKeys(b"own", b"peer")
    yield from Admission(established())

    answer = yield from Ask("own effects, too")
    assert_type(answer, int)
    assert (token, first, number, secret.reveal(), metadata, answer) == (b"reply", True, 42, b"secret", None, 3)
    return established()


def make_secret() -> Secret[bytes]:
    return Secret(b"secret")


def a_nested_step_has_its_type(inner: Handshake) -> Handshake:
    with Nested(inner, answers=(VerifyKeys,)) as nested:
        assert_type(nested, Nested)
        step = yield from nested.step()
        assert_type(step, Step)
        assert_type(step.token, bytes | None)
        assert_type(step.need, Effect[Any] | None)
        yield from nested.step(None)
        return nested.established


def test_the_replies_arrive() -> None:
    services = Services()
    services.register(Ask, blocking=lambda ask: 3)
    services.register(FirstUse, blocking=lambda effect: True)
    machine = HandshakeMachine(each_reply_has_its_type())
    step = respond_blocking(machine, None, services)
    assert_type(step, Step)
    step = respond_blocking(machine, b"reply", services)
    assert step.established is not None
    assert_type(step.established, Established)
    assert_type(step.established.result, SecurityContext | RecordConnection)


def test_a_nested_handshake_runs() -> None:
    step = HandshakeMachine(a_nested_step_has_its_type(finished())).step()
    assert step.established is not None


def finished() -> Handshake:
    yield from VerifyKeys(b"", b"")
    return established()


def test_a_package_fits_the_interface() -> None:
    package: SecurityPackage = SharedKeyPackage()
    assert_type(package.initiate(ALICE, None, options()), Generator[Effect[Any], Any, Established])
    assert package.usable(ALICE, Role.INITIATOR) is None


async def mistakes(machine: HandshakeMachine, services: Services) -> None:
    """Never run: each line is a mistake that mypy must see."""
    step = await respond(machine, None, services)
    assert_type(step, Step)

    async def wrong(effect: FirstUse) -> str:
        return "yes"

    services.register(FirstUse, wrong)  # type: ignore[arg-type] # its reply is a bool
    services.register(FirstUse, blocking=lambda effect: b"")  # type: ignore[arg-type, return-value] # as above
    Exchange("text")  # type: ignore[arg-type] # tokens are octets
    step.token = b""  # type: ignore[misc] # steps are values
    text: Callable[[], Secret[str]] = make_secret  # type: ignore[assignment] # a secret knows what it is made of
    text()


def a_reply_taken_for_something_else() -> Handshake:
    """Never run."""
    reply: str = yield from Exchange()  # type: ignore[assignment] # it is octets
    assert reply
    return established()
