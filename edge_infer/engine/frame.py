"""One capture: an image with its capture time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_infer.config.plan import Color

Pixels: TypeAlias = NDArray[np.uint8]
"""``[height, width, 3]`` or, for gray, ``[height, width]``."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An image of ``color`` channel order. It is shared by pipelines, so nobody writes into ``pixels``.

    ``wall`` is seconds since the epoch and ``monotonic`` seconds of the monotonic clock, both at capture; ``number``
    counts the frames that the source captured, from 1.
    """

    pixels: Pixels
    color: Color
    wall: float
    monotonic: float
    number: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]
