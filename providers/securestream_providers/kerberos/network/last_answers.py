"""Which server of a realm answered last: a dead one then costs its moment once, not at each request."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.krb5.config import KdcAddress

REMEMBERED_FOR: Final = 300.0
"""Seconds after an answer during which its server is asked first; then the configured order counts again."""

MOST_REMEMBERED: Final = 64
"""Realms; the longest unused go."""


@dataclass(frozen=True)
class LastAnswer:
    """Who answered.

    Args:
        address: as the configuration or DNS names it.
        by_stream: whether by TCP, though the request was small enough for UDP.
    """

    address: KdcAddress
    by_stream: bool


class LastAnswers:
    """The last answer of each realm's servers. Several threads may use it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, KdcService], tuple[float, LastAnswer]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, request: KdcRequest, answer: LastAnswer) -> None:
        """Remember who answered a request."""
        key = (request.realm, request.service)
        with self._lock:
            self._kept[key] = (self._clock() + REMEMBERED_FOR, answer)
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_REMEMBERED:
                self._kept.popitem(last=False)

    def of(self, request: KdcRequest, addresses: tuple[KdcAddress, ...]) -> LastAnswer | None:
        """Who answered last, if that was not long ago and it is still one of the realm's servers."""
        with self._lock:
            until, answer = self._kept.get((request.realm, request.service), (0.0, None))
        if answer is None or self._clock() >= until or answer.address not in addresses:
            return None
        return answer
