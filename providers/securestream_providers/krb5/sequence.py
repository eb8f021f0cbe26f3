"""Which message numbers a context takes: duplicates, old ones and gaps (RFC 2743 1.2.3, RFC 4121 4.2.6)."""

from __future__ import annotations

from typing import Final

from securestream.errors import OutOfSequence

REMEMBERED: Final = 64
"""How far behind the newest message a duplicate can be told from a late one."""
_MASK: Final = (1 << REMEMBERED) - 1


class Window:
    """The numbers of the messages received.

    Args:
        due: the number that is due next.
        bits: 64 for RFC 4121's tokens, 32 for the older ones.
        replay: refuse duplicates, and what is too old to tell.
        order: refuse everything but the message that is due.
        seen: one bit for each of the messages before `due`, the newest lowest.
    """

    __slots__ = ("_half", "_modulus", "due", "order", "replay", "seen")

    def __init__(self, due: int, bits: int = 64, *, replay: bool, order: bool, seen: int = 0) -> None:
        self._modulus = 1 << bits
        self._half = self._modulus >> 1
        self.due = due
        self.replay = replay
        self.order = order
        self.seen = seen

    def take_due(self) -> None:
        """Note an authentic message whose number is `due`."""
        self.seen = (self.seen << 1 | 1) & _MASK
        self.due = (self.due + 1) % self._modulus

    def take(self, number: int) -> None:
        """Note an authentic message of this number. What is refused changes nothing.

        Raises:
            OutOfSequence: it is a duplicate, old, or not the one that is due, where that was agreed to matter.
        """
        ahead = (number - self.due) % self._modulus
        if ahead < self._half:
            if ahead and self.order:
                raise OutOfSequence(f"{ahead} messages are missing before this one")
            self.seen = (self.seen << ahead + 1 | 1) & _MASK if ahead < REMEMBERED else 1
            self.due = (number + 1) % self._modulus
            return
        if not self.replay and not self.order:
            return
        behind = self._modulus - ahead
        if behind > REMEMBERED:
            raise OutOfSequence("the message is too old to be told from a replay")
        bit = 1 << behind - 1
        if self.seen & bit:
            raise OutOfSequence("the message came before: this is a replay")
        if self.order:
            raise OutOfSequence("the message is older than one that came before it")
        self.seen |= bit
