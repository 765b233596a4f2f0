"""The position of a source frame inside a model's input, and the exact inverse mapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_infer.plan.records import Resize

Box: TypeAlias = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax, in pixels of the frame."""
Float64Boxes: TypeAlias = NDArray[np.float64]
"""``[n, 4]`` as xmin, ymin, xmax, ymax."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a frame, in whole pixels of the frame."""

    left: int
    top: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a view of this part of a picture."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def centre(self, size: tuple[int, int]) -> Region:
        """Return the largest centred part with the aspect ratio of ``size`` (width, height), to the nearest pixel."""
        scale = min(self.width / size[0], self.height / size[1])
        width = min(self.width, max(1, round(size[0] * scale)))
        height = min(self.height, max(1, round(size[1] * scale)))
        return Region(self.left + (self.width - width) // 2, self.top + (self.height - height) // 2, width, height)


@dataclass(frozen=True, slots=True)
class Transform:
    """Maps a ``region`` of the source frame to ``width`` x ``height`` pixels at (``left``, ``top``) of the input.

    All values are the whole numbers that were used for scaling, so the inverse adds no rounding error.
    """

    source: tuple[int, int]
    input: tuple[int, int]
    region: Region
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def fit(
        cls, source: tuple[int, int], size: tuple[int, int], resize: Resize, region: Region | None = None
    ) -> Transform:
        """Return the transform of a frame of ``source`` (width, height), or a region of it, into an input of ``size``.

        ``resize`` selects the method: stretch the frame, fit the whole frame centred (letterbox), or fill the input
        with the centre of the frame (crop).
        """
        region = region or Region(0, 0, *source)
        if resize == "letterbox":
            scale = min(size[0] / region.width, size[1] / region.height)
            width = min(size[0], max(1, round(region.width * scale)))
            height = min(size[1], max(1, round(region.height * scale)))
            return cls(source, size, region, (size[0] - width) // 2, (size[1] - height) // 2, width, height)
        return cls(source, size, region.centre(size) if resize == "crop" else region, 0, 0, *size)

    def to_source(self, boxes: ArrayLike) -> Float64Boxes:
        """Return boxes in fractions of the input as float pixels of the source frame, clipped to the frame."""
        pixels = np.asarray(boxes, np.float64).reshape(-1, 4) * self._repeat(self.input)
        pixels -= self._repeat((self.left, self.top))
        pixels *= self._scale()
        pixels += self._repeat((self.region.left, self.region.top))
        np.maximum(pixels, 0.0, out=pixels)
        return np.minimum(pixels, self._repeat(self.source), out=pixels)

    def points_to_source(self, points: ArrayLike) -> Float64Boxes:
        """Return points ``[n, 2]`` in fractions of the input as float pixels of the source frame, not clipped."""
        pixels = np.asarray(points, np.float64).reshape(-1, 2) * self.input
        pixels -= (self.left, self.top)
        pixels *= self._scale()[:2]
        pixels += (self.region.left, self.region.top)
        return pixels

    def inside(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return the part of a map ``[height, width]`` of the whole input that shows the frame (no letterbox bars)."""
        down, across = picture.shape[0] / self.input[1], picture.shape[1] / self.input[0]
        rows = slice(round(self.top * down), max(round((self.top + self.height) * down), 1))
        columns = slice(round(self.left * across), max(round((self.left + self.width) * across), 1))
        return picture[rows, columns]

    def to_input(self, boxes: ArrayLike) -> Float64Boxes:
        """Return boxes in pixels of the source frame as fractions of the input."""
        pixels = np.asarray(boxes, np.float64).reshape(-1, 4) - self._repeat((self.region.left, self.region.top))
        pixels /= self._scale()
        pixels += self._repeat((self.left, self.top))
        pixels /= self._repeat(self.input)
        return pixels

    def _scale(self) -> NDArray[np.float64]:
        """Source pixels per pixel of the input."""
        return self._repeat((self.region.width / self.width, self.region.height / self.height))

    @staticmethod
    def _repeat(pair: tuple[float, float]) -> NDArray[np.float64]:
        return np.array((*pair, *pair), np.float64)


NO_PLACE: Final = Transform.fit((1, 1), (1, 1), "stretch")
"""Transform of inputs that are not pictures: their results have no position in a frame."""
