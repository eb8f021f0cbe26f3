"""httpx has two kinds of clients: the transport of the other kind says which one is needed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from securestream.credentials import Password
from securestream.errors import UsageError
from securestream.http import BlockingSecureTransport, SecureTransport, TokenScheme

pytestmark = pytest.mark.anyio

ORIGIN = "http://files.example.com"
SCHEME = TokenScheme("NTLM", "ntlm", Password("alice", "correct horse"))

for_awaiting: Any = SecureTransport(ORIGIN, SCHEME)
for_blocking: Any = BlockingSecureTransport(ORIGIN, SCHEME)


def test_a_blocking_client_is_told_which_transport_blocks() -> None:
    client = httpx.Client(transport=for_awaiting)
    with pytest.raises(UsageError, match="BlockingSecureTransport, with the same arguments"):
        client.get(ORIGIN)
    client.close()
    with pytest.raises(UsageError, match="BlockingSecureTransport"), httpx.Client(transport=for_awaiting):
        pass


async def test_a_client_of_an_event_loop_is_told_which_transport_awaits() -> None:
    client = httpx.AsyncClient(transport=for_blocking)
    with pytest.raises(UsageError, match=r"give httpx\.AsyncClient a SecureTransport"):
        await client.get(ORIGIN)
    await client.aclose()
    with pytest.raises(UsageError, match=r"give httpx\.AsyncClient a SecureTransport"):
        async with httpx.AsyncClient(transport=for_blocking):
            pass
