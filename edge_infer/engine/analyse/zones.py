"""Zones of the picture, and the distance of a point to their border."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.config.plan import Polygon, ZonePlan

GRID: Final = 24
"""Sample points per side for measuring the width of a zone."""
BEYOND: Final = 1.0
"""Frame sizes by which a zone at the edge of the frame extends outside."""
NARROW: Final = 0.4
"""Maximum margin as a share of the distance from the middle of a zone to its border."""


class Zone:
    """Polygon in fractions of the frame, for frames of ``size`` (width, height) pixels."""

    def __init__(self, plan: ZonePlan, size: tuple[int, int]) -> None:
        self.plan = plan
        self._starts, self._ways = _edges(plan.polygon, size)
        self._lengths = np.maximum((self._ways**2).sum(axis=1), 1e-12)
        self.most_margin = NARROW * self._depth()

    def distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixels from each point ``[n, 2]`` to the border, negative outside."""
        off = points[:, None, :] - self._starts[None]
        along = np.clip((off * self._ways).sum(axis=2) / self._lengths, 0.0, 1.0)
        nearest = np.sqrt(((off - along[:, :, None] * self._ways) ** 2).sum(axis=2).min(axis=1))
        return np.asarray(np.where(self._inside(points), nearest, -nearest))

    def _inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which points are inside by the even-odd rule: the number of edges that a ray to the right meets."""
        y = points[:, 1, None]
        start, way = self._starts, self._ways
        spans = (start[:, 1] <= y) != (start[:, 1] + way[:, 1] <= y)
        with np.errstate(divide="ignore", invalid="ignore"):
            meets = start[:, 0] + (y - start[:, 1]) / way[:, 1] * way[:, 0]
        odd: NDArray[np.bool_] = (spans & (points[:, 0, None] < meets)).sum(axis=1) % 2 == 1
        return odd

    def _depth(self) -> float:
        """Return the pixels from the border to the innermost point."""
        low, high = self._starts.min(axis=0), self._starts.max(axis=0)
        steps = (np.arange(GRID) + 0.5) / GRID
        x, y = np.meshgrid(low[0] + steps * (high[0] - low[0]), low[1] + steps * (high[1] - low[1]))
        return float(max(0.0, self.distances(np.stack((x.ravel(), y.ravel()), axis=1)).max()))


def _edges(polygon: Polygon, size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return starts and vectors of the edges; those on the frame's edge are moved outside, so nothing crosses them."""
    corners = np.array(polygon, np.float64)
    corners = np.where(corners <= 0.0, -BEYOND, np.where(corners >= 1.0, 1.0 + BEYOND, corners)) * size
    return corners, np.roll(corners, -1, axis=0) - corners
