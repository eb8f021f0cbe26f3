"""An acceptor's refusals: an exception for us, a KRB-ERROR for the initiator (RFC 4120 5.9.1)."""

from __future__ import annotations

from typing import TypeVar

from securestream.errors import ErrorKind, HandshakeError
from securestream.options import Options
from securestream_providers.kerberos.errors import error_token
from securestream_providers.krb5.names import KerberosName

F = TypeVar("F", bound=HandshakeError)


class Refuser:
    """Makes the refusals of one handshake.

    Args:
        options: whose clock is stated.
        raw: whether tokens have no frame.
    """

    __slots__ = ("_options", "extended", "name", "raw")

    def __init__(self, options: Options, *, raw: bool) -> None:
        self._options = options
        self.raw = raw
        self.name: KerberosName | None = None
        self.extended = False

    def token(self, code: int, status: int | None = None) -> bytes:
        """A KRB-ERROR as a token."""
        name = self.name
        return error_token(
            code,
            self._options.clock(),
            "" if name is None else name.realm,
            None if name is None else name.principal_name,
            raw=self.raw,
            status=status if self.extended else None,
        )

    def refused(self, code: int, error: type[F], sentence: str, *, kind: ErrorKind | None = None) -> F:
        """The exception to raise, with the token that is owed to the initiator.

        Args:
            code: what the initiator is told.
            error: the exception's type.
            sentence: what this end is told.
            kind: where it is another than the type's own.
        """
        failure = error(sentence, kind=kind)
        failure.token = self.token(code, failure.kind.ntstatus)
        return failure
