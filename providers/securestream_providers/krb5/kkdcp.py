"""KDC_PROXY_MESSAGE: Kerberos messages through an HTTPS proxy ([MS-KKDCP] 2.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from securestream.errors import MalformedMessage
from securestream.wire import der
from securestream_providers.krb5.messages import KerberosString

PATH: Final = "KdcProxy"
"""Where a proxy listens unless it is configured otherwise ([MS-KKDCP] 2.1)."""

CONTENT_TYPE: Final = "application/kerberos"

LARGEST: Final = 1 << 20
"""Octets of a message through a proxy."""


@dataclass(frozen=True)
class KdcProxyMessage(der.Message):
    """KDC-PROXY-MESSAGE: `kerb_message` begins with the message's length in four octets, as over TCP."""

    kerb_message: Annotated[bytes, der.explicit(0), der.Size(4, LARGEST)]
    target_domain: Annotated[KerberosString | None, der.explicit(1)] = None
    dclocator_hint: Annotated[int | None, der.explicit(2)] = None


def wrap_proxied(message: bytes, realm: str | None = None) -> bytes:
    """A message for a proxy (with the realm that it is for), or a proxy's reply (without)."""
    return KdcProxyMessage(len(message).to_bytes(4, "big") + message, realm).encode()


def unwrap_proxied(octets: bytes) -> tuple[bytes, str | None]:
    """The message, and the realm that it is for.

    Raises:
        MalformedMessage: it is no KDC_PROXY_MESSAGE, or its length in front is wrong.
    """
    found = KdcProxyMessage.decode(octets)
    message = found.kerb_message[4:]
    if int.from_bytes(found.kerb_message[:4], "big") != len(message):
        raise MalformedMessage("the length in front of a proxied Kerberos message is not its own")
    return message, found.target_domain
