"""The handshakes of both roles: TLS records as tokens."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NoReturn

from securestream.errors import ErrorKind, HandshakeError, QualityNotMet
from securestream.options import Options, Protection
from securestream.provider import Effect, Exchange
from securestream.records.alerts import DECODE_ERROR, NO_APPLICATION_PROTOCOL, alert_record
from securestream.records.base import HandshakeCompleted, RecordConnection
from securestream.records.client_hello import ClientHello, HelloReader


def run(
    connection: RecordConnection, options: Options, received: bytes | None = None
) -> Generator[Effect[Any], Any, bytes | None]:
    """Exchange records until the TLS handshake is complete; give the last flight.

    Args:
        connection: the connection, not yet started.
        options: what is wanted.
        received: an acceptor's first octets of the client.

    Raises:
        HandshakeError: it failed; the alert is its token.
        PeerRefused: the peer sent an alert.
    """
    try:
        connection.start()
        if received is not None:
            connection.receive_data(received)
        while not isinstance(connection.next_event(), HandshakeCompleted):
            token = connection.data_to_send() or None
            connection.receive_data((yield from Exchange(token)))
        _require_protection(connection, options)
    except HandshakeError as error:
        error.token = connection.data_to_send() or None
        raise
    return connection.data_to_send() or None


def _require_protection(connection: RecordConnection, options: Options) -> None:
    cipher = connection.session.cipher
    if options.protection is Protection.ENCRYPT_AND_SIGN and "NULL" in cipher:
        raise QualityNotMet(f"the cipher suite {cipher} does not encrypt: leave it out of `ciphers`")


def listen_for_hello() -> Generator[Effect[Any], Any, tuple[ClientHello, bytes]]:
    """Receive until the ClientHello tells which name and protocols are asked for; give it, and all that came."""
    reader = HelloReader()
    while (hello := reader.feed((yield from Exchange(None)))) is None:
        pass
    return hello, bytes(reader.received)


def refuse_unreadable(connection: RecordConnection, received: bytes) -> NoReturn:
    """Refuse a ClientHello that we cannot read, by the engine's own verdict and alert where it has one.

    OpenSSL reads some that we do not. Records without content are such (RFC 8446 5.1 forbids them), and anybody on the
    way can insert one: to go on would give up the choice of the certificate and the check of the protocols.

    Raises:
        HandshakeError: always, unless the peer sent an alert; the alert is its token.
        PeerRefused: the peer sent an alert.
    """
    try:
        connection.start()
        connection.receive_data(received)
        connection.next_event()
    except HandshakeError as error:
        error.token = connection.data_to_send() or None
        raise
    raise HandshakeError(
        "this is no TLS, or its ClientHello is damaged: look what the client speaks, and what is on the way to it",
        kind=ErrorKind.ILLEGAL_MESSAGE,
        token=alert_record(DECODE_ERROR),
    )


def require_alpn(hello: ClientHello, ours: tuple[str, ...]) -> None:
    """Refuse a client whose protocols are none of ours (RFC 7301 3.2); one that offers none at all goes without.

    Raises:
        HandshakeError: there is no overlap; its token is the alert.
    """
    if ours and hello.alpn is not None and not set(ours) & set(hello.alpn):
        raise HandshakeError(
            f"the client speaks none of our application protocols ({', '.join(ours)})",
            kind=ErrorKind.ALPN_MISMATCH,
            token=alert_record(NO_APPLICATION_PROTOCOL),
        )
