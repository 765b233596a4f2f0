"""What of an outcome is worth saying, and when: the ``publish`` and ``heartbeat`` of a pipeline."""

from __future__ import annotations

import math
from typing import Final

from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.analyse.instant import ROUNDING
from edge_infer.engine.cascade.sighting import Key
from edge_infer.engine.tasks import Essence

STATE_AGAIN: Final = 60.0
"""Seconds after which a state is said again at the latest; a subscriber's copy expires after 180."""

TOGETHER: Final = 1.0
"""Seconds between two results at least where objects are followed: changes that come closer share one, and what is as
it was by then was none. Each is told at once by state and event; a result only shows where everybody is."""


class Publication:
    """Remembers what was said last. Times are seconds of the monotonic clock."""

    def __init__(self, plan: PipelinePlan) -> None:
        self._publish = plan.publish
        self._interval = plan.interval
        self._heartbeat = min(plan.heartbeat, STATE_AGAIN)
        self._result_every = plan.heartbeat
        self._together = TOGETHER - ROUNDING if plan.track is not None else 0.0
        self.reset()

    def reset(self) -> None:
        """What was said no longer holds: the next outcome is news."""
        self._said: dict[Key | None, tuple[Essence, float]] = {}
        self._stated: Essence | object = self
        self._stated_at = -math.inf

    def result_due(self, essence: Essence, now: float, about: Key | None = None) -> bool:
        """Whether a result, in a cascade ``about`` an object, has to be published now; the answer yes is remembered."""
        if not self._wanted(essence, now, about):
            return False
        self._said[about] = essence, now
        return True

    def keep(self, known: frozenset[Key]) -> None:
        """Only these objects are there; what was said of others is forgotten."""
        self._said = {about: said for about, said in self._said.items() if about in known}

    def state_due(self, essence: Essence, now: float) -> bool:
        """Whether the state has to be published now, changed or due again; the answer yes is remembered."""
        if essence == self._stated and now - self._stated_at < self._heartbeat:
            return False
        self._stated, self._stated_at = essence, now
        return True

    def state_again(self, now: float) -> bool:
        """Whether the state that was said last is due again; the answer yes is remembered."""
        if now - self._stated_at < self._heartbeat or not math.isfinite(self._stated_at):
            return False
        self._stated_at = now
        return True

    def _wanted(self, essence: Essence, now: float, about: Key | None) -> bool:
        if self._publish == "every":
            return True
        if self._publish == "off":
            return False
        if about not in self._said:
            return True
        said, at = self._said[about]
        if self._publish == "interval":
            return now - at >= self._interval
        return now - at >= (self._result_every if essence == said else self._together)
