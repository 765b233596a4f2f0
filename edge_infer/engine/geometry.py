"""Where a source frame lies inside a model's input, and the exact way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_infer.config.plan import Resize

Float64Boxes: TypeAlias = NDArray[np.float64]
"""``[n, 4]`` as xmin, ymin, xmax, ymax."""


@dataclass(frozen=True, slots=True)
class Transform:
    """The whole source frame became ``width`` x ``height`` pixels at (``left``, ``top``) of the model's input.

    Both are whole numbers, as they were really used, so the way back has no rounding error of its own.
    """

    source: tuple[int, int]
    input: tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def fit(cls, source: tuple[int, int], size: tuple[int, int], resize: Resize) -> Transform:
        """How a frame of ``source`` (width, height) goes into an input of ``size``: stretched, or whole and centred."""
        if resize == "stretch":
            return cls(source, size, 0, 0, *size)
        scale = min(size[0] / source[0], size[1] / source[1])
        width = min(size[0], max(1, round(source[0] * scale)))
        height = min(size[1], max(1, round(source[1] * scale)))
        return cls(source, size, (size[0] - width) // 2, (size[1] - height) // 2, width, height)

    def to_source(self, boxes: ArrayLike) -> Float64Boxes:
        """Boxes in fractions of the input as float pixels of the source frame, clipped to it."""
        pixels = np.asarray(boxes, np.float64).reshape(-1, 4) * self._repeat(self.input)
        pixels -= self._repeat((self.left, self.top))
        pixels *= self._scale()
        np.maximum(pixels, 0.0, out=pixels)
        return np.minimum(pixels, self._repeat(self.source), out=pixels)

    def points_to_source(self, points: ArrayLike) -> Float64Boxes:
        """Points ``[n, 2]`` in fractions of the input as float pixels of the source frame, not clipped."""
        pixels = np.asarray(points, np.float64).reshape(-1, 2) * self.input
        pixels -= (self.left, self.top)
        pixels *= self._scale()[:2]
        return pixels

    def inside(self, picture: NDArray[Any]) -> NDArray[Any]:
        """The part of a map ``[height, width]`` over the whole input that shows the frame: no letterbox bars."""
        down, across = picture.shape[0] / self.input[1], picture.shape[1] / self.input[0]
        rows = slice(round(self.top * down), max(round((self.top + self.height) * down), 1))
        columns = slice(round(self.left * across), max(round((self.left + self.width) * across), 1))
        return picture[rows, columns]

    def to_input(self, boxes: ArrayLike) -> Float64Boxes:
        """Boxes in pixels of the source frame as fractions of the input."""
        pixels = np.asarray(boxes, np.float64).reshape(-1, 4) / self._scale()
        pixels += self._repeat((self.left, self.top))
        pixels /= self._repeat(self.input)
        return pixels

    def _scale(self) -> NDArray[np.float64]:
        """Source pixels for one pixel of the input."""
        return self._repeat((self.source[0] / self.width, self.source[1] / self.height))

    @staticmethod
    def _repeat(pair: tuple[float, float]) -> NDArray[np.float64]:
        return np.array((*pair, *pair), np.float64)


NO_PLACE: Final = Transform((1, 1), (1, 1), 0, 0, 1, 1)
"""For inputs that are no pictures: what they give has no place in a frame."""
