"""SaslStream: the data of an application protocol after its SASL exchange, inside the security layer (RFC 4422 3.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anyio.abc import ByteStream

from securestream.carrier import impersonation_of
from securestream.errors import FramingError, QualityNotMet, UsageError
from securestream.framing.base import EndOfInput, Mode, RawData, SealedFrame
from securestream.framing.sasl import SaslFraming
from securestream.options import Protection
from securestream.provider import Established, TargetName
from securestream.sasl.mechanism import SaslLayer
from securestream.streams._framed import FramedStream
from securestream.streams._sealed import FLUSH_SIZE
from securestream.streams.attributes import SecurityAttribute, attribute_of


class SaslStream(FramedStream):
    """A byte stream whose data passes through the layer that a SASL exchange negotiated; where it is none, as it is.

    The application's protocol performs the exchange itself (`securestream.sasl.exchange`) and makes this stream as soon
    as it is complete: for a server after its message of success left, for a client once it came.

    Args:
        transport: the byte stream on which the exchange ran; it belongs to this stream.
        established: the outcome of the exchange.
        received: octets that were already read from `transport`, from behind the exchange.
        target: the service that a client asked for.
        protection: the least protection of the data; what the exchange was asked for was demanded there already.

    Raises:
        QualityNotMet: the layer protects less than `protection`.
        UsageError: the outcome is not that of a SASL mechanism.
    """

    def __init__(
        self,
        transport: ByteStream,
        established: Established,
        *,
        received: bytes = b"",
        target: str | None = None,
        protection: Protection = Protection.NONE,
    ) -> None:
        layer = established.result
        if not isinstance(layer, SaslLayer):
            raise UsageError("this is not the outcome of a SASL mechanism: use NegotiateStream or TlsStream")
        if layer.protection < protection:
            raise QualityNotMet(
                f"{protection.name} was asked for, but {layer.package} negotiated {layer.protection.name}: ask for it "
                "in the Options of the exchange"
            )
        super().__init__(transport, layer.package, SaslFraming(layer.max_plaintext, layer.max_sealed))
        self._layer = layer
        self._protection = layer.protection
        self._bare = layer.protection is Protection.NONE
        self._peer = established.peer
        self._negotiation = established.negotiation
        self._target = None if target is None else TargetName(target)
        if self._bare:
            self._framing.enter(Mode.RAW)
        else:  # whole buffers: only the last one of a send is shorter
            self._flush_size = max(FLUSH_SIZE // layer.max_plaintext, 1) * layer.max_plaintext
        if received:
            self._take_in(self._unseal, received)

    # --- sealing ---

    def _seal(self, data: memoryview) -> bytes:
        if self._bare:
            return bytes(data)
        wrap, header, limit = self._layer.wrap, self._framing.sealed_header, self._framing.max_plaintext
        if len(data) <= limit:
            sealed = wrap(data)
            return header(len(sealed)) + sealed
        parts: list[bytes] = []
        for offset in range(0, len(data), limit):
            sealed = wrap(data[offset : offset + limit])
            parts += (header(len(sealed)), sealed)
        return b"".join(parts)

    def _take_events(self) -> None:
        """Unseal every complete buffer that is there."""
        next_event, unwrap = self._framing.next_event, self._layer.unwrap
        while (event := next_event()) is not None:
            if isinstance(event, SealedFrame):
                self._deliver(unwrap(event.data).data)
            elif isinstance(event, RawData):
                self._deliver(bytes(event.data))
            elif isinstance(event, EndOfInput):
                return
            else:
                raise FramingError("a token came where data was due")

    def _discard(self) -> None:
        self._layer.discard()
        self._framing.trailing_data()

    # --- the stream ---

    def _own_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        target = self._target
        own: dict[Any, Callable[[], Any]] = {
            SecurityAttribute.peer: lambda: self._peer,
            SecurityAttribute.package: lambda: self._package,
            SecurityAttribute.flags: lambda: self._layer.flags,
            SecurityAttribute.impersonation: lambda: impersonation_of(self._layer),
            SecurityAttribute.target: lambda: target,
            SecurityAttribute.bound: lambda: self._layer.bound,
            SecurityAttribute.context: lambda: self._layer,
        }
        inner = attribute_of(self._transport, SecurityAttribute.protection)
        if inner is None or self._protection is not Protection.NONE:  # without a layer, TLS below is the protection
            own[SecurityAttribute.protection] = lambda: self._protection
        negotiation = self._negotiation
        if negotiation is not None:
            own[SecurityAttribute.negotiation] = lambda: negotiation
        if attribute_of(self._transport, SecurityAttribute.closure_authenticated) is None:
            own[SecurityAttribute.closure_authenticated] = lambda: False
        return own
