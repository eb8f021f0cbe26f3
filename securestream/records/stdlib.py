"""The record engine over `ssl.SSLObject` and memory BIOs, for any `ssl.SSLContext`."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable

from securestream.errors import Unsupported
from securestream.options import Role
from securestream.provider import Buffer
from securestream.records._engine import RECORD, Ended, EngineConnection, EngineFailure, WantsMore
from securestream.records.base import EngineCapability, TlsSession

_WORDS = re.compile(r"^(?:\[[^\]]*\] )?(?:error:.*::)?(.*?)(?: \(_ssl\.c:\d+\))?$")
"""OpenSSL's words within the text of an `ssl.SSLError`."""

_HEADER = 5
"""Octets of a record's header, the last two of which are the length of what follows (RFC 8446 5.1)."""

_LOOKS = 8
"""How often a ticket is looked for: a server that sends any does it with the handshake or soon after."""

Judge = Callable[[TlsSession], None]
"""A last judgement of what was agreed; raises `HandshakeError`."""


class StdlibConnection(EngineConnection):
    """TLS by Python's own `ssl`.

    Args:
        context: the context; what it verifies is what is verified.
        role: this end's role.
        server_hostname: the name or address that an initiator wants to reach; sent as SNI unless it is an address.
        alpn: the protocols that `context` was given with ``set_alpn_protocols``, which it does not tell.
        server_name: the SNI name that an acceptor was asked for.
        own_certificate: an acceptor's leaf, DER, for tls-server-end-point bindings.
        resume: an earlier session to resume (initiator).
        keep: called with each resumable session (initiator).
        judge: a last judgement before the handshake counts as complete.
    """

    capabilities = EngineCapability.TLS_UNIQUE | EngineCapability.KEY_LOG | EngineCapability.RESUMPTION

    def __init__(
        self,
        context: ssl.SSLContext,
        role: Role,
        *,
        server_hostname: str | None = None,
        alpn: tuple[str, ...] = (),
        server_name: str | None = None,
        own_certificate: bytes | None = None,
        resume: ssl.SSLSession | None = None,
        keep: Callable[[ssl.SSLSession], None] | None = None,
        judge: Judge | None = None,
    ) -> None:
        super().__init__(role, server_name=server_name or server_hostname, alpn=alpn, own_certificate=own_certificate)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=role is Role.ACCEPTOR,
            server_hostname=server_hostname if role is Role.INITIATOR else None,
            session=resume,
        )
        self._behind: Exception | None = None
        self._keep = keep
        self._looks = _LOOKS
        self._judge = judge

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLError as error:
            raise _signal(error) from error

    def _read_into(self, buffer: memoryview) -> int:
        """All records at hand, in one loop: what is called for each record costs as much as its decryption."""
        incoming, read, size, filled = self._incoming, self._tls.read, len(buffer), 0
        if self._behind is not None:
            raise self._behind
        if not (incoming.pending or self._closed or self._tls.pending()):
            return 0  # OpenSSL would say so by an exception; once this end has closed, OpenSSL alone knows of an end
        try:
            while True:
                count: int = read(size - filled, buffer[filled:] if filled else buffer)  # type: ignore[assignment]  # with a buffer it counts
                filled += count
                if not (count and incoming.pending) or size - filled < RECORD or self._begun(incoming.pending):
                    break
        except ssl.SSLWantReadError:
            return filled
        except ssl.SSLError as error:
            self._behind = _signal(error)
            self._behind.__cause__ = error
        else:
            if not count:  # close_notify, while ours is not sent; after that it raises SSLZeroReturnError
                self._behind = Ended()
        if self._behind is not None and not filled:
            raise self._behind
        return filled

    def _begun(self, left: int) -> bool:
        """Whether the `left` octets that OpenSSL has not looked at are the beginning of a record that goes on: to have
        it say so by an exception costs a tenth of a record's decryption, and it looks again when more has come.
        """
        start = len(self._fed) - left
        if start < 0:  # they began with what came before
            return False
        return left < _HEADER or left < _HEADER + (self._fed[start + 3] << 8) + self._fed[start + 4]

    def _is_at_rest(self) -> bool:  # records are read whole, so OpenSSL keeps none of one that was begun
        return not (self._incoming.pending or self._outgoing.pending or self._keep or self._behind)

    def _write(self, data: Buffer) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise _signal(error) from error

    def _shutdown(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # the close_notify is out; what the peer makes of it is read, if at all, by next_event
            pass

    def _feed(self, data: Buffer) -> None:
        self._incoming.write(data)

    def _drain(self) -> bytes:
        return self._outgoing.read() if self._outgoing.pending else b""

    def _unsent(self) -> int:
        return self._outgoing.pending

    def _leftover(self) -> bytes:
        return self._incoming.read()

    def _describe(self, server_name: str | None) -> TlsSession:
        tls = self._tls
        cipher = tls.cipher()
        return TlsSession(
            version=tls.version() or "",
            cipher=cipher[0] if cipher else "",
            alpn=tls.selected_alpn_protocol(),
            server_name=server_name,
            peer_certificate=tls.getpeercert(binary_form=True),
            resumed=bool(tls.session_reused),
        )

    def _accepts(self, session: TlsSession) -> None:
        super()._accepts(session)
        if self._judge is not None:
            self._judge(session)
        if session.version != "TLSv1.3":
            self._keep_session()

    def _after_data(self) -> None:
        self._keep_session()

    def _keep_session(self) -> None:
        """Hand a ticket over once: under TLS 1.2 with the handshake, under TLS 1.3 some time later (RFC 8446 4.6.1)."""
        if self._keep is not None:
            session = self._tls.session  # copies it, which takes a seventh of a handshake's time
            self._looks -= 1
            if session is not None and session.has_ticket:
                self._keep(session)
                self._keep = None
            elif not self._looks:
                self._keep = None

    def _finished(self) -> bytes:
        finished = self._tls.get_channel_binding("tls-unique")
        if finished is None:
            raise Unsupported("there is no tls-unique value on this connection")
        return finished

    def _export(self, label: bytes, length: int, context: bytes | None) -> bytes:
        raise Unsupported("Python's ssl has no exporter: use the pyOpenSSL engine (securestream[openssl])")


def _signal(error: ssl.SSLError) -> Exception:
    """OpenSSL's complaint in the words of the shell."""
    if isinstance(error, ssl.SSLWantReadError):
        return WantsMore()
    if isinstance(error, ssl.SSLZeroReturnError):
        return Ended()
    if isinstance(error, ssl.SSLCertVerificationError):
        return EngineFailure(error.verify_message, error.verify_code)
    text = _WORDS.search(str(error.args[-1]))  # Python names no reason that is newer than itself
    return EngineFailure(text[1] if text else str(error))
