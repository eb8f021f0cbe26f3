"""What all framings share: the events, and the verbs of the interface."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from securestream.errors import ErrorKind
from securestream.provider import Buffer
from securestream.redaction import Redacted
from securestream.values import made_quickly


class TokenKind(Enum):
    """What a handshake frame says beside its token."""

    IN_PROGRESS = "in progress"
    DONE = "done"
    """The sender's context is complete; the frame may still carry a token, which must be processed."""


class Mode(Enum):
    """What follows on the wire."""

    HANDSHAKE = "handshake"
    DATA = "data"
    """Sealed data in frames."""
    RAW = "raw"
    """Octets without any frame."""


@made_quickly
@dataclass(frozen=True, repr=False)
class TokenFrame(Redacted):
    """A handshake token. `token` is `None` where the frame carries none."""

    kind: TokenKind
    token: bytes | None


@dataclass(frozen=True)
class ErrorFrame:
    """The peer refused.

    Args:
        code: as received (HRESULT or Win32 code), unsigned 32 bits.
        kind: the nearest kind.
    """

    code: int
    kind: ErrorKind


@made_quickly
@dataclass(frozen=True, repr=False)
class SealedFrame(Redacted):
    """A sealed message; `data` is a view that is valid until the next `Framing.receive_data`."""

    data: memoryview


@made_quickly
@dataclass(frozen=True, repr=False)
class RawData(Redacted):
    """Octets received in `Mode.RAW`; a view as in `SealedFrame`."""

    data: memoryview


@dataclass(frozen=True)
class EndOfInput:
    """The peer ended its stream between two frames."""


FrameEvent: TypeAlias = TokenFrame | ErrorFrame | SealedFrame | RawData | EndOfInput


class Framing(Protocol):
    """Carries tokens and sealed data on a particular wire: octets in, frames out. Knows no cryptography and no roles.

    One event at a time, since the mode may change inside one read. Each limit is checked before a frame is buffered.
    """

    max_plaintext: int
    """Octets of plaintext that one sealed frame takes at most when sending."""

    def token(self, kind: TokenKind, token: bytes | None) -> bytes:
        """The frame that carries a handshake token; empty where this wire has no such frame."""
        ...

    def error(self, kind: ErrorKind) -> bytes:
        """The frame that refuses the peer; empty where this wire has none."""
        ...

    def sealed_header(self, length: int) -> bytes:
        """What stands before a sealed message of `length` octets.

        Raises:
            UsageError: no message may have that length.
        """
        ...

    def receive_data(self, data: Buffer) -> None:
        """Take octets from the transport."""
        ...

    def receive_eof(self) -> None:
        """The transport ended."""
        ...

    def next_event(self) -> FrameEvent | None:
        """The next event, or `None` when more octets are needed.

        Raises:
            FramingError: an unknown frame, a length over the limit, an end inside a frame.
        """
        ...

    def enter(self, mode: Mode) -> None:
        """Say what follows on the wire."""
        ...

    def trailing_data(self) -> bytes:
        """What was received and not yet taken as an event; the framing gives it up."""
        ...
