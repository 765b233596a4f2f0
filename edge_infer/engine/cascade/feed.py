"""A source of crops in the engine: the newest frame of the pipeline that found something in it."""

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
"""What a source of crops is while its pipeline says nothing, by the reason."""


class CropsFeed(Feed):
    """Has no thread: the pipeline's own brings the frames, whose pixels nobody changes, and is never made to wait."""

    def __init__(self, plan: SourcePlan) -> None:
        super().__init__(plan)
        self._silent: Reason | None = "starting"

    def show(self, frame: Frame) -> None:
        """The newest frame, with what was found in it."""
        with self._changed:
            for cursor in self._cursors:
                cursor.unheard = self._silent or cursor.unheard
            self._silent = None
            self.offer(self._number + 1, lambda: frame)

    def silent(self, reason: Reason) -> None:
        """The pipeline has nothing to say."""
        with self._changed:
            self._silent = reason

    def blocked(self) -> Reason | None:
        """Why the pipeline says nothing."""
        return self._silent

    def health(self) -> SourceHealth:
        """A frame counts whether something was found in it or not."""
        reason = self._silent
        error = ABSENT if reason is None else f"pipeline {self.plan.parent}: {reason.replace('_', ' ')}"
        return replace(super().health(), state=STATES[reason], error=error)
