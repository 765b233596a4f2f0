"""Agreement of the findings of two models on the same frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.engine.tasks.pose import Body, Poses
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.engine.tasks.segmentation import SegmentationFindings
from edge_infer.engine.tracking.assignment import assign

SAME: Final = 0.5
"""Minimum IoU at which two boxes of one label count as the same object."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement on one frame: whether the outcome is the ``same``, and the boxes found by both models or either.

    ``differences`` compares only what both models found: scores of objects, the score of the best class, distances,
    shares or values.
    """

    same: bool
    matched: int = 0
    boxes: int = 0
    differences: tuple[float, ...] = ()


def compare(ours: Findings, theirs: Findings, floors: tuple[float, float] = (0.0, 0.0)) -> Agreement:
    """Return the agreement of two findings of one task.

    ``floors`` are the thresholds of the two models; objects below them do not count.
    """
    if isinstance(ours, Detections) and isinstance(theirs, Detections):
        return _objects(_above(ours, floors[0]), _above(theirs, floors[1]))
    if isinstance(ours, Poses) and isinstance(theirs, Poses):
        return _objects(_bodies(ours.bodies), _bodies(theirs.bodies))
    if isinstance(ours, Measurement) and isinstance(theirs, Measurement):
        same = [item.steps() for item in ours.values] == [item.steps() for item in theirs.values]
    else:
        same = ours.essence == theirs.essence
    return Agreement(same, differences=tuple(_differences(ours, theirs)))


def _differences(ours: Findings, theirs: Findings) -> list[float]:
    if isinstance(ours, ClassificationFindings) and isinstance(theirs, ClassificationFindings):
        scores = [each.scores for each in (ours, theirs)]
        best = [each.classes[0].label for each in (ours, theirs) if each.classes]
        return [abs(scores[0][label] - scores[1][label]) for label in best[:1] if label in scores[0].keys() & scores[1]]
    if isinstance(ours, SegmentationFindings) and isinstance(theirs, SegmentationFindings):
        shares = [{item.label: item.share for item in each.segments} for each in (ours, theirs)]
        return [abs(shares[0][label] - shares[1][label]) for label in shares[0].keys() & shares[1]]
    if isinstance(ours, Measurement) and isinstance(theirs, Measurement):
        known = {item.plan.name: item.value for item in theirs.values}
        pairs = [(item.value, known.get(item.plan.name)) for item in ours.values]
        return [abs(one - other) for one, other in pairs if one is not None and other is not None]
    if isinstance(ours, Deviation) and isinstance(theirs, Deviation):
        return [abs(ours.score - theirs.score)]
    return []


def _above(found: Detections, threshold: float) -> list[Detection]:
    return [item for item in found.objects if item.score >= threshold]


def _bodies(bodies: Sequence[Body]) -> list[Detection]:
    """Return each body as a detection, with the box around its points."""
    boxes = []
    for body in bodies:
        across, down = zip(*((x, y) for x, y, _ in body.points), strict=True)
        boxes.append(Detection("", 0, body.score, (min(across), min(down), max(across), max(down))))
    return boxes


def _objects(ours: list[Detection], theirs: list[Detection]) -> Agreement:
    labels = [sorted(item.label for item in each) for each in (ours, theirs)]
    pairs = []
    if ours and theirs:
        overlap = _overlaps(ours, theirs)
        pairs = assign(np.where(overlap >= SAME, -overlap, 0.0))
    differences = tuple(abs(ours[one].score - theirs[other].score) for one, other in pairs)
    return Agreement(labels[0] == labels[1], len(pairs), len(ours) + len(theirs) - len(pairs), differences)


def _overlaps(ours: list[Detection], theirs: list[Detection]) -> NDArray[np.float64]:
    """Return the intersection over union (IoU) of each pair; pairs with different labels get 0."""
    one = np.array([item.box for item in ours])[:, None, :]
    other = np.array([item.box for item in theirs])[None, :, :]
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    both = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    areas = [np.prod(np.clip(each[..., 2:] - each[..., :2], 0.0, None), axis=-1) for each in (one, other)]
    alike = np.array([[item.label == each.label for each in theirs] for item in ours])
    return np.where(alike, both / np.maximum(areas[0] + areas[1] - both, 1e-12), 0.0)


class Agreements:
    """Sums of the agreement over many frames."""

    def __init__(self) -> None:
        self.frames = self._same = self._matched = self._boxes = 0
        self._difference, self._differences = 0.0, 0

    def add(self, one: Agreement) -> None:
        """Add the agreement on one frame."""
        self.frames += 1
        self._same += one.same
        self._matched += one.matched
        self._boxes += one.boxes
        self._difference += sum(one.differences)
        self._differences += len(one.differences)

    @property
    def same(self) -> float | None:
        """Share of frames with the same outcome; None without frames."""
        return self._same / self.frames if self.frames else None

    @property
    def matched(self) -> float | None:
        """Share of the boxes that both models found; None if neither found any."""
        return self._matched / self._boxes if self._boxes else None

    @property
    def difference(self) -> float | None:
        """Mean difference; None if there is no frame in which both models found the same thing."""
        return self._difference / self._differences if self._differences else None
