"""Rule 6: what was asked is what runs, with NTLM on the wire: strangers send less, or something else."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

import securestream as ss
from securestream.credentials import Accounts, Anonymous, Password
from securestream.errors import (
    BadSignature,
    ContextError,
    FramingError,
    HandshakeError,
    InvalidToken,
    PeerRefused,
    QualityNotMet,
    SecureStreamError,
)
from securestream.framing.base import TokenKind
from securestream.options import Options, Protection, Role
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.negotiate import NegotiateStream
from securestream_providers.ntlm import Ntlm, NtlmContext
from securestream_providers.ntlm.messages import Flag, Negotiate
from tests.providers.ntlm.ends import HandMade
from tests.security.live import PASSWORD, dial, frame, receive_frame, receive_rest, serving

pytestmark = pytest.mark.anyio

ALICE = Password("alice", PASSWORD)
NOT_MET = 1790


def accounts() -> Accounts:
    return Accounts.memory(alice=PASSWORD)


def hand_made(flags: int = HandMade.OFFER) -> HandMade:
    return HandMade(user="alice", domain="", password=PASSWORD, negotiate=Negotiate(flags).pack())


async def begin(wire: ByteStream, client: HandMade) -> bytes:
    """NEGOTIATE, CHALLENGE; the AUTHENTICATE that is due."""
    await wire.send(frame(client.negotiate))
    return client.answer((await receive_frame(wire))[5:])


def data_frame(token: bytes) -> bytes:
    return len(token).to_bytes(4, "little") + token


def context_of(client: HandMade, flags: int = HandMade.OFFER) -> NtlmContext:
    return NtlmContext(Role.INITIATOR, flags, client.session_key)


def test_encrypt_and_sign_is_the_default_everywhere() -> None:
    assert Options(clock=lambda: None, random=bytes).protection is Protection.ENCRYPT_AND_SIGN  # type: ignore[arg-type, return-value]  # never called
    assert ss.system_options().protection is Protection.ENCRYPT_AND_SIGN
    for function in (ss.connect, ss.listen, NegotiateStream.wrap_client, NegotiateStream.wrap_server):
        given = inspect.signature(function).parameters["protection"].default  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # overloads of classmethods
        assert given is None


@pytest.mark.parametrize(
    ("level", "offered", "admitted"),
    [
        (Protection.ENCRYPT_AND_SIGN, HandMade.OFFER, True),
        (Protection.ENCRYPT_AND_SIGN, HandMade.OFFER & ~Flag.SEAL, False),
        (Protection.ENCRYPT_AND_SIGN, HandMade.OFFER & ~(Flag.SEAL | Flag.SIGN), False),
        (Protection.SIGN, HandMade.OFFER & ~Flag.SEAL, True),
        (Protection.SIGN, HandMade.OFFER & ~(Flag.SEAL | Flag.SIGN), False),
        (Protection.NONE, HandMade.OFFER & ~(Flag.SEAL | Flag.SIGN), True),
    ],
)
async def test_a_client_that_offers_less_is_told_so_and_no_octet_of_data_passes(
    level: Protection, offered: int, *, admitted: bool
) -> None:
    client = hand_made(offered)
    if not offered & (Flag.SEAL | Flag.SIGN):
        client.more = {"encrypted_session_key": b""}
        client.mic = True
    async with serving(credential=accounts(), protection=level, package=Ntlm(mic="optional")) as listener:
        client.pairs, client.mic = (), False
        async with await dial(listener.port) as wire:
            token = await begin(wire, client)
            await wire.send(frame(token) + b"data that came with the last token")
            answer = await receive_frame(wire)
            if admitted:
                assert answer == frame(b"", TokenKind.DONE)
                return
            assert answer[:1] == b"\x15"
            assert int.from_bytes(answer[5:9], "little") == NOT_MET
            assert await receive_rest(wire) == b""
        assert isinstance(await listener.error(), QualityNotMet)


async def test_an_anonymous_session_protects_nothing_and_is_refused_where_protection_was_asked() -> None:
    async with serving(credential=Accounts(accounts().store, allow_anonymous=True)) as listener:
        wire = await dial(listener.port)
        with pytest.raises((QualityNotMet, PeerRefused)):
            await NegotiateStream.wrap_client(wire, package=Ntlm(), credential=Anonymous(), target="host/localhost")
        wire = await dial(listener.port)
        with pytest.raises(PeerRefused):
            await NegotiateStream.wrap_client(
                wire, package=Ntlm(), credential=Anonymous(), protection=Protection.NONE, target="host/localhost"
            )
        assert isinstance(await listener.error(1), QualityNotMet)


async def _after_handshake(make: Callable[[NtlmContext], bytes]) -> tuple[bytes, list[Exception]]:
    """What an echo server answers to octets that `make` makes of a right session; what its stream raised."""
    caught: list[Exception] = []

    async def echo(stream: Any) -> None:
        try:
            while True:
                await stream.send(await stream.receive())
        except SecureStreamError as error:
            caught.append(error)
            raise

    client, answer = hand_made(), b""
    listener = await ss.listen("127.0.0.1", 0, package=Ntlm(), credential=accounts())
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        async with await dial(listener.port) as wire:
            await wire.send(frame(await begin(wire, client)))
            assert await receive_frame(wire) == frame(b"", TokenKind.DONE)
            await wire.send(make(context_of(client)))
            await wire.send_eof()
            answer = await receive_rest(wire)
        group.cancel_scope.cancel()
    return answer, caught


async def test_the_hand_made_client_can_talk() -> None:
    """Else the refusals below would prove nothing."""
    answer, caught = await _after_handshake(lambda context: data_frame(context.wrap(b"hello")))
    assert len(answer) == 4 + 16 + 5
    assert caught == []


async def test_data_that_is_only_signed_is_refused_at_level_encrypt() -> None:
    answer, caught = await _after_handshake(lambda context: data_frame(context.wrap(b"hello", encrypt=False)))
    assert answer == b""
    assert isinstance(caught[0], BadSignature)


@pytest.mark.parametrize(
    "octets",
    [
        b"hello in clear, without any frame",
        data_frame(b"hello in a frame"),
        data_frame(b"\1\0\0\0" + bytes(12) + b"with the dummy signature"),
        frame(b"another token"),
        frame(b"", TokenKind.DONE),
        frame(Negotiate(HandMade.OFFER).pack()),
    ],
)
async def test_anything_else_than_a_sealed_frame_is_refused_after_the_handshake(octets: bytes) -> None:
    answer, _ = await _after_handshake(lambda _: octets)
    assert answer == b""


async def test_a_frame_sent_again_is_refused_and_what_follows_is_not_looked_at() -> None:
    def make(context: NtlmContext) -> bytes:
        first = data_frame(context.wrap(b"once"))
        return first + first + data_frame(context.wrap(b"twice"))

    answer, caught = await _after_handshake(make)
    assert len(answer) == 4 + 16 + 4
    assert isinstance(caught[0], ContextError)


async def test_our_own_frames_given_back_to_us_are_refused_at_both_ends() -> None:
    """Reflection: each direction has keys of its own."""
    async with serving(credential=accounts()) as listener:
        near, far = await dial(listener.port), await dial(listener.port)
        await far.aclose()
        stream = await NegotiateStream.wrap_client(Mirror(near), package=Ntlm(), credential=ALICE)
        await stream.send(b"mine")
        with pytest.raises(BadSignature):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"more")
        await stream.aclose()


class Mirror(ByteStream):
    """Passes the handshake on and gives data frames back to their sender."""

    def __init__(self, below: ByteStream) -> None:
        self._below = below
        self._reflected: bytes | None = None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self._reflected is not None:
            await anyio.lowlevel.checkpoint()
            return self._reflected
        return await self._below.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        if item[:1] in (b"\x14", b"\x16") and item[1:3] == b"\1\0":
            await self._below.send(item)
        else:
            self._reflected = bytes(item)

    async def send_eof(self) -> None:
        await self._below.send_eof()

    async def aclose(self) -> None:
        await self._below.aclose()


# --- frames out of their order ---


async def _confused(*octets: bytes, attempts: int = 1) -> tuple[bytes, list[Exception]]:
    """What the server says to those octets, sent one after the other, and how its handshake failed."""
    async with serving(credential=accounts(), attempts=attempts, handshake_timeout=30) as listener:
        async with await dial(listener.port) as wire:
            with contextlib.suppress(OSError, anyio.BrokenResourceError):  # it may have heard enough
                for part in octets:
                    await wire.send(part)
                await wire.send_eof()
            answer = await receive_rest(wire)
        await listener.error()
        return answer, listener.errors


NEGOTIATE = Negotiate(HandMade.OFFER).pack()


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        ((frame(NEGOTIATE, TokenKind.DONE),), InvalidToken),  # done before the server is
        ((frame(b"", TokenKind.DONE),), InvalidToken),  # nothing but the end
        ((data_frame(b"data first"),), FramingError),
        ((frame(NEGOTIATE), data_frame(b"data before the end")), FramingError),
        ((frame(NEGOTIATE), frame(NEGOTIATE)), InvalidToken),
        ((frame(b"NTLMSSP\0\3\0\0\0" + bytes(80)),), InvalidToken),  # AUTHENTICATE without a challenge
        ((frame(NEGOTIATE), bytes.fromhex("15 0100 0008 0c030980ffffffff")), PeerRefused),
        ((bytes.fromhex("15 0100 0008 0c030980ffffffff"), frame(NEGOTIATE)), PeerRefused),
    ],
)
async def test_frames_out_of_order_never_establish_anything(
    octets: tuple[bytes, ...], kind: type[SecureStreamError]
) -> None:
    answer, errors = await _confused(*octets)
    assert isinstance(errors[0], kind)
    assert frame(b"", TokenKind.DONE) not in answer


async def test_a_challenge_of_an_attempt_that_failed_is_not_answered_in_the_next_one() -> None:
    async with serving(credential=accounts(), attempts=2) as listener, await dial(listener.port) as wire:
        stale = await begin(wire, hand_made())
        await wire.send(frame(b"rubbish"))
        assert (await receive_frame(wire))[:1] == b"\x15"
        await wire.send(frame(stale))
        assert (await receive_frame(wire))[:1] == b"\x15"
        assert await receive_rest(wire) == b""
        assert isinstance(await listener.error(), HandshakeError)


async def test_the_attempt_after_a_failed_one_is_a_whole_handshake() -> None:
    async with serving(credential=accounts(), attempts=2) as listener, await dial(listener.port) as wire:
        await wire.send(frame(b"rubbish"))
        assert (await receive_frame(wire))[:1] == b"\x15"
        stream = await NegotiateStream.wrap_client(wire, package=Ntlm(), credential=ALICE)
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
        assert stream.extra(SecurityAttribute.protection) is Protection.ENCRYPT_AND_SIGN
