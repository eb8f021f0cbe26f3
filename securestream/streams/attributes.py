"""The facts of a secure connection, as anyio's typed attributes: ``stream.extra(SecurityAttribute.peer)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anyio import TypedAttributeSet, typed_attribute

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Credential
from securestream.negotiation import Negotiation
from securestream.options import ContextFlags, ImpersonationLevel, Protection
from securestream.principal import Principal
from securestream.provider import SecurityContext, TargetName
from securestream.records.base import RecordConnection, TlsSession


class SecurityAttribute(TypedAttributeSet):
    """What a secure stream knows of its connection. Of two streams one inside the other, the inner one answers."""

    peer: Principal = typed_attribute()
    """Who the peer is."""
    package: str = typed_attribute()
    """Name of the security package; of several that were negotiated, the one that was chosen."""
    negotiation: Negotiation = typed_attribute()
    """What was offered, what was chosen and why; only where the package was negotiated."""
    flags: ContextFlags = typed_attribute()
    """What was established, never more than was proved."""
    protection: Protection = typed_attribute()
    """How the data is protected."""
    impersonation: ImpersonationLevel = typed_attribute()
    """How far the server may act as the client; not where the channel is TLS."""
    delegated: Credential | None = typed_attribute()
    """The credential that the client delegated, fit to open the next connection as the client; `None` if it did not."""
    target: TargetName | None = typed_attribute()
    """The service that this end asked for; `None` on a server."""
    channel_bindings: ChannelBindings = typed_attribute()
    """What an authentication inside this TLS channel binds to: tls-server-end-point, or tls-exporter where the
    certificate has no such binding."""
    bound: bool = typed_attribute()
    """Whether the authentication was bound to the channel around it."""
    closure_authenticated: bool = typed_attribute()
    """Whether the peer's end of stream is proved (TLS) or could be forged by whoever is on the way (NNS)."""
    alpn: str | None = typed_attribute()
    """The application protocol that was agreed on."""
    tls_session: TlsSession = typed_attribute()
    """Version, cipher and certificates of the TLS session."""
    context: SecurityContext = typed_attribute()
    """The security context. Wrapping with it beside the stream puts the sequence out of step."""
    record_connection: RecordConnection = typed_attribute()
    """The TLS connection, for its exporters and further channel bindings."""


def attributes_of(provider: Any) -> Mapping[Any, Callable[[], Any]]:
    """The typed attributes of an anyio stream, each as a function that gives its value."""
    found: Mapping[Any, Callable[[], Any]] = provider.extra_attributes
    return found


def attribute_of(provider: Any, attribute: Any) -> Any:
    """A typed attribute of an anyio stream, or `None`."""
    getter = attributes_of(provider).get(attribute)
    return None if getter is None else getter()
