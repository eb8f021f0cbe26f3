"""HOST:PORT as the command line writes it: IPv6 addresses stand in brackets, port 0 lets the system choose."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from securestream.errors import UsageError


@dataclass(frozen=True)
class Address:
    """A host, by name or by address, and a TCP port.

    Args:
        host: a name, an IPv4 address, or an IPv6 address without brackets.
        port: 0 to 65535.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT`` or ``[IPV6]:PORT``.

        Raises:
            UsageError: it is neither.
        """
        host, separator, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            bracketed = True
        else:
            bracketed = False
        if not separator or not host or (":" in host) is not bracketed:
            raise UsageError(f"{text!r} is no address: write HOST:PORT, and an IPv6 address in brackets, [::1]:9000")
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise UsageError(f"{text!r} has no port: write a number from 0 to 65535 after the last colon")
        return cls(host, int(port))

    @classmethod
    def of_socket(cls, address: Any) -> Address:
        """The address that a socket gives: a pair, or the four values of IPv6."""
        return cls(str(address[0]), int(address[1]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than ``localhost`` is not known to be loopback."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False
