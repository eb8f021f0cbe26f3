"""Digest access authentication for HTTP (RFC 7616, RFC 2617, MS-DPSP) and SASL (RFC 2831)."""

from __future__ import annotations

from securestream_providers.digest.algorithms import Algorithm, Qop
from securestream_providers.digest.client import DigestClient
from securestream_providers.digest.context import DigestContext
from securestream_providers.digest.counts import NonceCount
from securestream_providers.digest.package import Digest
from securestream_providers.digest.sasl import DigestMd5
from securestream_providers.digest.sasl_crypto import Cipher
from securestream_providers.digest.sasl_sessions import Subsequent
from securestream_providers.digest.server import DigestServer

__all__ = [
    "Algorithm",
    "Cipher",
    "Digest",
    "DigestClient",
    "DigestContext",
    "DigestMd5",
    "DigestServer",
    "NonceCount",
    "Qop",
    "Subsequent",
]
