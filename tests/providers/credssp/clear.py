"""A stand-in for TLS whose records are its plaintext: what travels inside can be read, cut and altered cheaply."""

from __future__ import annotations

from dataclasses import dataclass, field

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Credential
from securestream.errors import BadSignature, Unsupported
from securestream.options import Options, Role
from securestream.principal import NameType, Principal, unauthenticated
from securestream.provider import (
    Buffer,
    Capability,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    TargetName,
    Unusable,
)
from securestream.records.base import EngineCapability, PeerClosed, PlainData, RecordEvent, TlsSession
from tests.certificates import Pair

CLOSE_NOTIFY = b"\0<close_notify>"


@dataclass
class ClearConnection:
    """A record connection without records. A close_notify is `CLOSE_NOTIFY`."""

    session: TlsSession
    capabilities: EngineCapability = EngineCapability.NONE
    received: bytearray = field(default_factory=bytearray)
    sent: bytearray = field(default_factory=bytearray)
    closed: bool = False
    ended: bool = False

    def start(self) -> None:
        pass

    def receive_data(self, data: Buffer) -> None:
        self.received += data

    def receive_eof(self) -> None:
        self.ended = True

    def next_event(self) -> RecordEvent | None:
        if self.received.startswith(CLOSE_NOTIFY):
            return PeerClosed(authenticated=True)
        if not self.received:
            return PeerClosed(authenticated=False) if self.ended else None
        data, self.received = bytes(self.received), bytearray()
        return PlainData(data)

    def receive_plain(self, data: Buffer) -> list[bytes]:
        self.receive_data(data)
        return []

    def read_into(self, buffer: bytearray | memoryview) -> int:
        if self.received.startswith(CLOSE_NOTIFY):
            return 0
        count = min(len(buffer), len(self.received))
        buffer[:count] = self.received[:count]
        del self.received[:count]
        return count

    def send(self, data: Buffer) -> None:
        if self.closed:
            raise BadSignature("closed")
        self.sent += data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.sent += CLOSE_NOTIFY

    def data_to_send(self) -> bytes:
        data, self.sent = bytes(self.sent), bytearray()
        return data

    def trailing_data(self) -> bytes:
        return b""

    def channel_bindings(self, kind: str) -> ChannelBindings:
        raise Unsupported("there is no TLS")

    def export_keying_material(self, label: bytes, length: int, context: bytes | None = None) -> bytes:
        raise Unsupported("there is no TLS")


@dataclass(frozen=True)
class Clear:
    """A package whose channel is no TLS, but says so.

    Args:
        server: the server's certificate, as this end sees it.
        proves: whether the client's end takes it for verified.
    """

    server: Pair
    proves: bool = True

    @property
    def info(self) -> PackageInfo:
        return PackageInfo("Clear", "no TLS at all", Capability.STREAM | Capability.CONNECTION, 0)

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        reply = yield from Exchange(b"hello")
        assert reply == b"hello yourself"
        connection = ClearConnection(TlsSession("none", "none", peer_certificate=self.server.der))
        proved = Principal(target.host if target else "", "Clear", name_type=NameType.HOST)
        return Established(connection, proved if self.proves else unauthenticated("Clear"))

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        assert (yield from Exchange(None)) == b"hello"
        connection = ClearConnection(TlsSession("none", "none", own_certificate=self.server.der))
        return Established(connection, unauthenticated("Clear"), b"hello yourself")
