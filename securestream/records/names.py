"""Names of servers: what a caller types, as it stands in certificates and in SNI."""

from __future__ import annotations

import ipaddress

import idna

from securestream.errors import UsageError


def canonical_host(host: str) -> str:
    """`host` as engines take it: an IP address in its shortest form, or a DNS name in A-labels and lower case.

    Raises:
        UsageError: it is neither.
    """
    bare = host.strip()
    address = ip_address(bare.removeprefix("[").removesuffix("]"))
    if address is not None:
        return address
    bare = bare.removesuffix(".")
    if not bare or "\0" in bare:
        raise UsageError(f"{host!r} is no name of a server")
    if bare.isascii():
        return bare.lower()
    try:
        return idna.encode(bare, uts46=True).decode("ascii").lower()
    except idna.IDNAError as error:
        raise UsageError(f"{host!r} is no internationalised name of a server: {error}") from error


def ip_address(host: str) -> str | None:
    """The address that `host` is, or `None` when it is a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def matches(pattern: str, name: str) -> bool:
    """Whether a DNS name of a certificate covers `name` (RFC 9525 6.3): a wildcard is the whole leftmost label.

    For choosing among our own certificates; judging the peer's is the engine's work.
    """
    pattern = pattern.lower().removesuffix(".")
    if pattern.startswith("*."):
        label, _, rest = name.partition(".")
        return bool(label) and rest == pattern[2:] and "." in rest
    return pattern == name
