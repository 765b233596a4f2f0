"""The governor loop: reads the board's sensors and limits the frame rate of pipelines accordingly."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edge_infer.codec import ABSENT
from edge_infer.config.plan import GovernorPlan, Plan
from edge_infer.messages import GovernorHealth
from edge_infer.rooms import EngineReport, Restrain
from edge_infer.supervisor.governor import Governor, Tempo
from edge_infer.supervisor.house import House
from edge_infer.supervisor.rates import Rates
from edge_infer.supervisor.sensors import Condition, Sensors

log = logging.getLogger(__name__)


NEAR: Final = 0.9
"""The share of its `fps` limit from which a pipeline counts as running at that limit."""


class Governing:
    """Off until a plan has a governor. The configuration may change it at any time without a restart of a pipeline."""

    def __init__(self, house: House, board: Path, tempo: Tempo) -> None:
        """Read ``proc`` and ``sys`` below ``board``."""
        self._house = house
        self._board = board
        self._tempo = tempo
        self._work: _Work | None = None
        self._due = math.inf

    def due(self) -> float:
        """Return the monotonic time of the next `look`."""
        return self._due

    def look(self, plan: Plan | None) -> None:
        """Read the sensors if it is time, and limit or release pipelines as needed."""
        now = time.monotonic()
        self._change(plan.governor if plan is not None else None, now)
        if plan is None or self._work is None or now < self._due:
            return
        self._due = now + self._tempo.look
        report = self._house.heard.engine
        measured = _measured(plan, report) if report is not None else {}
        self._house.restrain(Restrain(self._work.look(measured, now)))

    def _change(self, wanted: GovernorPlan | None, now: float) -> None:
        """Switch the governor on or off, or change its plan; a changed governor keeps its current depth."""
        if wanted is None:
            if self._work is not None:
                log.info("governor: off, every pipeline is as configured")
                self._house.restrain(Restrain())
            self._work, self._due = None, math.inf
        elif self._work is None:
            self._work, self._due = _Work(wanted, self._board, self._tempo, now), now
        elif self._work.governor.plan != wanted:
            self._work.governor.plan, self._due = wanted, now


class _Work:
    """One governor with its sensors and the rates of the pipelines."""

    def __init__(self, plan: GovernorPlan, board: Path, tempo: Tempo, now: float) -> None:
        self.governor = Governor(plan, tempo, now)
        self._sensors = Sensors(board, max(1, round(tempo.pace / tempo.look)))
        self._rates = Rates()
        self._limits: dict[str, float] = {}
        self._felt = False  # the last reading had a temperature
        self._spent = False  # no rate can be lowered further

    def look(self, measured: Mapping[str, float], now: float) -> GovernorHealth:
        """Return the limits from now on; ``measured`` has the rates of pipelines in frames a second."""
        condition, shed = self._sensors.read(), self.governor.plan.shed
        self._notice(condition)
        self._rates.learn(measured, self._limits, now)
        most = self._rates.most(shed)
        depth = self.governor.step(condition, most, now)
        limits = self._rates.limits(shed, depth)
        if limits != self._limits:
            self._tell(limits, condition)
        if depth and depth == most and not self._spent:
            log.warning("governor: no rate can be lowered further (cool the board, or configure less)")
        self._spent = depth > 0 and depth == most
        self._limits = limits
        return GovernorHealth(limits, self.governor.reason or ABSENT)

    def _notice(self, condition: Condition) -> None:
        """Log once when the temperature sensor disappears or comes back."""
        felt = condition.temperature is not None
        if self._felt and not felt:
            log.warning("governor: temperature is no longer readable; using throttling and load only")
        elif felt and not self._felt:
            log.debug("governor: the hottest zone has %s °C", condition.temperature)
        self._felt = felt

    def _tell(self, limits: Mapping[str, float], condition: Condition) -> None:
        changed = [name for name in {**self._limits, **limits} if limits.get(name) != self._limits.get(name)]
        what = ", ".join(f"{name} {_rate(limits.get(name), self._rates.usual(name))}" for name in changed)
        lower = any(limits.get(name, math.inf) < self._limits.get(name, math.inf) for name in changed)
        if lower and self.governor.reason is not None:
            log.warning("governor: %s: %s", self._why(condition), what)
        else:
            log.info("governor: the board recovers: %s", what)

    def _why(self, condition: Condition) -> str:
        plan = self.governor.plan
        if self.governor.reason == "temperature":
            return f"{condition.temperature} °C, and below {plan.max_temperature:g} it shall stay"
        if self.governor.reason == "load":
            return f"{condition.load or 0:.0%} of the cores are busy, and {plan.max_load or 0:.0%} are the most"
        if self.governor.reason == "battery":
            return f"the battery is at {condition.battery or 0:.0%}"
        return _FLAGS[self.governor.reason or ""]


_FLAGS: Mapping[str, str] = {
    "throttled": "the board is being slowed down by its firmware or kernel",
    "voltage": "the supply gives too little voltage",
}


def _rate(limit: float | None, usual: float | None) -> str:
    return "as configured" if limit is None else f"at {limit:g} fps at most (usually {usual or 0:g})"


def _measured(plan: Plan, report: EngineReport) -> dict[str, float]:
    """Return the frames a second of every pipeline; a cascade runs at the rate of its root pipeline."""
    found = {}
    for pipeline in plan.pipelines:
        root = pipeline
        while (parent := next(iter(plan.parents(root)), None)) is not None:
            root = parent
        health = report.pipelines.get(root.name)
        rate = health.fps if health is not None else 0.0
        limit = pipeline.fps
        found[pipeline.name] = rate if limit is None or rate < NEAR * limit else limit
    return found
