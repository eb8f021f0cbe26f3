"""EXTERNAL (RFC 4422 appendix A): who the client is was proved outside, by the certificate of its TLS connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securestream.credentials import Certificate, Credential, find_form
from securestream.errors import LogonDenied, UsageError
from securestream.options import Options, Role
from securestream.principal import Principal, unauthenticated
from securestream.provider import Established, Exchange, Handshake, PackageInfo, TargetName, Unusable
from securestream.records.base import RecordConnection
from securestream.sasl.mechanism import (
    Authorize,
    NoLayer,
    authorized,
    check_authzid,
    check_no_layer_wanted,
    mechanism_info,
    own_identity,
    read_authzid,
)

NAME: Final = "EXTERNAL"
_INFO: Final = mechanism_info(NAME, "The client's TLS certificate (RFC 4422)")


@dataclass(frozen=True, kw_only=True)
class External:
    """The SASL mechanism EXTERNAL. A server makes one for each connection, from what its TLS handshake established.

    A server refuses whoever gave no certificate that was verified (SECURITY rule 20).

    Args:
        connection: the TLS connection, for a server: ``stream.extra(SecurityAttribute.record_connection)``.
        peer: whom its certificate stands for: ``stream.extra(SecurityAttribute.peer)``.
        authzid: as whom a client wants to act; empty for itself.
        authorize: whether a server lets a client act as another identity that it asks for.

    Raises:
        UsageError: the authorisation identity cannot be sent.
    """

    connection: RecordConnection | None = None
    peer: Principal | None = None
    authzid: str = ""
    authorize: Authorize = own_identity

    def __post_init__(self) -> None:
        check_authzid(self.authzid)

    @property
    def info(self) -> PackageInfo:
        """What the mechanism is."""
        return _INFO

    @property
    def client_first(self) -> bool:
        """The client speaks first."""
        return True

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can."""
        if role is Role.INITIATOR:
            if find_form(credential, Certificate) is not None:
                return None
            return Unusable("EXTERNAL needs the Certificate that the TLS connection was made with")
        if self._proved() is None:
            return Unusable("EXTERNAL needs a TLS connection whose client gave a certificate that was verified")
        return None

    def _proved(self) -> Principal | None:
        """The client, if its certificate was verified."""
        connection, peer = self.connection, self.peer
        if connection is None or peer is None or not peer.is_authenticated:
            return None
        try:
            return peer if connection.session.peer_certificate is not None else None
        except UsageError:  # its handshake is not complete
            return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The client's handshake, which says as whom it wants to act.

        Args:
            credential: not used: the TLS connection was made with it.
            target: not used.
            options: what is wanted.

        Raises:
            QualityNotMet: a security layer is asked for; TLS is the protection here.
        """
        check_no_layer_wanted(NAME, options)
        layer = NoLayer(NAME, Role.INITIATOR, authzid=self.authzid)
        yield from ()  # a handshake is a generator, and this one needs nothing of its driver
        return Established(layer, unauthenticated(NAME), self.authzid.encode())

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The server's handshake.

        Args:
            credential: not used.
            options: what is wanted.

        Raises:
            LogonDenied: no client certificate was verified on this connection.
            NotAuthorized: the client may not act as it asks.
            QualityNotMet: a security layer is asked for; TLS is the protection here.
        """
        check_no_layer_wanted(NAME, options)
        token = yield from Exchange()
        peer = self._proved()
        if peer is None:
            raise LogonDenied("EXTERNAL was refused: no certificate of this client was verified by TLS")
        authzid = read_authzid(token)
        authorized(peer, authzid, self.authorize)
        return Established(NoLayer(NAME, Role.ACCEPTOR, authzid=authzid), peer)
