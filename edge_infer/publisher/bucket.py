"""A token bucket: so many bytes a second on average, in bursts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

BURST: Final = 10.0
"""Seconds of the rate that may leave at once, where nothing else is said."""


class Bucket:
    """Full at first. The last message before it is empty may be larger than what is left: that is owed."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic, burst: float = BURST) -> None:
        """``burst`` are the seconds of the rate that may leave at once."""
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._level = rate * burst
        self._at = clock()

    def set_rate(self, rate: int) -> None:
        """Another rate from now on."""
        self._fill()
        self._rate, self._level = rate, min(self._level, rate * self._burst)

    def take(self, size: int) -> None:
        """So many bytes leave."""
        self._fill()
        self._level -= size

    def pause(self) -> float:
        """Seconds until something may leave; 0 for now."""
        self._fill()
        return 0.0 if self._level > 0 else (1 - self._level) / self._rate

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._level + (now - self._at) * self._rate, self._rate * self._burst)
        self._at = now
