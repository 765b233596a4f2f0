"""Deaths of the engine in a row, and whom they speak against."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST: Final = 3
WITHIN: Final = 60.0
"""So many in so many seconds are too many."""


@dataclass(frozen=True, slots=True)
class Death:
    """How the engine died, in words, and which pipelines were at work; it ``fell`` unless somebody killed it."""

    how: str
    busy: frozenset[str]
    fell: bool


class Deaths:
    """The last ones; times are of the monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: deque[tuple[float, Death]] = deque(maxlen=MOST)

    def add(self, death: Death) -> bool:
        """Counts one; whether there were too many."""
        self._last.append((self._clock(), death))
        return len(self._last) == MOST and self._last[-1][0] - self._last[0][0] <= WITHIN

    def suspects(self) -> frozenset[str]:
        """The pipelines that were at work at each of them, where it fell each time."""
        deaths = [death for _, death in self._last]
        fell = all(each.fell for each in deaths)
        return frozenset.intersection(*(each.busy for each in deaths)) if fell else frozenset()

    def how(self) -> str:
        """The last one in words, and that it was not the first."""
        return f"{self._last[-1][1].how}, {MOST} times within {WITHIN:.0f} s"

    def clear(self) -> None:
        """Somebody has taken the blame for them."""
        self._last.clear()
