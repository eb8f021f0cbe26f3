"""One package that NEGOEX may choose: its handshake, held until it is needed, its metadata and its keys."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeAlias

from securestream.errors import InvalidToken, UsageError
from securestream.machine import Step
from securestream.nested import Nested
from securestream.options import Limits
from securestream.provider import Effect, Established, Handshake, Metadata, SecurityContext, SecurityPackage, VerifyKeys
from securestream_providers.krb5.keys import Key, make_key

Doing: TypeAlias = Generator[Effect[Any], Any, None]


class Candidate:
    """A package with its handshake.

    A handshake that asks for metadata rests there until `go_on`: whoever is not chosen goes no further.

    Args:
        package: makes the handshake.
        begin: starts one.
        limits: bounds on its tokens.
    """

    def __init__(self, package: SecurityPackage, begin: Callable[[], Handshake], limits: Limits) -> None:
        scheme = package.info.negoex_scheme
        if scheme is None:
            raise UsageError(f"{package.info.name} has no NEGOEX scheme")
        self.package = package
        self.name = package.info.name
        self.scheme = scheme
        self.metadata: bytes | None = None
        """What this end says of the scheme."""
        self.peer_metadata: bytes | None = None
        """What the peer said of it."""
        self.own_key: Key | None = None
        self.peer_key: Key | None = None
        self._begin = begin
        self._limits = limits
        self._running = ExitStack()
        self._asked: Metadata | None = None
        self._handshake: Nested | None = None
        self._step = Step()

    @property
    def token(self) -> bytes | None:
        """Its token for the peer, until `sent`."""
        return self._step.token

    @property
    def outcome(self) -> Established | None:
        """What it established, at its end."""
        return self._step.established

    def start(self) -> Doing:
        """Begin a handshake, up to its first token or the point where it asks for metadata; one under way is dropped.

        Raises:
            HandshakeError: the package cannot begin.
        """
        self.close()
        self._handshake = self._running.enter_context(
            Nested(self._begin(), answers=(VerifyKeys, Metadata), limits=self._limits)
        )
        yield from self._advance(None)

    def go_on(self, *, spoken: bool = True) -> Doing:
        """Answer its question for metadata, if it has asked; it then comes to its first token.

        Args:
            spoken: whether the peer has spoken; while it has not, who waits for that keeps waiting.
        """
        while self._asked is not None and (spoken or not self._asked.wait):
            self._asked = None
            yield from self._advance(self.peer_metadata)

    def step(self, token: bytes) -> Doing:
        """Give it the peer's token.

        Raises:
            InvalidToken: it is complete.
            HandshakeError: what the package raised.
        """
        if self.outcome is not None:
            raise InvalidToken(f"NEGOEX: the peer sent a token of {self.name} after it was complete")
        yield from self._advance(token)
        yield from self.go_on()

    def sent(self) -> None:
        """Its token is on its way."""
        self._step = Step(established=self._step.established)

    def close(self) -> None:
        """Drop the handshake with its keys, and what it established."""
        if self.outcome is not None and isinstance(self.outcome.result, SecurityContext):
            self.outcome.result.discard()
        self._running.close()
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)  # which discards what was established, if the negotiation failed
        self._forget()

    def _forget(self) -> None:
        self._handshake = self._asked = self.own_key = self.peer_key = None
        self._step = Step()

    def _advance(self, reply: bytes | None) -> Doing:
        """Step the handshake, keep its keys, and rest where it asks for metadata."""
        handshake = self._handshake
        if handshake is None:
            raise UsageError(f"the handshake of {self.name} does not run")
        step = yield from handshake.step(reply)
        while isinstance(step.need, VerifyKeys):
            self.own_key = make_key(step.need.etype, step.need.own)
            self.peer_key = make_key(step.need.etype, step.need.peer)
            step = yield from handshake.step(None)
        if isinstance(step.need, Metadata):
            self.metadata = step.need.own
            self._asked = step.need
        self._step = step
