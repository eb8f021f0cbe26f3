"""Contexts of `ssl` for clients whose sessions must not be resumed by their IDs (SECURITY rule 11).

OpenSSL's server keeps each session of TLS 1.2 that has no ticket in a cache of its context and resumes it by its ID,
and `ssl` has no switch for that. So a client that names an ID is given a context that has issued no such ID. Two
contexts are enough, since an ID was issued by one of them at most; each is replaced after some sessions, which bounds
what is remembered here and what OpenSSL keeps.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from securestream.errors import ErrorKind, HandshakeError
from securestream.options import Role
from securestream.records.base import TlsSession
from securestream.records.client_hello import HANDSHAKE
from securestream.records.stdlib import StdlibConnection

MAX_SESSIONS = 512
"""Sessions after which a context is replaced; OpenSSL keeps about 1 KiB for each, and a client's certificate."""

_ID_AT = 5 + 4 + 2 + 32
"""Where the ID's length stands: behind record header, message header, version and random (RFC 5246 7.4.1.3)."""


class Issuer:
    """A context, and the IDs of the sessions that it may have in its cache."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.issued: set[bytes] = set()


class UnresumedContexts:
    """Chooses a context for each client.

    Args:
        make: makes a context that gives no tickets.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make
        self._kept = [Issuer(make())]
        self._unreadable: Issuer | None = None

    def choose(self, session_id: bytes | None) -> Issuer:
        """A context that resumes nothing for a client.

        Args:
            session_id: what the client names, `None` where that could not be read; such a client gets a context whose
                cache is empty.
        """
        if session_id is None:
            if self._unreadable is None or cached(self._unreadable.context):
                self._unreadable = Issuer(self._make())
            return self._unreadable
        for at, issuer in enumerate(self._kept):
            if session_id not in issuer.issued:
                if len(issuer.issued) < MAX_SESSIONS:
                    return issuer
                self._kept[at] = Issuer(self._make())
                return self._kept[at]
        self._kept = [*self._kept[-1:], Issuer(self._make())]
        return self._kept[-1]


def cached(context: ssl.SSLContext) -> int:
    """How many sessions OpenSSL keeps for `context`."""
    return context.session_stats()["number"]


class UnresumedConnection(StdlibConnection):
    """An acceptor's connection on a context of `UnresumedContexts`; arguments as for `StdlibConnection`."""

    def __init__(
        self,
        issuer: Issuer,
        *,
        alpn: tuple[str, ...],
        server_name: str | None,
        own_certificate: bytes,
    ) -> None:
        super().__init__(
            issuer.context, Role.ACCEPTOR, alpn=alpn, server_name=server_name, own_certificate=own_certificate
        )
        self._issuer: Issuer | None = issuer

    def _handshake(self) -> None:
        try:
            super()._handshake()
        finally:
            if self._issuer is not None and self._outgoing.pending:
                self._note(self._issuer)
                self._issuer = None

    def _note(self, issuer: Issuer) -> None:
        """Remember the ID in our ServerHello before the client sees it; `SSLObject.session` tells it, but leaks."""
        first = self._outgoing.read()
        self._outgoing.write(first)
        if first[0] == HANDSHAKE and self._tls.version() != "TLSv1.3":  # whose ServerHello repeats what the client said
            issuer.issued.add(first[_ID_AT + 1 : _ID_AT + 1 + first[_ID_AT]])

    def _accepts(self, session: TlsSession) -> None:
        if session.resumed:
            raise HandshakeError(
                "a session was resumed by its ID where none may be: connect again", kind=ErrorKind.ILLEGAL_MESSAGE
            )
        super()._accepts(session)
