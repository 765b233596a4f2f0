"""Stalls: periods in which a process or the whole board did not run, so that silence during them is not a hang."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

GRACE: Final = 0.5
"""Seconds by which a thread may wake up late on a busy board. A longer delay is a stall."""
REMEMBERED: Final = 32


class Stalls:
    """The delays of one thread that waits with a deadline in each iteration of its loop.

    That thread calls `wait` and `woke`; any thread may call `since`. A stall is recorded before the thread continues.
    It may be anywhere in the iteration, because a process may be stopped while it works or while it waits.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = math.inf
        self._past: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)  # end and length of each stall

    def wait(self, timeout: float) -> None:
        """Record that the thread waits from now on, for ``timeout`` seconds at most."""
        self._go_on(timeout)

    def woke(self) -> None:
        """Record that the thread works again."""
        self._go_on(0.0)

    def _go_on(self, timeout: float) -> None:
        """Record that the thread runs now, and will run again within ``timeout`` seconds."""
        now, due = self._clock(), self._due
        self._due = now + timeout
        if now - due > GRACE:
            self._past.append((now, now - due))

    def since(self, moment: float) -> float:
        """Return the number of seconds after a moment of the monotonic clock in which this process did not run."""
        now = self._clock()
        late = now - self._due  # the process is still not running
        stalls = [*self._past, (now, late)] if late > GRACE else list(self._past)
        return sum(min(length, end - moment) for end, length in stalls if end > moment)
