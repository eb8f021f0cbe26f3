"""TLS as a helper inside a handshake: plaintext in, the peer's plaintext out, records as tokens."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from securestream.errors import ContextError, HandshakeError, InvalidToken, LimitExceeded, PeerGone
from securestream.provider import Buffer, Effect, Exchange
from securestream.records.base import HandshakeCompleted, PeerClosed, PlainData, RecordConnection


class TlsTunnel:
    """Carries an inner protocol through a record connection, within one handshake::

        reply = yield from tunnel.exchange(plain)

    The TLS handshake happens at the first exchange; its last flight travels with the first plaintext. TLS keeps no
    message boundaries: a reply may be a part of the peer's message, or several.

    Args:
        connection: the connection, not yet started. It stays usable afterwards, with what it still holds.
        limit: octets of plaintext that one exchange may bring.
    """

    def __init__(self, connection: RecordConnection, *, limit: int = 65536) -> None:
        self.connection = connection
        self._limit = limit
        self._complete = False

    def handshake(self) -> Generator[Effect[Any], Any, None]:
        """Complete the TLS handshake; its last flight, if any, leaves with the next exchange.

        Raises:
            HandshakeError: it failed; the alert is its token.
            PeerRefused: the peer sent an alert.
        """
        if self._complete:
            return
        try:
            self.connection.start()
            while not isinstance(self.connection.next_event(), HandshakeCompleted):
                self.connection.receive_data((yield from Exchange(self.connection.data_to_send() or None)))
        except HandshakeError as error:
            error.token = self.connection.data_to_send() or None
            raise
        self._complete = True

    def exchange(self, plain: Buffer | None = None) -> Generator[Effect[Any], Any, bytes]:
        """Send `plain` and resume with the plaintext that the peer sends next, at least one octet of it.

        Args:
            plain: for the peer; `None` only listens.

        Raises:
            HandshakeError: TLS failed, or a record was damaged.
            PeerGone: the peer closed the tunnel.
        """
        yield from self.handshake()
        if plain is not None:
            self.connection.send(plain)
        received = self._received()
        while not received:
            token = self.connection.data_to_send() or None
            self.connection.receive_data((yield from Exchange(token)))
            received = self._received()
        return received

    def last(self, plain: Buffer) -> bytes | None:
        """`plain` as records, for `Established.token`: nothing is awaited for it."""
        self.connection.send(plain)
        return self.connection.data_to_send() or None

    def _received(self) -> bytes:
        received = bytearray()
        try:
            while (event := self.connection.next_event()) is not None:
                if isinstance(event, PlainData):
                    received += event.data
                elif isinstance(event, PeerClosed) and not received:
                    raise PeerGone("the peer closed the TLS tunnel within the handshake")
                if len(received) > self._limit:
                    raise LimitExceeded(f"the peer sent more than {self._limit} octets at once through the TLS tunnel")
        except ContextError as damaged:
            raise InvalidToken(str(damaged), token=self.connection.data_to_send() or None) from damaged
        return bytes(received)
