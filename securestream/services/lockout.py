"""Lock-out: the policy alone, for stores of accounts and for KDCs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from securestream.errors import UsageError


@dataclass(frozen=True)
class Lockout:
    """When an account is refused for every source. Off unless asked for: whoever knows a name can lock it.

    Args:
        failures: this many wrong responses...
        window: ...each within this time of the one before lock the account...
        duration: ...for this long.
    """

    failures: int = 10
    window: timedelta = timedelta(minutes=15)
    duration: timedelta = timedelta(minutes=15)

    def __post_init__(self) -> None:
        if self.failures < 1 or self.window <= timedelta() or self.duration <= timedelta():
            raise UsageError("lock-out needs at least one failure, and a window and a duration above zero")
