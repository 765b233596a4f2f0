"""Background model of a static scene, and the share of a picture that differs from it.

The model is a running average of a small picture. The average depends on time, not on the number of frames: an object
that stands still for about `MEMORY` becomes background at any frame rate. Only one thread may use it at a time, in the
order of the frames.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.frames.frame import ROUNDING, Pixels
from edge_infer.frames.geometry import Region
from edge_infer.frames.pixels import black_out
from edge_infer.plan.records import MotionPlan, Polygon

CELLS: Final = 30_000
"""Approximate number of cells of the small picture; with tiles, of each tile."""
SMOOTHED: Final = (7, 5)
"""Number of cells (width, height) that are averaged before the comparison, so that sensor noise does not count as
motion."""
MEMORY: Final = 2.0
"""Seconds after which two thirds of a change have become background."""
LEARNED: Final = 0.5
"""Seconds between two updates of the background, which changes slowly."""
WARM_UP: Final = 2.0
"""Seconds to learn a background; a camera that was just opened adjusts its exposure first."""
ALL: Final = 0.6
"""Share of the picture that no object changes at once. If more changes, the lighting has changed and learning starts
again."""


class Change(NamedTuple):
    """Difference of a picture from the background: the ``share`` that differs, and the ``cells`` of the small picture.

    ``learning``: the background is not known yet; ``light``: nearly the whole picture changed at once.
    """

    share: float
    cells: NDArray[np.uint8]  # [rows, columns]; 1 where the picture differs
    source: tuple[int, int]
    learning: bool = False
    light: bool = False

    def within(self, region: Region | None) -> float:
        """Return the differing share of one region."""
        if region is None or self.share == 0.0:
            return self.share
        (rows, columns), (width, height) = self.cells.shape, self.source
        top, bottom = region.top * rows // height, -(-(region.top + region.height) * rows // height)
        left, right = region.left * columns // width, -(-(region.left + region.width) * columns // width)
        part = self.cells[top:bottom, left:right]
        return cv2.countNonZero(part) / part.size


class Background:
    """Background that is learned from successive pictures; a picture of another size starts a new background."""

    def __init__(self, plan: MotionPlan, mask: tuple[Polygon, ...], tiles: tuple[int, int] = (1, 1)) -> None:
        """Start without a background; areas under the ``mask`` never count as changed."""
        self._threshold = plan.threshold * 255.0
        self._mask = mask
        self._most = CELLS * math.prod(tiles)
        self._shape: tuple[int, ...] = ()
        self._size = (0, 0)
        self._shown: Pixels | None = None
        self._still, self._softened = True, False
        self._seen = 0
        self._begun = self._learned = 0.0

    def __call__(self, pixels: Pixels, moment: float) -> Change:
        """Return the change of this picture against the background."""
        if pixels.shape != self._shape:
            self._begin(pixels, moment)
        self._sample(pixels)
        if self._seen == 0:
            self._learn(moment)
        cells, share = self._differing()
        light = share > ALL
        if light:
            self._seen = 0
        if light or not 0.0 <= moment - self._learned < LEARNED - ROUNDING:
            self._learn(moment)
        return Change(share, cells, self._size, not 0.0 <= moment - self._begun >= WARM_UP, light)

    def _begin(self, pixels: Pixels, moment: float) -> None:
        """Allocate the buffers for the first picture or for a new picture size."""
        height, width = pixels.shape[:2]
        colors = pixels.size // (height * width)
        down = max(1, round(math.sqrt(height * width / self._most)))
        # The step is not a multiple of the number of colour channels: neighbours then have different colours, and
        # smoothing mixes them.
        across = down * colors - 1 if colors > 1 else down
        self._places = slice(down // 2, None, down), slice(across // 2, None, across)
        shape = pixels.reshape(height, -1)[self._places].shape
        self._small: Pixels = np.empty(shape, np.uint8)
        self._usual = np.zeros(shape, np.float32)
        self._known: Pixels = np.empty(shape, np.uint8)
        self._smooth: Pixels = np.empty(shape, np.uint8)
        self._soft: Pixels = np.empty(shape, np.uint8)
        self._same: Pixels = np.zeros(shape, np.uint8)
        self._shape, self._size, self._shown = pixels.shape, (width, height), None
        if self._mask:
            self._sample(black_out(np.full(pixels.shape, 255, np.uint8), self._mask))
            self._shown = self._small.copy()
        self._visible = max(1, self._same.size if self._shown is None else cv2.countNonZero(self._shown))
        self._begun = self._learned = moment
        self._seen = 0

    def _sample(self, pixels: Pixels) -> None:
        """Sample one value per cell, from any colour channel. Masked cells are black."""
        self._small[...] = pixels.reshape(len(pixels), -1)[self._places]
        if self._shown is not None:
            cv2.bitwise_and(self._small, self._shown, dst=self._small)

    def _differing(self) -> tuple[NDArray[np.uint8], float]:
        """Return the cells that differ after smoothing, and their share.

        A mean of differences never exceeds the largest difference. So without any differing cell, no smoothed cell
        differs, and smoothing is skipped. This is the usual case without motion.
        """
        if self._still and cv2.norm(self._small, self._known, cv2.NORM_INF) <= self._threshold:
            return self._same, 0.0
        if not self._softened:
            cv2.blur(self._known, SMOOTHED, dst=self._soft)
            self._softened = True
        cv2.blur(self._small, SMOOTHED, dst=self._smooth)
        cells = cv2.absdiff(self._smooth, self._soft)
        cv2.threshold(cells, self._threshold, 1, cv2.THRESH_BINARY, dst=cells)
        count = cv2.countNonZero(cells)
        self._still = count == 0
        return np.asarray(cells, np.uint8), count / self._visible

    def _learn(self, moment: float) -> None:
        """Update the background: the mean of the first pictures, then the running average."""
        self._seen += 1
        rate = 1.0 - math.exp(-max(0.0, moment - self._learned) / MEMORY)
        cv2.accumulateWeighted(self._small, self._usual, max(rate, 1.0 / self._seen))
        cv2.convertScaleAbs(self._usual, dst=self._known)
        self._softened = False
        self._learned = moment
