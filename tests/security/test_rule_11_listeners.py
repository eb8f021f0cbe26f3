"""Rule 11: TLS sessions never cross listeners."""

from __future__ import annotations

import pytest

from securestream.streams.attributes import SecurityAttribute
from securestream.streams.connect import connect
from securestream.streams.listeners import SecureListener
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.security.live import serving

CA = authority("listeners")
LEAF = CA.leaf(["localhost"])


async def _resumed(client: Schannel, listener: SecureListener) -> bool:
    stream = await connect("127.0.0.1", listener.port, package=client, target="localhost")
    async with stream:
        await stream.send(b"ping")
        assert await stream.receive() == b"ping"  # with it come the tickets of TLS 1.3
        return stream.extra(SecurityAttribute.tls_session).resumed


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_a_session_of_one_listener_is_not_resumed_at_another_of_the_same_package(version: str) -> None:
    server = Schannel()
    client = Schannel(trust=CA.pem, maximum_version=version)  # type: ignore[arg-type]  # one of the names
    async with (
        serving(package=server, credential=LEAF.credential) as one,
        serving(package=server, credential=LEAF.credential) as other,
    ):
        assert not await _resumed(client, one)
        assert await _resumed(client, one)
        assert not await _resumed(client, other)
