"""Asking KDCs over the network: UDP, TCP, HTTPS proxies."""

from __future__ import annotations

from securestream_providers.kerberos.network.performer import KdcPerformer


def performer() -> KdcPerformer:
    """The default performer of `KdcRequest`."""
    return KdcPerformer()
