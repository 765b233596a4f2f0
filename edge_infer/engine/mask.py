"""Privacy mask: polygons that are blacked out before any other code sees the frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.codec import replace
from edge_infer.config.plan import Polygon
from edge_infer.engine.frame import Captured, Frame, Pixels


def black_out(pixels: Pixels, polygons: tuple[Polygon, ...]) -> Pixels:
    """Fill every polygon, in fractions of the picture, with zeros, in place; return the picture."""
    scale = np.array((pixels.shape[1], pixels.shape[0]), np.float64)
    return _filled(pixels, [_corners(polygon, scale) for polygon in polygons])


def _corners(polygon: Polygon, scale: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(np.array(polygon) * scale).astype(np.int32)


def _filled(pixels: Pixels, polygons: list[NDArray[np.int32]]) -> Pixels:
    for corners in polygons:  # one by one: in one call OpenCV leaves overlaps unfilled (even-odd rule)
        cv2.fillPoly(pixels, [corners], (0, 0, 0))
    return pixels


class Mask:
    """Blacks out polygons, given as fractions of the frame; the source's own frame stays unchanged."""

    def __init__(self, polygons: tuple[Polygon, ...]) -> None:
        self._polygons = polygons
        self._known: tuple[tuple[int, int], list[NDArray[np.int32]]] = (0, 0), []

    def __call__(self, frame: Captured) -> Captured:
        """Return the frame with every polygon zeroed; the same frame if it is no picture or there are no polygons."""
        if not self._polygons or not isinstance(frame, Frame):
            return frame
        size, corners = self._known  # read and set in one step: two threads may process different frames
        if frame.size != size:
            scale = np.array(frame.size, np.float64)
            corners = [_corners(polygon, scale) for polygon in self._polygons]
            self._known = frame.size, corners
        return replace(frame, pixels=_filled(frame.pixels.copy(), corners))
