"""Limits of rates: token buckets, and a throttle for log lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Final

# A token bucket: a limit on the size of a burst and on the rate that follows it.


class TokenBucket:
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

    def set_rate(self, rate: float) -> None:
        """Change the rate from now on; the tokens stay."""
        self.left()
        self._rate = rate

    def left(self) -> float:
        """Return the number of tokens in the bucket now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens


# A token bucket: a limit of bytes a second on average, with bursts.

BURST_SECONDS: Final = 10.0
"""Default burst, in seconds of the rate."""


class ByteBucket:
    """A token bucket that starts full.

    The last message before it is empty may be larger than the remaining level. The level then goes below 0, and the
    difference has to be refilled first.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic, burst: float = BURST_SECONDS) -> None:
        """``burst`` is the amount that may leave at once, in seconds of the rate."""
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._level = rate * burst
        self._at = clock()

    def set_rate(self, rate: int) -> None:
        """Change the rate from now on."""
        self._fill()
        self._rate, self._level = rate, min(self._level, rate * self._burst)

    def take(self, size: int) -> None:
        """Count bytes that leave."""
        self._fill()
        self._level -= size

    def pause(self) -> float:
        """Return the seconds until something may leave; 0 for now."""
        self._fill()
        return 0.0 if self._level > 0 else (1 - self._level) / self._rate

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._level + (now - self._at) * self._rate, self._rate * self._burst)
        self._at = now


# A throttle for log lines that could repeat for ever.

MAX_THROTTLED_KEYS: Final = 1000


class LogThrottle:
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
        if len(self._told) >= MAX_THROTTLED_KEYS:
            self._told.clear()
        self._told[key] = now
        return True
