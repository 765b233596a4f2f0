"""Rotate and mirror pictures, in one pass into existing memory."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_infer.config.plan import Flip, Rotation
from edge_infer.engine.frame import Pixels


@dataclass(frozen=True, slots=True)
class Orientation:
    """A rotation clockwise by ``rotate`` degrees, then a mirroring: ``horizontal`` swaps left and right."""

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


# Codes of cv2.flip: 0 upside down, 1 left and right, -1 both.
_ONE_PASS: dict[tuple[Rotation, Flip | None], int] = {
    (0, "horizontal"): 1,
    (0, "vertical"): 0,
    (180, None): -1,
    (180, "horizontal"): 0,
    (180, "vertical"): 1,
}
