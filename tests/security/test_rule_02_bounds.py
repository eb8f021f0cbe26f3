"""Rule 2: what a stranger can make us keep, compute and wait for."""

from __future__ import annotations

import socket
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from securestream.ambient import system_options
from securestream.credentials import Accounts, Password
from securestream.errors import FramingError, LimitExceeded, SecureStreamError
from securestream.framing.base import Mode, TokenFrame
from securestream.framing.nns import MAX_SEALED, NnsFraming
from securestream.framing.raw import RawFraming
from securestream.options import Limits
from securestream.records._engine import MAX_OWED
from securestream.records.client_hello import ClientHello, HelloReader
from securestream.records.endpoints import Engine
from securestream.streams.connect import connect
from securestream_providers.ntlm import Ntlm
from securestream_providers.ntlm.messages import Negotiate
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.core.records.pairs import CA as RECORDS_CA
from tests.core.records.pairs import server_of
from tests.providers.ntlm.ends import HandMade
from tests.security.live import PASSWORD, Loud, dial, frame, receive_rest, serving
from tests.security.tls13 import forge

ALICE = Password("alice", PASSWORD)
HALF_A_TOKEN = frame(bytes(65535))[:-1]


# --- strangers that hold places ---


def _silent(port: int, octets: bytes, count: int = 200) -> list[socket.socket]:
    """Connections of one address, each with the beginning of a token."""
    held: list[socket.socket] = []
    for _ in range(count):
        raw = socket.socket()
        raw.settimeout(5)
        raw.bind(("127.0.0.2", 0))
        raw.connect(("127.0.0.1", port))
        try:
            raw.setblocking(False)
            raw.send(octets)
        except OSError:  # it was closed at once
            pass
        held.append(raw)
    return held


async def _honest(port: int, clients: int = 8) -> float:
    """Seconds that so many logons take from another address."""

    async def one() -> None:
        stream = await connect("127.0.0.1", port, package=Ntlm(), credential=ALICE)
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
        await stream.aclose()

    started = time.monotonic()
    async with anyio.create_task_group() as group:
        for _ in range(clients):
            group.start_soon(one)
    return time.monotonic() - started


@pytest.mark.anyio
@pytest.mark.parametrize("octets", [b"", HALF_A_TOKEN, frame(Negotiate(HandMade.OFFER).pack())])
@pytest.mark.parametrize("limits", [{}, {"max_handshakes": 20}, {"max_connections": 20}])
async def test_200_strangers_of_one_address_with_every_limit_at_its_maximum(
    octets: bytes, limits: dict[str, int]
) -> None:
    """Silent, one octet short of the longest token, or half-way through the handshake: others are served as before."""
    async with serving(credential=Accounts.memory(alice=PASSWORD), handshake_timeout=30, **limits) as listener:
        await _honest(listener.port)  # warms up
        quiet = await _honest(listener.port)
        held = await anyio.to_thread.run_sync(_silent, listener.port, octets)
        try:
            await anyio.sleep(0.2)
            busy = await _honest(listener.port)
            for _ in range(4):  # a busy machine may be slow once; strangers that hold the places hold them for 30 s
                if busy < 2 * quiet + 0.5:
                    break
                busy = await _honest(listener.port)
            assert busy < 2 * quiet + 0.5
        finally:
            for raw in held:
                raw.close()


@pytest.mark.anyio
async def test_what_200_strangers_make_us_keep_is_bounded() -> None:
    """Each has sent all but the last octet of the longest token; most of them have no place."""
    async with serving(credential=Accounts.memory(alice=PASSWORD), handshake_timeout=30) as listener:
        await _honest(listener.port)
        tracemalloc.start()
        try:
            held = await anyio.to_thread.run_sync(_silent, listener.port, HALF_A_TOKEN)
            await anyio.sleep(0.3)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for raw in held:
            raw.close()
        assert kept < 32 * 2 * 65536 + (4 << 20)


