"""A man in the middle who writes down the frames of [MS-NNS] that pass, in their order, and says what is in each."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

import anyio
import anyio.abc

from securestream.wire import der
from securestream_providers.negotiate.messages import (
    KERBEROS,
    MS_KERBEROS,
    NTLM,
    SPNEGO,
    NegTokenInit,
    NegTokenResp,
    unframe,
)

Way = Literal["c", "s"]
"""Who speaks: the client or the server."""

MAX_PIECE: Final = 65536
_HEADER: Final = 5
_SIZE: Final = 4
_DONE, _ERROR, _IN_PROGRESS = 0x14, 0x15, 0x16


@dataclass(frozen=True)
class Frame:
    """One frame of a handshake.

    Args:
        way: who sent it.
        identifier: its first octet.
        token: its payload.
    """

    way: Way
    identifier: int
    token: bytes

    @property
    def code(self) -> int:
        """The number in an error frame of .NET 8, as 32 bits."""
        return int.from_bytes(self.token[:4], "little")

    def __str__(self) -> str:
        what = f"{self.code:#x}" if self.identifier == _ERROR else content(self.token)
        return f"{self.way} {self.identifier:02x} {what}".rstrip()


SPNEGO_OID: Final = der.oid_octets(SPNEGO)
KERBEROS_OID: Final = der.oid_octets(KERBEROS)
_NAMES: Final = {KERBEROS: "Kerberos", MS_KERBEROS: "MS Kerberos", NTLM: "NTLM"}
_KERBEROS_TOKENS: Final = {b"\1\0": "AP-REQ", b"\2\0": "AP-REP", b"\3\0": "KRB-ERROR"}


def content(token: bytes) -> str:
    """What a token says, for comparisons: its envelope, and the mechanism's message in it."""
    if not token:
        return "empty"
    if token[0] == 0x60 and SPNEGO_OID in token[:16]:
        offer = unframe(token)
        assert isinstance(offer, NegTokenInit)
        offered = " ".join(_NAMES[name] for name in offer.mech_types.mech_types)
        return f"init [{offered}] {_inner(offer.mech_token)}"
    if token[0] != 0xA1:
        return f"bare {_inner(token)}"
    answer = NegTokenResp.decode(token)
    words = [
        "" if answer.neg_state is None else answer.neg_state.name.lower().replace("_", "-"),
        "" if answer.supported_mech is None else f"[{_NAMES[answer.supported_mech]}]",
        "" if answer.response_token is None else _inner(answer.response_token),
        "" if answer.mech_list_mic is None else "MIC",
    ]
    return " ".join(word for word in words if word)


def _inner(token: bytes | None) -> str:
    if token is None:
        return "nothing"
    if token.startswith(b"NTLMSSP\0"):
        return f"NTLM {token[8]}"
    place = token.find(KERBEROS_OID)
    return _KERBEROS_TOKENS[token[place + len(KERBEROS_OID) :][:2]] if 0 < place < 8 else "token"


def _protects(last: bytes) -> bool:
    """Whether a client's last token leads to framed data: all but an NTLM AUTHENTICATE without SIGN and SEAL."""
    return not last.startswith(b"NTLMSSP\0\3") or bool(int.from_bytes(last[60:64], "little") & 0x30)


@dataclass
class Recording:
    """What passed in one connection."""

    sealed: bool = True
    """Whether data travels in frames: not after bare NTLM without signatures."""
    frames: list[Frame] = field(default_factory=list[Frame])
    data: dict[Way, list[int]] = field(default_factory=lambda: {"c": [], "s": []})
    """The sizes of data frames each way; without frames the number of octets alone."""
    ends: list[Way] = field(default_factory=list[Way])
    """The ends of stream, in their order."""
    _rest: dict[Way, bytearray] = field(default_factory=lambda: {"c": bytearray(), "s": bytearray()})
    _done: bool = False

    def take(self, way: Way, octets: bytes) -> None:
        """Note what `way` sent."""
        self._rest[way] += octets
        if not self._done:
            self._handshake(way)
        if self._done:
            for one in self._rest:
                self._data(one)

    def _handshake(self, way: Way) -> None:
        rest = self._rest[way]
        while not self._done and len(rest) >= _HEADER and rest[0] in (_DONE, _ERROR, _IN_PROGRESS):
            end = _HEADER + int.from_bytes(rest[3:_HEADER], "big")
            if len(rest) < end:
                return
            assert rest[1:3] == b"\x01\x00"
            self.frames.append(Frame(way, rest[0], bytes(rest[_HEADER:end])))
            del rest[:end]
            if way == "s" and self.frames[-1].identifier == _DONE:
                self._done = True
                self.sealed = _protects(self.frames[-2].token)

    def _data(self, way: Way) -> None:
        rest = self._rest[way]
        if not self.sealed:
            self.data[way] = [sum(self.data[way]) + len(rest)]
            rest.clear()
        while len(rest) >= _SIZE and len(rest) >= (end := _SIZE + int.from_bytes(rest[:_SIZE], "little")):
            self.data[way].append(end - _SIZE)
            del rest[:end]

    @property
    def unread(self) -> dict[Way, int]:
        """Octets that make no frame."""
        return {way: len(rest) for way, rest in self._rest.items()}


class Recorder:
    """A relay on a port of its own.

    Args:
        server_port: where it connects to, on 127.0.0.1.
        drip: whether it passes every octet by itself.
    """

    def __init__(self, server_port: int, *, drip: bool = False) -> None:
        self._piece = 1 if drip else MAX_PIECE
        self.port = 0
        self.recording = Recording()
        self._ended = anyio.Event()
        self._server_port = server_port

    async def serve(self, client: anyio.abc.SocketStream) -> None:
        """Relay one connection until both ends have ended it."""
        server = await anyio.connect_tcp("127.0.0.1", self._server_port)
        async with client, server, anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass, "c", client, server)
            tasks.start_soon(self._pass, "s", server, client)
        self._ended.set()

    async def ended(self) -> Recording:
        """What passed, once both ends have ended the connection."""
        await self._ended.wait()
        return self.recording

    async def _pass(self, way: Way, source: anyio.abc.ByteStream, sink: anyio.abc.ByteStream) -> None:
        try:
            async for octets in source:
                self.recording.take(way, octets)
                for start in range(0, len(octets), self._piece):
                    await sink.send(octets[start : start + self._piece])
            self.recording.ends.append(way)
            await sink.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass  # one end has gone; the other is closed with the relay


@asynccontextmanager
async def recording(server_port: int, *, drip: bool = False) -> AsyncGenerator[Recorder]:
    """A recorder before `server_port` of 127.0.0.1; see `Recorder`."""
    recorder = Recorder(server_port, drip=drip)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        recorder.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, recorder.serve)
        yield recorder
        tasks.cancel_scope.cancel()
