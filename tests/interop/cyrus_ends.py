"""Our SASL ends against Cyrus SASL: an exchange in either role as a profile performs it, and data through the layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from securestream.drive import Services, respond_blocking
from securestream.errors import BadSignature, OutOfSequence
from securestream.framing.base import SealedFrame
from securestream.framing.sasl import SaslFraming
from securestream.options import Protection
from securestream.provider import Established
from securestream.sasl import Answer, SaslClient, SaslLayer, SaslServer
from tests.interop.peers.cyrus import CyrusPeer
from tests.interop.peers.foreign import Refused

HOST = "server.mit.test"
"""Its own host's name in every exchange."""


@dataclass
class Meeting:
    """An exchange that both ends see as complete.

    Args:
        ours: our outcome.
        tokens: what was said, in order.
    """

    ours: Established
    tokens: list[bytes] = field(default_factory=list[bytes])

    @property
    def layer(self) -> SaslLayer:
        """Our layer."""
        assert isinstance(self.ours.result, SaslLayer)
        return self.ours.result


def log_on_to(theirs: CyrusPeer, ours: SaslClient, services: Services | None = None, **asked: Any) -> Meeting:
    """Our client with their server.

    Args:
        theirs: their end.
        ours: our client.
        services: who performs effects.
        asked: of `CyrusPeer.server`, with "service".
    """
    services = services or Services()
    theirs.server(asked.pop("service"), HOST, **asked)
    response = ours.response(respond_blocking(ours.machine, None, services))
    met: list[bytes] = [] if response is None else [response]
    token = theirs.start(ours.name, response)
    while not theirs.complete:
        met.append(token or b"")
        response = ours.response(respond_blocking(ours.machine, ours.challenged(token or b""), services))
        assert response is not None
        met.append(response)
        token = theirs.step(response)
    if token is not None:
        met.append(token)
    last = ours.succeeded(token)
    if last is not None:
        ours.response(respond_blocking(ours.machine, last, services))
    return Meeting(ours.established, met)


def serve(theirs: CyrusPeer, ours: SaslServer, services: Services | None = None, **asked: Any) -> Meeting:
    """Their client with our server; arguments as for `log_on_to`, those asked of `CyrusPeer.client`."""
    services = services or Services()
    theirs.client(asked.pop("service"), HOST, **asked)
    response = theirs.start(ours.name)
    met: list[bytes] = [] if response is None else [response]
    while True:
        taken = ours.received(response)
        answer = taken if isinstance(taken, Answer) else ours.answer(respond_blocking(ours.machine, taken, services))
        if answer.data is not None:
            met.append(answer.data)
        if not answer.is_challenge:
            if answer.data is not None:
                assert theirs.step(answer.data) in (None, b"")
            break
        response = theirs.step(answer.data) or b""
        met.append(response)
    assert theirs.complete
    return Meeting(ours.established, met)


def exchange_data(theirs: CyrusPeer, layer: SaslLayer, sizes: tuple[int, ...] = (1, 7, 8, 1000, 3000)) -> None:
    """Messages of these sizes in both directions, and the longest one; then several at once."""
    if layer.protection is Protection.NONE:
        assert theirs.encode(b"in clear") == b"in clear"
        return
    framing = SaslFraming(layer.max_plaintext, layer.max_sealed)
    for size in (*sizes, layer.max_plaintext):
        data = bytes(octet & 0xFF for octet in range(size))
        assert theirs.decode(_framed(framing, layer, data)) == data
        data = data[: theirs.state()["longest"]]
        assert _opened(framing, layer, theirs.encode(data)) == data
    both = _framed(framing, layer, b"one ") + _framed(framing, layer, b"two")
    assert theirs.decode(both) == b"one two"


def refuse_altered_data(theirs: CyrusPeer, layer: SaslLayer) -> None:
    """Each end refuses what was altered on its way. Neither layer is of use afterwards."""
    framing = SaslFraming(layer.max_plaintext, layer.max_sealed)
    octets = theirs.encode(b"attack at dawn")
    with pytest.raises((BadSignature, OutOfSequence)):
        _opened(framing, layer, _altered(octets))
    with pytest.raises(Refused):
        theirs.decode(_altered(_framed(framing, layer, b"attack at dawn")))


def _altered(octets: bytes) -> bytes:
    """One bit behind the length, and behind the header of a GSS token, is another one."""
    place = len(octets) - 8
    return octets[:place] + bytes((octets[place] ^ 1,)) + octets[place + 1 :]


def _framed(framing: SaslFraming, layer: SaslLayer, data: bytes) -> bytes:
    sealed = layer.wrap(data)
    return framing.sealed_header(len(sealed)) + sealed


def _opened(framing: SaslFraming, layer: SaslLayer, octets: bytes) -> bytes:
    framing.receive_data(octets)
    opened = b""
    while (event := framing.next_event()) is not None:
        assert isinstance(event, SealedFrame)
        opened += layer.unwrap(event.data).data
    return opened
