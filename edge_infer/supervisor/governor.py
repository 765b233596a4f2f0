"""How far frame rates are lowered for the board's sake: a count of steps, from what the board tells and when.

No file, no clock and no room in here. It begins before a limit is reached, goes on one step at a time as long as that
does not help, and comes back one step at a time once the board has been well for a while: hysteresis in value and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_infer.config.plan import GovernorPlan
from edge_infer.messages import GovernorReason
from edge_infer.supervisor.sensors import Condition

MARGIN: Final = 5.0
"""Degrees below the most from which on rates are lowered; twice that far below it they come back."""
FALLS: Final = 0.5
"""Degrees by which it has to get cooler from one judgement to the next to count as falling."""
EASY: Final = 0.8
"""The share of the most load below which rates come back: what comes back adds to it."""
LOW, CHARGED = 0.20, 0.25
"""The charge of a battery in use at which rates are lowered, and above which they come back."""


@dataclass(frozen=True, slots=True)
class Tempo:
    """Seconds: between two looks at the board, between two steps down, and for how long all is well before one back.

    Who has to go down again soon after a step back waits twice as long the next time, up to ``longest``.
    """

    look: float = 2.0
    pace: float = 10.0
    calm: float = 30.0
    longest: float = 480.0


class Governor:
    """Call `step` at every look; times are seconds of a monotonic clock."""

    def __init__(self, plan: GovernorPlan, tempo: Tempo, now: float) -> None:
        self.plan = plan
        self.depth = 0
        """Steps down from what is usual."""
        self.reason: GovernorReason | None = None
        """Why the last step down was taken; None while there is none."""
        self._tempo = tempo
        self._judged = now
        self._then: float | None = None  # the temperature at that time, if it was too high
        self._well_since: float | None = None
        self._patience = tempo.calm
        self._came_back: float | None = None

    def step(self, condition: Condition, most: int, now: float) -> int:
        """Steps down from now on, one more or one less than before; ``most`` is how many there are to take."""
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

    def _strain(self, condition: Condition) -> GovernorReason | None:
        """What is too much for the board now."""
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

    def _well(self, condition: Condition) -> bool:
        """Whether everything is far enough from what is too much; what the board does not tell is no reason."""
        temperature, load, battery = condition.temperature, condition.load, condition.battery
        return (
            not condition.throttled
            and not condition.undervolted
            and (temperature is None or temperature < self.plan.max_temperature - 2 * MARGIN)
            and (battery is None or battery > CHARGED)
            and (load is None or self.plan.max_load is None or load < EASY * self.plan.max_load)
        )

    def _judge(self, strain: GovernorReason, condition: Condition, now: float) -> bool:
        """Whether another step is due: what makes the board cooler already is given time to go on."""
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

    def _recover(self, condition: Condition, now: float) -> None:
        if not self.depth or not self._well(condition):
            self._well_since = None
            return
        if self._well_since is None:
            self._well_since = now
        if now - self._well_since >= self._patience:
            self.depth -= 1
            self._judged = self._came_back = self._well_since = now
