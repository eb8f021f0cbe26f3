"""What an HTTP Digest exchange leaves: no protection of data, and what the server proves itself with."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from securestream.options import ContextFlags, Role
from securestream.redaction import Secret
from securestream.sasl.mechanism import NoLayer
from securestream_providers.digest.algorithms import Session
from securestream_providers.digest.messages import DigestInfo

PACKAGE: Final = "WDigest"
"""The package's name, as SSPI writes it."""

MECHANISM: Final = "DIGEST-MD5"
"""The SASL mechanism that the package carries where it is named (RFC 2831)."""


class DigestContext(NoLayer):
    """The outcome of HTTP Digest at either end. It wraps nothing: HTTP carries data as it is.

    Args:
        role: this end's.
        flags: `ContextFlags.MUTUAL` where the server proved itself, or is about to.
        session: the algorithm, nonces, quality and count of the request.
        ha1: H(A1).
        uri: what the request's digest covered.
        bound: whether the exchange was tied to the TLS channel: at the server where the client's bindings were
            verified, at the client where they were sent to a server that asked for them.
        nextnonce: a server's nonce for the requests that follow, or `None`.
        expires: until when the nonce is good.
    """

    def __init__(
        self,
        role: Role,
        flags: ContextFlags,
        *,
        session: Session,
        ha1: Secret[bytes],
        uri: str,
        bound: bool = False,
        nextnonce: str | None = None,
        expires: datetime | None = None,
    ) -> None:
        super().__init__(PACKAGE, role, flags, bound=bound, expires=expires)
        self._session = session
        self._ha1: Secret[bytes] | None = ha1
        self._uri = uri
        self._nextnonce = nextnonce

    @property
    def session(self) -> Session:
        """What the request's digest covered beside the request."""
        return self._session

    def proof(self, body: bytes | None) -> DigestInfo:
        """What the server proves itself with (RFC 7616 3.5); `body` is the response's content, for auth-int.

        Raises:
            ContextExpired: the context was discarded.
        """
        if self._ha1 is None:
            raise self.expired()
        session = self._session
        rspauth = session.response(self._ha1.reveal(), "", self._uri, body)
        return DigestInfo(rspauth, session.qop, session.cnonce, session.nc, self._nextnonce)

    def discard(self) -> None:
        """Drop the key."""
        self._ha1 = None
        super().discard()
