"""The life of a record connection, the same on every engine: states, events, errors."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from threading import RLock, local
from typing import Any, Concatenate, ParamSpec, TypeVar

from securestream.channel_bindings import (
    TLS_EXPORTER_LABEL,
    TLS_EXPORTER_LENGTH,
    ChannelBindings,
    tls_exporter,
    tls_server_end_point,
    tls_unique,
)
from securestream.errors import (
    BadSignature,
    ContextExpired,
    ErrorKind,
    FramingError,
    HandshakeError,
    PeerGone,
    SecureStreamError,
    Unsupported,
    UsageError,
)
from securestream.fork import discard_in_child
from securestream.options import Role
from securestream.provider import Buffer
from securestream.records.alerts import own_failure, received_alert, refused_by_peer, rejected_certificate
from securestream.records.base import (
    EngineCapability,
    HandshakeCompleted,
    PeerClosed,
    PlainData,
    RecordEvent,
    TlsSession,
)

RECORD = 16384
"""The most plaintext that one record carries (RFC 8446 5.1)."""

MAX_OWED = 65536
"""Octets that reading may leave to be sent: answers to KeyUpdates (27 each) and alerts, which leave with the next send.
A peer that makes this end answer more often while it only reads would fill its memory."""


P = ParamSpec("P")
R = TypeVar("R")


def _alone(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """One thread at a time: OpenSSL's objects stand no reader beside a writer, and `ssl` lets both in before 3.13."""

    @functools.wraps(method)
    def locked(self: EngineConnection, /, *arguments: P.args, **named: P.kwargs) -> R:
        with self.lock:
            return method(self, *arguments, **named)

    return locked


_THREAD = local()

_SCRATCH = 4 * RECORD
"""Octets of plaintext given in one part. Larger ones would cost fresh pages of memory each time."""

_FEED = 32768
"""Octets given to the engine at once: its memory buffers grow to what they are given, and never shrink again."""


def _scratch() -> memoryview:
    """Room for a few records, one for each thread: an idle connection owns no buffer."""
    try:
        buffer: memoryview = _THREAD.buffer
    except AttributeError:
        buffer = _THREAD.buffer = memoryview(bytearray(_SCRATCH))
    return buffer


_OVERHEAD = 256
"""More than a record's header, tag and padding."""


class WantsMore(Exception):
    """The engine needs more octets of the peer."""


class Ended(Exception):
    """The peer's close_notify came."""


