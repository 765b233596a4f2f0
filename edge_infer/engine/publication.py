"""What of an outcome is worth saying, and when: the ``publish`` and ``heartbeat`` of a pipeline."""

from __future__ import annotations

import math
from typing import Final

from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.tasks import Essence

STATE_AGAIN: Final = 60.0
"""Seconds after which a state is said again at the latest; a subscriber's copy expires after 180."""


class Publication:
    """Remembers what was said last. Times are seconds of the monotonic clock."""

    def __init__(self, plan: PipelinePlan) -> None:
        self._publish = plan.publish
        self._interval = plan.interval
        self._heartbeat = min(plan.heartbeat, STATE_AGAIN)
        self._result_every = plan.heartbeat
        self.reset()

    def reset(self) -> None:
        """What was said no longer holds: the next outcome is news."""
        self._said: Essence | object = self
        self._stated: Essence | object = self
        self._said_at = self._stated_at = -math.inf

    def result_due(self, essence: Essence, now: float) -> bool:
        """Whether a result has to be published now; the answer yes is remembered."""
        if not self._wanted(essence, now - self._said_at):
            return False
        self._said, self._said_at = essence, now
        return True

    def state_due(self, essence: Essence, now: float) -> bool:
        """Whether the state has to be published now, changed or due again; the answer yes is remembered."""
        if essence == self._stated and now - self._stated_at < self._heartbeat:
            return False
        self._stated, self._stated_at = essence, now
        return True

    def _wanted(self, essence: Essence, since: float) -> bool:
        if self._publish == "every":
            return True
        if self._publish == "interval":
            return since >= self._interval
        return self._publish == "change" and (essence != self._said or since >= self._result_every)
