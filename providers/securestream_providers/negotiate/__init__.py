"""The security package Negotiate (RFC 4178, [MS-SPNG], [MS-NEGOEX]): SPNEGO and NEGOEX, both roles."""

from securestream_providers.negotiate.package import Negotiate
from securestream_providers.negotiate.policy import FALLBACK

__all__ = ["FALLBACK", "Negotiate"]
