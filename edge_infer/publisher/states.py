"""The states of the pipelines while the engine cannot say them: null, with the reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from edge_infer.boot import uptime
from edge_infer.config.plan import PipelinePlan, Plan
from edge_infer.messages import Reason, State, timestamp
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.retained import Retained
from edge_infer.publisher.topics import Place

NO_BOOT: Final = "000000"
"""The boot of what is said before any engine has started."""


class States:
    """Keeps the retained state of every pipeline in step with the configuration and the life of the engine."""

    def __init__(self, retained: Retained, egress: Egress, uptime: Callable[[], float] = uptime) -> None:
        self._retained = retained
        self._egress = egress
        self._uptime = uptime
        self._pipelines: dict[str, PipelinePlan] = {}
        self._boots: dict[str, str] = {}
        self.boot = NO_BOOT

    def apply(self, plan: Plan, earlier: Iterable[Place] = ()) -> None:
        """New pipelines are ``starting``; topics of what is gone are cleared, those of ``earlier`` processes too."""
        pipelines = {pipeline.name: pipeline for pipeline in plan.pipelines}
        models = frozenset(plan.spoken_of())
        for place in {*self._retained.places(), *earlier}:
            stays = pipelines if place.kind == "state" else models if place.kind == "model" else {place.name}
            if place.name not in stays:
                self._retained.set(place, b"")
        self._pipelines = pipelines
        self._boots = {name: boot for name, boot in self._boots.items() if name in pipelines}
        for name in pipelines:
            if Place("state", name) not in self._retained:
                self._say(name, "starting")

    def update(self, pipeline: str, state: State, at: float | None = None) -> None:
        """What the engine says, and of which uptime; a pipeline that is gone says nothing more."""
        place = Place("state", pipeline)
        if pipeline in self._pipelines and (payload := self._egress.admit(place, state, at)):
            self.boot = self._boots[pipeline] = state.boot
            self._retained.set(place, payload)

    def all_null(self, reason: Reason, boot: str | None = None) -> None:
        """What the engine said last no longer holds; with ``boot``, unless one after that boot has said it."""
        for name in self._pipelines:
            if boot is None or self._boots.get(name, boot) == boot:
                self._say(name, reason)

    def _say(self, name: str, reason: Reason) -> None:
        model = self._pipelines[name].model
        nothing: dict[str, Any] = {self._pipelines[name].state_key: None}
        stamp = timestamp(time.time())
        state = State(1, stamp, self.boot, model.title, model.sha256[:8], **nothing, reason=reason)
        if payload := self._egress.admit(Place("state", name), state, self._uptime()):
            self._retained.set(Place("state", name), payload)
