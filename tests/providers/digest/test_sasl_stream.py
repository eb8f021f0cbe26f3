"""SaslStream over DIGEST-MD5's layers: data of any length in both directions, in buffers that the other end takes."""

from __future__ import annotations

import anyio
import pytest

from securestream.options import Protection
from securestream.streams.sasl import SaslStream
from securestream_providers.digest import Cipher
from tests.providers.digest.sasl_ends import authenticate, client, options, server
from tests.streams.pairs import closing, receive_exactly, tcp_pair

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 300


@pytest.mark.parametrize("buffer", [256, 65536])
@pytest.mark.parametrize("cipher", [None, *Cipher])
async def test_data_each_way(cipher: Cipher | None, buffer: int) -> None:
    asked = Protection.SIGN if cipher is None else Protection.ENCRYPT_AND_SIGN
    ciphers = [Cipher.RC4] if cipher is None else [cipher]
    met = authenticate(client(ciphers=ciphers, max_buffer=buffer), server(max_buffer=buffer), mine=options(asked, 1))
    transports = await tcp_pair()
    one, other = (
        SaslStream(transport, end, protection=asked) for transport, end in zip(transports, met.outcomes, strict=True)
    )
    async with closing(one, other):
        for sender, receiver in ((one, other), (other, one)):
            async with anyio.create_task_group() as group:
                group.start_soon(sender.send, DATA)
                assert await receive_exactly(receiver, len(DATA)) == DATA
        await one.send(b"end")
        assert await receive_exactly(other, 3) == b"end"
