"""uvicorn's HTTP/1.1 protocol with an `HttpConnection` for each connection, which handshakes of several legs need::

uvicorn.run(app, http=SecureH11Protocol)

Clients must connect to it themselves: behind a proxy that sends several clients' requests through one connection, and
does not say so by Via, Forwarded or X-Forwarded-For, one of them would be taken for another.
"""

from __future__ import annotations

import asyncio

try:
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as error:
    raise ImportError("securestream.http.uvicorn_connections needs uvicorn: pip install uvicorn") from error

from securestream.http.asgi import CONNECTION
from securestream.http.server import HttpConnection


class SecureH11Protocol(H11Protocol):
    """Puts what is remembered of a connection into the state of each request's scope; it is forgotten at its end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client connected."""
        self.app_state = {**self.app_state, CONNECTION: HttpConnection()}
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        connection = self.app_state.get(CONNECTION)
        if isinstance(connection, HttpConnection):
            connection.close()
        super().connection_lost(exc)
