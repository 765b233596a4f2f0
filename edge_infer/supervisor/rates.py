"""Rates of pipelines: the usual rate of each, and the steps by which the governor lowers it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

HALVINGS: Final = 3
SLOWEST: Final = 1.0
"""Frames a second below which no pipeline is slowed down: one picture a second still detects presence."""
WORTH: Final = 1.25
"""A pipeline that is faster than `SLOWEST` by no more than this factor has no step to give."""
WINDOW: Final = 30.0
"""Seconds over which a rate is measured: after this time without a limit, the measured rate is the usual one."""


class Rates:
    """Usual rates by pipeline, in frames a second. Times are seconds of a monotonic clock, given by the caller."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._held: dict[str, float] = {}  # the last time at which the pipeline was limited

    def learn(self, measured: Mapping[str, float], limits: Mapping[str, float], now: float) -> None:
        """Update the usual rates from measured ones; the rate of a pipeline in ``limits`` is not its usual rate."""
        for name, rate in measured.items():
            if name in limits:
                self._held[name] = now
            elif rate > 0:
                free = now - self._held.get(name, -math.inf) >= WINDOW
                self._usual[name] = rate if free else max(rate, self._usual.get(name, 0.0))

    def usual(self, name: str) -> float | None:
        """Return the rate of a pipeline without limits; None while it is unknown."""
        return self._usual.get(name)

    def steps(self, name: str) -> list[float]:
        """Return the rates to lower a pipeline to, in order: halves, down to an eighth, but at least 1 a second.

        The list is empty for a pipeline without a known rate: it uses nothing that could be saved.
        """
        rate, found = self._usual.get(name, 0.0), []
        for _ in range(HALVINGS):
            if rate <= WORTH * SLOWEST:
                break
            rate = max(rate / 2, SLOWEST)
            found.append(round(rate, 2))
        return found

    def most(self, shed: Sequence[str]) -> int:
        """Return the total number of steps of all of these."""
        return sum(len(self.steps(name)) for name in shed)

    def limits(self, shed: Sequence[str], depth: int) -> dict[str, float]:
        """Return the rates after ``depth`` steps: each pipeline of ``shed`` gives all its steps before the next."""
        found = {}
        for name in shed:
            steps = self.steps(name)
            if taken := min(depth, len(steps)):
                found[name] = steps[taken - 1]
            depth -= taken
        return found
