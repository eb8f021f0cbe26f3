"""What the token-level tests need of a foreign implementation, whichever it is."""

from __future__ import annotations

from typing import Protocol


class Refused(Exception):
    """The foreign end said no.

    Args:
        message: in its own words.
        major: the GSS-API major status without the informative bits, where the implementation has one.
        token: what it owes the other end.
    """

    def __init__(self, message: str, major: int | None = None, token: bytes | None = None) -> None:
        super().__init__(message)
        self.major = major
        self.token = token


class ForeignEnd(Protocol):
    """One end of one security context; what says no raises `Refused`."""

    @property
    def complete(self) -> bool:
        """Whether it sees the handshake as complete."""
        ...

    def initiate(
        self, user: str, password: str, target: str, *, encrypt: bool = True, bindings: bytes | None = None
    ) -> None:
        r"""Begin as an initiator.

        Args:
            user: ``DOMAIN\name``.
            password: the password.
            target: ``service@host``.
            encrypt: whether confidentiality is asked beside integrity.
            bindings: application data of the channel bindings.
        """
        ...

    def accept(self, *, bindings: bytes | None = None) -> None:
        """Begin as an acceptor, with the accounts of the environment it was made with."""
        ...

    def step(self, token: bytes | None) -> bytes | None:
        """Take the other end's token (`None` at an initiator's start), give the next one if there is one."""
        ...

    def peer(self) -> str:
        r"""Who the acceptor sees, as ``DOMAIN\name``."""
        ...

    def session_key(self) -> bytes:
        """The exported session key."""
        ...

    def wrap(self, data: bytes) -> bytes:
        """Seal."""
        ...

    def unwrap(self, token: bytes) -> bytes:
        """Open."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The detached signature of `data`."""
        ...

    def verify(self, data: bytes, signature: bytes) -> None:
        """Check a detached signature."""
        ...

    def close(self) -> None:
        """End it."""
        ...
