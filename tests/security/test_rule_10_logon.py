"""Rule 10 over a real listener: what a stranger who guesses sees, and how often he may."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from securestream.credentials import Accounts, Password
from securestream.errors import HandshakeTimeout, LogonDenied, PeerRefused
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream.services.failures import Lockout, Throttle
from securestream.streams._wrap import SecureStream
from securestream.streams.negotiate import NegotiateStream
from securestream_providers.ntlm import Ntlm
from securestream_providers.ntlm.messages import AvFlag, AvId, Negotiate
from tests.providers.ntlm.ends import HandMade
from tests.security.live import PASSWORD, Loud, dial, frame, receive_frame, receive_rest, serving

pytestmark = pytest.mark.anyio

MIC = (AvId.FLAGS, AvFlag.MIC.to_bytes(4, "little"))
WRONG = "not the password"
MakeStore = Callable[..., Any]


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes a store that knows alice."""

    def make(**limits: Any) -> Any:
        path = tmp_path / "accounts.db"
        store: Any = MemoryAccounts(**limits) if request.param == "memory" else SqliteAccounts(path, **limits)
        store.add("alice", PASSWORD)
        store.add("disabled", PASSWORD)
        store.disable("disabled")
        return store

    return make


async def guess(port: int, user: str, password: str, **more: Any) -> bytes:
    """A hand-made client's logon; all that the server says after its CHALLENGE."""
    client = HandMade(user=user, domain="", password=password, negotiate=Negotiate(HandMade.OFFER).pack(), **more)
    async with await dial(port) as wire:
        await wire.send(frame(client.negotiate))
        challenge = await receive_frame(wire)
        await wire.send(frame(client.answer(challenge[5:])))
        with anyio.fail_after(10):
            return await receive_rest(wire)


async def log_on(port: int, password: str = PASSWORD, source: str = "127.0.0.1") -> SecureStream | PeerRefused:
    wire = await dial(port, source)
    try:
        return await NegotiateStream.wrap_client(wire, package=Ntlm(), credential=Password("alice", password))
    except PeerRefused as refused:
        return refused


async def admitted(port: int, password: str = PASSWORD, source: str = "127.0.0.1") -> bool:
    result = await log_on(port, password, source)
    if isinstance(result, PeerRefused):
        return False
    await result.aclose()
    return True


async def test_every_refusal_is_the_same_octets_on_the_wire(make_store: MakeStore) -> None:
    """Unknown, disabled, wrong, locked, throttled; bindings, service name and MIC after a right password."""
    store = make_store(throttle=Throttle(failures=2), lockout=None)
    other_service = (AvId.TARGET_NAME, "host/another.example".encode("utf-16-le"))
    async with serving(package=Ntlm(served=("server.example",)), credential=Accounts(store)) as listener:
        port = listener.port
        seen = {
            "unknown": await guess(port, "nobody", PASSWORD),
            "disabled": await guess(port, "disabled", PASSWORD),
            "service": await guess(port, "alice", PASSWORD, pairs=(MIC, other_service)),
            "no MIC": await guess(port, "alice", PASSWORD, pairs=()),
            "wrong MIC": await guess(port, "alice", PASSWORD, more={"workstation": b"x\0"}, mic=False),
            "wrong": await guess(port, "alice", WRONG),
            "wrong again": await guess(port, "alice", WRONG),
            "throttled": await guess(port, "alice", PASSWORD),
            "throttled and wrong": await guess(port, "alice", WRONG),
        }
    assert len(set(seen.values())) == 1, seen
    (octets,) = set(seen.values())
    assert octets[:1] == b"\x15"
    assert len(octets) == 13


async def test_a_locked_account_looks_like_an_unknown_one(make_store: MakeStore) -> None:
    store = make_store(throttle=None, lockout=Lockout(failures=1))
    async with serving(credential=Accounts(store)) as listener:
        wrong = await guess(listener.port, "alice", WRONG)
        locked = await guess(listener.port, "alice", PASSWORD)
        assert wrong == locked == await guess(listener.port, "nobody", PASSWORD)
        errors = {(type(error), str(error)) for error in listener.errors}
        assert len(errors) == 1


