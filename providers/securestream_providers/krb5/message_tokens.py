"""What the per-message tokens of every encryption type have in common: one object per context, for both directions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from securestream.errors import BadSignature
from securestream.options import Random, Role
from securestream.provider import Buffer, Cover, Part, Sealed, Unwrapped
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.sequence import Window

Seal: TypeAlias = Callable[[Buffer], bytes]
Unseal: TypeAlias = Callable[[Buffer], Unwrapped]


@dataclass(frozen=True, repr=False, slots=True)
class TokenSettings:
    """What tokens are made with.

    Args:
        key: the key of the context.
        role: this end's role.
        random: for confounders.
        acceptor_subkey: whether `key` is the acceptor's subkey (RFC 4121 4.2.2).
        dce: the context is in DCE style ([MS-KILE] 3.4.5.4.1).
        sent: the number of the next message.
        window: judges the numbers of what is received.
    """

    key: Key
    role: Role
    random: Random
    acceptor_subkey: bool
    dce: bool
    sent: int
    window: Window


class MessageTokens(ABC):
    """Per-message tokens of a context."""

    signature: int
    """Octets of a MIC token."""
    wrap_overhead: int
    """The most that wrapping adds."""

    @abstractmethod
    def take_number(self) -> int:
        """Take the number of the next message away, which ends the use of this object."""

    @abstractmethod
    def discard(self) -> None:
        """Drop the keys that live in ciphers."""

    @property
    @abstractmethod
    def window(self) -> Window:
        """What was received."""

    @abstractmethod
    def sealing(self) -> Seal:
        """What makes sealed tokens."""

    @abstractmethod
    def wrap_clear(self, data: Buffer) -> bytes:
        """A token that is signed only."""

    @abstractmethod
    def opening(self) -> Unseal:
        """What opens tokens of either kind."""

    @abstractmethod
    def sign(self, data: Sequence[Buffer]) -> bytes:
        """The MIC token of all of `data`."""

    @abstractmethod
    def verify(self, data: Sequence[Buffer], token: Buffer) -> None:
        """Check a MIC token."""

    @abstractmethod
    def seal(self, parts: Sequence[Part]) -> Sealed:
        """Seal in parts; at least one of them is sealed."""

    @abstractmethod
    def unseal(self, parts: Sequence[Part], token: Buffer) -> tuple[bytes, ...]:
        """Open what `seal` gave."""

    @abstractmethod
    def signature_size(self, parts: Sequence[Part]) -> int:
        """Octets of the signature of `seal`."""


def covered(parts: Sequence[Part]) -> list[Buffer]:
    """What is signed of `parts`."""
    return [data for data, cover in parts if cover is not Cover.UNTOUCHED]


def any_sealed(parts: Sequence[Part]) -> bool:
    """Whether any part is to be encrypted."""
    return any(cover is Cover.SEALED for _, cover in parts)


def cut_like(parts: Sequence[Part], octets: bytes) -> tuple[bytes, ...]:
    """Give the sealed parts their octets back, in order, out of what they became together."""
    found: list[bytes] = []
    at = 0
    for data, cover in parts:
        if cover is Cover.SEALED:
            found.append(octets[at : at + len(data)])
            at += len(data)
        else:
            found.append(bytes(data))
    return tuple(found)


def altered() -> BadSignature:
    """The refusal of a token that does not fit."""
    return BadSignature("the message was altered, or was not made by the peer of this context")


def reflected() -> BadSignature:
    """The refusal of a token that this end made, or one in its role."""
    return BadSignature("the message comes from this end's own role: it was reflected")
