"""Crash loops of the engine, and the pipelines suspected of causing them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST: Final = 3
WITHIN: Final = 60.0
"""`MOST` deaths within `WITHIN` seconds are a crash loop."""


@dataclass(frozen=True, slots=True)
class Death:
    """How the engine died, in words, and which pipelines were busy; it ``fell`` unless it was killed."""

    how: str
    busy: frozenset[str]
    fell: bool


class Deaths:
    """The last deaths of the engine; times are of the monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: deque[tuple[float, Death]] = deque(maxlen=MOST)

    def add(self, death: Death) -> bool:
        """Add a death; return whether this is a crash loop."""
        self._last.append((self._clock(), death))
        return len(self._last) == MOST and self._last[-1][0] - self._last[0][0] <= WITHIN

    def suspects(self) -> frozenset[str]:
        """Return the pipelines that were busy at every death, if each death was the engine's own fault."""
        deaths = [death for _, death in self._last]
        fell = all(each.fell for each in deaths)
        return frozenset.intersection(*(each.busy for each in deaths)) if fell else frozenset()

    def how(self) -> str:
        """Return the last death in words, with the number of deaths in the period."""
        return f"{self._last[-1][1].how}, {MOST} times within {WITHIN:.0f} s"

    def clear(self) -> None:
        """Forget the deaths: their cause has been dealt with."""
        self._last.clear()
