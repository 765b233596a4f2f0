"""A pipeline that may not run now, because its model brought the engine down: nothing is known of what it would see."""

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
    """Loads nothing; `say` is to be called now and then."""

    def __init__(self, plan: PipelinePlan, outlet: Outward) -> None:
        self.plan = plan
        self._outlet = outlet
        self._voice = Voice(plan.name, outlet)
        self._serving = Serving(plan, outlet.boot, lambda: outlet.new_object(plan.name))
        self._watch = PipelineWatch(time.monotonic())

    @property
    def cascade(self) -> Cascade:
        """Who would look closer at what is found here, and hears that nothing is."""
        return self._voice.cascade

    def say(self) -> None:
        """The state is null, told at first and again every minute."""
        self._voice.nothing(self._serving, "engine_failed")

    def health(self) -> PipelineHealth:
        """What the health message says of it."""
        health = self._watch.health(time.monotonic(), self._outlet.numbered(self.plan.name))
        return replace(health, error=WHY)
