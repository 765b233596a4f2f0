"""A token bucket: how much somebody may do in a burst, and how much a second from then on."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """Holds ``burst`` tokens at most and gets ``rate`` a second back. Not thread-safe."""

    def __init__(self, burst: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._tokens = burst
        self._at = clock()

    def take(self, tokens: float = 1.0) -> bool:
        """Takes these tokens if there are so many; whether there were."""
        if tokens > self.left():
            return False
        self._tokens -= tokens
        return True

    def left(self) -> float:
        """How many there are now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens
