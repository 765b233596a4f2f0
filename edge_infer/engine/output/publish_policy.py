"""Decides when to publish results and states: the ``publish`` and ``heartbeat`` settings of a pipeline."""

from __future__ import annotations

import math
from typing import Final

from edge_infer.engine.cascade.sighting import Key
from edge_infer.engine.tasks import Essence
from edge_infer.frames.frame import ROUNDING
from edge_infer.plan.channel_rates import AFTER_LOSS, CHANGES_A_MINUTE, CHANGES_AT_ONCE
from edge_infer.plan.records import PipelinePlan
from edge_infer.platform.rate_limits import MessageBudget

STATE_AGAIN: Final = 60.0
"""Maximum seconds between two states. A subscriber discards its copy after 180 s."""

TOGETHER: Final = 1.0
"""Minimum seconds between two results of a pipeline that tracks objects.

Changes that come closer together share one result. A change that is undone by then causes no result. State and events
report each change at once; a result only adds where the objects are.
"""


EARLY_BY: Final = 0.05
"""Seconds by which an interval may end early. Pictures do not come exactly on time, and waiting for the next one could
double the interval."""


NEVER: Final[tuple[Essence, float]] = (None, -math.inf)
"""Stands for what was published last, and when, while nothing was published."""


class PublishPolicy:
    """Decides when results and states are due, from what was published last.

    Times are seconds of the monotonic clock.
    """

    def __init__(self, plan: PipelinePlan) -> None:
        self._publish = plan.publish
        self._interval = plan.interval
        self._interval_ends = _nearly(plan.interval)
        self._heartbeat = min(plan.heartbeat, STATE_AGAIN)
        self._state_again = _nearly(self._heartbeat)
        self._result_again = _nearly(plan.heartbeat)
        self._together = TOGETHER - ROUNDING if plan.track is not None else 0.0
        each = plan.crops.most if plan.crops else 1
        # A change stays due until the budget allows it.
        self._changes = MessageBudget(CHANGES_A_MINUTE * each, CHANGES_AT_ONCE * each)
        self.over_budget = False
        """Whether the last result was held back only because the budget is used up."""
        self._result_at = -math.inf
        self.reset()

    def reset(self) -> None:
        """Forget what was published, so that the next outcome counts as a change.

        With ``publish: interval`` a result follows at once, but not within `AFTER_LOSS` seconds of the last one,
        nor within a shorter interval.
        """
        self._said: dict[Key | None, tuple[Essence, float]] = {}
        self._stated: Essence | object = self
        self._stated_at = -math.inf

    def result_due(
        self, essence: Essence, now: float, about: Key | None = None, *, captured: float | None = None
    ) -> bool:
        """Return whether a result is due now (in a cascade: ``about`` an object). If it is due, record it as published.

        ``captured`` is the time of the frame on the monotonic clock, if ``now`` is its position in a recording. The
        budget uses ``captured``, as the publisher does.
        """
        if not self._wanted(essence, now, about, now if captured is None else captured):
            return False
        _, at = self._said.get(about, NEVER)
        early = self._publish == "interval" and now < at + self._interval
        self._said[about] = essence, at + self._interval if early else now  # later intervals are not shortened
        self._result_at = now
        return True

    def keep(self, known: frozenset[Key]) -> None:
        """Forget what was published about all objects except these."""
        self._said = {about: said for about, said in self._said.items() if about in known}

    def state_due(self, essence: Essence, now: float) -> bool:
        """Return whether the state has changed or its repetition is due. If so, record it as published."""
        if essence == self._stated and now - self._stated_at < self._state_again:
            return False
        self._stated, self._stated_at = essence, now
        return True

    def state_again(self, now: float) -> bool:
        """Return whether the repetition of the last state is due. If so, record it as published."""
        if now - self._stated_at < self._heartbeat or not math.isfinite(self._stated_at):
            return False
        self._stated_at = now
        return True

    def _wanted(self, essence: Essence, now: float, about: Key | None, captured: float) -> bool:
        self.over_budget = False
        if self._publish == "every":
            return True
        if self._publish == "off":
            return False
        said, at = self._said.get(about, NEVER)
        if self._publish == "interval":
            pause = min(AFTER_LOSS, self._interval)
            again = about is None and about not in self._said and 0 <= now - self._result_at < pause
            return now - at >= self._interval_ends and not again
        if now - at < (self._result_again if essence == said else self._together):
            return False
        self.over_budget = not self._changes.take(captured)
        return not self.over_budget


def _nearly(seconds: float) -> float:
    return seconds - min(EARLY_BY, seconds / 10)
