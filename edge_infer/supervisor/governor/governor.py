"""The governor: decides by how many steps frame rates are lowered, from the board's condition over time.

It does no I/O and reads no clock. It acts before a limit is reached. It lowers rates by one step at a time, as long as
the board is near a limit. It raises them by one step at a time after the board's condition has been good for a while.
So there is hysteresis in value and in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_infer.contract.messages import GovernorReason
from edge_infer.plan.device_limits import GOVERNOR_LOOK, GOVERNOR_PACE
from edge_infer.plan.records import GovernorPlan
from edge_infer.supervisor.governor.sensors import BoardCondition

MARGIN: Final = 5.0
"""Degrees Celsius below the maximum at which rates begin to be lowered. Rates are raised again at twice this
distance."""
FALLS: Final = 0.5
"""Degrees Celsius by which the temperature must drop between two decisions to count as falling."""
EASY: Final = 0.8
"""Share of the maximum load below which rates are raised again. The margin is needed because the added work raises the
load."""
LOW, CHARGED = 0.20, 0.25
"""Charge of a battery in use at which rates are lowered, and charge above which they are raised again."""


@dataclass(frozen=True, slots=True)
class Tempo:
    """Seconds between two readings, between two steps down, and of good condition before a step up.

    If a step down soon follows a step up, the next wait is twice as long, up to ``longest``.
    """

    look: float = GOVERNOR_LOOK
    pace: float = GOVERNOR_PACE
    calm: float = 30.0
    longest: float = 480.0


class FrameRateGovernor:
    """Call `step` at every reading. Times are seconds of a monotonic clock."""

    def __init__(self, plan: GovernorPlan, tempo: Tempo, now: float) -> None:
        self.plan = plan
        self.depth = 0
        """Number of steps below the usual rates."""
        self.reason: GovernorReason | None = None
        """Reason for the last step down; None while rates are not lowered."""
        self._tempo = tempo
        self._judged = now
        self._then: float | None = None  # temperature at the time `_judged`, if the board was near a limit
        self._well_since: float | None = None
        self._patience = tempo.calm
        self._came_back: float | None = None

    def step(self, condition: BoardCondition, most: int, now: float) -> int:
        """Return the new number of steps: at most one more or less than before, and at most ``most``."""
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
        """Return the limit that the board has reached now, if any."""
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
        """Return whether all values are far enough from their limits; a missing sensor is ignored."""
        temperature, load, battery = condition.temperature, condition.load, condition.battery
        return (
            not condition.throttled
            and not condition.undervolted
            and (temperature is None or temperature < self.plan.max_temperature - 2 * MARGIN)
            and (battery is None or battery > CHARGED)
            and (load is None or self.plan.max_load is None or load < EASY * self.plan.max_load)
        )

    def _judge(self, strain: GovernorReason, condition: BoardCondition, now: float) -> bool:
        """Return whether another step down is due. A temperature that already falls gets more time."""
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
