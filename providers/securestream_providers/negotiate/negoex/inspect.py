"""A NEGOEX token as a tree: its messages one after another, as far as they can be read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

from securestream.errors import MalformedMessage
from securestream.inspection import Inspection, Node, malformed, octets_text
from securestream_providers.krb5.numbers import ChecksumType
from securestream_providers.negotiate.negoex.messages import (
    ALERT_PULSE,
    CHECKSUM_RFC3961,
    CRITICAL,
    SIGNATURE,
    AlertMessage,
    Body,
    ExchangeMessage,
    NegoMessage,
    VerifyMessage,
    messages_of,
)

_SCHEMES: Final = {uuid.UUID("0d53335c-f9ea-4d0d-b2ec-4ae3786ec308"): "PKU2U"}
"""Those that Windows has."""


def inspect(token: bytes, inspection: Inspection) -> Node | None:
    """The tree of a NEGOEX token; `None` where it is none."""
    if not token.startswith(SIGNATURE):
        return None
    children: list[Node] = []
    end = 0
    try:
        for message in messages_of(token):
            name = message.kind.name
            facts = (
                Node("sequence number", message.sequence),
                Node("conversation", str(uuid.UUID(bytes_le=message.conversation))),
                *_body(message.body, inspection),
            )
            children.append(Node(name, None, f"at offset {message.start}", facts))
            end = message.start + int.from_bytes(token[message.start + 20 : message.start + 24], "little")
    except MalformedMessage as error:
        children.append(malformed(f"message {len(children)}", token[end:], str(error)))
    return Node("NEGOEX", None, f"{octets_text(len(token))}, messages: {len(children)}", tuple(children))


def _body(body: Body, inspection: Inspection) -> Iterator[Node]:
    if isinstance(body, NegoMessage):
        yield Node("random", body.random)
        yield Node("protocol version", body.version)
        for scheme in body.schemes:
            yield _scheme(scheme)
        for extension in body.extensions:
            critical = "critical: who does not know it refuses" if extension.kind & CRITICAL else "may be ignored"
            yield Node(f"extension {extension.kind:#x}", extension.value, critical)
        return
    yield _scheme(body.scheme)
    if isinstance(body, ExchangeMessage):
        yield inspection.token(body.payload, "token")
    elif isinstance(body, VerifyMessage):
        yield from _verify(body)
    else:
        yield from _alert(body)


def _scheme(scheme: uuid.UUID) -> Node:
    return Node("scheme", str(scheme), _SCHEMES.get(scheme, ""))


def _verify(body: VerifyMessage) -> Iterator[Node]:
    rfc3961 = body.checksum_scheme == CHECKSUM_RFC3961
    yield Node("checksum scheme", body.checksum_scheme, "RFC 3961" if rfc3961 else "unknown")
    yield Node("checksum type", body.checksum_type, _checksum_name(body.checksum_type))
    yield Node("checksum", body.checksum)


def _checksum_name(kind: int) -> str:
    try:
        return ChecksumType(kind - (1 << 32) if kind >> 31 else kind).name
    except ValueError:
        return ""


def _alert(body: AlertMessage) -> Iterator[Node]:
    yield Node("error", f"{body.error:#010x}", "NTSTATUS")
    if body.no_key:
        yield Node("no key yet", None, "VERIFY is due once there is one")
    for alert in body.alerts:
        yield Node("alert", alert.value, "pulse" if alert.kind == ALERT_PULSE else f"type {alert.kind:#x}")
