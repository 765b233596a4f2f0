"""How many messages may be under way: enough to fill the link, and not so many that an alarm stands behind them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

WINDOW: Final = 20
"""Messages under way at once at first, and at most on a quick link."""
MOST_WINDOW: Final = 200
LEAST_WINDOW: Final = 4
RATE: Final = 40.0
"""Messages a second that the latency of a link shall not be what prevents."""
QUEUE: Final = 0.5
"""Seconds that messages may stand in front of the link, beyond the time that it takes when nothing does."""
GROWTH: Final = 1.5
"""As much more a round while nothing stands in line."""
REMEMBERED: Final = 60.0
"""Seconds after which it is looked again how long the link takes: another way may be longer."""


class Flight:
    """Learns from acknowledgements how long the link takes, and how much of that is a queue of our own making.

    A round is twice as long as the link takes, so that it shows what came of the last change. Its quickest answer tells
    of a queue that never empties; what is sent in one burst stands in line for a moment only. The delay of
    the bare link and a bound to what the queue adds are as in LEDBAT (RFC 6817), the look at that delay now and then is
    BBR's.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin(MOST_WINDOW)

    def begin(self, most: int) -> None:
        """A new connection, whose broker takes so many at once."""
        self._most = max(1, min(MOST_WINDOW, most))
        self._size = float(WINDOW)
        self._before: float | None = None
        self._base = self._quickest = math.inf
        self._filled, self._count, self._began = False, 0, self._clock()
        self._round_ends, self._period_ends = -math.inf, self._clock() + REMEMBERED

    @property
    def window(self) -> int:
        """Messages that may be under way."""
        return min(self._most, int(self._size))

    def acked(self, seconds: float, *, full: bool) -> None:
        """An acknowledgement took so long; ``full``: as many were under way as may be."""
        now = self._clock()
        self._base = min(self._base, seconds)
        self._quickest = min(self._quickest, seconds)
        self._filled |= full
        self._count += 1
        if now < self._round_ends:
            return
        if self._before is not None:
            self._size, self._before = self._before, None
        elif now >= self._period_ends:
            self._look_again(now)
        elif self._filled:
            self._judge(self._count / max(now - self._began, 1e-6))
        self._quickest, self._filled, self._count = math.inf, False, 0
        self._began, self._round_ends = now, now + 2 * seconds

    def _look_again(self, now: float) -> None:
        """For a round so little is under way that nothing stands in line: that is how long the link takes now."""
        self._base, self._period_ends = math.inf, now + REMEMBERED
        self._before, self._size = self._size, max(LEAST_WINDOW, self._size / 2)

    def _judge(self, rate: float) -> None:
        """So many a second get through: as many as that are under way over the link, and a few stand in front of it."""
        enough = rate * (self._base + QUEUE / 2)
        if self._quickest - self._base < QUEUE / 4:
            enough = max(enough, self._size * GROWTH)
        self._size = max(LEAST_WINDOW, min(enough, max(WINDOW, RATE * self._base)))