@pytest.mark.anyio
async def test_a_network_of_ipv6_addresses_is_one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one customer, who owns a whole /64, takes every place."""
    from securestream.streams import listeners

    numbers = iter(range(1, 1000))

    def source_of(transport: object) -> str:
        return f"2001:db8::{next(numbers):x}"

    monkeypatch.setattr(listeners, "source_of", source_of)
    async with serving(credential=Accounts.memory(alice=PASSWORD), max_handshakes_per_source=2) as listener:
        first, second = await dial(listener.port), await dial(listener.port)
        async with first, second, await dial(listener.port) as third:
            with anyio.fail_after(20):
                assert await receive_rest(third) == b""
            assert isinstance(await listener.error(), LimitExceeded)


# --- limits before buffering ---


@pytest.mark.parametrize(
    ("limits", "header"),
    [(Limits(token_size=100), frame(bytes(101))[:5]), (Limits(), b"\x15\1\0\xff\xff")],
    ids=["token", "error"],
)
def test_a_frame_over_its_limit_is_refused_at_its_header(limits: Limits, header: bytes) -> None:
    framing = NnsFraming(limits)
    framing.receive_data(header[:-1])
    assert framing.next_event() is None
    framing.receive_data(header[-1:])
    with pytest.raises(FramingError):
        framing.next_event()


def test_a_raw_token_is_cut_at_its_limit() -> None:
    framing = RawFraming(Limits(token_size=10))
    framing.receive_data(bytes(25))
    sizes: list[int] = []
    while isinstance(event := framing.next_event(), TokenFrame):
        sizes.append(len(event.token or b""))
    assert sizes == [10, 10, 5]


def test_no_data_frame_makes_us_keep_more_than_its_limit() -> None:
    framing = NnsFraming()
    framing.enter(Mode.DATA)
    framing.receive_data((MAX_SEALED + 1).to_bytes(4, "little"))
    with pytest.raises(FramingError):
        framing.next_event()


@pytest.mark.anyio
async def test_a_token_over_the_listeners_limit_is_refused_before_it_has_come() -> None:
    options = replace(system_options(), limits=Limits(token_size=1000))
    async with serving(credential=Accounts.memory(alice=PASSWORD), options=options) as listener:
        async with await dial(listener.port) as wire:
            await wire.send(frame(bytes(1001))[:5])
            with anyio.fail_after(20):
                await receive_rest(wire)
        assert isinstance(await listener.error(), FramingError)


# --- TLS ---


def _dribbled_hello() -> list[bytes]:
    """A ClientHello that never ends, one octet in each record, up to the longest that is looked at."""
    message = b"\x01\x00\xff\x00" + bytes(11000)
    return [b"\x16\3\1\0\1" + message[at : at + 1] for at in range(len(message))]


def test_a_client_hello_in_one_octet_records_costs_no_more_than_its_octets() -> None:
    """Reading all of it anew with each record would take two minutes."""
    reader = HelloReader()
    started = time.process_time()
    for record in _dribbled_hello():
        if reader.feed(record) is not None:
            break
    assert time.process_time() - started < 2


@pytest.mark.anyio
async def test_a_client_hello_without_an_end_ends_with_its_time() -> None:
    leaf = authority("bounds").leaf()
    async with serving(package=Schannel(), credential=leaf.credential, handshake_timeout=1) as listener:
        assert isinstance(listener, Loud)
        async with await dial(listener.port) as wire:
            try:
                await wire.send(b"".join(_dribbled_hello()))
            except anyio.BrokenResourceError:
                pass
            with anyio.fail_after(20):
                await receive_rest(wire)
        assert isinstance(await listener.error(), SecureStreamError)


@pytest.mark.parametrize("engine", ["stdlib", "pyopenssl"])
def test_a_peer_that_asks_for_new_keys_without_end_fills_no_memory(engine: Engine, tmp_path: Path) -> None:
    """Each KeyUpdate wants an answer, and an end that only receives never sends it."""
    server = server_of(engine).connection(ClientHello("localhost"))
    forger = forge(server, RECORDS_CA.pem, "localhost", tmp_path / "keys")
    buffer = bytearray(65536)

    def flood() -> None:
        for _ in range(2 * MAX_OWED // 27):
            server.receive_data(forger.key_update() + forger.record(b"x"))
            assert server.read_into(buffer) == 1
            server.next_event()

    with pytest.raises(FramingError, match="new keys"):
        flood()
    assert len(server.data_to_send()) < 2 * MAX_OWED


@pytest.mark.parametrize("engine", ["stdlib", "pyopenssl"])
def test_a_peer_may_ask_for_new_keys_as_often_as_it_takes_answers(engine: Engine, tmp_path: Path) -> None:
    server = server_of(engine).connection(ClientHello("localhost"))
    forger = forge(server, RECORDS_CA.pem, "localhost", tmp_path / "keys")
    buffer = bytearray(65536)
    for number in range(2 * MAX_OWED // 27):
        server.receive_data(forger.key_update() + forger.record(b"x"))
        assert server.read_into(buffer) == 1
        if number % 1000 == 999:
            assert server.data_to_send()
