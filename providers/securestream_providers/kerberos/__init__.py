"""The security package Kerberos (RFC 4120, RFC 4121, [MS-KILE]) and an embedded KDC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securestream_providers.kerberos.context import KerberosContext
from securestream_providers.kerberos.credentials import Tickets
from securestream_providers.kerberos.package import Kerberos

if TYPE_CHECKING:
    from securestream_providers.kerberos.kdc.embedded import EmbeddedKdc

__all__ = ["EmbeddedKdc", "Kerberos", "KerberosContext", "Tickets"]


def __getattr__(name: str) -> Any:
    if name == "EmbeddedKdc":  # with its sockets and stores, which the package does not need
        from securestream_providers.kerberos.kdc.embedded import EmbeddedKdc

        return EmbeddedKdc
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
