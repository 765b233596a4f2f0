"""The precision of published numbers, and the order of published items: each outcome has one form on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from edge_infer.contract.messages import Anomaly, DetectedObject, FractionBox, Pose, ScoredLabel, Segment

Detail: TypeAlias = Literal["full", "coarse"]
"""The key ``detail`` of a pipeline."""
MAX_MILLISECONDS: Final = 600_000.0
"""Longest published time from capture to outcome; a longer one is published as this."""
MAX_DISTANCE: Final = 1e9
"""Largest published distance of an anomaly; a larger one is published as this."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Rounds coordinates to ``1 / steps`` and scores to ``decimals``; times have as many significant digits.

    Rounding twice gives the same number as rounding once.
    """

    steps: int
    decimals: int

    def place(self, value: float) -> float:
        """Return a coordinate or share: within 0..1, on the grid, four decimals."""
        return round(int(min(1.0, max(0.0, value)) * self.steps + 0.5) / self.steps, 4)

    def box(self, box: tuple[float, float, float, float]) -> FractionBox:
        """Return a box on the grid, the lower coordinate of each axis first."""
        steps = self.steps  # `place` four times, without the calls: every object takes this way twice
        left, top, right, bottom = [round(int(min(1.0, max(0.0, each)) * steps + 0.5) / steps, 4) for each in box]
        if left > right:
            left, right = right, left
        if top > bottom:
            top, bottom = bottom, top
        return left, top, right, bottom

    def score(self, value: float) -> float:
        """Return a score."""
        return round(value, self.decimals)

    def milliseconds(self, value: float) -> float:
        """Return a duration, with one decimal at most."""
        return _significant(min(value, MAX_MILLISECONDS), self.decimals, 1)

    def distance(self, value: float) -> float:
        """Return the distance of an anomaly, with twice as many significant digits and three decimals at most."""
        return _significant(min(value, MAX_DISTANCE), 2 * self.decimals, 3)

    def anomaly(self, score: float, threshold: float) -> Anomaly:
        """Return an anomaly. Its state follows from the unrounded numbers."""
        state: Literal["normal", "anomalous"] = "anomalous" if score >= threshold else "normal"
        return Anomaly(self.distance(score), round(threshold, 3), state)


def _significant(value: float, digits: int, decimals: int) -> float:
    """Return a number of at least 0 with at most so many significant digits and decimals."""
    if value <= 0.0:
        return 0.0
    return round(value, min(decimals, digits - 1 - math.floor(math.log10(value))))


PRECISIONS: Final[Mapping[Detail, Precision]] = {"full": Precision(4096, 3), "coarse": Precision(64, 1)}
TIME_STEPS: Final[Mapping[Detail, float]] = {"full": 0.001, "coarse": 1.0}
"""Seconds to which the times of captures are rounded down."""
FULL: Final = PRECISIONS["full"]


# The order of items. The keys are total: two items with the same key are equal.


def object_rank(item: DetectedObject) -> tuple[Any, ...]:
    """Return the sort key of an object: the best first, then by place."""
    return -item.score, item.box, item.label, item.share or 0, item.id or 0, item.parent or 0


def class_rank(item: ScoredLabel) -> tuple[float, str]:
    """Return the sort key of a class: the best first."""
    return -item.score, item.label


def pose_rank(item: Pose) -> tuple[Any, ...]:
    """Return the sort key of a pose: the best first, then by place."""
    return -item.score, item.points


def segment_rank(item: Segment) -> tuple[float, str]:
    """Return the sort key of a segment: the largest first."""
    return -item.share, item.label
