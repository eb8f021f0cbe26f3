"""What both ends of a NEGOEX negotiation have said: numbered, and kept as VERIFY covers it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from securestream.errors import InvalidToken, Unsupported
from securestream.options import Role
from securestream_providers.negotiate.negoex.messages import (
    CHECKSUM_RFC3961,
    CRITICAL,
    AlertMessage,
    Body,
    ExchangeMessage,
    Message,
    MessageType,
    NegoMessage,
    VerifyMessage,
    messages_of,
)

NEGO: Final = {Role.INITIATOR: MessageType.INITIATOR_NEGO, Role.ACCEPTOR: MessageType.ACCEPTOR_NEGO}
META_DATA: Final = {Role.INITIATOR: MessageType.INITIATOR_META_DATA, Role.ACCEPTOR: MessageType.ACCEPTOR_META_DATA}
TOKEN: Final = {Role.INITIATOR: MessageType.AP_REQUEST, Role.ACCEPTOR: MessageType.CHALLENGE}
"""The types of message that only one of the two ends may send."""


class Covered(NamedTuple):
    """A VERIFY, and how many octets of the conversation come before it."""

    message: VerifyMessage
    octets: int


@dataclass(repr=False)
class Heard:
    """What one token of the peer says.

    Args:
        schemes: those it has, in its order; only in its first token.
        metadata: by scheme; only in its first token.
        token: of a mechanism.
        verify: the proof that it saw the same conversation.
        without_key: the schemes for which it cannot check a VERIFY yet.
    """

    schemes: tuple[uuid.UUID, ...] | None = None
    metadata: dict[uuid.UUID, bytes] = field(default_factory=dict[uuid.UUID, bytes])
    token: ExchangeMessage | None = None
    verify: Covered | None = None
    without_key: set[uuid.UUID] = field(default_factory=set[uuid.UUID])

    def verify_of(self, scheme: uuid.UUID) -> Covered | None:
        """The VERIFY, if it is of `scheme`: an optimistic one may be of a scheme that was not chosen."""
        return self.verify if self.verify is not None and self.verify.message.scheme == scheme else None


class Conversation:
    """The messages of both ends (draft-zhu-negoex-04 6.1, 7.7).

    Args:
        role: this end's.
        identifier: sixteen octets that the initiator draws; an acceptor takes them over.
    """

    def __init__(self, role: Role, identifier: bytes = b"") -> None:
        self._role = role
        self._identifier = identifier
        self._count = 0
        self._heard = 0
        self._octets = bytearray()
        self._taken = 0

    def __len__(self) -> int:
        return len(self._octets)

    def add(self, kind: MessageType, body: Body) -> None:
        """Say something; it leaves with `take`."""
        self._octets += Message(kind, self._count, self._identifier, body).encode()
        self._count += 1

    def take(self) -> bytes:
        """What was added since the last token: the next one, or nothing."""
        octets = bytes(self._octets[self._taken :])
        self._taken = len(self._octets)
        return octets

    def up_to(self, octets: int) -> bytes:
        """The first `octets` octets of the conversation."""
        return bytes(self._octets[:octets])

    def hear(self, token: bytes) -> Heard:
        """Take the peer's token.

        Raises:
            MalformedMessage: it is none.
            InvalidToken: it does not continue this conversation, or says something twice or out of turn.
            Unsupported: a version or an extension that both ends must know.
        """
        start = len(self._octets)
        self._octets += token
        self._taken = len(self._octets)
        heard = Heard()
        for message in messages_of(token):
            self._follow(message)
            self._sort(message, start, heard)
        self._heard += 1
        if self._heard == 1 and heard.schemes is None:
            raise InvalidToken("NEGOEX: the peer does not say which schemes it has")
        return heard

    def _follow(self, message: Message) -> None:
        """Insist that a message is the next one: a missing, repeated, old or foreign one is not."""
        if message.sequence != self._count:
            raise InvalidToken(f"NEGOEX: message {self._count} of the conversation is due, not {message.sequence}")
        if not self._identifier:
            self._identifier = message.conversation
        if message.conversation != self._identifier:
            raise InvalidToken("NEGOEX: a message belongs to another conversation")
        self._count += 1

    def _sort(self, message: Message, start: int, heard: Heard) -> None:
        """Put a message where it belongs in `heard`, once.

        NEGO comes first, then metadata, then the token, and VERIFY behind them all: what came after it would be acted
        upon, and this end would be complete, before anything proved it.
        """
        kind, body, peer = message.kind, message.body, self._role.other
        first = self._heard == 0
        unproved = heard.verify is None
        if (
            kind is NEGO[peer]
            and isinstance(body, NegoMessage)
            and first
            and heard.schemes is None
            and not message.start
        ):
            heard.schemes = _understood(body).schemes
        elif kind is META_DATA[peer] and isinstance(body, ExchangeMessage) and first and unproved:
            if body.scheme in heard.metadata or heard.token is not None:
                raise _misplaced(message)
            heard.metadata[body.scheme] = body.payload
        elif kind is TOKEN[peer] and isinstance(body, ExchangeMessage) and heard.token is None and unproved:
            heard.token = body
        elif isinstance(body, VerifyMessage) and unproved:
            if body.checksum_scheme != CHECKSUM_RFC3961:
                raise Unsupported(f"NEGOEX: the checksum scheme {body.checksum_scheme} is unknown; only RFC 3961 is")
            heard.verify = Covered(body, start + message.start)
        elif isinstance(body, AlertMessage):
            if body.no_key:
                heard.without_key.add(body.scheme)
        else:
            raise _misplaced(message)


def _understood(body: NegoMessage) -> NegoMessage:
    if body.version:
        raise Unsupported(f"NEGOEX: the peer speaks version {body.version}; 0 is the only one here")
    for kind, _ in body.extensions:
        if kind & CRITICAL:
            raise Unsupported(f"NEGOEX: the peer insists on the extension {kind:#x}, which is unknown here")
    return body


def _misplaced(message: Message) -> InvalidToken:
    return InvalidToken(f"NEGOEX: the peer sent {message.kind.name} twice or out of turn")
