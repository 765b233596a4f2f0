"""Changes of pixels before any other code uses them: rotation, mirroring, privacy mask."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.frames.frame import Captured, Frame, Pixels
from edge_infer.plan.records import Flip, Polygon, Rotation

# Rotation and mirroring of pictures, in one pass into existing memory.


@dataclass(frozen=True, slots=True)
class Orientation:
    """A clockwise rotation by ``rotate`` degrees, then mirroring: ``horizontal`` swaps left and right."""

    rotate: Rotation = 0
    flip: Flip | None = None

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a picture of ``shape`` ``[height, width(, 3)]`` after the rotation."""
        return (shape[1], shape[0], *shape[2:]) if self.rotate in (90, 270) else shape

    def apply(self, pixels: Pixels, into: Pixels) -> None:
        """Write the oriented picture into ``into``, which is contiguous and of `shape`."""
        if self.rotate == 0 and self.flip is None:
            np.copyto(into, pixels)
            return
        source = np.ascontiguousarray(pixels)
        turned = _ONE_PASS.get((self.rotate, self.flip))
        if turned is not None:
            cv2.flip(source, turned, dst=into)
        elif self.flip is None:
            code = cv2.ROTATE_90_CLOCKWISE if self.rotate == 90 else cv2.ROTATE_90_COUNTERCLOCKWISE
            cv2.rotate(source, code, dst=into)
        else:
            cv2.transpose(source, dst=into)  # a quarter turn and a mirror are a transposition …
            if (self.rotate, self.flip) in ((90, "vertical"), (270, "horizontal")):
                cv2.flip(into, -1, dst=into)  # … along one diagonal or the other

    def copy(self, pixels: Pixels) -> Pixels:
        """Return the oriented picture in a new array."""
        into = np.empty(self.shape(pixels.shape), np.uint8)
        self.apply(pixels, into)
        return into


# Codes of cv2.flip: 0 swaps top and bottom, 1 left and right, -1 both.
_ONE_PASS: dict[tuple[Rotation, Flip | None], int] = {
    (0, "horizontal"): 1,
    (0, "vertical"): 0,
    (180, None): -1,
    (180, "horizontal"): 0,
    (180, "vertical"): 1,
}


# Privacy mask: polygons that are blacked out before other code receives the frame.


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
    """Blacks out polygons, given as fractions of the frame. The source's own frame stays unchanged."""

    def __init__(self, polygons: tuple[Polygon, ...]) -> None:
        self._polygons = polygons
        self._known: tuple[tuple[int, int], list[NDArray[np.int32]]] = (0, 0), []

    def __call__(self, frame: Captured) -> Captured:
        """Return the frame with all polygons zeroed.

        Return the same frame if it is not a picture or there are no polygons.
        """
        if not self._polygons or not isinstance(frame, Frame):
            return frame
        size, corners = self._known  # read and set in one step: two threads may process different frames
        if frame.size != size:
            scale = np.array(frame.size, np.float64)
            corners = [_corners(polygon, scale) for polygon in self._polygons]
            self._known = frame.size, corners
        return replace(frame, pixels=_filled(frame.pixels.copy(), corners))
