"""Filters class ids by the labels that a pipeline reports, and suppresses overlapping boxes."""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.records import Array, Bodies, Boxes, Classes, Regions
from edge_infer.errors import ModelError
from edge_infer.plan.records import PipelinePlan

log = logging.getLogger(__name__)


class LabelFilter:
    """Class ids that the pipeline reports, and their labels. Without labels the id itself is the label."""

    def __init__(self, plan: PipelinePlan) -> None:
        self._pipeline = plan.name
        self._labels = plan.model.labels
        self._wanted = None
        if plan.labels is not None:
            self._wanted = [number for number, label in enumerate(self._labels) if label in plan.labels]
        self._warned_label = self._warned_finite = False

    def wanted(self, classes: NDArray[Any]) -> NDArray[np.bool_]:
        """Return a mask of the classes that are reported. A class without a label is not, as it cannot be published."""
        named: NDArray[np.bool_] = classes >= 0
        if self._labels:
            named &= classes < len(self._labels)
        if not self._warned_label and not named.all():
            self._warned_label = True
            log.warning(
                "pipeline %s: the model returned class %d, but has only %d labels, counted from 0; dropping such "
                "objects (do the labels belong to this model?)",
                self._pipeline,
                classes[~named][0],
                len(self._labels),
            )
        return named if self._wanted is None else named & np.isin(classes, self._wanted)

    def left_out(self, classes: NDArray[Any], scores: NDArray[Any], threshold: float) -> tuple[tuple[str, float], ...]:
        """Return the labels above the threshold that are not reported, each with its best score, best first."""
        if self._wanted is None:
            return ()
        others = np.flatnonzero((scores >= threshold) & ~np.isin(classes, self._wanted))
        pairs = sorted(zip(scores[others].tolist(), classes[others].tolist(), strict=True))
        best = {number: score for score, number in pairs if 0 <= number < len(self._labels)}
        found = sorted(best.items(), key=lambda each: -each[1])
        return tuple((self._labels[number], score) for number, score in found)

    def label(self, number: int) -> str:
        """Return the label of a class id."""
        return self._labels[number] if self._labels else str(number)

    def check_finite(self, candidates: Boxes | Classes | Bodies | Regions) -> None:
        """Log once that some outputs are not finite.

        Raise `ModelError` if no finite output is left, so that nothing is known.
        """
        nonfinite = candidates.nonfinite
        if not nonfinite:
            return
        left = candidates.classes >= 0 if isinstance(candidates, Regions) else candidates.scores > 0
        if not np.any(left):
            raise ModelError(f"{nonfinite} of its outputs are not finite, and no usable one remains")
        if not self._warned_finite:
            self._warned_finite = True
            log.warning(
                "pipeline %s: %d outputs of the model are not finite; dropping them (is the model file damaged?)",
                self._pipeline,
                nonfinite,
            )


# Non-maximum suppression: of overlapping boxes of one class only the best one is kept.

CONSIDERED: Final = 1000
"""Maximum number of candidates that are compared, best first. A sound model has fewer, and a broken model must not
stall the board."""


def nms(boxes: Array, scores: Array, classes: NDArray[np.int32], iou: float, most: int) -> NDArray[np.intp]:
    """Return the indices of at most ``most`` kept boxes ``[n, 4]`` (xmin, ymin, xmax, ymax), best first.

    A box is dropped if its intersection over union (IoU) with a better box of its class is greater than ``iou``. Equal
    scores keep their order.
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
