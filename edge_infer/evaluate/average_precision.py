"""Precision over recall: average precision, and the score threshold that gives a requested precision or recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from edge_infer.evaluate.matching import Flags, Floats

RECALLS: Final = np.linspace(0.0, 1.0, 101)
"""The recalls at which the COCO evaluation reads the precision."""
_TINY: Final = np.spacing(1)

Points = Literal["coco", "all", "eleven"]


def curve(right: Floats, wrong: Floats, count: float | Floats) -> tuple[Floats, Floats]:
    """Return recall and precision after each found item, best score first, along the last axis.

    ``right`` and ``wrong`` are the weights of the items; ``count`` is the weight of all labelled items.
    """
    hits, alarms = np.cumsum(right, axis=-1), np.cumsum(wrong, axis=-1)
    return hits / count, hits / np.maximum(hits + alarms, _TINY)


def average_precision(recall: Floats, precision: Floats, points: Points = "coco") -> float:
    """Return the area under the curve of one class, with the best precision at each recall or beyond it.

    ``points`` selects the recalls at which the precision is read: 101 (COCO), all (Pascal VOC since 2010) or eleven
    (Pascal VOC before 2010).
    """
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if points == "all":
        steps = np.diff(recall, prepend=0.0)
        return float((steps * best).sum())
    at = RECALLS if points == "coco" else np.linspace(0.0, 1.0, 11)
    places = np.searchsorted(recall, at, side="left")
    return float(np.append(best, 0.0)[np.minimum(places, len(best))].mean())


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Precision and recall with a score threshold."""

    threshold: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


class ThresholdChoice:
    """The operating points that items with these scores offer.

    All items with a score equal to the threshold or above it are reported, so of equal scores only the last is an
    operating point.
    """

    def __init__(self, scores: Floats, right: Flags, count: float) -> None:
        order = np.argsort(-scores, kind="stable")
        self._scores, hits = scores[order], right[order]
        self._recall, self._precision = curve(hits.astype(float), (~hits).astype(float), max(count, 1.0))
        self._last = np.flatnonzero(np.append(np.diff(self._scores) != 0, True)) if len(order) else order

    def at(self, threshold: float) -> OperatingPoint:
        """Return precision and recall at a threshold; if no item reaches the threshold, both are 0."""
        above = int(np.searchsorted(-self._scores, -threshold, side="right"))
        if not above:
            return OperatingPoint(threshold, 0.0, 0.0)
        return OperatingPoint(threshold, float(self._precision[above - 1]), float(self._recall[above - 1]))

    def for_precision(self, wanted: float) -> OperatingPoint | None:
        """Return the point with the highest recall of those with at least this precision; None without such a point."""
        kept = self._last[self._precision[self._last] >= wanted - 1e-9]
        return self._point(int(kept[-1])) if len(kept) else None

    def for_recall(self, wanted: float) -> OperatingPoint | None:
        """Return the point with the highest threshold of those with at least this recall; None without such a point."""
        kept = self._last[self._recall[self._last] >= wanted - 1e-9]
        return self._point(int(kept[0])) if len(kept) else None

    def best(self) -> OperatingPoint | None:
        """Return the point with the highest F1; None if nothing is right."""
        if not len(self._last):
            return None
        precision, recall = self._precision[self._last], self._recall[self._last]
        f1 = 2 * precision * recall / np.maximum(precision + recall, _TINY)
        return self._point(int(self._last[np.argmax(f1)])) if f1.max() > 0 else None

    def sampled(self, most: int) -> list[OperatingPoint]:
        """Return at most this many points for a drawing, from the highest threshold down."""
        chosen = np.unique(np.linspace(0, len(self._last) - 1, most).astype(int)) if len(self._last) else self._last
        return [self._point(int(place)) for place in self._last[chosen]]

    def _point(self, place: int) -> OperatingPoint:
        return OperatingPoint(float(self._scores[place]), float(self._precision[place]), float(self._recall[place]))
