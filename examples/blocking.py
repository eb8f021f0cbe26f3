"""Blocking sockets and threads, without an event loop. ``python examples/blocking.py``."""

from __future__ import annotations

import socket
import threading

import securestream as ss
from securestream_providers.ntlm import Ntlm


def serve(listener: socket.socket) -> None:
    """Serve one client: echo until it ends."""
    plain, _ = listener.accept()
    accounts = ss.Accounts.memory(alice="correct horse")
    with ss.SecureSocket.wrap_server(plain, package=Ntlm(), credential=accounts) as secure:
        print("the server sees", secure.peer)
        while data := secure.recv():
            secure.sendall(data)


def main() -> None:
    """Run both ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        plain = socket.create_connection(listener.getsockname())
        alice = ss.Password("alice", "correct horse")
        with ss.SecureSocket.wrap_client(plain, package=Ntlm(), credential=alice) as secure:
            secure.sendall(b"hello")
            print("the echo is", secure.recv())
        server.join()


if __name__ == "__main__":
    main()
