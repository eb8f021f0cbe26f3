"""TLS as a helper inside a handshake: plaintext in, the peer's plaintext out, records as tokens."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, Self

from securestream.errors import ContextError, HandshakeError, InvalidToken, LimitExceeded, PeerGone, UsageError
from securestream.nested import Nested
from securestream.options import Limits
from securestream.principal import Principal
from securestream.provider import Buffer, Effect, Exchange, Handshake, SecurityContext
from securestream.records.base import HandshakeCompleted, PeerClosed, PlainData, RecordConnection


class TlsTunnel:
    """Carries an inner protocol through a record connection, within one handshake::

        reply = yield from tunnel.exchange(plain)

    The TLS handshake happens at the first exchange; its last flight travels with the first plaintext. TLS keeps no
    message boundaries: a reply may be a part of the peer's message, or several. An inner protocol that knows how long
    its messages are uses `send` and `receive` instead, and leaves what follows its last message in the connection.

    Args:
        connection: the connection, not yet started. It stays usable afterwards, with what it still holds.
        limit: octets of plaintext that one exchange may bring.
    """

    def __init__(self, connection: RecordConnection, *, limit: int = 65536) -> None:
        self.connection = connection
        self.peer: Principal | None = None
        """Who the TLS handshake proved the peer to be, where a package ran it (`over`)."""
        self._limit = limit
        self._complete = False
        self._owed = b""

    @classmethod
    def over(
        cls, handshake: Handshake, *, limits: Limits | None = None, limit: int = 65536, apart: bool = False
    ) -> Generator[Effect[Any], Any, Self]:
        """Complete the handshake of a package whose channel is TLS (Schannel), and give a tunnel through what it
        established. Its last flight, if any, leaves with the next exchange.

        Args:
            handshake: what the package's ``initiate`` or ``accept`` returned.
            limits: bounds before authentication; how often the network cuts the octets is bounded by their number.
            limit: as for the class.
            apart: whether the last flight leaves by itself, since the peer answers it (`Options.in_turns`).

        Raises:
            HandshakeError: it failed; the alert is its token.
            PeerRefused: the peer sent an alert.
            UsageError: the package establishes no record connection.
        """
        bounds = Limits() if limits is None else limits
        with Nested(handshake, limits=replace(bounds, legs=bounds.handshake_octets)) as tls:
            step = yield from tls.step()
            while step.established is None:
                step = yield from tls.step((yield from Exchange(step.token)))
            outcome = step.established
            if isinstance(outcome.result, SecurityContext):
                raise UsageError("a tunnel needs a package whose channel is TLS: give Schannel")
        tunnel = cls(outcome.result, limit=limit)
        tunnel.peer = outcome.peer
        tunnel._complete = True
        tunnel._owed = outcome.token or b""
        if apart and tunnel._owed:
            tunnel.connection.receive_data((yield from Exchange(tunnel.take())))
        return tunnel

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
            self.connection.receive_data((yield from Exchange(self.take())))
            received = self._received()
        return received

    def send(self, plain: Buffer) -> None:
        """Encrypt `plain`; it leaves when `receive` needs the peer, or by `take`.

        Raises:
            UsageError: the TLS handshake is not complete.
        """
        self.connection.send(plain)

    def receive(self, count: int) -> Generator[Effect[Any], Any, bytes]:
        """Exactly `count` octets of the peer's plaintext; what follows them stays in the connection.

        Raises:
            HandshakeError: TLS failed, a record was damaged, or `count` is over the limit.
            PeerGone: the peer closed the tunnel.
        """
        if count > self._limit:
            raise LimitExceeded(f"a message of {count} octets is over the limit of {self._limit} within the TLS tunnel")
        yield from self.handshake()
        buffer = memoryview(bytearray(count))
        filled = 0
        while filled < count:
            arrived = self._read_into(buffer[filled:])
            filled += arrived
            if not arrived:
                self.connection.receive_data((yield from Exchange(self.take())))
        return bytes(buffer)

    def take(self) -> bytes | None:
        """The records that wait to leave, taken out; `None` for nothing."""
        owed, self._owed = self._owed + self.connection.data_to_send(), b""
        return owed or None

    def last(self, plain: Buffer) -> bytes | None:
        """`plain` as records, for `Established.token`: nothing is awaited for it."""
        self.connection.send(plain)
        return self.take()

    def close(self) -> bytes | None:
        """What waits to leave, and a close_notify behind it: for the token of a refusal."""
        self.connection.close()
        return self.take()

    def _read_into(self, buffer: memoryview) -> int:
        try:
            count = self.connection.read_into(buffer)
            if not count and isinstance(self.connection.next_event(), PeerClosed):
                raise PeerGone("the peer closed the TLS tunnel within the handshake")
        except ContextError as damaged:
            raise InvalidToken(str(damaged), token=self.take()) from damaged
        return count

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
            raise InvalidToken(str(damaged), token=self.take()) from damaged
        return bytes(received)
