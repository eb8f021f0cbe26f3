"""Where a ticket may come from: the realms on its way (RFC 4120 3.3.3.2), the addresses it is bound to (5.2.5)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.messages import HostAddress, TransitedEncoding

_X500_COMPRESSED: Final = 1
_IPV4: Final = 2
_IPV6: Final = 24
_MOST: Final = 64


def is_trusted(config: Krb5Config, client: str, service: str, transited: TransitedEncoding) -> bool:
    """Whether [capaths] allows a ticket from one realm to another through the realms that it says it went through."""
    allowed = config.capaths.get(client, {}).get(service)
    if allowed is None:
        return False
    if not transited.contents:
        return True
    if transited.tr_type != _X500_COMPRESSED:
        return False
    realms = expand(transited.contents.decode("utf-8", "surrogateescape"))
    return realms is not None and set(realms) <= {*allowed, client, service}


def expand(text: str) -> list[str] | None:
    r"""The realms of the encoding DOMAIN-X500-COMPRESS (RFC 4120 3.3.3.2), or `None` where it leaves some out.

    ``\`` escapes; a realm that ends in a dot stands before the one to its left, one that begins with a slash after it.
    """
    parts = [""]
    escaped = False
    for character in text:
        if escaped:
            parts[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            parts.append("")
        else:
            parts[-1] += character
    if len(parts) > _MOST or escaped or not all(parts):
        return None  # an empty one stands for all realms between two: nobody can say which
    realms: list[str] = []
    for part in parts:
        before = realms[-1] if realms else ""
        if part.startswith(" "):
            part = part[1:]
        elif part.endswith("."):
            part += before
        elif part.startswith("/"):
            part = before + part
        realms.append(part)
    return realms


def knows_address(addresses: Sequence[HostAddress], source: str) -> bool:
    """Whether the peer's address is among those that a ticket is bound to; other kinds of address bind nothing."""
    bound = {address.address for address in addresses if address.addr_type in (_IPV4, _IPV6)}
    if not bound:
        return True
    try:
        own = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return False
    mapped = own.ipv4_mapped if isinstance(own, ipaddress.IPv6Address) else None
    return own.packed in bound or (mapped is not None and mapped.packed in bound)
