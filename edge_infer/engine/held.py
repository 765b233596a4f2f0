"""A quarantined pipeline: its model crashed the engine, so it does not run and its state is unknown."""

from __future__ import annotations

import time
from typing import Final

from edge_infer.codec import replace
from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.cascade.cascade import Cascade
from edge_infer.engine.health import PipelineWatch
from edge_infer.engine.outlet import Outward
from edge_infer.engine.serving import Serving
from edge_infer.engine.voice import Voice
from edge_infer.messages import PipelineHealth

WHY: Final = "it is held back; edge-infer status says why"


class Held:
    """Loads no model; the caller has to call `say` regularly."""

    def __init__(self, plan: PipelinePlan, outlet: Outward) -> None:
        self.plan = plan
        self._outlet = outlet
        self._voice = Voice(plan.name, outlet)
        self._serving = Serving(plan, outlet.boot, lambda: outlet.new_object(plan.name))
        self._watch = PipelineWatch(time.monotonic())

    @property
    def cascade(self) -> Cascade:
        """The cascade of pipelines that take crops from this one; it is informed that no findings come."""
        return self._voice.cascade

    def say(self) -> None:
        """Publish a null state, at first and again every minute."""
        self._voice.nothing(self._serving, "engine_failed")

    def health(self) -> PipelineHealth:
        """Return the entry of this pipeline in the health message."""
        health = self._watch.health(time.monotonic(), self._outlet.numbered(self.plan.name))
        return replace(health, error=WHY)
