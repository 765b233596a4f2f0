"""Admission of shadow models: one at a time, once the engine loads nothing and enough memory is free."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_infer.codec import replace
from edge_infer.config.plan import PipelinePlan, Plan
from edge_infer.rooms import EngineReport
from edge_infer.supervisor.memory import SPARE, free

log = logging.getLogger(__name__)

AGAIN: Final = 10.0
"""Seconds between two checks for memory that was not free."""


class Admission:
    """Decides which shadows may load; ``reasons`` holds, by pipeline, why the others wait."""

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        """Read the kernel's files about memory below ``root``."""
        self.reasons: dict[str, str] = {}
        self._root = root
        self._clock = clock
        self._in: set[tuple[str, str]] = set()  # each pipeline's name and the digest of its admitted shadow
        self._plan: Plan | None = None
        self._due = -math.inf

    def admitted(self, plan: Plan) -> Plan:
        """Return the plan with only the admitted shadows; `next_one` admits the others."""
        asked = {_key(each) for each in plan.pipelines if each.shadow is not None}
        self._plan, self._in = plan, self._in & asked
        waiting = {each.name for each in self._waiting()}
        self.reasons = {name: reason for name, reason in self.reasons.items() if name in waiting}
        pipelines = tuple(replace(each, shadow=None) if each.name in waiting else each for each in plan.pipelines)
        return replace(plan, pipelines=pipelines)

    def next_one(self, report: EngineReport) -> bool:
        """Admit another shadow if the engine loads nothing and enough memory is free; return whether this happened."""
        if report.loading or (self.reasons and self._clock() < self._due):
            return False
        for pipeline in self._waiting():
            if not (lack := self._lack(pipeline)):
                self._in.add(_key(pipeline))
                return True
            if pipeline.name not in self.reasons:
                log.warning("pipeline %s: its shadow %s", pipeline.name, lack)
            self.reasons[pipeline.name] = lack
            self._due = self._clock() + AGAIN
        return False

    def _waiting(self) -> list[PipelinePlan]:
        pipelines = self._plan.pipelines if self._plan is not None else ()
        return [each for each in pipelines if each.shadow is not None and _key(each) not in self._in]

    def _lack(self, pipeline: PipelinePlan) -> str:
        assert pipeline.shadow is not None
        need, room = pipeline.shadow.model.measured.memory, free(self._root)
        if need is None or room is None or room - need >= SPARE:
            return ""
        have, takes, spare = max(0, room) >> 20, -(-need >> 20), SPARE >> 20
        return f"waits for memory: it takes {takes} MiB, and of {have} MiB that are free {spare} MiB stay free"


def _key(pipeline: PipelinePlan) -> tuple[str, str]:
    assert pipeline.shadow is not None
    return pipeline.name, pipeline.shadow.model.sha256
