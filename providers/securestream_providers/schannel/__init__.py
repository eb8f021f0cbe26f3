"""Schannel: TLS as a security package. Its handshakes exchange records and establish a live connection."""

from __future__ import annotations

from securestream_providers.schannel.package import Schannel

__all__ = ["Schannel"]
