"""A token bucket: a limit on the size of a burst and on the rate that follows it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """A token bucket of at most ``burst`` tokens, refilled at ``rate`` tokens a second. Not thread-safe."""

    def __init__(self, burst: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._tokens = burst
        self._at = clock()

    def take(self, tokens: float = 1.0) -> bool:
        """Take this many tokens if the bucket holds them; return whether it did."""
        if tokens > self.left():
            return False
        self._tokens -= tokens
        return True

    def left(self) -> float:
        """Return the number of tokens in the bucket now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens
