"""The data of a blocking connection after its handshake, without I/O: sealed frames, or the records of TLS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from securestream.errors import FramingError, NotEncrypted, Truncated
from securestream.framing.base import EndOfInput, Framing, RawData, SealedFrame
from securestream.options import Protection
from securestream.provider import SecurityContext
from securestream.records.base import PeerClosed, PlainData, RecordConnection

RECORDS_AT_ONCE = 65536
"""Octets of data that are sealed before their records are sent."""


class Channel(Protocol):
    """Data after the handshake, without I/O."""

    awaits_farewell: bool

    def protect(self, data: memoryview) -> Iterable[bytes]:
        """Octets to send for `data`, in pieces."""
        ...

    def feed(self, octets: bytes) -> None:
        """Take what the transport gave; nothing is its end."""
        ...

    def next_data(self) -> bytes | None:
        """Data, ``b""`` at the end, or `None` when more octets are needed."""
        ...

    def farewell(self) -> bytes:
        """What ends this side politely."""
        ...

    def trailing(self) -> bytes:
        """Octets received behind the protected data."""
        ...

    def discard(self) -> None:
        """Drop the keys."""
        ...


class Frames:
    """Sealed messages of a security context in frames, or plain octets where nothing is protected."""

    awaits_farewell = False

    def __init__(self, context: SecurityContext, framing: Framing, protection: Protection) -> None:
        self._context = context
        self._framing = framing
        self._protected = protection is not Protection.NONE
        self._encrypted = protection is Protection.ENCRYPT_AND_SIGN

    def protect(self, data: memoryview) -> Iterable[bytes]:
        if not self._protected:
            return (bytes(data),)
        size = self._framing.max_plaintext
        if 0 < len(data) <= size:  # the shortest way for what is nearly every message
            return (self._frame(data),)
        return (self._frame(data[start : start + size]) for start in range(0, len(data), size))

    def _frame(self, data: memoryview) -> bytes:
        sealed = self._context.wrap(data, encrypt=self._encrypted)
        return self._framing.sealed_header(len(sealed)) + sealed

    def feed(self, octets: bytes) -> None:
        if octets:
            self._framing.receive_data(octets)
        else:
            self._framing.receive_eof()

    def next_data(self) -> bytes | None:
        while True:
            event = self._framing.next_event()
            if isinstance(event, SealedFrame):
                data, encrypted = self._context.unwrap(event.data)
                if not encrypted and self._encrypted:
                    raise NotEncrypted("the peer sent data in clear although encryption was agreed")
                if data:  # .NET skips a frame whose plaintext is empty
                    return data
            elif event is None:
                return None
            elif isinstance(event, EndOfInput):
                return b""
            elif isinstance(event, RawData):
                return bytes(event.data)
            else:
                raise FramingError("a handshake frame came among the data")

    def farewell(self) -> bytes:
        return b""

    def trailing(self) -> bytes:
        return self._framing.trailing_data()

    def discard(self) -> None:
        self._context.discard()


class Records:
    """A record connection: TLS."""

    awaits_farewell = True

    def __init__(self, connection: RecordConnection, received: bytes) -> None:
        self._connection = connection
        if received:
            connection.receive_data(received)

    def protect(self, data: memoryview) -> Iterator[bytes]:
        for start in range(0, len(data), RECORDS_AT_ONCE):
            self._connection.send(data[start : start + RECORDS_AT_ONCE])
            yield self._connection.data_to_send()

    def feed(self, octets: bytes) -> None:
        if octets:
            self._connection.receive_data(octets)
        else:
            self._connection.receive_eof()

    def next_data(self) -> bytes | None:
        while (event := self._connection.next_event()) is not None:
            if isinstance(event, PlainData) and event.data:
                return event.data
            if isinstance(event, PeerClosed):
                if not event.authenticated:
                    raise Truncated("the peer's stream ended without a close_notify: data may have been cut off")
                return b""
        return None

    def farewell(self) -> bytes:
        self._connection.close()
        return self._connection.data_to_send()

    def trailing(self) -> bytes:
        return self._connection.trailing_data()

    def discard(self) -> None:
        self._connection.close()
