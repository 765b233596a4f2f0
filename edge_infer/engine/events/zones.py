"""Zones and lines in a picture: where a point lies, and what the mask hides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.plan.records import LinePlan, Polygon, ZonePlan

# Zones of the picture, and the distance of a point to their border.

DEPTH_GRID: Final = 24
"""Number of sample points per side with which the width of a zone is measured."""
WITHIN: Final = 1e-6
"""Tolerance in pixels within which a point at the edge of the frame counts as inside the frame."""
NARROW: Final = 0.4
"""Maximum margin, as a share of the distance from the innermost point of a zone to its border."""


class ZoneArea:
    """Polygon in fractions of the frame, for frames of ``size`` (width, height) pixels.

    A zone that reaches the edge of the frame continues outside. A point outside the frame counts as the nearest point
    in the frame. An edge of the zone that lies on the edge of the frame is not a border.
    """

    def __init__(self, plan: ZonePlan, size: tuple[int, int]) -> None:
        self.plan = plan
        corners = np.array(plan.polygon, np.float64)
        nexts = np.roll(corners, -1, axis=0)
        self._size = np.array(size, np.float64)
        self._starts, self._ways = corners * self._size, (nexts - corners) * self._size
        self._lengths = np.maximum((self._ways**2).sum(axis=1), 1e-12)
        along_frame = ((corners <= 0.0) & (nexts <= 0.0)) | ((corners >= 1.0) & (nexts >= 1.0))
        self._borders = np.flatnonzero(~along_frame.any(axis=1))
        self.most_margin = NARROW * self._depth()

    def distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance in pixels from each point ``[n, 2]`` to the border of the zone; negative outside."""
        points = np.clip(points, WITHIN, self._size - WITHIN)
        if not self._borders.size:  # the zone is the whole frame
            return np.full(len(points), float(np.hypot(*self._size)))
        ways = self._ways[self._borders]
        off = points[:, None, :] - self._starts[None, self._borders]
        along = np.clip((off * ways).sum(axis=2) / self._lengths[self._borders], 0.0, 1.0)
        nearest = np.sqrt(((off - along[:, :, None] * ways) ** 2).sum(axis=2).min(axis=1))
        return np.asarray(np.where(self._inside(points), nearest, -nearest))

    def _inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return a mask of the points inside the polygon, by the even-odd rule.

        The rule counts the edges that a ray from the point to the right crosses.
        """
        y = points[:, 1, None]
        start, way = self._starts, self._ways
        spans = (start[:, 1] <= y) != (start[:, 1] + way[:, 1] <= y)
        with np.errstate(divide="ignore", invalid="ignore"):
            meets = start[:, 0] + (y - start[:, 1]) / way[:, 1] * way[:, 0]
        odd: NDArray[np.bool_] = (spans & (points[:, 0, None] < meets)).sum(axis=1) % 2 == 1
        return odd

    def _depth(self) -> float:
        """Return the distance in pixels from the innermost point to the border."""
        low, high = self._starts.min(axis=0), self._starts.max(axis=0)
        steps = (np.arange(DEPTH_GRID) + 0.5) / DEPTH_GRID
        x, y = np.meshgrid(low[0] + steps * (high[0] - low[0]), low[1] + steps * (high[1] - low[1]))
        return float(max(0.0, self.distances(np.stack((x.ravel(), y.ravel()), axis=1)).max()))


# Share of a box that is hidden by the mask.

COVER_GRID: Final = 8
"""Sample points per side of the box."""
WORTH_SAYING: Final = 0.05
"""Minimum masked share of a box for the mask to be mentioned in a reason."""


class Covered:
    """The mask of a pipeline, for frames of ``size`` (width, height) pixels."""

    def __init__(self, mask: tuple[Polygon, ...], size: tuple[int, int]) -> None:
        self._parts = tuple(ZoneArea(ZonePlan("mask", polygon), size) for polygon in mask)

    def share(self, box: Sequence[float]) -> float:
        """Return the masked share of a box: xmin, ymin, xmax, ymax in pixels."""
        if not self._parts:
            return 0.0
        steps = (np.arange(COVER_GRID) + 0.5) / COVER_GRID
        x, y = np.meshgrid(box[0] + steps * (box[2] - box[0]), box[1] + steps * (box[3] - box[1]))
        points = np.stack((x.ravel(), y.ravel()), axis=1)
        hidden = np.any([part.distances(points) > 0.0 for part in self._parts], axis=0)
        return float(hidden.mean())

    def words(self, box: Sequence[float]) -> str:
        """Return a phrase about the masked share for the end of a reason; empty if the mask hardly covers the box."""
        share = self.share(box)
        return f" (mask covers {share:.0%} of its box)" if share >= WORTH_SAYING else ""


# Lines across the picture, and on which side of a line a point lies.

Point = tuple[float, float]


class CrossingLine:
    """Line between two points in fractions of the frame, for frames of ``size`` (width, height) pixels."""

    def __init__(self, plan: LinePlan, size: tuple[int, int]) -> None:
        self.plan = plan
        self._start = np.array(plan.start, np.float64) * size
        self._way = np.array(plan.end, np.float64) * size - self._start
        length = float(np.hypot(*self._way))
        self._low = -math.inf if _at_edge(plan.start) else 0.0
        self._high = math.inf if _at_edge(plan.end) else 1.0
        self._left = np.array((self._way[1], -self._way[0])) / length  # y grows downwards, so this is the left side

    def distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance in pixels from points ``[n, 2]`` to the infinite line.

        The distance is positive on the left, seen from the start to the end of the line.
        """
        found: NDArray[np.float64] = (points - self._start) @ self._left
        return found

    def between(self, before: Point, after: Point) -> bool:
        """Return whether the straight way between two points crosses the line between its two ends.

        A line that ends at the edge of the frame continues outside, because the feet of an object may be out of view
        there.
        """
        old, new = np.array(before), np.array(after)
        one, other = float((old - self._start) @ self._left), float((new - self._start) @ self._left)
        if one == other:
            return False
        met = old + (new - old) * (one / (one - other)) - self._start
        return bool(self._low <= met @ self._way / (self._way @ self._way) <= self._high)


def _at_edge(point: Point) -> bool:
    return min(point) <= 0.0 or max(point) >= 1.0
