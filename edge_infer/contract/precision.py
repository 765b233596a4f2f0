"""Precision of published numbers, and order of published items, so that each outcome has exactly one JSON form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from edge_infer.contract.messages import Anomaly, DetectedObject, FractionBox, Pose, ScoredLabel, Segment

Detail: TypeAlias = Literal["full", "coarse"]
"""The key ``detail`` of a pipeline."""
MAX_MILLISECONDS: Final = 600_000.0
"""Maximum published time from capture to outcome in milliseconds; a longer time is published as this number."""
MAX_DISTANCE: Final = 1e9
"""Maximum published distance of an anomaly; a larger distance is published as this number."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Rounds coordinates to multiples of ``1 / steps``, and scores to ``decimals`` decimals.

    Durations get ``decimals`` significant digits. Rounding a rounded number again does not change it.
    """

    steps: int
    decimals: int

    def place(self, value: float) -> float:
        """Return a coordinate or share: limited to 0..1, on the grid, with four decimals."""
        return round(int(min(1.0, max(0.0, value)) * self.steps + 0.5) / self.steps, 4)

    def box(self, box: tuple[float, float, float, float]) -> FractionBox:
        """Return a box on the grid. On each axis the lower coordinate comes first."""
        steps = self.steps  # `place` four times, inlined: every object passes this code twice
        left, top, right, bottom = [round(int(min(1.0, max(0.0, each)) * steps + 0.5) / steps, 4) for each in box]
        if left > right:
            left, right = right, left
        if top > bottom:
            top, bottom = bottom, top
        return left, top, right, bottom

    def score(self, value: float) -> float:
        """Return a rounded score."""
        return round(value, self.decimals)

    def milliseconds(self, value: float) -> float:
        """Return a rounded duration, with at most one decimal."""
        return _significant(min(value, MAX_MILLISECONDS), self.decimals, 1)

    def distance(self, value: float) -> float:
        """Return the rounded distance of an anomaly: twice as many significant digits, at most three decimals."""
        return _significant(min(value, MAX_DISTANCE), 2 * self.decimals, 3)

    def anomaly(self, score: float, threshold: float) -> Anomaly:
        """Return a rounded anomaly. Its state is computed from the unrounded numbers."""
        state: Literal["normal", "anomalous"] = "anomalous" if score >= threshold else "normal"
        return Anomaly(self.distance(score), round(threshold, 3), state)


def _significant(value: float, digits: int, decimals: int) -> float:
    """Return a number of at least 0 with at most ``digits`` significant digits and ``decimals`` decimals."""
    if value <= 0.0:
        return 0.0
    return round(value, min(decimals, digits - 1 - math.floor(math.log10(value))))


PRECISIONS: Final[Mapping[Detail, Precision]] = {"full": Precision(4096, 3), "coarse": Precision(64, 1)}
TIME_STEPS: Final[Mapping[Detail, float]] = {"full": 0.001, "coarse": 1.0}
"""Multiples in seconds to which capture times are rounded down."""
FULL: Final = PRECISIONS["full"]


# Order of items. Two items with the same key are equal, so the order is unambiguous.


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
