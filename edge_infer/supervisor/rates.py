"""What pipelines do when nothing holds them back, and what that becomes step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

HALVINGS: Final = 3
SLOWEST: Final = 1.0
"""Frames a second that nobody is slowed down below: a picture a second still tells who is there."""
WORTH: Final = 1.25
"""A pipeline that is quicker than the slowest by no more than this factor has no step to give."""
WINDOW: Final = 30.0
"""Seconds that a measured rate is taken over: after so long it is one of a time in which nothing held it back."""


class Rates:
    """By pipeline, in frames a second. Times are seconds of a monotonic clock, given by the caller."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._held: dict[str, float] = {}  # when it was held back last

    def learn(self, measured: Mapping[str, float], limits: Mapping[str, float], now: float) -> None:
        """What pipelines do now, and which of them are held back: what those do says nothing of what is usual."""
        for name, rate in measured.items():
            if name in limits:
                self._held[name] = now
            elif rate > 0:
                free = now - self._held.get(name, -math.inf) >= WINDOW
                self._usual[name] = rate if free else max(rate, self._usual.get(name, 0.0))

    def usual(self, name: str) -> float | None:
        """What a pipeline does when nothing holds it back; None while that is not known."""
        return self._usual.get(name)

    def steps(self, name: str) -> list[float]:
        """The rates that it can be lowered to, one after the other: halves, down to an eighth, and to 1 a second.

        Nothing where its usual rate is not known: it does nothing that would need the board.
        """
        rate, found = self._usual.get(name, 0.0), []
        for _ in range(HALVINGS):
            if rate <= WORTH * SLOWEST:
                break
            rate = max(rate / 2, SLOWEST)
            found.append(round(rate, 2))
        return found

    def most(self, shed: Sequence[str]) -> int:
        """How many steps all of these have together."""
        return sum(len(self.steps(name)) for name in shed)

    def limits(self, shed: Sequence[str], depth: int) -> dict[str, float]:
        """The rates after so many steps: the next of ``shed`` is touched when the one before can give no more."""
        found = {}
        for name in shed:
            steps = self.steps(name)
            if taken := min(depth, len(steps)):
                found[name] = steps[taken - 1]
            depth -= taken
        return found
