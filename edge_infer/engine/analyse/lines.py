"""Lines across the picture, and the side on which a point lies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_infer.config.plan import LinePlan

Point = tuple[float, float]


class Line:
    """Line between two points in fractions of the frame, for frames of ``size`` (width, height) pixels."""

    def __init__(self, plan: LinePlan, size: tuple[int, int]) -> None:
        self.plan = plan
        self._start = np.array(plan.start, np.float64) * size
        self._way = np.array(plan.end, np.float64) * size - self._start
        length = float(np.hypot(*self._way))
        self._low = -math.inf if _at_edge(plan.start) else 0.0
        self._high = math.inf if _at_edge(plan.end) else 1.0
        self._left = np.array((self._way[1], -self._way[0])) / length  # y points down: this is the left of the line

    def distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return pixels from points ``[n, 2]`` to the infinite line, positive on the left from start to end."""
        found: NDArray[np.float64] = (points - self._start) @ self._left
        return found

    def between(self, before: Point, after: Point) -> bool:
        """Return whether the straight way between two points meets the line between its ends.

        A line that ends at the edge of the frame continues outside, because feet may be out of view there.
        """
        old, new = np.array(before), np.array(after)
        one, other = float((old - self._start) @ self._left), float((new - self._start) @ self._left)
        if one == other:
            return False
        met = old + (new - old) * (one / (one - other)) - self._start
        return bool(self._low <= met @ self._way / (self._way @ self._way) <= self._high)


def _at_edge(point: Point) -> bool:
    return min(point) <= 0.0 or max(point) >= 1.0
