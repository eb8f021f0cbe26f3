"""Choosing the stream that a package needs."""

from __future__ import annotations

from typing import TypeAlias

from anyio.abc import ByteStream

from securestream.framing.nns import NnsFraming
from securestream.framing.raw import RawFraming
from securestream.options import Role
from securestream.provider import Capability
from securestream.streams._handshake import Settings, perform_handshake, settings_of_connection
from securestream.streams.credssp import CredSspStream
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.tls import TlsStream

SecureStream: TypeAlias = NegotiateStream | TlsStream
"""A stream whose peer is authenticated and whose data is protected; a `CredSspStream` is a `TlsStream`."""


async def wrap(transport: ByteStream, role: Role, settings: Settings, received: bytes = b"") -> SecureStream:
    """Authenticate over `transport` by the stream that fits the package: `TlsStream` if it speaks records,
    `CredSspStream` if it delegates through them.
    """
    settings = await settings_of_connection(transport, role, settings)
    if settings.is_stream_package:
        raw = RawFraming(settings.options.limits)
        carrier = await perform_handshake(transport, raw, role, settings, received)
        delegates = Capability.DELEGATION in settings.package.info.capabilities
        stream = CredSspStream if delegates else TlsStream
        return stream(transport, carrier.established, settings, leftover=raw.trailing_data())
    framing = NnsFraming(settings.options.limits)
    carrier = await perform_handshake(transport, framing, role, settings, received)
    return NegotiateStream(transport, framing, carrier, settings)
