"""The interface of a record connection: TLS as octets in, events out, whatever engine runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Protocol, TypeAlias

from securestream.channel_bindings import ChannelBindings
from securestream.provider import Buffer


class EngineCapability(Flag):
    """What a record engine can do beyond TLS itself; asking for what it cannot raises `Unsupported`."""

    NONE = 0
    EXPORTER = auto()
    POST_QUANTUM = auto()
    OCSP_STAPLING = auto()
    TLS_UNIQUE = auto()
    KEY_LOG = auto()
    RESUMPTION = auto()


@dataclass(frozen=True)
class HandshakeCompleted:
    """The TLS handshake is complete and the peer's certificate, where one was due, was verified."""


@dataclass(frozen=True)
class PlainData:
    """Application data."""

    data: bytes = field(repr=False)


@dataclass(frozen=True)
class PeerClosed:
    """The peer ended its side.

    Args:
        authenticated: whether a close_notify proved that nothing was cut off (RFC 8446 6.1).
    """

    authenticated: bool


RecordEvent: TypeAlias = HandshakeCompleted | PlainData | PeerClosed


@dataclass(frozen=True)
class TlsSession:
    """What was agreed.

    Args:
        version: as OpenSSL names it, ``TLSv1.3``.
        cipher: name of the cipher suite.
        alpn: the application protocol, or `None`.
        server_name: the SNI name, asked for or received, or `None`.
        peer_certificate: the peer's leaf, DER, or `None`.
        peer_chain: the verified chain, leaf first, DER, where the engine tells.
        resumed: whether an earlier session was resumed.
        group: the key agreement group, where the engine tells.
        own_certificate: an acceptor's own leaf, DER, where the engine knows it: what an inner protocol binds to.
    """

    version: str
    cipher: str
    alpn: str | None = None
    server_name: str | None = None
    peer_certificate: bytes | None = field(default=None, repr=False)
    peer_chain: tuple[bytes, ...] = field(default=(), repr=False)
    resumed: bool = False
    group: str | None = None
    own_certificate: bytes | None = field(default=None, repr=False)


class RecordConnection(Protocol):
    """One end of a TLS connection without I/O.

    Order of use: `receive_data` what the transport gave, then `next_event` until it is `None`, and send what
    `data_to_send` returns. Session tickets and KeyUpdates are dealt with inside; what they make is in `data_to_send`.
    """

    @property
    def capabilities(self) -> EngineCapability:
        """What the engine can do."""
        ...

    @property
    def session(self) -> TlsSession:
        """What was agreed.

        Raises:
            UsageError: the handshake is not complete.
        """
        ...

    def start(self) -> None:
        """Begin the handshake (client: the ClientHello is then in `data_to_send`). Idempotent."""
        ...

    def receive_data(self, data: Buffer) -> None:
        """Take octets from the transport."""
        ...

    def receive_eof(self) -> None:
        """The transport ended."""
        ...

    def next_event(self) -> RecordEvent | None:
        """The next event, or `None` when more octets are needed.

        Raises:
            HandshakeError: the handshake failed; the alert is in `data_to_send`.
            ContextError: a record was damaged after the handshake.
            PeerRefused: the peer sent an alert.
        """
        ...

    def receive_plain(self, data: Buffer) -> list[bytes]:
        """`receive_data`, and the plaintext of all complete records then at hand: the fast form for a stream.

        Returns:
            Parts of at most 64 KiB; none before the handshake is complete. Call `next_event` until it is `None`
            afterwards: it tells of the peer's end and of damage, which come after these parts.
        """
        ...

    def read_into(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer` with the plaintext of all complete records at hand: `next_event` without an object for each.

        Returns:
            The number of octets; 0 when more ciphertext is needed or the peer has closed (then `next_event` tells).
        """
        ...

    def send(self, data: Buffer) -> None:
        """Encrypt application data into `data_to_send`."""
        ...

    def close(self) -> None:
        """Put a close_notify into `data_to_send`. Idempotent."""
        ...

    def data_to_send(self) -> bytes:
        """Octets for the transport, taken out."""
        ...

    def trailing_data(self) -> bytes:
        """Octets received beyond the peer's close_notify, which belong to whoever owns the transport next."""
        ...

    def channel_bindings(self, kind: str) -> ChannelBindings:
        """The channel bindings ``tls-server-end-point``, ``tls-exporter`` or ``tls-unique`` of this connection.

        Raises:
            Unsupported: the engine or the protocol version has none of that kind.
        """
        ...

    def export_keying_material(self, label: bytes, length: int, context: bytes | None = None) -> bytes:
        """Exported keying material (RFC 8446 7.5, RFC 5705).

        Raises:
            Unsupported: the engine cannot.
        """
        ...
