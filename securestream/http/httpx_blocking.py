"""`BlockingSecureTransport`: `SecureTransport` for `httpx.Client`, in an event loop and a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self, cast

import anyio
from anyio.from_thread import BlockingPortal

try:
    import httpx
except ImportError as error:
    raise ImportError("securestream.http.httpx_blocking needs httpx: pip install 'securestream[http]'") from error

from securestream.http.httpx_transport import SecureTransport
from securestream.http.httpx_values import BlockingOnly
from securestream.http.schemes import ClientScheme


class BlockingSecureTransport(BlockingOnly, httpx.BaseTransport):
    """Connections of `httpx.Client` that authenticate to one origin, and to a proxy.

    The arguments are those of `SecureTransport`. The thread begins with the first request and ends with `close`, or
    with the program.
    """

    def __init__(self, origin: str, *schemes: ClientScheme, **settings: Any) -> None:
        self._transport = SecureTransport(origin, *schemes, **settings)
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return repr(self._transport).replace("<", "<Blocking", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; raises what `SecureTransport.handle_async_request` does."""
        content = request.read()
        again = httpx.Request(request.method, request.url, content=content, extensions=request.extensions)
        again.headers = request.headers
        portal = self._running()
        response = portal.call(self._transport.handle_async_request, again)
        request.extensions = again.extensions  # where the request strayed, a redirect takes that along
        stream = _Stream(portal, cast("httpx.AsyncByteStream", response.stream))
        return httpx.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    def close(self) -> None:
        """Close all idle connections and end the thread. Idempotent."""
        with self._lock:
            portal, self._portal = self._portal, None
            thread, self._thread = self._thread, None
        if portal is not None and thread is not None:
            portal.call(self._transport.aclose)
            portal.call(portal.stop)
            thread.join()

    def _running(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                ready = threading.Event()
                self._thread = threading.Thread(target=anyio.run, args=(self._run, ready), daemon=True)
                self._thread.start()
                ready.wait()
            if self._portal is None:
                raise RuntimeError("the event loop of this transport ended")
            return self._portal

    async def _run(self, ready: threading.Event) -> None:
        try:
            async with BlockingPortal() as portal:
                self._portal = portal
                ready.set()
                await portal.sleep_until_stopped()
        finally:
            ready.set()


class _Stream(httpx.SyncByteStream):
    """The content of a response, part by part from the other thread."""

    def __init__(self, portal: BlockingPortal, stream: httpx.AsyncByteStream) -> None:
        self._portal = portal
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        parts = self._stream.__aiter__()
        while (part := self._portal.call(_next, parts)) is not None:
            yield part

    def close(self) -> None:
        self._portal.call(self._stream.aclose)


async def _next(parts: AsyncIterator[bytes]) -> bytes | None:
    return await anext(parts, None)
