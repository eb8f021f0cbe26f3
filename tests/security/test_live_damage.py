"""Damaged handshakes and frames against running servers: each ends its own connection, by an error of the family."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

import securestream as ss
from securestream.credentials import Accounts, Password
from securestream.errors import SecureStreamError
from securestream.machine import HandshakeMachine
from securestream.streams.connect import connect
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.ntlm import messages as ntlm
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.providers.negotiate.ends import options
from tests.providers.negotiate.toy import SECOND, Toy
from tests.providers.ntlm.ends import HandMade
from tests.security.live import PASSWORD, Loud, dial, frame, receive_frame, receive_rest, serving

pytestmark = pytest.mark.anyio

SEED = int(os.environ.get("SECURESTREAM_SEED", "0")) or random.SystemRandom().getrandbits(32)
ROUNDS = 120
AT_ONCE = 24
"""Connections: who waits for octets that never come keeps nobody else from being heard."""
ROOM: dict[str, Any] = {"max_handshakes": 64, "max_handshakes_per_source": 32}
"""Enough for them, and for those that a server has not seen the end of."""
CA = authority("damage")
LEAF = CA.leaf(["localhost"])
ENDS = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


def damaged(rng: random.Random, octets: bytes) -> bytes:
    """`octets` after an accident: some altered, cut out, doubled, put in or moved."""
    out = bytearray(octets)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1) if out else 0
        end = min(len(out), at + rng.choice((1, 2, 4, 8, 64)))
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:end] = rng.randbytes(end - at)
        elif kind == 2:
            del out[at:end]
        elif kind == 3:
            out[at:at] = out[at:end]
        elif kind == 4:
            out[at:at] = rng.randbytes(rng.choice((1, 4, 300)))
        else:
            out[at:end] = rng.choice((b"\0", b"\xff")) * (end - at)
    return bytes(out)


async def _in_pieces(rng: random.Random, wire: ByteStream, octets: bytes) -> None:
    at = 0
    while at < len(octets):
        size = rng.choice((1, 5, 64, 70000))
        await wire.send(octets[at : at + size])
        at += size


async def _many(port: int, play: Callable[[random.Random, ByteStream], Awaitable[None]]) -> None:
    """Play so many connections, some at once; none of them hangs."""
    rng = random.Random(SEED)
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def one(seed: int) -> None:
        async with limiter, await dial(port) as wire:
            with anyio.fail_after(20):
                try:
                    await play(random.Random(seed), wire)
                    await wire.send_eof()
                except ENDS:
                    pass
                await receive_rest(wire)

    async with anyio.create_task_group() as group:
        for _ in range(ROUNDS):
            group.start_soon(one, rng.getrandbits(64))


def _only_the_family(listener: Loud) -> None:
    strangers = [
        error for error in listener.errors if not isinstance(error, (SecureStreamError, anyio.BrokenResourceError))
    ]
    assert not strangers, f"SECURESTREAM_SEED={SEED}"


async def _still_serves(listener: Loud, **arguments: Any) -> None:
    for attempt in range(3):  # the limits on time are short: a busy machine may exceed one
        try:
            async with await connect("127.0.0.1", listener.port, **arguments) as stream:
                await stream.send(b"still there?")
                assert await stream.receive() == b"still there?"
        except SecureStreamError:
            if attempt == 2:
                raise
        else:
            return


async def test_damaged_ntlm_handshakes_and_frames_end_their_connection_alone() -> None:
    async def play(rng: random.Random, wire: ByteStream) -> None:
        client = HandMade(user="alice", domain="", password=PASSWORD, negotiate=ntlm.Negotiate(HandMade.OFFER).pack())
        where = rng.randrange(3)
        first = frame(client.negotiate)
        await _in_pieces(rng, wire, damaged(rng, first) if where == 0 else first)
        challenge = await receive_frame(wire)
        if challenge[:1] != b"\x16":
            return
        answer = frame(client.answer(challenge[5:]))
        await _in_pieces(rng, wire, damaged(rng, answer) if where == 1 else answer)
        if (await receive_frame(wire))[:1] != b"\x14":
            return
        await _in_pieces(rng, wire, damaged(rng, b"\x14\0\0\0\1\0\0\0" + bytes(40)))

    limits = ROOM | {"handshake_timeout": 1, "attempts": 3}
    async with serving(credential=Accounts.memory(alice=PASSWORD), **limits) as listener:
        await _many(listener.port, play)
        _only_the_family(listener)
        await _still_serves(listener, package=Ntlm(), credential=Password("alice", PASSWORD))


async def test_damaged_negotiations_end_their_connection_alone() -> None:
    """As second choice, so that there is a leg more, and MICs."""
    client = Negotiate(Toy(SECOND), Ntlm(), ntlm="always")
    credential = Password("alice", PASSWORD)

    async def play(rng: random.Random, wire: ByteStream) -> None:
        machine = HandshakeMachine(client.initiate(credential, None, options(rng.getrandbits(32))))
        token, where = machine.step().token, rng.randrange(4)
        for number in range(3):
            octets = frame(token or b"")
            await _in_pieces(rng, wire, damaged(rng, octets) if where == number else octets)
            answer = await receive_frame(wire)
            if answer[:1] == b"\x15":
                return
            try:
                token = machine.step(answer[5:]).token
            except SecureStreamError:  # what was damaged led the server elsewhere
                return
        await _in_pieces(rng, wire, damaged(rng, b"\x14\0\0\0\1\0\0\0" + bytes(40)))

    limits = ROOM | {"handshake_timeout": 1, "attempts": 3}
    package = Negotiate(Ntlm())
    async with serving(package=package, credential=Accounts.memory(alice=PASSWORD), **limits) as listener:
        await _many(listener.port, play)
        _only_the_family(listener)
        await _still_serves(listener, package=package, credential=credential)


@pytest.mark.parametrize("engine", ["stdlib", "pyopenssl"])
async def test_damaged_tls_handshakes_and_records_end_their_connection_alone(engine: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=CA.pem.decode())

    async def play(rng: random.Random, wire: ByteStream) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        where = rng.randrange(4)
        for flight in range(4):
            try:
                tls.do_handshake()
                if flight > 1:
                    tls.write(b"some data" * rng.randrange(3000) + b"!")
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return
            octets = outgoing.read()
            if octets:
                await _in_pieces(rng, wire, damaged(rng, octets) if flight == where else octets)
            if flight < 2:
                with anyio.move_on_after(1):
                    incoming.write(await wire.receive())

    package = Schannel(engine=engine, client_certificates="optional", trust=CA.pem)  # type: ignore[arg-type]  # one of the names
    async with serving(package=package, credential=LEAF.credential, handshake_timeout=2, **ROOM) as listener:
        await _many(listener.port, play)
        _only_the_family(listener)
        await _still_serves(listener, package=Schannel(trust=CA.pem), target="localhost")


@pytest.mark.parametrize("tls", [False, True])
async def test_a_damaged_server_ends_a_clients_connection_by_an_error_of_the_family(*, tls: bool) -> None:
    """The same for clients: a hostile server's octets raise nothing else."""
    rng = random.Random(SEED)
    package: Any = Schannel(trust=CA.pem) if tls else Ntlm()
    credential: Any = None if tls else Password("alice", PASSWORD)
    own: Any = LEAF.credential if tls else Accounts.memory(alice=PASSWORD)
    async with serving(package=Schannel() if tls else Ntlm(), credential=own) as listener:

        async def relay(near: ByteStream) -> None:
            seed, number = random.Random(rng.getrandbits(64)), 0
            victim = seed.randrange(3)
            async with near, await dial(listener.port) as far:

                async def forth() -> None:
                    while True:
                        await far.send(await near.receive())

                async with anyio.create_task_group() as group:

                    async def guarded() -> None:
                        try:
                            await forth()
                        except ENDS:
                            group.cancel_scope.cancel()

                    group.start_soon(guarded)
                    try:
                        while True:
                            octets = await far.receive()
                            await near.send(damaged(seed, octets) if number == victim else octets)
                            number += 1
                    except ENDS:
                        group.cancel_scope.cancel()

        middle = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = middle.extra(anyio.abc.SocketAttribute.local_port)
        async with middle, anyio.create_task_group() as group:
            group.start_soon(middle.serve, relay)
            for _ in range(40):
                with anyio.move_on_after(0.3):  # a cut-off frame waits for its rest
                    try:
                        async with await ss.connect(
                            "127.0.0.1", port, package=package, credential=credential, target="localhost"
                        ) as stream:
                            for _ in range(3):
                                await stream.send(b"hello")
                                await stream.receive()
                    except (SecureStreamError, anyio.EndOfStream, anyio.BrokenResourceError):
                        pass
            group.cancel_scope.cancel()
