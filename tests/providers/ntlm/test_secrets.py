"""No secret of an NTLM handshake in a repr, an exception's text, a log or the frames of a traceback (SECURITY 1)."""

from __future__ import annotations

import base64
import logging
import types
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import pytest

from securestream.credentials import Accounts, NtHash, Password
from securestream.errors import HandshakeError
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy
from securestream_providers.ntlm import Ntlm, crypto
from securestream_providers.ntlm.messages import Authenticate, Challenge, Flag, Negotiate
from tests.providers.ntlm.ends import (
    AUTHENTICATE,
    BINDINGS,
    CHALLENGE,
    TARGET,
    Alter,
    CountingStore,
    flip_flags,
    handshake,
    options,
)

CANARY = "canary-pässword-7319"
CREDENTIAL = Password(r"CORP\carol", CANARY)
HASH = crypto.nt_hash(CANARY)
KEYS = (HASH, crypto.ntowf_v2(HASH, "carol", "CORP"), crypto.lm_hash(CANARY) or HASH)
OCTETS = (CANARY.encode(), CANARY.encode("utf-16-le"), *KEYS)
NEEDLES = {
    CANARY,
    *(form for octets in OCTETS for form in (octets.hex(), base64.b64encode(octets).decode(), repr(octets))),
}


def _store() -> CountingStore:
    made = CountingStore()
    made.add("carol", CANARY)
    return made


def _cut(number: int) -> Alter:
    return lambda current, token: token[:40] if current == number else token


def _wrong_password() -> object:
    store = CountingStore()
    store.add("carol", "another")
    return handshake(credential=CREDENTIAL, accounts=Accounts(store))


FAILURES: dict[str, Callable[[], object]] = {
    "wrong password": _wrong_password,
    "unknown user": lambda: handshake(credential=CREDENTIAL),
    "bindings absent": lambda: handshake(
        credential=CREDENTIAL,
        accounts=Accounts(_store()),
        server_options=options(2, bindings=BINDINGS, policy=BindingPolicy.ALWAYS),
    ),
    "another service": lambda: handshake(
        server=Ntlm(served=("other",)), credential=CREDENTIAL, accounts=Accounts(_store())
    ),
    "altered flags": lambda: handshake(
        credential=CREDENTIAL, accounts=Accounts(_store()), alter=flip_flags(CHALLENGE, Flag.IDENTIFY)
    ),
    "no sealing": lambda: handshake(
        credential=CREDENTIAL, accounts=Accounts(_store()), alter=flip_flags(CHALLENGE, Flag.SEAL)
    ),
    "cut challenge": lambda: handshake(credential=CREDENTIAL, accounts=Accounts(_store()), alter=_cut(CHALLENGE)),
    "cut answer": lambda: handshake(credential=CREDENTIAL, accounts=Accounts(_store()), alter=_cut(AUTHENTICATE)),
    "level": lambda: handshake(Ntlm(level=1), Ntlm(), credential=CREDENTIAL, accounts=Accounts(_store())),
}


def _frames(error: BaseException) -> Iterator[types.FrameType]:
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None:
            continue
        trace = current.__traceback__
        while trace is not None:
            yield trace.tb_frame
            trace = trace.tb_next
        pending += (current.__cause__, current.__context__)


def _held(value: object, depth: int = 3) -> Iterator[bytes | str]:
    """Everything a debugger would show of a local variable, and octets inside of it."""
    yield repr(value)
    if isinstance(value, bytes | bytearray):
        yield bytes(value)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, tuple | list | set | dict) and depth:
        container = cast("Iterable[object]", value)
        for item in cast("dict[object, object]", value).items() if isinstance(value, dict) else container:
            yield from _held(item, depth - 1)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_shows_no_secret(failure: Callable[[], object], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(HandshakeError) as caught:
        failure()
    texts = [str(caught.value), repr(caught.value), caplog.text]
    frames = [frame for frame in _frames(caught.value) if "/tests/" not in frame.f_code.co_filename]
    assert frames
    for frame in frames:
        for value in frame.f_locals.values():
            for held in _held(value):
                assert not (isinstance(held, bytes) and any(key in held for key in OCTETS)), frame
                if isinstance(held, str):
                    texts.append(held)
    for text in texts:
        assert not any(needle in text for needle in NEEDLES)


def test_nothing_public_shows_a_secret() -> None:
    ends = handshake(credential=CREDENTIAL, accounts=Accounts(_store()))
    key = ends.acceptor.session_key
    machine = HandshakeMachine(Ntlm().initiate(CREDENTIAL, TARGET, options(1)))
    shown = [
        CREDENTIAL,
        NtHash("carol", HASH),
        Ntlm(),
        ends.acceptor,
        ends.initiator,
        machine,
        machine.step(),
        Negotiate.unpack(ends.tokens[0]),
        Challenge.unpack(ends.tokens[1]),
        Authenticate.unpack(ends.tokens[2]),
        ends.peer,
    ]
    for value in shown:
        text = repr(value)
        assert not any(needle in text for needle in (*NEEDLES, key.hex(), repr(key)))
