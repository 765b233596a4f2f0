"""Governor loop: reads the board's sensors and limits the frame rates of pipelines accordingly."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import ABSENT
from edge_infer.contract.messages import GovernorHealth
from edge_infer.ipc.messages import EngineReport, Restrain
from edge_infer.plan.device_limits import GOVERNOR_STEPS, MAX_RATE
from edge_infer.plan.records import GovernorPlan, Plan
from edge_infer.supervisor.governor.governor import FrameRateGovernor, Tempo
from edge_infer.supervisor.governor.sensors import BoardCondition, Sensors
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor

# Rates of pipelines: the usual rate of each, and the steps by which the governor lowers it.

SLOWEST: Final = 1.0
"""Frames per second below which no pipeline is slowed down: one picture per second still detects presence."""
WORTH: Final = 1.25
"""A pipeline that is faster than `SLOWEST` by at most this factor is not slowed down."""
WINDOW: Final = 30.0
"""Seconds over which a rate is measured. After this time without a limit, the measured rate counts as the usual one."""


class Rates:
    """Usual rates by pipeline, in frames per second. The caller passes times in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._held: dict[str, float] = {}  # the last time at which the pipeline was limited

    def learn(self, measured: Mapping[str, float], limits: Mapping[str, float], now: float) -> None:
        """Update the usual rates from measured ones. The rate of a pipeline in ``limits`` is not its usual rate."""
        for name, rate in measured.items():
            if name in limits:
                self._held[name] = now
            elif rate > 0:
                free = now - self._held.get(name, -math.inf) >= WINDOW
                self._usual[name] = rate if free else max(rate, self._usual.get(name, 0.0))

    def usual(self, name: str) -> float | None:
        """Return the rate of a pipeline without limits; None while it is not known."""
        return self._usual.get(name)

    def steps(self, name: str) -> list[float]:
        """Return the rates to which a pipeline can be lowered, in order: halves, down to an eighth, but at least 1.

        Rates are per second. The list is empty if the rate is unknown or near the minimum, because a lower rate would
        save nothing.
        """
        rate, found = self._usual.get(name, 0.0), []
        for _ in range(GOVERNOR_STEPS):
            if rate <= WORTH * SLOWEST:
                break
            rate = max(rate / 2, SLOWEST)
            found.append(round(rate, 2))
        return found

    def most(self, shed: Sequence[str]) -> int:
        """Return the total number of steps of all pipelines in ``shed``."""
        return sum(len(self.steps(name)) for name in shed)

    def limits(self, shed: Sequence[str], depth: int) -> dict[str, float]:
        """Return the limits after ``depth`` steps.

        Each pipeline of ``shed`` takes all its steps before the next one begins.
        """
        found = {}
        for name in shed:
            steps = self.steps(name)
            if taken := min(depth, len(steps)):
                found[name] = steps[taken - 1]
            depth -= taken
        return found


log = logging.getLogger(__name__)


NEAR: Final = 0.9
"""Share of its `fps` limit from which on a pipeline counts as running at that limit."""


class GovernorLoop:
    """Runs the governor of the current plan, if it has one.

    A new configuration may change the governor at any time, without a restart of pipelines.
    """

    def __init__(self, house: ProcessSupervisor, board: Path, tempo: Tempo) -> None:
        """Read ``proc`` and ``sys`` below ``board``."""
        self._house = house
        self._board = board
        self._tempo = tempo
        self._work: _GovernorState | None = None
        self._due = math.inf

    def due(self) -> float:
        """Return the monotonic time of the next `look`."""
        return self._due

    def look(self, plan: Plan | None, *, measuring: bool = False) -> None:
        """Read the sensors if it is time, and limit or release pipelines as needed; see `Sensors.read`."""
        now = time.monotonic()
        self._change(plan.governor if plan is not None else None, now)
        if plan is None or self._work is None or now < self._due:
            return
        self._due = now + self._tempo.look
        report = self._house.heard.engine
        measured = _measured(plan, report) if report is not None else {}
        self._house.restrain(Restrain(self._work.look(measured, now, measuring=measuring)))

    def _change(self, wanted: GovernorPlan | None, now: float) -> None:
        """Switch the governor on or off, or change its plan; a changed governor keeps its current depth."""
        if wanted is None:
            if self._work is not None:
                log.info("governor: off, every pipeline runs at its configured rate")
                self._house.restrain(Restrain())
            self._work, self._due = None, math.inf
        elif self._work is None:
            self._work, self._due = _GovernorState(wanted, self._board, self._tempo, now), now
        elif self._work.governor.plan != wanted:
            self._work.governor.plan, self._due = wanted, now


