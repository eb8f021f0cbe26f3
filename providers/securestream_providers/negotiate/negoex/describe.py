"""A NEGOEX token in one readable line: its messages, and what the packages say of their tokens."""

from __future__ import annotations

import uuid

from securestream.errors import MalformedMessage
from securestream.extensions import TokenDescriber
from securestream.provider import SecurityPackage
from securestream_providers.negotiate.negoex.messages import (
    AlertMessage,
    ExchangeMessage,
    Message,
    MessageType,
    NegoMessage,
    messages_of,
)


def describe(packages: tuple[SecurityPackage, ...], token: bytes) -> str:
    """One line on a token; octets that are none are said to be so."""
    facts: list[str] = []
    try:
        facts.extend(_line(packages, message) for message in messages_of(token))
    except MalformedMessage:
        facts.append("malformed")
    return f"NEGOEX ({len(token)} octets): {', '.join(facts)}"


def _line(packages: tuple[SecurityPackage, ...], message: Message) -> str:
    name = f"{message.sequence} {message.kind.name}"
    body = message.body
    if isinstance(body, NegoMessage):
        return f"{name} {' '.join(_named(packages, scheme) for scheme in body.schemes)}"
    if isinstance(body, ExchangeMessage) and message.kind in (MessageType.AP_REQUEST, MessageType.CHALLENGE):
        return f"{name} [{_inner(packages, body)}]"
    suffix = " no key yet" if isinstance(body, AlertMessage) and body.no_key else ""
    return f"{name} {_named(packages, body.scheme)}{suffix}"


def _named(packages: tuple[SecurityPackage, ...], scheme: uuid.UUID) -> str:
    names = (one.info.name for one in packages if one.info.negoex_scheme == scheme)
    return next(names, str(scheme))


def _inner(packages: tuple[SecurityPackage, ...], body: ExchangeMessage) -> str:
    for package in packages:
        if package.info.negoex_scheme == body.scheme and isinstance(package, TokenDescriber):
            return package.describe_token(body.payload)
    return f"{_named(packages, body.scheme)} ({len(body.payload)} octets)"
