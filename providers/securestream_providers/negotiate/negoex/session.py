"""What both roles do once a scheme is chosen: its tokens, and the VERIFY of each end ([MS-NEGOEX] 3.1.5.6, 3.1.5.7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from securestream.errors import BadSignature, Downgrade, HandshakeError, InvalidToken
from securestream.options import Role
from securestream.provider import Established, Exchange, Handshake
from securestream_providers.krb5.keys import Key
from securestream_providers.negotiate.negoex.candidate import Candidate, Doing
from securestream_providers.negotiate.negoex.conversation import TOKEN, Conversation, Covered, Heard
from securestream_providers.negotiate.negoex.messages import (
    NO_KEY,
    AlertMessage,
    ExchangeMessage,
    MessageType,
    VerifyMessage,
)

USAGE: Final = {Role.INITIATOR: 25, Role.ACCEPTOR: 23}
"""Key usages of the two checksums. The draft (7.7) has them the other way around; MIT's and Heimdal's are these."""


class Session:
    """The rest of a negotiation, with one scheme.

    Args:
        role: this end's.
        conversation: what was said so far.
        candidate: the scheme, its handshake at its first token (initiator) or waiting for one (acceptor).
    """

    def __init__(self, role: Role, conversation: Conversation, candidate: Candidate) -> None:
        self._role = role
        self._conversation = conversation
        self._candidate = candidate
        self._sent = False
        """Whether the peer has our VERIFY and did not say that it cannot check it."""
        self._verified = False
        self._alert = False

    def hear(self, heard: Heard) -> Doing:
        """Take what the peer said: first the token, which may bring the key, then the VERIFY.

        Raises:
            Downgrade: the VERIFY does not fit.
            InvalidToken: a token is missing, or is of another scheme.
            HandshakeError: what the chosen package raised; its token is in the envelope of NEGOEX.
        """
        candidate = self._candidate
        if heard.token is not None:
            if heard.token.scheme != candidate.scheme:
                raise InvalidToken(
                    f"NEGOEX: a token of the scheme {heard.token.scheme} came where {candidate.name} runs"
                )
            try:
                yield from candidate.step(heard.token.payload)
            except HandshakeError as failure:
                if failure.token is not None:
                    self._say(failure.token)
                    failure.token = self._conversation.take()
                raise
        elif candidate.outcome is None:
            raise InvalidToken(f"NEGOEX: the peer sent no token of {candidate.name}, which is not complete")
        self.hear_proof(heard)

    def hear_proof(self, heard: Heard) -> None:
        """Take the peer's VERIFY and its ALERT, if any.

        Raises:
            Downgrade: the VERIFY does not fit.
        """
        if self._candidate.scheme in heard.without_key:
            self._sent = False  # to be made again, once it has the key: delayed, never waived
        verify = heard.verify_of(self._candidate.scheme)
        if verify is None:
            return
        key = self._candidate.peer_key
        if key is None:
            self._alert = True
        else:
            self._check(key, verify)

    def _check(self, key: Key, verify: Covered) -> None:
        message = verify.message
        try:
            covered = self._conversation.up_to(verify.octets)
            key.verify(USAGE[self._role.other], covered, message.checksum, message.checksum_type)
        except BadSignature as error:
            raise Downgrade(
                "NEGOEX: the peer's VERIFY does not fit: somebody altered the negotiation on its way"
            ) from error
        self._verified = True

    def speak(self) -> Established | None:
        """Add what this end has to say; the outcome, when nothing more is awaited.

        Raises:
            Downgrade: the package is complete without a key, so that nothing can be proved.
        """
        candidate = self._candidate
        outcome = candidate.outcome
        if candidate.token is not None:
            self._say(candidate.token)
        candidate.sent()
        if self._alert:
            self._conversation.add(MessageType.ALERT, AlertMessage(candidate.scheme, NO_KEY))
            self._alert = False
        if not self._sent and candidate.own_key is not None:
            key = candidate.own_key
            conversation = self._conversation
            checksum = key.checksum(USAGE[self._role], conversation.up_to(len(conversation)))
            body = VerifyMessage(candidate.scheme, key.checksum_type & 0xFFFFFFFF, checksum)
            conversation.add(MessageType.VERIFY, body)
            self._sent = True
        if outcome is None:
            return None
        if not self._sent:
            raise Downgrade(
                f"NEGOEX: {candidate.name} is complete and announced no key (VerifyKeys), so nothing proves that "
                "nobody altered the negotiation"
            )
        return outcome if self._verified else None

    def run(self) -> Handshake:
        """Exchange tokens until the scheme is complete and both ends have proved the conversation.

        Raises:
            Downgrade: the peer completes without its proof.
        """
        while True:
            outcome = self.speak()
            token = self._conversation.take() or None
            if outcome is not None:
                return replace(outcome, token=token)
            if token is None:
                raise Downgrade("NEGOEX: the peer did not prove which schemes it saw: its VERIFY is missing")
            reply = yield from Exchange(token)
            yield from self.hear(self._conversation.hear(reply))

    def _say(self, token: bytes) -> None:
        self._conversation.add(TOKEN[self._role], ExchangeMessage(self._candidate.scheme, token))
