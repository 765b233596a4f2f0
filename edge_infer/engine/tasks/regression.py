"""Regression: measured values, with a plausibility check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from edge_infer.contract.codec import ABSENT, FrameRecord
from edge_infer.contract.messages import Result, State, Value
from edge_infer.engine.records import Numbers
from edge_infer.engine.tasks import Essence, Head
from edge_infer.frames.frame import ROUNDING
from edge_infer.frames.geometry import Transform
from edge_infer.plan.records import PipelinePlan, ValuePlan

_FLOAT: Final = 1e-6
"""Assumed relative rounding error of a model's numbers."""
_EXACT: Final = 1e-9
"""Relative tolerance within which a difference counts as one whole step."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A value that equals every other value within less than one step.

    A value is compared with the last published one; a smaller difference does not count as a change.
    """

    value: float | None
    step: float

    __hash__ = None  # type: ignore[assignment] # equality is not transitive here

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reading) or self.value is None or other.value is None:
            return isinstance(other, Reading) and self.value is other.value
        return self.value == other.value or abs(self.value - other.value) < self.step * (1 - _EXACT)


class MeasuredValue(FrameRecord, frozen=True):
    """One value; None if it is implausible."""

    plan: ValuePlan
    value: float | None

    def wire(self) -> Value:
        """Return the value with as many decimals as its step has, six at most."""
        if self.value is None:
            return Value(self.plan.name, None, self.plan.unit, implausible=True)
        return Value(self.plan.name, self.plan.rounded(self.value), self.plan.unit, ABSENT)

    def steps(self) -> float | int | None:
        """Return the value in whole steps."""
        if self.value is None or not self.plan.step:
            return self.value
        return round(self.value / self.plan.step)


class Measurement(FrameRecord, frozen=True):
    """Values of one frame."""

    values: tuple[MeasuredValue, ...]

    @property
    def essence(self) -> Essence:
        """The values; two of them are equal if they differ by less than a step."""
        return tuple(Reading(item.value, item.plan.step) for item in self.values)

    def result(self, head: Head, seq: int, room: int) -> Result:
        """Return the values. All values fit, because a manifest cannot declare more."""
        del room
        return head.result(seq, "regression", values=tuple(item.wire() for item in self.values))

    def state(self, head: Head, room: int) -> State:
        """Return the values as a state."""
        del room
        return head.state(values=tuple(item.wire() for item in self.values))


class RegressionTask:
    """Task that applies scale, bounds and rate of change."""

    unknown: ClassVar[Mapping[str, None]] = {"values": None}

    def __init__(self, plan: PipelinePlan) -> None:
        self._values = plan.model.values
        self._last: dict[str, tuple[float, float]] = {}

    def __call__(self, found: Numbers, _: Transform, moment: float) -> Measurement:
        """Return the values of one frame; implausible values are None."""
        pairs = zip(self._values, found.values.tolist(), strict=True)
        return Measurement(
            tuple(MeasuredValue(plan, self._plausible(plan, number * plan.scale, moment)) for plan, number in pairs)
        )

    def _plausible(self, plan: ValuePlan, value: float, now: float) -> float | None:
        """Return the value; None if it is out of bounds, or changed too fast since the last plausible value."""
        if not math.isfinite(value):
            return None
        if (plan.min is not None and value < plan.min) or (plan.max is not None and value > plan.max):
            return None
        if plan.max_rate is not None and plan.name in self._last:
            before, then = self._last[plan.name]
            most = plan.max_rate * (max(now - then, 0.0) + ROUNDING) + _FLOAT * abs(value)
            if abs(value - before) > most:
                return None
        self._last[plan.name] = (value, now)
        return value