class _GovernorState:
    """One governor with its sensors and the rates of the pipelines."""

    def __init__(self, plan: GovernorPlan, board: Path, tempo: Tempo, now: float) -> None:
        self.governor = FrameRateGovernor(plan, tempo, now)
        self._sensors = Sensors(board, max(1, round(tempo.pace / tempo.look)))
        self._rates = Rates()
        self._limits: dict[str, float] = {}
        self._felt = False  # whether the last reading had a temperature
        self._spent = False  # whether no rate can be lowered further

    def look(self, measured: Mapping[str, float], now: float, *, measuring: bool) -> GovernorHealth:
        """Return the limits from now on. ``measured`` holds the rates of pipelines in frames per second."""
        condition, shed = self._sensors.read(measuring=measuring), self.governor.plan.shed
        self._notice(condition)
        self._rates.learn(measured, self._limits, now)
        most = self._rates.most(shed)
        depth = self.governor.step(condition, most, now)
        limits = self._rates.limits(shed, depth)
        if limits != self._limits:
            self._tell(limits, condition)
        if depth and depth == most and not self._spent:
            log.warning(
                "governor: cannot lower any frame rate further (cool the board, or use fewer pipelines or smaller "
                "models)"
            )
        self._spent = depth > 0 and depth == most
        self._limits = limits
        return GovernorHealth(limits, self.governor.reason or ABSENT)

    def _notice(self, condition: BoardCondition) -> None:
        """Log when the temperature sensor disappears or returns."""
        felt = condition.temperature is not None
        if self._felt and not felt:
            log.warning("governor: cannot read the temperature any more; watching only throttling and load")
        elif felt and not self._felt:
            log.debug("governor: the hottest zone has %s °C", condition.temperature)
        self._felt = felt

    def _tell(self, limits: Mapping[str, float], condition: BoardCondition) -> None:
        changed = [name for name in {**self._limits, **limits} if limits.get(name) != self._limits.get(name)]
        what = ", ".join(f"{name} {_rate(limits.get(name), self._rates.usual(name))}" for name in changed)
        lower = any(limits.get(name, math.inf) < self._limits.get(name, math.inf) for name in changed)
        if lower and self.governor.reason is not None:
            log.warning("governor: %s: %s", self._why(condition), what)
        else:
            log.info("governor: the board recovers: %s", what)

    def _why(self, condition: BoardCondition) -> str:
        plan = self.governor.plan
        if self.governor.reason == "temperature":
            return f"{condition.temperature} °C, limit {plan.max_temperature:g} °C"
        if self.governor.reason == "load":
            return f"{condition.load or 0:.0%} of the cores are busy, limit {plan.max_load or 0:.0%}"
        if self.governor.reason == "battery":
            return f"the battery is at {condition.battery or 0:.0%}"
        return _FLAGS[self.governor.reason or ""]


_FLAGS: Mapping[str, str] = {
    "throttled": "the firmware or kernel slows the board down",
    "voltage": "the voltage of the power supply is too low",
}


def _rate(limit: float | None, usual: float | None) -> str:
    return "as configured" if limit is None else f"at {limit:g} fps at most (usually {usual or 0:g})"


def _measured(plan: Plan, report: EngineReport) -> dict[str, float]:
    """Return the frames a second of every pipeline; a cascade runs at the rate of its root pipeline.

    The limits follow from these rates and leave the device. So a rate that the engine reports is rounded to two digits;
    near its configured limit, the limit replaces it.
    """
    found = {}
    for pipeline in plan.pipelines:
        root = pipeline
        while (parent := next(iter(plan.parents(root)), None)) is not None:
            root = parent
        health = report.pipelines.get(root.name)
        rate = health.fps if health is not None else 0.0
        limit = pipeline.fps
        if limit is None or rate < NEAR * limit:
            limit = float(f"{min(rate, MAX_RATE):.2g}")
        found[pipeline.name] = limit
    return found