class EngineFailure(Exception):
    """OpenSSL refused.

    Args:
        reason: its words.
        verify_code: X509_V_ERR_* when the peer's certificate was refused.
    """

    def __init__(self, reason: str, verify_code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.verify_code = verify_code


class _State(Enum):
    NEW = "new"
    HANDSHAKE = "in its handshake"
    OPEN = "open"
    ENDED = "ended by the peer"
    FAILED = "failed"


_OPEN = _State.OPEN  # before Python 3.12 a look at an enumeration costs as much as a call


class EngineConnection(ABC):
    """A `RecordConnection`; see there for what each method means. One thread may send while another receives.

    Args:
        role: this end's role.
        server_name: the name asked for (initiator) or asked of us (acceptor), for `TlsSession.server_name`.
        alpn: our application protocols; when the initiator's peer agrees to none of them, the handshake fails.
        own_certificate: this end's leaf, DER, for an acceptor's bindings; `None` where it is not known.
    """

    capabilities: EngineCapability = EngineCapability.NONE

    def __init__(
        self,
        role: Role,
        *,
        server_name: str | None = None,
        alpn: tuple[str, ...] = (),
        own_certificate: bytes | None = None,
    ) -> None:
        self.role = role
        self._server_name = server_name
        self._alpn = alpn
        self._own_certificate = own_certificate
        self._state = _State.NEW
        self._session: TlsSession | None = None
        self._failure: SecureStreamError | None = None
        self._eof = False
        self._closed = False
        self._end_told = False
        self._authenticated_end = False
        self._early: deque[bytes] | None = None
        self._at_rest = False
        self._fed: Buffer = b""
        self._sent = 0
        self.lock = RLock()
        discard_in_child(self)

    def discard(self) -> None:
        """End the connection in a forked child: two processes under one key would repeat its nonces."""
        self._at_rest = False
        self._failure = ContextExpired("this TLS connection belongs to the process that forked: connect again")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.role.value} {self._state.value}>"

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("a record connection refuses pickling: it holds the keys of a live connection")

    # --- what an engine fills in -----------------------------------------------------------------------------------

    @abstractmethod
    def _handshake(self) -> None:
        """Go on with the handshake. Raises WantsMore, Ended or EngineFailure."""

    @abstractmethod
    def _read_into(self, buffer: memoryview) -> int:
        """Plaintext of the records at hand into `buffer`, while a whole one has room; 0 when more octets are needed.

        Raises Ended or EngineFailure; when there was plaintext before it, the next call does.
        """

    @abstractmethod
    def _write(self, data: Buffer) -> None:
        """Encrypt. Raises as `_handshake`."""

    @abstractmethod
    def _shutdown(self) -> None:
        """Put a close_notify out."""

    @abstractmethod
    def _feed(self, data: Buffer) -> None:
        """Take ciphertext."""

    @abstractmethod
    def _drain(self) -> bytes:
        """Give ciphertext."""

    @abstractmethod
    def _unsent(self) -> int:
        """Octets of ciphertext that nobody has taken yet."""

    @abstractmethod
    def _leftover(self) -> bytes:
        """Ciphertext that the engine did not look at."""

    @abstractmethod
    def _describe(self, server_name: str | None) -> TlsSession:
        """What was agreed."""

    @abstractmethod
    def _finished(self) -> bytes:
        """The first Finished message of the handshake, for tls-unique."""

    @abstractmethod
    def _export(self, label: bytes, length: int, context: bytes | None) -> bytes:
        """Exported keying material."""

    @abstractmethod
    def _after_data(self) -> None:
        """All that came was read: tickets may have come with it."""

    def _is_at_rest(self) -> bool:
        """Whether the engine, after a read, is known to hold no record that it has not given, to owe nothing, and to
        wait for no ticket: another look would find nothing to do.
        """
        return False

    def _accepts(self, session: TlsSession) -> None:
        """A last judgement before the handshake counts as complete. Raises HandshakeError."""
        if self.role is Role.INITIATOR and self._alpn and session.alpn is None:
            raise HandshakeError(
                f"the server agreed to none of our application protocols ({', '.join(self._alpn)})",
                kind=ErrorKind.ALPN_MISMATCH,
            )

    # --- the life of a connection ----------------------------------------------------------------------------------

    @property
    def session(self) -> TlsSession:
        """What was agreed."""
        if self._session is None:
            raise UsageError("the TLS handshake is not complete")
        return self._session

    @_alone
    def start(self) -> None:
        """Begin the handshake."""
        if self._state is _State.NEW:
            self._state = _State.HANDSHAKE
            self._advance()

    # The four that each message needs take the lock themselves: a wrapper would cost more than they do.

    def receive_data(self, data: Buffer) -> None:
        """Take octets from the transport."""
        with self.lock:
            if self._eof:
                raise UsageError("the transport has ended: it cannot give more octets")
            self._at_rest = False
            self._feed(data)

    def receive_eof(self) -> None:
        """The transport ended."""
        self._at_rest = False
        self._eof = True

    def next_event(self) -> RecordEvent | None:
        """The next event, or `None` when more octets are needed."""
        if self._at_rest:
            return None
        with self.lock:
            if self._state is _State.NEW:
                self.start()
            if self._failure is not None:
                raise self._failure
            if self._state is _State.HANDSHAKE:
                return HandshakeCompleted() if self._advance() else None
            if self._early:
                return PlainData(self._early.popleft())
            if self._state is _OPEN:
                buffer = _scratch()
                if count := self._read_ready(buffer):
                    return PlainData(bytes(buffer[:count]))
            return self._end()

    def receive_plain(self, data: Buffer) -> list[bytes]:
        """Take octets from the transport; give the plaintext at hand."""
        with self.lock:
            if self._eof:
                raise UsageError("the transport has ended: it cannot give more octets")
            parts: list[bytes] = []
            size, scratch, filled = len(data), _scratch(), 0
            self._at_rest = False
            for offset in range(0, size, _FEED):
                self._fed = data if size <= _FEED else memoryview(data)[offset : offset + _FEED]
                self._feed(self._fed)
                while self._state is _OPEN and not self._early:
                    filled += self._read_ready(scratch[filled:] if filled else scratch, pending=True)
                    if filled <= _SCRATCH - RECORD:
                        break  # that was all there is
                    parts.append(bytes(scratch[:filled]))
                    filled = 0
            self._fed = b""
            if filled:
                parts.append(bytes(scratch[:filled]))
                if self._state is _OPEN and not self._early and not self._closed:
                    self._at_rest = self._failure is None and self._is_at_rest()
            return parts

    def read_into(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer` with the plaintext of all complete records at hand."""
        with self.lock:
            if self._failure is not None:
                raise self._failure
            view = memoryview(buffer).cast("B")
            filled = self._read_early(view) if self._early else 0
            while self._state is _OPEN and filled < len(view):
                count = self._read_ready(view[filled:] if filled else view, pending=filled > 0)
                if not count:
                    break
                filled += count
            return filled

    def _read_early(self, view: memoryview) -> int:
        """What came before this end's close_notify."""
        filled = 0
        while self._early and filled < len(view):
            first = self._early.popleft()
            count = min(len(first), len(view) - filled)
            view[filled : filled + count] = first[:count]
            filled += count
            if count < len(first):
                self._early.appendleft(first[count:])
        return filled

    def send(self, data: Buffer) -> None:
        """Encrypt application data."""
        with self.lock:
            if self._failure is not None:
                raise self._failure
            if self._session is None:
                raise UsageError("the TLS handshake is not complete: nothing can be sent yet")
            if self._closed:
                raise UsageError("this end has sent close_notify: nothing can be sent any more")
            if not len(data):
                return
            self._sent += len(data) + (len(data) // RECORD + 1) * _OVERHEAD
            try:
                self._write(data)
            except EngineFailure as failure:
                raise self._fail(self._translate(failure)) from failure

    @_alone
    def close(self) -> None:
        """Put a close_notify out."""
        if self._closed:
            return
        self._at_rest = False
        self._closed = True
        if self._failure is not None or self._session is None:
            return
        if self._state is _OPEN:  # OpenSSL looks for the peer's close_notify and must not find data before it
            buffer = _scratch()
            self._early = deque()
            while count := self._read_ready(buffer, pending=True):
                self._early.append(bytes(buffer[:count]))
        if self._failure is None:
            self._after_data()
            self._shutdown()

    def data_to_send(self) -> bytes:
        """Octets for the transport."""
        with self.lock:
            self._sent = 0
            return self._drain()

    def trailing_data(self) -> bytes:
        """Octets beyond the peer's close_notify."""
        return self._leftover() if self._authenticated_end else b""

    # --- steps -----------------------------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """Go on with the handshake; tell whether it is complete."""
        try:
            self._handshake()
            session = self._describe(self._server_name)
            if self._own_certificate is not None:
                session = replace(session, own_certificate=self._own_certificate)
            self._accepts(session)
        except WantsMore:
            if self._eof:
                raise self._fail(PeerGone("the peer ended its stream within the TLS handshake")) from None
            return False
        except Ended:
            raise self._fail(PeerGone("the peer closed the TLS connection within the handshake")) from None
        except EngineFailure as failure:
            raise self._fail(self._translate(failure)) from failure
        except HandshakeError as failure:
            raise self._fail(failure) from None
        self._session = session
        self._state = _State.OPEN
        return True

    def _read_ready(self, buffer: memoryview, *, pending: bool = False) -> int:
        """Plaintext of the next complete record; 0 when there is none.

        A failure is raised by the call after the next when `pending` data must be delivered before it.
        """
        try:
            count = self._read_into(buffer)
        except Ended:
            self._authenticated_end = True
            self._state = _State.ENDED
            return 0
        except EngineFailure as failure:
            error = self._fail(self._translate(failure))
            if pending:
                return 0
            raise error from failure
        if not count:
            self._after_data()
            if self._unsent() > self._sent + MAX_OWED:
                self._fail(FramingError("the TLS peer asks for new keys or renegotiation again and again: closing"))
        return count

    def _end(self) -> PeerClosed | None:
        if self._failure is not None:
            raise self._failure
        if self._end_told or not (self._eof or self._authenticated_end):
            return None
        self._end_told = True
        self._state = _State.ENDED
        return PeerClosed(self._authenticated_end)

    def _fail(self, error: SecureStreamError) -> SecureStreamError:
        self._at_rest = False
        self._failure = error
        self._state = _State.FAILED
        return error

    def _translate(self, failure: EngineFailure) -> SecureStreamError:
        alert = received_alert(failure.reason)
        if alert is not None:
            return refused_by_peer(alert)
        if failure.verify_code is not None:
            return rejected_certificate(failure.verify_code, failure.reason)
        reason = failure.reason.lower().replace("_", " ")
        if self._session is not None:
            return BadSignature(f"a TLS record is damaged or out of place: {reason}")
        return own_failure(reason)

    # --- bindings --------------------------------------------------------------------------------------------------

    def channel_bindings(self, kind: str) -> ChannelBindings:
        """The channel bindings of this connection."""
        session = self.session
        if kind == "tls-server-end-point":
            certificate = session.peer_certificate if self.role is Role.INITIATOR else self._own_certificate
            if certificate is None:
                raise Unsupported("tls-server-end-point needs the server's certificate, which this engine cannot tell")
            return tls_server_end_point(certificate)
        if kind == "tls-unique":
            return tls_unique(self._finished(), session.version)
        if kind == "tls-exporter":
            if session.version != "TLSv1.3":  # RFC 9266 4.2: TLS 1.2 needs the extended master secret; nobody tells
                raise Unsupported(f"tls-exporter bindings need TLS 1.3, and this is {session.version}")
            return tls_exporter(self.export_keying_material(TLS_EXPORTER_LABEL.encode(), TLS_EXPORTER_LENGTH, b""))
        raise Unsupported(f"there are no channel bindings of the kind {kind!r}")

    def export_keying_material(self, label: bytes, length: int, context: bytes | None = None) -> bytes:
        """Exported keying material."""
        _ = self.session
        return self._export(label, length, context)
