"""SECURITY 1 and ARCHITECTURE, invariant 4: no secret in a log, a repr, an exception or the frames of a traceback.

Every installed package is driven into every failure that can be provoked in memory. Secrets are known values
(passwords, hashes, private keys, every random draw, the end of every token) and are looked for as text, UTF-16, hex,
base64 and as Python writes octets.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from securestream.errors import LogonDenied, SecureStreamError
from securestream.options import Limits
from securestream.provider import SecurityContext
from securestream.registry import Registry
from tests.core.canaries import CASES, SETUPS, TOKENS, Attempt, Canaries, Failing, Setup, frames, mutations, report

ROOT = Path(__file__).resolve().parents[2]
CLEARED = (ROOT / "providers", ROOT / "examples", ROOT / "securestream" / "records", ROOT / "securestream" / "services")
"""Where frames hold keys: a failure leaves nothing in them."""

by_setup = pytest.mark.parametrize("make", CASES.values(), ids=CASES)
Make = Callable[[], Setup]


def failures(make: Make) -> Iterator[tuple[str, Attempt]]:
    """Every failure that can be provoked, with what provoked it."""
    whole = Attempt(make()).run()
    assert not whole.errors, whole.errors
    for leg, _ in enumerate(whole.tokens):
        for name, mutate in mutations().items():

            def alter(number: int, token: bytes, leg: int = leg, mutate: Callable[[bytes], bytes] = mutate) -> bytes:
                return mutate(token) if number == leg else token

            yield f"leg {leg}: {name}", Attempt(make(), alter=alter).run()
        yield f"gone at {leg}", Attempt(make(), gone_at=leg).run()
    setup = make()
    setup.initiating = setup.wrong
    yield "wrong credential", Attempt(setup).run()
    yield "limit", Attempt(make(), limits=Limits(token_size=4)).run()
    for error in (OSError("unreachable"), RuntimeError("a bug"), LogonDenied("no")):
        yield f"service: {error!r}", Attempt(make(), services=Failing(error)).run()
    for draw in range(whole.draws):
        yield f"draw {draw}", Attempt(make(), break_random_at=draw).run()
    for reading in range(whole.readings):
        yield f"reading {reading}", Attempt(make(), break_clock_at=reading).run()


def test_every_installed_package_takes_part() -> None:
    """A package that joins must say here how to set it up with canaries."""
    assert set(Registry.installed()) <= set(SETUPS)


@by_setup
def test_no_failure_reports_a_secret(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failed = 0
    for name, attempt in failures(make):
        failed += bool(attempt.errors)
        logged = "\n".join(f"{record.getMessage()} {record.__dict__!r}" for record in caplog.records)
        for where, text in [*attempt.reports(), ("the log", logged)]:
            assert not attempt.canaries.found_in(text), f"{name}: {where}: {text}"
    assert failed > 30, "the failures that were to be provoked did happen"


@by_setup
def test_no_frame_of_a_failed_handshake_keeps_its_locals(make: Make) -> None:
    """ARCHITECTURE, invariant 4: the frames of a traceback, in every provider."""
    walked = 0
    for name, attempt in failures(make):
        for error in attempt.errors:
            for frame in frames(error):
                path = Path(frame.f_code.co_filename)
                if any(folder in path.parents for folder in CLEARED):
                    walked += 1
                    assert not frame.f_locals, f"{name}: {path.name} {frame.f_code.co_name}: {list(frame.f_locals)}"
    assert walked > 30


@by_setup
def test_success_shows_no_secret_either(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    attempt = Attempt(make()).run()
    assert len(attempt.established) == 2
    for where, text in [*attempt.reports(), ("the log", caplog.text)]:
        assert not attempt.canaries.found_in(text), f"{where}: {text}"


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS)
def test_a_contexts_refusals_show_no_secret(make: Make) -> None:
    attempt = Attempt(make()).run()
    initiator, acceptor = (outcome.result for outcome in attempt.established[::-1])
    assert isinstance(initiator, SecurityContext)
    assert isinstance(acceptor, SecurityContext)
    assert initiator.role is acceptor.role.other
    attempt.canaries.add("plaintext", b"the plaintext of a message")
    sealed = initiator.wrap(b"the plaintext of a message")
    damaged = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    uses: list[Callable[[], object]] = [
        lambda: acceptor.unwrap(damaged),
        lambda: acceptor.unwrap(b""),
        lambda: acceptor.unwrap(sealed[:4]),
        lambda: initiator.unwrap(sealed),
        lambda: acceptor.verify(b"the plaintext of a message", bytes(16)),
    ]
    for use in uses:
        with pytest.raises(SecureStreamError) as caught:
            use()
        text = f"{caught.value} {caught.value!r} {caught.value.args!r} {initiator!r} {acceptor!r}"
        assert not attempt.canaries.found_in(text)


class TestTheSearchItself:
    """A search that finds nothing proves nothing."""

    SECRET = b"\x00canary\xff\x80 of this test"

    WAYS: tuple[Callable[[bytes], str], ...] = (
        repr,
        lambda secret: repr(b"before" + secret + b"after"),
        lambda secret: secret.hex(),
        lambda secret: secret.hex().upper(),
        lambda secret: (b"12" + secret + b"345").hex(),
        lambda secret: str(list(secret)),
        lambda secret: repr(bytearray(secret)),
        lambda secret: base64.b64encode(secret).decode(),
        lambda secret: base64.b64encode(b"1" + secret + b"2345").decode(),
        lambda secret: base64.b64encode(b"12" + secret).decode(),
    )

    @pytest.mark.parametrize("write", WAYS)
    def test_octets_are_found_in_every_form(self, write: Callable[[bytes], str]) -> None:
        canaries = Canaries()
        canaries.add("it", self.SECRET)
        assert canaries.found_in(f"... {write(self.SECRET)} ...") == {"it"}
        assert canaries.found_in("nothing of it") == set()

    @pytest.mark.parametrize("form", ["Passw0rd-x", "PASSW0RD-X", "Passw0rd-x".encode("utf-16-le").hex()])
    def test_text_is_found_in_every_form(self, form: str) -> None:
        canaries = Canaries()
        canaries.add("it", "Passw0rd-x")
        assert canaries.found_in(form) == {"it"}

    def test_a_leaking_package_would_be_found(self) -> None:
        """The same walk over a package that keeps nothing to itself."""
        canaries = Canaries()
        canaries.add("password", "hunter2-hunter2")

        def leak(password: str) -> None:
            raise ValueError(f"cannot log on with {password}")

        with pytest.raises(ValueError, match="log on") as caught:
            leak("hunter2-hunter2")
        assert canaries.found_in(report(caught.value)) == {"password"}
