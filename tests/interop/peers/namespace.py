"""A network namespace of its own for a peer that listens on every interface: outside, only 127.0.0.1 is listened on."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_CLONE_NEWNET = 0x40000000  # sched.h
_SIOCGIFFLAGS = 0x8913  # linux/sockios.h
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


class Namespace:
    """A thread that has left this process's network; what it runs, processes that it starts among them, is out, too.

    Raises:
        PermissionError: this process may not make one.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "network namespace")
        try:
            self.run(_leave_network)
        except OSError:
            self._thread.shutdown()
            raise

    def run(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Call `function` inside."""
        return self._thread.submit(function, *arguments, **named).result()

    def close(self) -> None:
        self._thread.shutdown()

    @contextmanager
    def reachable(self, port: int) -> Generator[int]:
        """A port of 127.0.0.1 outside from which every connection is passed on to `port` of 127.0.0.1 inside."""
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=self._accept, args=(listener, port), daemon=True)
        thread.start()
        try:
            outside: int = listener.getsockname()[1]
            yield outside
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            listener.close()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                outer = listener.accept()[0]
            except OSError:
                return
            try:
                inner = self.run(socket.create_connection, ("127.0.0.1", port))
            except OSError:
                outer.close()
                continue
            ends = _Ends(outer, inner)
            for source, sink in ((outer, inner), (inner, outer)):
                threading.Thread(target=ends.carry, args=(source, sink), daemon=True).start()


class _Ends:
    """Two sockets that are passed on to each other, closed when both ways have ended."""

    def __init__(self, *sockets: socket.socket) -> None:
        self._sockets = sockets
        self._running = len(sockets)
        self._lock = threading.Lock()

    def carry(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass one way on until it ends; a connection that was reset is reset on the other side."""
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            for one in self._sockets:
                with suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.shutdown(socket.SHUT_RDWR)
        else:
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
        with self._lock:
            self._running -= 1
            if self._running:
                return
        for one in self._sockets:
            one.close()


def _leave_network() -> None:
    """Give the calling thread a network with nothing but a loopback interface, which is up."""
    if sys.platform != "linux":
        raise PermissionError("network namespaces are Linux's")
    import fcntl

    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_CLONE_NEWNET):  # os.unshare comes with Python 3.12
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("16xH", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
