"""Share of a box that is hidden by the mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from edge_infer.config.plan import Polygon, ZonePlan
from edge_infer.engine.analyse.zones import Zone

GRID: Final = 8
"""Sample points per side of the box."""
WORTH_SAYING: Final = 0.05
"""Share from which the mask is worth mentioning."""


class Covered:
    """Mask of a pipeline for frames of ``size`` (width, height) pixels."""

    def __init__(self, mask: tuple[Polygon, ...], size: tuple[int, int]) -> None:
        self._parts = tuple(Zone(ZonePlan("mask", polygon), size) for polygon in mask)

    def share(self, box: Sequence[float]) -> float:
        """Return the masked share of a box: xmin, ymin, xmax, ymax in pixels."""
        if not self._parts:
            return 0.0
        steps = (np.arange(GRID) + 0.5) / GRID
        x, y = np.meshgrid(box[0] + steps * (box[2] - box[0]), box[1] + steps * (box[3] - box[1]))
        points = np.stack((x.ravel(), y.ravel()), axis=1)
        hidden = np.any([part.distances(points) > 0.0 for part in self._parts], axis=0)
        return float(hidden.mean())

    def words(self, box: Sequence[float]) -> str:
        """Return a phrase to append to a reason; empty if the mask hardly covers the box."""
        share = self.share(box)
        return f" ({share:.0%} of its box is blacked out by mask)" if share >= WORTH_SAYING else ""
