"""Non-maximum suppression: of overlapping boxes of one class the best remains."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.records import Array

CONSIDERED: Final = 1000
"""Maximum candidates that are compared, best first; a sound model has fewer, a broken one must not stall the board."""


def nms(boxes: Array, scores: Array, classes: NDArray[np.int32], iou: float, most: int) -> NDArray[np.intp]:
    """Return the indices of at most ``most`` remaining boxes ``[n, 4]`` (xmin, ymin, xmax, ymax), best first.

    A box is dropped if its intersection over union with a better box of its class is greater than ``iou``. Equal scores
    keep their order.
    """
    order = np.argsort(-scores, kind="stable")[:CONSIDERED]
    boxes64 = boxes.astype(np.float64)
    areas = _area(boxes64)
    kept: list[Any] = []
    while order.size and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes64[rest, :2], boxes64[best, :2])
        high = np.minimum(boxes64[rest, 2:], boxes64[best, 2:])
        common = np.clip(high - low, 0.0, None).prod(axis=1)
        together = areas[rest] + areas[best] - common
        order = rest[(common <= iou * together) | (classes[rest] != classes[best])]
    return np.array(kept, np.intp)


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return area
