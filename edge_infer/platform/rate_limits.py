"""Rate limits: token buckets, budgets of messages per minute, and a throttle for log lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from typing import ClassVar, Final

# Token bucket: limits the size of a burst and the rate after it.


class TokenBucket:
    """A token bucket with at most ``burst`` tokens, refilled at ``rate`` tokens per second. Not thread-safe."""

    def __init__(self, burst: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._tokens = burst
        self._at = clock()

    def take(self, tokens: float = 1.0) -> bool:
        """Take ``tokens`` if the bucket holds them; return whether it did."""
        if tokens > self.left():
            return False
        self._tokens -= tokens
        return True

    def set_rate(self, rate: float) -> None:
        """Change the rate from now on; the current tokens stay."""
        self.left()
        self._rate = rate

    def left(self) -> float:
        """Return the number of tokens in the bucket now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens

    def seconds_to_full(self) -> float:
        """Return the seconds after which the bucket is full if nothing is taken."""
        return (self._burst - self.left()) / self._rate


# Token bucket for bytes: limits the average bytes per second, with bursts.

BURST_SECONDS: Final = 10.0
"""Default size of a burst, in seconds of the rate."""


class ByteBucket:
    """A token bucket that starts full.

    A message may be larger than the remaining level. The level then becomes negative and must first be refilled to 0.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic, burst: float = BURST_SECONDS) -> None:
        """``burst`` is the amount that may be sent at once, in seconds of the rate."""
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
        """Count bytes that are sent."""
        self._fill()
        self._level -= size

    def pause(self) -> float:
        """Return the seconds until something may be sent; 0 if it may be sent now."""
        self._fill()
        return 0.0 if self._level > 0 else (1 - self._level) / self._rate

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._level + (now - self._at) * self._rate, self._rate * self._burst)
        self._at = now


# Throttle for log lines that could repeat for ever.

MAX_THROTTLED_KEYS: Final = 1000


class LogThrottle:
    """Allows a log line for each key at the first time, and then once per ``interval`` seconds."""

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


# Budgets of messages per minute, which the publisher enforces as well.


class MessageBudget:
    """Token bucket: ``most`` tokens are added per minute, and it holds at most ``at_once``.

    Times are those of the monotonic clock.
    """

    _empty_at: ClassVar[float] = -math.inf
    """Time at which all budgets of this process were empty."""

    def __init__(self, most: float, at_once: float | None = None) -> None:
        self._rate = most / 60.0
        self._at_once = most if at_once is None else at_once
        self._left = 0.0
        self._at: float | None = None

    @classmethod
    def start_empty(cls) -> None:
        """Let all budgets of this process start empty at this moment; otherwise they start full.

        The previous engine may have used up the burst that the publisher allows.
        """
        cls._empty_at = time.monotonic()

    def take(self, moment: float, cost: float = 1.0, *, reserved: float = 0.0) -> bool:
        """Take ``cost`` tokens if the share ``reserved`` of the bucket remains afterwards.

        Return whether they were taken.
        """
        passed = time.monotonic() - self._empty_at if self._at is None else max(0.0, moment - self._at)
        self._left, self._at = min(self._at_once, self._left + passed * self._rate), moment
        if self._left - cost < reserved * self._at_once:
            return False
        self._left -= cost
        return True