@pytest.mark.parametrize("malformed", [(AvId.CHANNEL_BINDINGS, b"x"), (AvId.FLAGS, b"\2\0\0")])
async def test_what_is_malformed_is_refused_alike_whether_or_not_the_password_is_right(
    malformed: tuple[int, bytes],
) -> None:
    """Otherwise a malformed AV pair would be an oracle that no log-in shows."""
    pairs = (malformed,) if malformed[0] == AvId.FLAGS else (MIC, malformed)
    async with serving(credential=Accounts.memory(alice=PASSWORD)) as listener:
        right = await guess(listener.port, "alice", PASSWORD, pairs=pairs)
        assert right == await guess(listener.port, "alice", WRONG, pairs=pairs)


async def test_guessing_from_one_address_locks_out_that_address_alone(make_store: MakeStore) -> None:
    store = make_store(throttle=Throttle(failures=3))
    async with serving(credential=Accounts(store)) as listener:
        for _ in range(3):
            assert not await admitted(listener.port, WRONG)
        assert not await admitted(listener.port)
        assert await admitted(listener.port, source="127.0.0.2")


async def test_guessing_in_parallel_gains_nothing(make_store: MakeStore) -> None:
    """However many guesses run at once, none is admitted once the limit was reached among them."""
    store = make_store(throttle=Throttle(failures=3))
    async with serving(credential=Accounts(store), max_handshakes_per_source=64) as listener:
        async with anyio.create_task_group() as group:
            for _ in range(24):
                group.start_soon(admitted, listener.port, WRONG)
        assert not await admitted(listener.port)
    now = datetime.now(UTC)
    account = store.find("alice", "", "127.0.0.1", now)
    assert account is not None
    assert store.throttled("alice", account, "127.0.0.1", now)
    assert not store.throttled("alice", account, "127.0.0.1", now + timedelta(minutes=5))


async def test_unknown_names_are_remembered_nowhere(make_store: MakeStore) -> None:
    store = make_store()
    async with serving(credential=Accounts(store)) as listener:
        for number in range(3):
            await guess(listener.port, f"stranger-{number}", WRONG)
    assert [one.name for one in store.listing()] == ["alice", "disabled"]


# --- several attempts on one connection ---


async def _attempts(listener: Loud, count: int) -> int:
    """How many wrong logons one connection lets a client make."""
    made = 0
    async with await dial(listener.port) as wire:
        try:
            for _ in range(count):
                client = HandMade(user="alice", password=WRONG, negotiate=Negotiate(HandMade.OFFER).pack())
                await wire.send(frame(client.negotiate))
                challenge = await receive_frame(wire)
                await wire.send(frame(client.answer(challenge[5:])))
                refusal = await receive_frame(wire)
                assert refusal[:1] == b"\x15"
                made += 1
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
    return made


@pytest.mark.parametrize("allowed", [1, 2, 3])
async def test_a_connection_takes_so_many_attempts_and_no_more(allowed: int) -> None:
    async with serving(credential=Accounts.memory(alice=PASSWORD), attempts=allowed) as listener:
        assert await _attempts(listener, 5) == allowed
        assert isinstance(await listener.error(), LogonDenied)


async def test_all_attempts_of_a_connection_share_one_time_limit() -> None:
    async with serving(credential=Accounts.memory(alice=PASSWORD), attempts=3, handshake_timeout=2) as listener:
        started = time.monotonic()
        async with await dial(listener.port) as wire:
            for _ in range(2):
                await anyio.sleep(0.7)
                client = HandMade(user="alice", password=WRONG, negotiate=Negotiate(HandMade.OFFER).pack())
                await wire.send(frame(client.negotiate))
                challenge = await receive_frame(wire)
                await wire.send(frame(client.answer(challenge[5:])))
                await receive_frame(wire)
            with anyio.fail_after(20):
                await receive_rest(wire)
        assert time.monotonic() - started < 3.2, "each attempt has a limit of its own"
        assert isinstance(await listener.error(), HandshakeTimeout)
