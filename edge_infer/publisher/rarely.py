"""A throttle for log lines that could repeat for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Final

MOST_KEYS: Final = 1000


class Rarely:
    """Allows a log line for each key the first time, and then once in ``interval`` seconds."""

    def __init__(self, interval: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._told: dict[Hashable, float] = {}

    def due(self, key: Hashable) -> bool:
        """Return True if a line for ``key`` may be logged now, and count it as logged."""
        now = self._clock()
        if now - self._told.get(key, -self._interval) < self._interval:
            return False
        if len(self._told) >= MOST_KEYS:
            self._told.clear()
        self._told[key] = now
        return True
