"""The governor: by how many steps frame rates are lowered to protect the board, given its condition over time.

It does no I/O and reads no clock. It begins before a limit is reached. It goes down one step at a time as long as that
does not help. It comes back one step at a time once the board has been well for a while: hysteresis in value and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_infer.contract.messages import GovernorReason
from edge_infer.plan.health_limits import LOOK, PACE
from edge_infer.plan.records import GovernorPlan
from edge_infer.supervisor.governor.sensors import BoardCondition

MARGIN: Final = 5.0
"""Degrees below the maximum at which rates begin to fall; they recover at twice that distance below it."""
FALLS: Final = 0.5
"""Degrees by which the temperature must drop between two decisions to count as falling."""
EASY: Final = 0.8
"""The share of the maximum load below which rates recover: the recovered work adds to the load."""
LOW, CHARGED = 0.20, 0.25
"""The charge of a battery in use at which rates are lowered, and above which they recover."""


@dataclass(frozen=True, slots=True)
class Tempo:
    """Seconds: between two readings, between two steps down, and of good condition before a step back.

    If a step down follows soon after a step back, the next wait is twice as long, up to ``longest``.
    """

    look: float = LOOK
    pace: float = PACE
    calm: float = 30.0
    longest: float = 480.0


class FrameRateGovernor:
    """Call `step` at every reading; times are seconds of a monotonic clock."""

    def __init__(self, plan: GovernorPlan, tempo: Tempo, now: float) -> None:
        self.plan = plan
        self.depth = 0
        """Steps down from the usual rates."""
        self.reason: GovernorReason | None = None
        """The reason for the last step down; None while there is none."""
        self._tempo = tempo
        self._judged = now
        self._then: float | None = None  # the temperature at that time, if the board was strained
        self._well_since: float | None = None
        self._patience = tempo.calm
        self._came_back: float | None = None

    def step(self, condition: BoardCondition, most: int, now: float) -> int:
        """Return the number of steps down from now on, one more or one less than before, ``most`` at most."""
        self.depth = min(self.depth, most)
        strain = self._strain(condition)
        if strain is not None:
            self._well_since = None
            if now - self._judged >= self._tempo.pace and self._judge(strain, condition, now) and self.depth < most:
                self._lower(strain, now)
        else:
            self._then = None
            self._recover(condition, now)
        if not self.depth:
            self.reason = None
        return self.depth

    def _strain(self, condition: BoardCondition) -> GovernorReason | None:
        """Return the limit that the board exceeds now."""
        temperature, load, battery = condition.temperature, condition.load, condition.battery
        if condition.throttled:
            return "throttled"
        if condition.undervolted:
            return "voltage"
        if temperature is not None and temperature >= self.plan.max_temperature - MARGIN:
            return "temperature"
        if battery is not None and battery <= LOW:
            return "battery"
        if load is not None and self.plan.max_load is not None and load >= self.plan.max_load:
            return "load"
        return None

    def _well(self, condition: BoardCondition) -> bool:
        """Return whether everything is far enough from its limit; a missing sensor is ignored."""
        temperature, load, battery = condition.temperature, condition.load, condition.battery
        return (
            not condition.throttled
            and not condition.undervolted
            and (temperature is None or temperature < self.plan.max_temperature - 2 * MARGIN)
            and (battery is None or battery > CHARGED)
            and (load is None or self.plan.max_load is None or load < EASY * self.plan.max_load)
        )

    def _judge(self, strain: GovernorReason, condition: BoardCondition, now: float) -> bool:
        """Return whether another step is due: a temperature that falls already gets more time."""
        temperature, then = condition.temperature, self._then
        self._judged, self._then = now, temperature
        falls = temperature is not None and then is not None and temperature <= then - FALLS
        return strain != "temperature" or not falls

    def _lower(self, strain: GovernorReason, now: float) -> None:
        if self._came_back is not None:
            soon = now - self._came_back < 2 * self._patience
            self._patience = min(2 * self._patience, self._tempo.longest) if soon else self._tempo.calm
            self._came_back = None
        self.depth += 1
        self.reason = strain

    def _recover(self, condition: BoardCondition, now: float) -> None:
        if not self.depth or not self._well(condition):
            self._well_since = None
            return
        if self._well_since is None:
            self._well_since = now
        if now - self._well_since >= self._patience:
            self.depth -= 1
            self._judged = self._came_back = self._well_since = now
