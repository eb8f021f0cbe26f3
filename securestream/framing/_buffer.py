"""What framings receive into: a buffer consumed by offset, never shifted, copied at most once."""

from __future__ import annotations

from securestream.framing.base import Mode
from securestream.options import Limits
from securestream.provider import Buffer

_NOTHING = memoryview(b"")


class ReceiveBuffer:
    """Octets received and not yet taken.

    What arrives while nothing is left over is kept as it came; a left-over part is gathered in a `bytearray` that is
    never again extended once a view of it was given out. So a peer that dribbles a frame costs no repeated copies.
    """

    __slots__ = ("_gathered", "_offset", "_view")

    def __init__(self) -> None:
        self._view: memoryview = _NOTHING
        self._offset = 0
        self._gathered: bytearray | None = None

    def __len__(self) -> int:
        if self._gathered is not None:
            return len(self._gathered)
        return len(self._view) - self._offset

    def append(self, data: Buffer) -> None:
        """Add `data`; views given out before are not valid any more."""
        if self._gathered is None:
            if self._offset == len(self._view):
                self._view = memoryview(data if isinstance(data, bytes) else bytes(data))
                self._offset = 0
                return
            self._gathered = bytearray(self._view[self._offset :])
            self._view, self._offset = _NOTHING, 0
        self._gathered += data

    def peek(self, size: int) -> memoryview:
        """The next `size` octets, or fewer when fewer are there, without taking them."""
        if self._gathered is not None:
            return memoryview(bytes(self._gathered[:size]))
        return self._view[self._offset : self._offset + size]

    def take(self, size: int, skip: int = 0) -> memoryview:
        """A view of the `size` octets behind the next `skip`, and take both."""
        if self._gathered is not None:
            self._view, self._offset, self._gathered = memoryview(self._gathered), 0, None
        view, start = self._view, self._offset + skip
        end = start + size
        if end == len(view):  # an idle connection holds on to nothing
            self._view, self._offset = _NOTHING, 0
        else:
            self._offset = end
        return view[start:end]

    def clear(self) -> None:
        """Drop everything."""
        self._view, self._offset, self._gathered = _NOTHING, 0, None


class BufferedFraming:
    """The half of a framing that receives: what came, whether it ended, and what it is.

    Args:
        limits: `Limits.token_size` bounds a handshake token.
    """

    __slots__ = ("_buffer", "_ended", "_mode", "_token_size")

    def __init__(self, limits: Limits | None = None) -> None:
        self._token_size = (Limits() if limits is None else limits).token_size
        self._mode = Mode.HANDSHAKE
        self._buffer = ReceiveBuffer()
        self._ended = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._mode.value}>"

    def receive_data(self, data: Buffer) -> None:
        """Take octets from the transport."""
        self._buffer.append(data)

    def receive_eof(self) -> None:
        """The transport ended."""
        self._ended = True

    def enter(self, mode: Mode) -> None:
        """Say what follows on the wire."""
        self._mode = mode

    def trailing_data(self) -> bytes:
        """What was received and not yet taken, given up."""
        return bytes(self._buffer.take(len(self._buffer)))
