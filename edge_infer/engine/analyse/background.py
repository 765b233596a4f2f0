"""What a place looks like when nothing moves, and how much of a picture differs from it.

A running average of a small grey picture. It is of time and not of frames: what has stood still for some `MEMORY`
belongs to the background, at any frame rate. Pure NumPy and OpenCV; one thread at a time, in the order of the frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.config.plan import MotionPlan, Polygon
from edge_infer.engine.frame import Frame, Pixels
from edge_infer.engine.geometry import Region
from edge_infer.engine.mask import black_out

LONGER: Final = 160
"""Pixels of the longer side of the small picture; with tiles so many for each of them."""
LONGEST: Final = 640
MEMORY: Final = 2.0
"""Seconds after which two thirds of a change have become background."""
WARM_UP: Final = 2.0
"""Seconds in which a background is learned: a camera that has just been opened finds its exposure."""
ALL: Final = 0.6
"""The share of a picture that no object changes at once: the light is another, and everything is learned anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a picture differs from the background: the ``share`` of it that does, and which cells of the small picture.

    ``learning``: nothing is known yet of this place; ``light``: everything is different at once.
    """

    share: float
    cells: NDArray[np.uint8] = field(compare=False)  # [rows, columns], 1 where it differs
    source: tuple[int, int]
    learning: bool = False
    light: bool = False

    def within(self, region: Region | None) -> float:
        """The share of a part of the picture that differs."""
        if region is None:
            return self.share
        (rows, columns), (width, height) = self.cells.shape, self.source
        top, bottom = region.top * rows // height, -(-(region.top + region.height) * rows // height)
        left, right = region.left * columns // width, -(-(region.left + region.width) * columns // width)
        part = self.cells[top:bottom, left:right]
        return cv2.countNonZero(part) / part.size


class Background:
    """Learns from every picture that it is shown; another size of picture is another place."""

    def __init__(self, plan: MotionPlan, mask: tuple[Polygon, ...], tiles: tuple[int, int] = (1, 1)) -> None:
        """What is below the ``mask`` never changes."""
        self._threshold = plan.threshold * 255.0
        self._mask = mask
        self._longer = min(LONGEST, LONGER * max(tiles))
        self._format: tuple[tuple[int, int], str] | None = None
        self._seen = 0
        self._begun = self._last = 0.0

    def __call__(self, frame: Frame) -> Change:
        """How this picture differs from those before."""
        moment = frame.instant.moment
        if (frame.size, frame.color) != self._format:
            self._begin(frame, moment)
        small = self._small(frame)
        if self._seen == 0:
            np.copyto(self._usual, small)
        known = cv2.convertScaleAbs(self._usual, dst=self._known)
        _, cells = cv2.threshold(cv2.absdiff(small, known), self._threshold, 1, cv2.THRESH_BINARY)
        share = cv2.countNonZero(cells) / self._visible
        light = share > ALL
        if light:
            self._seen = 0
            np.copyto(self._usual, small)
        self._learn(small, moment)
        learning = not 0.0 <= moment - self._begun >= WARM_UP
        return Change(share, np.asarray(cells, np.uint8), frame.size, learning, light)

    def _learn(self, small: Pixels, moment: float) -> None:
        """The mean of the first pictures, then the running average."""
        self._seen += 1
        rate = 1.0 - math.exp(-max(0.0, moment - self._last) / MEMORY)
        cv2.accumulateWeighted(small, self._usual, max(rate, 1.0 / self._seen))
        self._last = moment

    def _begin(self, frame: Frame, moment: float) -> None:
        """The first picture, or the camera changed its size."""
        width, height = frame.size
        scale = min(1.0, self._longer / max(width, height))
        columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        self._size = columns, rows
        self._sampled: Pixels = np.empty((rows, columns, *frame.pixels.shape[2:]), np.uint8)
        self._gray: Pixels = np.empty((rows, columns), np.uint8)
        self._usual = np.zeros((rows, columns), np.float32)
        self._known: Pixels = np.empty((rows, columns), np.uint8)
        self._shown = self._unmasked(frame.size)
        self._visible = max(1, cv2.countNonZero(self._shown))
        self._conversion = {"bgr": cv2.COLOR_BGR2GRAY, "rgb": cv2.COLOR_RGB2GRAY}.get(frame.color)
        self._format = frame.size, frame.color
        self._begun = self._last = moment
        self._seen = 0

    def _unmasked(self, size: tuple[int, int]) -> Pixels:
        """255 where a cell takes nothing from below the mask, which is sampled as the picture is."""
        whole = black_out(np.full((size[1], size[0]), 255, np.uint8), self._mask)
        sampled = cv2.resize(whole, self._size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.threshold(sampled, 254, 255, cv2.THRESH_BINARY)[1], np.uint8)

    def _small(self, frame: Frame) -> Pixels:
        """Four pixels a cell, without what is masked, smoothed: noise of the sensor is no motion."""
        cv2.resize(frame.pixels, self._size, dst=self._sampled, interpolation=cv2.INTER_LINEAR)
        gray = self._sampled
        if self._conversion is not None:
            gray = np.asarray(cv2.cvtColor(self._sampled, self._conversion, dst=self._gray), np.uint8)
        if self._mask:
            gray = np.asarray(cv2.bitwise_and(gray, self._shown, dst=self._gray), np.uint8)
        return np.asarray(cv2.blur(gray, (3, 3)), np.uint8)
