"""Source of crops in the engine: the newest frame of the parent pipeline with its findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge_infer.codec import ABSENT, replace
from edge_infer.config.plan import SourcePlan
from edge_infer.engine.feed import Feed
from edge_infer.engine.frame import Frame
from edge_infer.messages import Reason, SourceHealth, SourceState

STATES: Final[Mapping[Reason | None, SourceState]] = {
    None: "ok",
    "starting": "starting",
    "model_changed": "starting",
    "config_changed": "starting",
    "source_frozen": "frozen",
    "source_ended": "ended",
    "source_lost": "lost",
    "engine_failed": "lost",
    "stopped": "ended",
    "removed": "ended",
}
"""State of a source of crops while its pipeline has no findings, by reason."""


class CropsFeed(Feed):
    """Feed without a thread. The parent's thread offers frames, whose pixels stay unchanged, and never waits."""

    def __init__(self, plan: SourcePlan) -> None:
        super().__init__(plan)
        self._silent: Reason | None = "starting"

    def show(self, frame: Frame) -> None:
        """Offer the newest frame with its findings."""
        with self._changed:
            for cursor in self._cursors:
                cursor.unheard = self._silent or cursor.unheard
            self._silent = None
            self.offer(self._number + 1, lambda: frame)

    def silent(self, reason: Reason) -> None:
        """Mark the feed as silent for this reason."""
        with self._changed:
            self._silent = reason

    def blocked(self) -> Reason | None:
        """Return the reason why the pipeline has no findings, or None."""
        return self._silent

    def health(self) -> SourceHealth:
        """Return the health of the feed; a frame counts with or without findings."""
        reason = self._silent
        error = ABSENT if reason is None else f"pipeline {self.plan.parent}: {reason.replace('_', ' ')}"
        return replace(super().health(), state=STATES[reason], error=error)
