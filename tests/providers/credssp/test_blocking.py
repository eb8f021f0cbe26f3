"""CredSSP over a blocking socket: the same handshake, and the delegated credential beside the peer."""

from __future__ import annotations

import socket
import threading

from securestream.blocking import SecureSocket
from tests.providers.credssp.ends import ALICE, SERVING, TARGET, tls_ends


def test_a_blocking_connection_brings_the_credential() -> None:
    one, other = socket.socketpair()
    client, server = tls_ends("NTLM in SPNEGO")
    accepted: list[SecureSocket] = []

    def accept() -> None:
        accepted.append(SecureSocket.wrap_server(other, package=server, credential=SERVING))

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    with one, other:
        connection = SecureSocket.wrap_client(one, package=client, credential=ALICE, target=TARGET)
        connection.sendall(b"first data")
        thread.join(10)
        assert accepted[0].delegated == ALICE
        assert connection.delegated is None
        assert accepted[0].peer.name == "alice"
        assert accepted[0].recv() == b"first data"
