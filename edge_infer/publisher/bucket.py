"""A token bucket: a limit of bytes a second on average, with bursts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

BURST: Final = 10.0
"""Default burst, in seconds of the rate."""


class Bucket:
    """A token bucket that starts full.

    The last message before it is empty may be larger than the remaining level. The level then goes below 0, and the
    difference has to be refilled first.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic, burst: float = BURST) -> None:
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
